"""A basis in Gram space: the projection onto what is orthogonal to directions that are never written down.

The gradient g without its part in the span of the directions U (k, p) is g - U'c, c = (U U')^-1 U g. Everything in it is
made of activations and deltas (``directions``) and of the inverse factor of U U' (``inverse_factor``).
"""

import torch

from model.numeric.basis import tolerance
from model.numeric.directions import Directions, LayerShare
from model.numeric.inverse_factor import PANEL, InverseFactor, independent

# Squared parts outside the span that a Gram matrix in float64 no longer tells from rounding: such a one is written down.
CANCELLED = 1e-8


class GramBasis:
    """At most ``limit`` linearly independent directions of layers with ``shapes`` (o, i)."""

    def __init__(self, limit: int, shapes: list[tuple[int, int]]):
        self.limit, self.shapes = limit, [tuple(shape) for shape in shapes]
        self.clear()

    def clear(self) -> None:
        """No directions."""
        self.shares: list[LayerShare] = []
        self.factor = InverseFactor()

    @property
    def k(self) -> int:
        """How many directions there are."""
        return len(self.factor)

    @staticmethod
    def size(k: int, shapes, itemsize: int = 4) -> int:
        """Bytes that k directions take."""
        return itemsize * k * sum(map(sum, shapes)) + 4 * k * k

    # ---------------------------------------------------------------- the projection

    def reject_(self, g: torch.Tensor) -> torch.Tensor:
        """g (p,) <- what of g is orthogonal to the directions, in place."""
        self._reduce(g)
        return g

    def _reduce(self, g: torch.Tensor) -> torch.Tensor:
        """``reject_``, but returns the coefficients (k,) of what was taken away."""
        views = self._split(g)
        c = self.factor.solve(sum(share.dots(*pair) for share, pair in zip(self.shares, views, strict=True)))
        self.add_to(views, -c)
        return c

    def _split(self, vector: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Views (weight, bias) of each layer into a vector (p,)."""
        parts = vector.split([n for o, i in self.shapes for n in (o * i, o)])
        return [(W.view(shape), b) for shape, W, b in zip(self.shapes, parts[::2], parts[1::2], strict=True)]

    def add_to(self, views, c: torch.Tensor) -> None:
        """Add U'c, in place, to the layers' ``views`` (weight, bias); c may be of the first directions only."""
        for share, (weight, bias) in zip(self.shares, views, strict=False):
            share.add_to(weight, bias, c)

    # ---------------------------------------------------------------- directions arrive

    def _begin(self, like: torch.Tensor) -> None:
        """Room for the first directions, in the dtype of ``like``."""
        self.shares = [LayerShare(i, o, like, self.limit) for o, i in self.shapes]
        self.factor = InverseFactor(like.dtype)

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
            self._begin(scaled.A[0])
        start, n = 0, len(usable)
        while start < n:
            if self.k == self.limit:
                return n - start
            seen, left = self._add_panel(scaled.rows(slice(start, start + PANEL)), tau)
            start += seen
            if left:
                return left + n - start
        return 0

    def _add_panel(self, panel: Directions, tau: float) -> tuple[int, int]:
        """Take in a panel, up to the first direction that must be written down: how many were seen, and left for want of room."""
        norms = panel.norms()
        unit = norms.unsqueeze(1)
        products = sum(share.gram(*pair) for share, *pair in zip(self.shares, *panel, strict=True))
        X, XT = self.factor.coordinates(products / unit)
        S = panel.gram() / unit / unit.t() - X @ X.t()
        kept, seen = independent(S, max(tau**2, CANCELLED), stop=tau**2 < CANCELLED)
        room = self.limit - self.k
        kept, left = kept[:room], max(0, len(kept) - room)
        if kept:
            L = torch.linalg.cholesky(S[kept][:, kept])
            rows = torch.cat((-XT[kept], torch.diag(1 / norms[kept])), 1)
            self._append(panel.rows(kept), torch.linalg.solve_triangular(L, rows, upper=False))
        if seen == len(norms) or left:
            return seen, left
        return seen + 1, self._add_written_down(panel.rows(slice(seen, seen + 1)), tau)

    def _add_written_down(self, one: Directions, tau: float) -> int:
        """A direction so near the span that what is left of it is computed as a vector, twice; 1 if there was no room."""
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

    def _append(self, directions: Directions, rows: torch.Tensor) -> None:
        for share, a, d in zip(self.shares, *directions, strict=True):
            share.append(a, d)
        self.factor.append(rows)

    # ---------------------------------------------------------------- state

    def checkpoint(self) -> dict:
        directions = [[share.A.matrix.t().clone(), share.D.matrix.t().clone()] for share in self.shares]
        return {"directions": directions, "factor": [T.clone() for T in self.factor.panels]}

    def restore(self, state: dict) -> None:
        self.clear()
        if not state["directions"]:
            return
        self._begin(state["directions"][0][0])
        for share, (a, d) in zip(self.shares, state["directions"], strict=True):
            share.append(a, d)
        for T in state["factor"]:
            self.factor.set_panel(T.clone())
