r"""From inner products to coefficients: the projections behind GEM and A-GEM.

Given the current gradient g and rows g_1..g_R, find the x nearest to g with <x, g_s> >= 0 for every s. Its dual
(Lopez-Paz & Ranzato 2017, eq. 11) is

    minimise  1/2 v' G G' v + (G g)' v   subject to  v >= gamma,      x = g + G' v,

with G the matrix of rows and gamma the margin. All that is needed of the gradients is ``dots`` = G g (R,) and
``gram`` = G G' (R, R). Every function returns a ``Correction`` v, or None where no constraint is violated and g is used
as it is. Everything here is float64 numpy, pure and stateless.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

RIDGE = 1e-6  # relative to the unit diagonal of the normalised Gram matrix
REFERENCE_RIDGE = 1e-3  # absolute, as the reference adds it


class Correction(NamedTuple):
    """Weights v (R,) of the rows: the step's gradient is g + sum_s v_s g_s."""

    weights: np.ndarray
    solved: bool = False  # a quadratic program was solved for it
    rescued: bool = False  # the solver failed at first and succeeded with a stronger ridge


def gem(dots: np.ndarray, gram: Callable[[], np.ndarray], margin: float = 0.0) -> Correction | None:
    """GEM's QP on normalised rows, with a relative ridge; ``gram`` is called only if something is violated.

    With d_s = ||g_s||: P_ij = <g_i, g_j> / (d_i d_j) + RIDGE delta_ij, a_i = -dots_i / d_i, lower bound gamma d_s,
    v_s = v^_s / d_s. Hence <x, g_s> >= -RIDGE d_s^2 v_s. A row of norm 0 constrains nothing and gets weight 0.
    """
    if not (dots < 0).any():
        return None
    gram = gram()
    _require_finite(dots, gram)
    d = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    if d.all():
        return Correction(*_solve_normalised(dots, gram, d, margin))
    (kept,) = d.nonzero()
    weights, solved, rescued = np.zeros(len(d)), False, False
    if len(kept):
        weights[kept], solved, rescued = _solve_normalised(dots[kept], gram[np.ix_(kept, kept)], d[kept], margin)
    return Correction(weights, solved, rescued)


def _solve_normalised(dots, gram, d, margin) -> tuple[np.ndarray, bool, bool]:
    """v of rows with norms d > 0, whether a QP was solved for it, and whether the solver needed a stronger ridge."""
    P = gram / d[:, None]
    P /= d
    a, bound = dots / -d, margin * d
    scale = max(a.max(), -a.min(), bound.max())  # v is homogeneous in (a, bound): keep the solver near 1
    if scale == 0.0:
        return np.zeros(len(d)), False, False
    a /= scale
    bound /= scale
    v, rescued = _solve(P, a, bound)
    return v * (scale / d), True, rescued


def _solve(P: np.ndarray, a: np.ndarray, bound: np.ndarray) -> tuple[np.ndarray, bool]:
    """argmin 1/2 v' (P + RIDGE I) v - a' v subject to v >= bound, and whether a stronger ridge was needed.

    ``P`` has a unit diagonal and may be indefinite by rounding. After a failed attempt the ridge is raised above that.
    """
    import quadprog

    identity, ridge = _identity(len(a)), RIDGE
    for _ in range(8):
        try:
            v = quadprog.solve_qp(P + ridge * identity, a, identity, bound)[0]
            return np.maximum(v, bound, out=v), ridge > RIDGE
        except ValueError:  # "matrix G is not positive definite", or constraints inconsistent by rounding
            ridge = 10 * max(ridge, -np.linalg.eigvalsh(P)[0])
    raise FloatingPointError(f"the quadratic program of {len(a)} rows has no solution, whatever the ridge")


@lru_cache
def _identity(n: int) -> np.ndarray:
    return np.eye(n)


def one_row(dots: np.ndarray, gram: Callable[[], np.ndarray], margin: float = 0.0) -> Correction | None:
    """The exact solution for one row r: v = max(gamma, -<g, r> / <r, r>) where <g, r> < 0.

    With margin 0 it is A-GEM's closed form (Chaudhry et al. 2019, eq. 11). A vanishing r corrects nothing.
    """
    if not (dots < 0).any():
        return None
    square = gram()[0, 0]
    _require_finite(dots, square)
    v = max(margin, -dots[0] / square) if square > 0 else 0.0
    return Correction(np.array([v]))


def sum_of_rows(dots: np.ndarray, gram: Callable[[], np.ndarray], margin: float | None = None) -> Correction | None:
    """One row r = g_1 + .. + g_R, corrected as soon as any <g, g_s> < 0, where GEM would correct.

    With a margin, v = max(margin, -<g, r> / <r, r>). Without, v = -<g, r> / <r, r>: where <g, r> > 0 that takes away an
    agreement which the step had.
    """
    if not (dots < 0).any():
        return None
    square, product = gram().sum(), dots.sum()
    _require_finite(dots, square)
    v = -product / square if square > 0 else 0.0
    if margin is not None and square > 0:
        v = max(margin, v)
    return Correction(np.full(len(dots), v))


def _require_finite(dots, gram) -> None:
    if not math.isfinite(dots.sum() + gram.sum()):
        raise FloatingPointError(f"inner products of the gradients are not finite: {dots}")
