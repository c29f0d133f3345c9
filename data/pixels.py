"""What stored pixels mean: a float is itself, a byte k (uint8) means k / 255.

`signed` bytes (int8) are the same bytes less 128, as products of integers want them; no file holds them.
"""

import torch

STORED = (torch.float32, torch.float64, torch.uint8)
ROWS = 1_024  # examples converted at once: few enough to stay in a cache, which makes it six times as fast


def floats(x, out=None):
    """The pixels in [0, 1] that x stands for: float32 where it holds bytes, else x itself.

    ``out`` may be given for bytes (uint8): float32, of the same shape.

    A division by 255, and not a product with 1 / 255, which rounds 126 of the 256 values differently.
    """
    if out is not None:
        return out.copy_(x).div_(255)
    if x.dtype == torch.int8:
        return x.float().add_(128).div_(255)
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def dtype(x):
    """The dtype of `floats(x)`."""
    return x.dtype if x.dtype.is_floating_point else torch.float32


def are_bytes(x):
    """Whether every pixel of x is one that a byte stands for."""
    if x.dtype != torch.float32:
        return x.dtype == torch.uint8
    return all(torch.equal(floats(_bytes(rows)), rows) for rows in x.split(ROWS))


def signed(x):
    """x as signed bytes; of floats only where `are_bytes(x)`.

    The memory of a tensor that is uint8 already is used again, and its values there are changed.
    """
    return (x if x.dtype == torch.uint8 else _bytes(x)).bitwise_xor_(128).view(torch.int8)


def signed_tasks(tasks):
    """The tasks (description, x, y) with x as `signed` bytes; an x that tasks share is converted once."""
    of = {id(x): x for _, x, _ in tasks}
    of = {key: signed(x) for key, x in of.items()}
    return [(name, of[id(x)], y) for name, x, y in tasks]


def _bytes(x):
    return (x * 255).round_().to(torch.uint8)
