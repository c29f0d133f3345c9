r"""A linear layer over bytes, in products of integers: exact sums whatever their order, and a bound on what is rounded.

Pixels are k / 255 with k a byte, so k - 128 is an int8. A row w of the weights is cut into three slices of int8,

    w = s (q1 + q2 / 254 + q3 / 254^2) + r,      s = max |w| / 127,      |r_j| <= s / (2 254^2),

24 bits, as many as a float32 has. With z = sum_j w_j k_j / 255 + b one product of (k - 128) with all slices gives

    z = s / 255 sum_i 254^(1-i) sum_j q_ij (k_j - 128)  +  [128 s / 255 sum_ij 254^(1-i) q_ij + b]  +  sum_j r_j k_j / 255,

where the first double sum is exact in int32 and the bracket is known beforehand.
"""

from functools import lru_cache

import torch

SLICES = 3
BASE = 254.0
UNIT = 2.0**-24  # half the distance of neighbouring float32 numbers, relative
LARGEST = 2**31 // (127 * 128)  # inputs whose sums fit into an int32


class ByteLayer:
    """Pre-activations (B, o) of signed bytes (B, i), for weights W (o, i) and bias b (o,) in float32.

    ``errors`` (o,) bounds, for each output, what separates them from the exact ones of pixels k / 255, in float64.
    """

    def __init__(self, W: torch.Tensor, b: torch.Tensor):
        scale, q = slices(W)
        self.q = torch.cat(q).t().contiguous().to(torch.int8)
        self.alphas = [BASE**-i for i in range(1, SLICES)]
        scale = scale / 255
        sums = [each.sum(1) * BASE**-i for i, each in enumerate(q)]
        offset = b.double() + 128 * scale * sum(sums)
        self.scale, self.offset = scale.float(), offset.float()
        # each sum, and each of the six operations on it, is rounded by UNIT of at most ``largest``
        largest = 128 * sum(each.abs().sum(1) * BASE**-i for i, each in enumerate(q))
        rounded = 12 * UNIT * (scale * largest + b.double().abs())
        self.errors = rounded + W.shape[1] * W.double().abs().amax(1) / 127 / (2 * BASE ** (SLICES - 1))

    def __call__(self, k: torch.Tensor) -> torch.Tensor:
        products = torch._int_mm(k, self.q)
        o = len(self.scale)
        z = products[:, :o].float()
        for i, alpha in enumerate(self.alphas, start=1):
            z.add_(products[:, i * o : (i + 1) * o], alpha=alpha)
        return torch.addcmul(self.offset, z, self.scale, out=z)


def slices(W: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """s (o,) and the three slices (o, i), whole numbers from -127 to 127, all in float64."""
    rest = W.double()
    scale = rest.abs().amax(1) / 127
    scale = torch.where(scale > 0, scale, 1.0)
    rest, q = rest / scale.unsqueeze(1), []
    for _ in range(SLICES):
        q.append(rest.round().clamp_(-127, 127))
        rest = (rest - q[-1]) * BASE
    return scale, q


@lru_cache
def exact(n_inputs: int, n_outputs: int) -> bool:
    """Whether this processor's products of int8 are exact for a layer of this shape, tried on sums that saturate.

    Kernels without integer dot products add pairs in 16 bits, where 127 * 127 * 2 is too large, and say nothing.
    """
    if n_inputs > LARGEST:
        return False
    draw = torch.Generator().manual_seed(0)
    rows, columns = 96, SLICES * n_outputs
    for low in (127, -127, None):
        if low is None:
            a, b = (torch.randint(-128, 128, s, generator=draw) for s in ((rows, n_inputs), (n_inputs, columns)))
        else:
            a, b = torch.full((rows, n_inputs), low), torch.full((n_inputs, columns), 127)
        try:
            product = torch._int_mm(a.to(torch.int8), b.to(torch.int8))
        except RuntimeError:
            return False
        if not torch.equal(product.double(), a.double() @ b.double()):
            return False
    return True


def quick() -> bool:
    """Whether the processor has instructions for such products; without them they take twenty times as long."""
    return torch.cpu._is_vnni_supported()
