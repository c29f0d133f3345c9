"""An orthonormal basis that grows row by row: Gram-Schmidt, everything twice, with a tolerance relative to each vector.

Gradients of one class are nearly collinear. One pass of Gram-Schmidt then loses orthogonality in proportion to the
vectors' condition number squared; a second pass brings it back to rounding level ("twice is enough": Giraud, Langou &
Rozloznik 2005), and is always made, since the criteria that would skip it have counter-examples.
"""

import torch

PANEL = 32  # vectors orthogonalised together: products of matrices against the basis, of vectors within the panel


def tolerance(dtype: torch.dtype) -> float:
    """The part of a vector outside the span, relative to its norm, up to which it counts as inside."""
    return 1e-10 if dtype == torch.float64 else 1e-4


def extend(rows: torch.Tensor, k: int, vectors: torch.Tensor, tau: float | None = None) -> tuple[int, int]:
    """Append to the orthonormal rows[:k] of ``rows`` (limit, p) what ``vectors`` (n, p) add to their span.

    Vectors that are zero or not finite, and those within ``tau`` of the span, add nothing. Returns the number of rows
    now, and how many of the vectors were left because there was no room.
    """
    tau = tolerance(rows.dtype) if tau is None else tau
    for start in range(0, len(vectors), PANEL):
        if k == len(rows):
            return k, len(vectors) - start
        U = vectors[start : start + PANEL]
        norms = torch.linalg.vector_norm(U, dim=1, dtype=torch.float64)
        usable = norms.isfinite() & (norms > 0)
        U = (U[usable] / norms[usable].unsqueeze(1)).to(rows.dtype)
        V = rows[:k]
        for threshold in (tau, 0.5):  # in the second round a unit vector that loses half of itself was rounding noise
            U = orthonormal(U - (U @ V.t()) @ V, threshold)
        n = min(len(U), len(rows) - k)
        rows[k : k + n] = U[:n]
        k += n
        if n < len(U):
            return k, len(U) - n + max(0, len(vectors) - start - PANEL)
    return k, 0


def orthonormal(U: torch.Tensor, threshold: float) -> torch.Tensor:
    """Orthonormal rows (r, p), r <= n, for the span of U (n, p), by Gram-Schmidt with two passes.

    A row of which no more than ``threshold`` is left by the first pass, in absolute terms, is dropped; so is one that
    the second pass still halves.
    """
    Q, r = torch.empty_like(U), 0
    for u in U:
        w = u - Q[:r].t() @ (Q[:r] @ u)
        once = w.norm()
        if once <= threshold:
            continue
        w = w - Q[:r].t() @ (Q[:r] @ w)
        twice = w.norm()
        if twice >= once / 2:
            torch.div(w, twice, out=Q[r])
            r += 1
    return Q[:r]


class Basis:
    """At most ``limit`` orthonormal rows V (k, p); room for all is reserved at the first ``add``."""

    def __init__(self, limit: int):
        self.limit, self.k = limit, 0
        self._rows: torch.Tensor | None = None

    @property
    def V(self) -> torch.Tensor:  # noqa: N802 - the paper's name
        return self._rows[: self.k]

    def add(self, vectors: torch.Tensor) -> int:
        """Take in the vectors (n, p); returns how many of them there was no room for."""
        if self._rows is None:
            self._rows = vectors.new_empty(self.limit, vectors.shape[1])
        self.k, left = extend(self._rows, self.k, vectors)
        return left

    def clear(self) -> None:
        """No rows; their room stays reserved."""
        self.k = 0

    def reject_(self, g: torch.Tensor) -> torch.Tensor:
        """g (p,) <- g - V'(V g), in place: what of g is orthogonal to the basis."""
        return g.addmv_(self.V.t(), self.V @ g, alpha=-1)

    def checkpoint(self) -> dict:
        return {"rows": self.V.clone() if self.k else None}

    def restore(self, state: dict) -> None:
        rows = state["rows"]
        self._rows, self.k = None, 0
        if rows is not None:
            self.k = len(rows)
            self._rows = rows.new_empty(max(self.limit, self.k), rows.shape[1])
            self._rows[: self.k] = rows
