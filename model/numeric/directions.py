"""Gradients of single examples that are never written down: activations and deltas, and inner products with them.

The gradient of any loss of one example with respect to a stack of linear layers is, layer by layer, delta a' for the
weights and delta for the bias: k of them, U (k, p), are the activations A_l (k, i_l) and the deltas D_l (k, o_l), k (sum i
+ sum o) numbers instead of k p, and

    <u_j, grad>   = sum_l <D_l[j], delta_l> (<A_l[j], a_l> + 1)        the gradient of an example
    U U'          = sum_l (D_l D_l') * (A_l A_l' + 1)
    (U'c)_l       = D_l' diag(c) A_l for the weights, D_l' c for the bias.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

PIECE = 32  # numbers summed in the dtype of the network; the sums of pieces are float64
BATCH = 16  # examples of which the sums of all pieces are held at a time
STRIP = 2048  # directions of which an array of float64 is made at a time


class Directions(NamedTuple):
    """Gradients of n examples: for each layer the activations A (n, i) that enter it and the deltas D (n, o)."""

    A: list[torch.Tensor]
    D: list[torch.Tensor]

    def rows(self, index) -> "Directions":
        """Some of them."""
        return Directions([a[index] for a in self.A], [d[index] for d in self.D])

    def norms(self) -> torch.Tensor:
        """Their Euclidean norms, float64 (n,)."""
        pairs = zip(self.A, self.D, strict=True)
        return sum(d.double().square().sum(1) * (a.double().square().sum(1) + 1) for a, d in pairs).sqrt()

    def gram(self) -> torch.Tensor:
        """Their inner products, float64 (n, n)."""
        pairs = [(a.double(), d.double()) for a, d in zip(self.A, self.D, strict=True)]
        return sum((d @ d.t()) * (a @ a.t() + 1) for a, d in pairs)

    def scaled(self, norms: torch.Tensor) -> "Directions":
        """Divided by the power of two next to their norm: exact, and nothing underflows in their products."""
        exponents = torch.frexp(norms)[1].unsqueeze(1)
        return Directions(list(self.A), [torch.ldexp(d.double(), -exponents).to(d) for d in self.D])

    def dense(self) -> torch.Tensor:
        """Written down: (n, p), layer by layer, weights then bias."""
        parts = []
        for a, d in zip(self.A, self.D, strict=True):
            parts += [torch.bmm(d.unsqueeze(2), a.unsqueeze(1)).flatten(1), d]
        return torch.cat(parts, 1)


class Columns:
    """k vectors of n numbers as columns, in pieces (pieces, width, k) that are filled up with zeros.

    A sum over 784 products in float32 loses 1e-7 of the vectors' lengths, which would be left of a gradient along a
    direction; summed in pieces of at most ``PIECE``, and these in float64, it is a fifth of that at no cost.
    """

    def __init__(self, n: int, like: torch.Tensor):
        self.n = n
        least = -(-n // PIECE)
        pieces = next((m for m in range(least, 2 * least) if n % m == 0), least)
        self.pieces = like.new_empty(pieces, -(-n // pieces), 0)

    @property
    def matrix(self) -> torch.Tensor:
        """The columns (n, k)."""
        return self.pieces.flatten(0, 1)[: self.n]

    def append(self, rows: torch.Tensor) -> None:
        """Further columns, given as rows (m, n)."""
        self.pieces = torch.cat((self.pieces, self._split(rows).transpose(1, 2)), 2)

    def _split(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (m, n) as (pieces, m, width)."""
        pieces, width, _ = self.pieces.shape
        rows = rows.to(self.pieces)
        if pieces * width > self.n:
            rows = F.pad(rows, (0, pieces * width - self.n))
        return rows.reshape(len(rows), pieces, width).transpose(0, 1)

    def dots(self, rows: torch.Tensor) -> torch.Tensor:
        """Inner products with rows (m, n): float64 (m, k)."""
        if len(rows) > BATCH:
            return torch.cat([self.dots(part) for part in rows.split(BATCH)])
        return torch.bmm(self._split(rows), self.pieces).sum(0, dtype=torch.float64)

    def combine(self, c: torch.Tensor) -> torch.Tensor:
        """Sums of columns with weights c (m, k): (m, n)."""
        return torch.mm(c.to(self.pieces), self.matrix.t())

    def strips(self, k: int | None = None):
        """The first k columns in float64, (n, STRIP) at a time."""
        return (strip.double() for strip in self.matrix[:, :k].split(STRIP, 1))


class LayerShare:
    """One layer's share of k directions: activations A and deltas D, each as ``Columns``."""

    def __init__(self, n_inputs: int, n_outputs: int, like: torch.Tensor):
        self.A, self.D = Columns(n_inputs, like), Columns(n_outputs, like)

    def append(self, a: torch.Tensor, d: torch.Tensor) -> None:
        """Further directions: activations (n, i) and deltas (n, o)."""
        self.A.append(a)
        self.D.append(d)

    def forward(self, s: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """What U'c adds to the layer's outputs (B, o), where s = ``A.dots(inputs) + 1``."""
        return self.D.combine(s * c)

    def backward(self, e: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """What U'c adds to the gradients (B, i) at the layer's inputs, where e = ``D.dots(deltas)``."""
        return self.A.combine(e * c)

    def gram(self, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        """The layer's share of the inner products with other directions, float64 (n, k)."""
        a, d = a.double(), d.double()
        pairs = zip(self.A.strips(), self.D.strips(), strict=True)
        return torch.cat([torch.mm(a, A).add_(1).mul_(torch.mm(d, D)) for A, D in pairs], 1)

    def dots(self, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """The layer's share of the inner products with a vector, float64 (k,)."""
        G, g = weight.double(), bias.double()
        pairs = zip(self.A.strips(), self.D.strips(), strict=True)
        return torch.cat([torch.mm(G.t(), D).mul_(A).sum(0) + torch.mv(D.t(), g) for A, D in pairs])

    def add_to(self, weight: torch.Tensor, bias: torch.Tensor, c: torch.Tensor) -> None:
        """Add the layer's share of U'c, in place, to the weights (o, i) and the bias (o,); sums are float64.

        c may be of the first directions only.
        """
        W, b = weight.double(), bias.double()
        for A, D, part in zip(self.A.strips(len(c)), self.D.strips(len(c)), c.split(STRIP), strict=True):
            cD = D * part
            W = W.addmm(cD, A.t())
            b = b + cD.sum(1)
        weight.copy_(W)
        bias.copy_(b)
