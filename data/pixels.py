"""What stored pixels mean: a float is itself, a byte k (uint8) means k / 255.

`signed` bytes (int8) are the same bytes less 128, as products of integers want them; no file holds them.
"""

from collections import Counter

import torch

STORED = (torch.float32, torch.float64, torch.uint8)
ROWS = 8_192  # examples converted at once, where a whole task would take too much memory


def floats(x):
    """The pixels in [0, 1] that x stands for: float32 where it holds bytes, else x itself.

    A division by 255, and not a product with 1 / 255, which rounds 126 of the 256 values differently.
    """
    if x.dtype == torch.int8:
        return x.float().add_(128).div_(255)
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def dtype(x):
    """The dtype of `floats(x)`."""
    return x.dtype if x.is_floating_point() else torch.float32


def are_bytes(x):
    """Whether every pixel of x is one that a byte stands for."""
    if x.dtype != torch.float32:
        return x.dtype == torch.uint8
    return all(torch.equal(floats(_bytes(rows)), rows) for rows in x.split(ROWS))


def signed(x, in_place=False):
    """x as signed bytes; of floats only where `are_bytes(x)`. ``in_place`` uses the memory of a tensor of bytes again."""
    x = x if x.dtype == torch.uint8 else _bytes(x)
    return (x.bitwise_xor_(128) if in_place else x ^ 128).view(torch.int8)


def signed_tasks(tasks, others=()):
    """The tasks (description, x, y) with signed x, in the memory of x where neither another task nor ``others`` use it."""
    used = Counter(x.untyped_storage().data_ptr() for _, x, _ in [*tasks, *others])
    return [(name, signed(x, used[x.untyped_storage().data_ptr()] == 1), y) for name, x, y in tasks]


def _bytes(x):
    return (x * 255).round_().to(torch.uint8)
