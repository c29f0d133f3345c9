"""A basis in Gram space: directions that are never written down, and the projection onto what is orthogonal to them.

The gradient of any loss of one example with respect to a stack of linear layers is, layer by layer, delta a' for the
weights and delta for the bias. So k directions U (k, p) are the activations A_l (k, i_l) and the deltas D_l (k, o_l) of k
examples at the parameters of the time, k (sum i + sum o) numbers instead of k p, and

    <u_j, grad>   = sum_l <D_l[j], delta_l> (<A_l[j], a_l> + 1)        the gradient of an example
    U U'          = sum_l (D_l D_l') * (A_l A_l' + 1)
    (U'c)_l       = D_l' diag(c) A_l for the weights, D_l' c for the bias.

A lower triangular T (k, k) makes T U orthonormal: it is the inverse of the Cholesky factor of U U', and grows by rows as
directions arrive. The gradient without its part in the span of U is g - U'c, c = T' (T (U g)).

Why T and not the inverse of U U': the same float64 numbers take half the memory and are read once a step, a panel of
rows serving both products; and an error in T, unlike one in the inverse, is not multiplied by the condition of U U'.
Products that would round in float32 are therefore taken in float64, but for those with wide inputs: these are summed in
float32 in pieces of at most ``PIECE``, and the pieces in float64.
"""

from typing import NamedTuple

import torch

from model.numeric.basis import tolerance

PANEL = 64  # directions taken in together; rows of T that are read together
PIECE = 128  # inputs of a layer up to which its products are taken in float64, and longest float32 sum beyond
STRIP = 2048  # directions of which an array of the size of the inputs is made at a time
# A squared residual beyond which a Cholesky factor in float64 cannot tell a direction from the span: it is written down.
CANCELLED = 1e-8


class Directions(NamedTuple):
    """Gradients of n examples: for each layer the inputs A (n, i) and the deltas D (n, o)."""

    A: list[torch.Tensor]
    D: list[torch.Tensor]

    def rows(self, index) -> "Directions":
        """Some of them."""
        return Directions([a[index] for a in self.A], [d[index] for d in self.D])

    def norms(self) -> torch.Tensor:
        """Their Euclidean norms, float64 (n,)."""
        pairs = zip(self.A, self.D, strict=True)
        return sum(d.double().square().sum(1) * (a.double().square().sum(1) + 1) for a, d in pairs).sqrt()

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


class LayerShare:
    """One layer's share of k directions: their inputs and their deltas, laid out for a step.

    ``A`` (pieces, width, k) has the inputs as columns, filled up with zeros; ``D`` (k, o) is float64.
    """

    def __init__(self, n_inputs: int, n_outputs: int, like: torch.Tensor):
        self.i, self.o = n_inputs, n_outputs
        narrow = n_inputs <= PIECE or like.dtype == torch.float64
        pieces = 1 if narrow else -(-n_inputs // PIECE)
        dtype = torch.float64 if narrow else like.dtype
        self.A = like.new_empty(pieces, -(-n_inputs // pieces), 0, dtype=dtype)
        self.D = like.new_empty(0, n_outputs, dtype=torch.float64)

    @property
    def columns(self) -> torch.Tensor:
        """The inputs (i, k)."""
        return self.A.flatten(0, 1)[: self.i]

    def append(self, a: torch.Tensor, d: torch.Tensor) -> None:
        """Further directions: inputs (n, i) and deltas (n, o)."""
        self.A = torch.cat((self.A, self._pieces(a).transpose(1, 2)), 2)
        self.D = torch.cat((self.D, d.double()))

    def _pieces(self, a: torch.Tensor) -> torch.Tensor:
        """Inputs (n, i) as (pieces, n, width)."""
        pieces, width, _ = self.A.shape
        a = a.to(self.A)
        if pieces * width > self.i:
            a = torch.nn.functional.pad(a, (0, pieces * width - self.i))
        return a.view(len(a), pieces, width).transpose(0, 1)

    def inputs(self, a: torch.Tensor) -> torch.Tensor:
        """<a_b, A_j> + 1 for inputs a (B, i): float64 (B, k)."""
        if len(self.A) == 1:
            return torch.mm(a.to(self.A), self.A[0]).add_(1)
        return torch.bmm(self._pieces(a), self.A).sum(0, dtype=torch.float64).add_(1)

    def deltas(self, d: torch.Tensor) -> torch.Tensor:
        """<d_b, D_j> for deltas d (B, o): float64 (B, k)."""
        return torch.mm(d.double(), self.D.t())

    def forward(self, s: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """What U'c adds to the layer's outputs (B, o), where s = ``inputs(a)``."""
        return torch.mm(s * c, self.D)

    def backward(self, e: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """What U'c adds to the gradients (B, i) at the layer's inputs, where e = ``deltas(d)``."""
        return torch.mm((e * c).to(self.A), self.columns.t())

    def gram(self, a: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        """The layer's share of the inner products with other directions, (n, k)."""
        a, columns = a.double(), self.columns
        inputs = torch.cat([torch.mm(a, strip.double()) for strip in columns.split(STRIP, 1)], 1)
        return inputs.add_(1).mul_(torch.mm(d.double(), self.D.t()))

    def dots(self, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """The layer's share of the inner products with a vector, (k,)."""
        result, weight = torch.mv(self.D, bias.double()), weight.double()
        strips = zip(result.split(STRIP), self.columns.split(STRIP, 1), self.D.split(STRIP), strict=True)
        for out, A, D in strips:
            out += (torch.mm(D, weight).t() * A).sum(0)
        return result

    def add_to(self, weight: torch.Tensor, bias: torch.Tensor, c: torch.Tensor) -> None:
        """Add the layer's share of U'c, in place, to the weights (o, i) and the bias (o,); sums are float64."""
        W, cD = weight.double(), c.unsqueeze(1) * self.D[: len(c)]
        for A, D in zip(self.columns[:, : len(c)].split(STRIP, 1), cD.split(STRIP), strict=True):
            W.addmm_(D.t(), A.t().double())
        weight.copy_(W)
        bias.copy_(bias.double() + cD.sum(0))


class GramBasis:
    """At most ``limit`` linearly independent directions, as activations and deltas; ``shapes`` are the layers' (o, i)."""

    def __init__(self, limit: int, shapes: list[tuple[int, int]]):
        self.limit, self.shapes = limit, [tuple(shape) for shape in shapes]
        self.clear()

    def clear(self) -> None:
        """No directions."""
        self.k, self.shares, self.T = 0, [], []

    @staticmethod
    def size(k: int, shapes, itemsize: int = 4) -> int:
        """Bytes that k directions take."""
        inputs = sum(8 * i if i <= PIECE else itemsize * i for _, i in shapes)
        return k * (inputs + 8 * sum(o for o, _ in shapes)) + 4 * k * k

    # ---------------------------------------------------------------- the projection

    def coefficients(self, dots: torch.Tensor) -> torch.Tensor:
        """c (k,) with U'c the part in the span of a vector g, of which ``dots`` = U g (k,)."""
        c = torch.zeros_like(dots)
        for T in self.T:
            k = T.shape[1]
            c[:k].addmv_(T.t(), torch.mv(T, dots[:k]))
        return c

    def reject_(self, g: torch.Tensor) -> torch.Tensor:
        """g (p,) <- what of g is orthogonal to the directions, in place."""
        self._reduce(g)
        return g

    def _reduce(self, g: torch.Tensor) -> torch.Tensor:
        """``reject_``, but returns the coefficients (k,) of what was taken away."""
        views = self.split(g)
        dots = sum(share.dots(*pair) for share, pair in zip(self.shares, views, strict=True))
        c = self.coefficients(dots)
        self.add_to(views, -c)
        return c

    def split(self, vector: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Views (weight, bias) of each layer into a vector (p,)."""
        parts = vector.split([n for o, i in self.shapes for n in (o * i, o)])
        return [(parts[2 * l].view(shape), parts[2 * l + 1]) for l, shape in enumerate(self.shapes)]

    def add_to(self, views, c: torch.Tensor) -> None:
        """Add U'c, in place, to the layers' ``views`` (weight, bias); c may be of the first directions only."""
        for share, (weight, bias) in zip(self.shares, views, strict=False):
            share.add_to(weight, bias, c)

    # ---------------------------------------------------------------- directions arrive

    def add(self, offered: Directions) -> int:
        """Take in what the directions add to the span, in order of arrival; returns how many there was no room for.

        Those that are zero or not finite, and those within ``tolerance`` of the span, relative to their norms, add
        nothing.
        """
        if not self.shapes:
            return 0
        tau = tolerance(offered.D[0].dtype)
        norms = offered.norms()
        usable = (norms.isfinite() & (norms > 0)).nonzero()[:, 0]
        scaled = offered.rows(usable).scaled(norms[usable])
        if not self.shares:
            self.shares = [LayerShare(i, o, scaled.A[0]) for o, i in self.shapes]
        start, n = 0, len(usable)
        while start < n:
            if self.k == self.limit:
                return n - start
            panel = scaled.rows(slice(start, start + PANEL))
            taken, left = self._add_panel(panel, tau)
            start += taken
            if left:
                return left + max(0, n - start)
        return 0

    def _add_panel(self, panel: Directions, tau: float) -> tuple[int, int]:
        """Take in a panel, up to the first direction that must be written down; returns how many of it were seen to.

        Also how many of these there was no room for.
        """
        norms = panel.norms()
        unit = norms.unsqueeze(1)
        X, XT = self._coordinates(self._gram(panel) / unit)
        pairs = zip(panel.A, panel.D, strict=True)
        K = sum((d.double() @ d.double().t()) * (a.double() @ a.double().t() + 1) for a, d in pairs)
        S = K / unit / unit.t() - X @ X.t()
        kept, seen = independent(S, max(tau**2, CANCELLED), stop=tau**2 < CANCELLED)
        room = self.limit - self.k
        kept, left = kept[:room], max(0, len(kept) - room)
        if kept:
            L = torch.linalg.cholesky(S[kept][:, kept])
            own = torch.cat((-XT[kept], torch.diag(1 / norms[kept])), 1)
            self._append(panel.rows(kept), torch.linalg.solve_triangular(L, own, upper=False))
        if seen == len(norms) or left:
            return seen, left
        return seen + 1, self._add_written_down(panel.rows(slice(seen, seen + 1)), tau)

    def _add_written_down(self, one: Directions, tau: float) -> int:
        """A direction so near the span that what is left of it must be computed as a vector; twice is enough.

        Returns 1 if it adds to the span and there was no room.
        """
        w = one.dense()[0].double()
        norm = w.norm()
        c = self._reduce(w)
        once = w.norm()
        c += self._reduce(w)
        twice = w.norm()
        if once <= tau * norm or twice < once / 2:
            return 0
        if self.k == self.limit:
            return 1
        self._append(one, (torch.cat((-c, c.new_ones(1))) / twice).unsqueeze(0))
        return 0

    def _gram(self, panel: Directions) -> torch.Tensor:
        """Inner products with the directions here, (n, k)."""
        return sum(share.gram(*pair) for share, *pair in zip(self.shares, panel.A, panel.D, strict=True))

    def _coordinates(self, products: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """X = products T' (n, k), the coordinates in the orthonormal basis T U, and X T."""
        X, XT = torch.empty_like(products), torch.zeros_like(products)
        for T in self.T:
            n, k = T.shape
            X[:, k - n : k] = products[:, :k] @ T.t()
            XT[:, :k] += X[:, k - n : k] @ T
        return X, XT

    def _append(self, directions: Directions, T: torch.Tensor) -> None:
        for share, a, d in zip(self.shares, directions.A, directions.D, strict=True):
            share.append(a, d)
        self.k += len(T)
        if self.T and len(self.T[-1]) + len(T) <= PANEL:
            T = torch.cat((torch.nn.functional.pad(self.T.pop(), (0, len(T))), T))
        self.T.append(T)

    # ---------------------------------------------------------------- state

    def checkpoint(self) -> dict:
        directions = [[share.columns.t().clone(), share.D.clone()] for share in self.shares]
        return {"directions": directions, "T": [T.clone() for T in self.T]}

    def restore(self, state: dict) -> None:
        self.clear()
        self.T = [T.clone() for T in state["T"]]
        self.k = sum(map(len, self.T))
        for (o, i), (a, d) in zip(self.shapes, state["directions"], strict=False):
            share = LayerShare(i, o, a)
            share.append(a, d)
            self.shares.append(share)


def independent(S: torch.Tensor, least: float, stop: bool = False) -> tuple[list[int], int]:
    """The rows of a Gram matrix S (n, n), in their order, of which more than ``least`` (squared) is outside the others' span.

    Returns their indices and how many rows were looked at: all, or those before the first one dropped if ``stop``.
    """
    S, kept = S.clone(), []
    for i in range(len(S)):
        rest = float(S[i, i])
        if rest > least:
            kept.append(i)
            column = S[i + 1 :, i] / rest**0.5
            S[i + 1 :, i + 1 :] -= torch.outer(column, column)
        elif stop:
            return kept, i
    return kept, len(S)
