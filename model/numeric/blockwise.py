"""GEM's quadratic program where the coordinates fall into disjoint blocks, each with constraints of its own.

Rows are the past tasks' gradients g_s restricted to a block b. Since blocks are disjoint, the program in all rows (s, b)
separates into one of t rows for each block:

    minimise  1/2 v' C_b v + c_b' v   subject to  v >= h_b,      x|_b = g|_b + sum_s v_s g_s|_b,

with C_b = <g_s|_b, g_s'|_b> and c_b = <g|_b, g_s|_b>. A block without a negative product is left as it is. Here ``dots``
is c (n_blocks, R), ``gram()`` is C (n_blocks, R, R), called only if something is violated, and ``bound`` is h.
"""

from collections.abc import Callable

import numpy as np

from model.numeric import projection
from model.numeric.projection import RIDGE, Correction

FORK_RIDGE = 1e-3  # absolute, whatever the gradients' scale


def gem(dots: np.ndarray, gram: Callable[[], np.ndarray], bound: np.ndarray) -> Correction | None:
    """The block's programs on normalised rows with a relative ridge, as ``projection.gem``; weights (n_blocks, R).

    ``solved`` counts the programs that a solver was needed for: often v = h is the solution, which its optimality
    conditions tell. A row of norm 0 constrains nothing and gets weight 0.
    """
    violated = (dots < 0).any(1)
    if not violated.any():
        return None
    gram = gram()
    projection._require_finite(dots, gram)
    P, c = gram[violated], dots[violated]
    d = np.sqrt(np.maximum(np.diagonal(P, axis1=1, axis2=2), 0.0))
    whole = np.where(d > 0, d, 1.0)
    P = P / whole[:, :, None] / whole[:, None, :]
    P[d == 0] = 0.0
    P.swapaxes(1, 2)[d == 0] = 0.0
    index, rows = np.nonzero(d == 0)
    P[index, rows, rows] = 1.0
    a, h = np.where(d > 0, -c / whole, 0.0), bound[violated] * d
    slope = np.einsum("brs,bs->br", P, h) + RIDGE * h - a
    v, solved, rescued = h.copy(), 0, False
    for b in np.nonzero((slope < 0).any(1))[0]:
        scale = max(np.abs(a[b]).max(), np.abs(h[b]).max())
        v[b], more = projection._solve(P[b], a[b] / scale, h[b] / scale)
        v[b] *= scale
        solved, rescued = solved + 1, rescued or more
    weights = np.zeros(dots.shape)
    weights[violated] = v / whole
    return Correction(weights, solved, rescued)


def one_row(dots: np.ndarray, gram: Callable[[], np.ndarray], bound: float = 0.0) -> Correction | None:
    """The exact solution for one row r in each block: v_b = max(h, -<g|_b, r|_b> / <r|_b, r|_b>); weights (n_blocks, 1).

    A block in which r vanishes is left as it is.
    """
    violated = dots < 0
    if not violated.any():
        return None
    square = gram()[:, :, 0]
    projection._require_finite(dots, square)
    violated &= square > 0
    return Correction(np.where(violated, np.maximum(bound, -dots / np.where(violated, square, 1.0)), 0.0))


def one_row_globally(dots: np.ndarray, gram: Callable[[], np.ndarray], bound: float = 0.0) -> Correction | None:
    """As ``one_row``, but with one v for the whole of r."""
    v = projection.one_row(dots.sum(0), lambda: gram().sum(0), bound)
    return None if v is None else Correction(np.broadcast_to(v.weights, dots.shape).copy())


def gem_fork(dots: np.ndarray, gram: Callable[[], np.ndarray], bound: np.ndarray, layers: list[slice]):
    """The fork's program: all blocks, if a task's whole product is negative; absolute ridge 1e-3, (1 + 1e-5) v >= h.

    Every group of a layer carries a copy of the layer's bias, so that a layer's groups are coupled. The blocks here are 0,
    those of ``layers``, then one for each layer's bias, whose weight is the sum of the groups'.
    """
    n = layers[-1].stop if layers else 1
    if not (dots.sum(0) < 0).any():
        return None
    gram, R = gram(), dots.shape[1]
    projection._require_finite(dots, gram)
    weights, rescued = np.zeros(dots.shape), False
    weights[0], rescued = _fork_solve(gram[0], dots[0], bound[0])
    for bias, blocks in enumerate(layers, start=n):
        K = blocks.stop - blocks.start
        P = np.kron(np.ones((K, K)), gram[bias])
        for k in range(K):
            P[k * R : (k + 1) * R, k * R : (k + 1) * R] += gram[blocks.start + k]
        v, more = _fork_solve(P, (dots[blocks] + dots[bias]).ravel(), bound[blocks].ravel())
        weights[blocks] = v.reshape(K, R)
        weights[bias] = weights[blocks].sum(0)
        rescued |= more
    return Correction(weights, 1 + len(layers), rescued)


def _fork_solve(P, c, h) -> tuple[np.ndarray, bool]:
    import quadprog

    identity, ridge = np.eye(len(c)), FORK_RIDGE
    for _ in range(8):
        try:
            v = quadprog.solve_qp(P + ridge * identity, -c, identity * (1 + 1e-5), h)[0]
            return v, ridge > FORK_RIDGE
        except ValueError:
            ridge = 10 * max(ridge, -np.linalg.eigvalsh(P)[0])
    raise FloatingPointError(f"the quadratic program of {len(c)} rows has no solution, whatever the ridge")
