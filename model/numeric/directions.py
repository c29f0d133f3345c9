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

PIECE = 32  # numbers summed at once in the dtype of the network
MANY = 8  # examples of a batch whose errors average out
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
    """k vectors of n numbers as the columns of a matrix, filled up with rows of zeros so that it splits into equal pieces.

    A sum over 784 products in float32 loses 1e-7 of the vectors' lengths, which would be left of a gradient along a
    direction. So products are summed in pieces. For one vector, or few, these have at most ``PIECE`` numbers, and their sums
    are added in float64: a fifth of that error. The errors of ``MANY`` vectors, the examples of a batch, average out; their
    pieces are twice as wide, and the sums are added in their own dtype, for which no array of all pieces is needed.
    """

    def __init__(self, n: int, like: torch.Tensor, limit: int = 0):
        self.n = n
        least = -(-n // PIECE)
        self.count = next((m for m in range(least, 2 * least) if n % m == 0), least)
        self.width = -(-n // self.count)
        self._reserve(like.new_empty(self.count * self.width, 0), limit)  # nothing is copied as columns arrive
        self._set(0)

    def _reserve(self, old: torch.Tensor, limit: int) -> None:
        """Room for ``limit`` columns, the first of which are ``old``."""
        self._room = old.new_empty(len(old), limit)
        self._room[self.n :] = 0
        self._room[:, : old.shape[1]] = old

    def _set(self, k: int) -> None:
        """The first k columns, and the views that products go through."""
        self.filled = self._room[:, :k]
        self.matrix = self.filled[: self.n]
        self.rows = self.matrix.t()
        self.pieces = self._room.view(self.count, self.width, -1)[:, :, :k]
        self.wide = self.filled.split(2 * self.width)

    def __getstate__(self) -> dict:
        """For copies and pickles: each number once."""
        return {"n": self.n, "count": self.count, "width": self.width, "_room": self._room, "k": self.filled.shape[1]}

    def __setstate__(self, state: dict) -> None:
        k = state.pop("k")
        self.__dict__.update(state)
        self._set(k)

    def append(self, rows: torch.Tensor) -> None:
        """Further columns, given as rows (m, n)."""
        k = self.filled.shape[1]
        new = k + len(rows)
        if new > self._room.shape[1]:
            self._reserve(self.filled, new)
        self._room[: self.n, k:new] = rows.t()
        self._set(new)

    def _fill(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (m, n) with zeros after them, in the columns' dtype."""
        missing = len(self.filled) - self.n
        return F.pad(rows, (0, missing)).to(self.filled) if missing else rows.to(self.filled)

    def dots(self, rows: torch.Tensor) -> torch.Tensor:
        """Inner products with rows (m, n): (m, k), in float64 if m < ``MANY``."""
        rows = self._fill(rows)
        m = len(rows)
        if m < MANY:
            split = rows.view(m, self.count, self.width).transpose(0, 1)
            return torch.bmm(split, self.pieces).sum(0, dtype=torch.float64)
        sums = None
        for part, piece in zip(rows.split(2 * self.width, 1), self.wide, strict=True):
            sums = torch.mm(part, piece) if sums is None else sums.addmm_(part, piece)
        return sums

    def add_to(self, out: torch.Tensor, c: torch.Tensor) -> None:
        """out (m, n) += sums of the columns with weights c (m, k)."""
        out.addmm_(c.to(self.filled), self.rows)

    def strips(self, k: int | None = None):
        """The first k columns in float64, (n, STRIP) at a time."""
        return (strip.double() for strip in self.matrix[:, :k].split(STRIP, 1))


class LayerShare:
    """One layer's share of k directions: activations A and deltas D, each as ``Columns``; room for ``limit`` is reserved."""

    def __init__(self, n_inputs: int, n_outputs: int, like: torch.Tensor, limit: int = 0):
        self.A, self.D = Columns(n_inputs, like, limit), Columns(n_outputs, like, limit)

    def append(self, a: torch.Tensor, d: torch.Tensor) -> None:
        """Further directions: activations (n, i) and deltas (n, o)."""
        self.A.append(a)
        self.D.append(d)

    def forward(self, s: torch.Tensor, c: torch.Tensor, out: torch.Tensor) -> None:
        """Add what U'c adds to the layer's outputs (B, o), where s = ``A.dots(inputs) + 1``."""
        self.D.add_to(out, s * c)

    def backward(self, e: torch.Tensor, c: torch.Tensor, out: torch.Tensor) -> None:
        """Add what U'c adds to the gradients (B, i) at the layer's inputs, where e = ``D.dots(deltas)``."""
        self.A.add_to(out, e * c)

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
