"""The projections by blocks of coordinates, against one program over explicit rows."""

import numpy as np
import pytest
import quadprog
from hypothesis import given, settings
from hypothesis import strategies as st

from model.numeric import blockwise, projection
from tests.model.numeric.test_projection import failing


@st.composite
def block_problems(draw):
    """Gradients and rows of a random size, cut into blocks of coordinates."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    t, n_blocks = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    width = draw(st.integers(t, 6))
    labels = np.repeat(np.arange(n_blocks), width)
    G, g = rng.normal(size=(t, len(labels))), rng.normal(size=len(labels))
    pp = np.stack([np.where(labels == b, G, 0.0) for b in range(n_blocks)])  # (n_blocks, t, p)
    bound = rng.random((n_blocks, t)) * draw(st.sampled_from([0.0, 0.3, 3.0]))
    return pp, g, bound


@settings(max_examples=12)
@given(block_problems())
def test_blocks_solve_the_joint_program(problem):
    """Property 3: one QP over all rows (s, b) of an explicit pp, normalised and ridged alike, has the same solution."""
    pp, g, bound = problem
    _, t, p = pp.shape
    correction = blockwise.gem(pp @ g, lambda: pp @ pp.swapaxes(1, 2), bound)
    rows, h = pp.reshape(-1, p), bound.ravel()
    if correction is None:
        assert (rows @ g >= 0).all()
        return
    triggered = np.repeat((pp @ g < 0).any(1), t)
    rows, h = rows[triggered], h[triggered]
    d = np.linalg.norm(rows, axis=1)
    unit = rows / d[:, None]
    ridge, identity = projection.RIDGE * np.eye(len(d)), np.eye(len(d))
    v = quadprog.solve_qp(unit @ unit.T + ridge, -(unit @ g), identity, h * d)[0] / d
    x = g + v @ rows
    ours = g + np.einsum("bs,bsp->p", correction.weights, pp)
    assert ours == pytest.approx(x, abs=1e-10 * (1 + np.abs(x).max()) * 10)
    products = (pp @ ours) + projection.RIDGE * (np.linalg.norm(pp, axis=2) ** 2) * np.abs(correction.weights)
    assert (products[(pp @ g < 0).any(1)] >= -1e-8).all()
    assert (correction.weights[(pp @ g >= 0).all(1)] == 0).all()


@settings(max_examples=12)
@given(block_problems())
def test_one_block_is_gem(problem):
    """Property 4, first half."""
    pp, g, bound = problem
    G, margin = pp.sum(0), float(bound[0, 0])
    ours = blockwise.gem((G @ g)[None], lambda: (G @ G.T)[None], np.full((1, len(G)), margin))
    gem = projection.gem(G @ g, lambda: G @ G.T, margin)
    assert (ours is None) == (gem is None)
    if gem is not None:
        assert ours.weights[0] == pytest.approx(gem.weights, rel=1e-9, abs=1e-12)


@settings(max_examples=12)
@given(block_problems())
def test_every_block_is_a_gem_of_its_own(problem):
    """Property 4, second half; and group GEM moves the gradient at least as far as GEM."""
    pp, g, _ = problem
    ours = blockwise.gem(pp @ g, lambda: pp @ pp.swapaxes(1, 2), np.zeros(pp.shape[:2]))
    for b, rows in enumerate(pp):
        alone = projection.gem(rows @ g, lambda rows=rows: rows @ rows.T)
        mine = 0 if ours is None else ours.weights[b]
        assert mine == pytest.approx(0 if alone is None else alone.weights, rel=1e-9, abs=1e-12)
    G = pp.sum(0)
    gem = projection.gem(G @ g, lambda: G @ G.T)
    if gem is not None:
        moved = np.linalg.norm(np.einsum("bs,bsp->p", ours.weights, pp))
        assert moved >= np.linalg.norm(gem.weights @ G) * (1 - 1e-5)


def test_a_block_that_vanishes_gets_no_weight():
    dots, gram = np.array([[-1.0, 0.0], [1.0, 2.0]]), np.zeros((2, 2, 2))
    gram[0] = [[2.0, 0.0], [0.0, 0.0]]
    weights = blockwise.gem(dots, lambda: gram, np.full((2, 2), 0.1)).weights
    assert weights[0] == pytest.approx([0.5, 0.0], rel=1e-5) and (weights[1] == 0).all()
    assert (blockwise.one_row(np.array([[-1.0]]), lambda: np.zeros((1, 1, 1)), 2.0).weights == 0).all()


@settings(max_examples=12)
@given(block_problems())
def test_one_row_a_block(problem):
    pp, g, _ = problem
    rows = pp.mean(1)
    for bound in (0.0, 0.7):
        ours = blockwise.one_row((rows @ g)[:, None], lambda: (rows**2).sum(1)[:, None, None], bound)
        for b, r in enumerate(rows):
            alone = projection.one_row(np.array([r @ g]), lambda r=r: np.array([[r @ r]]), bound)
            assert (0 if ours is None else ours.weights[b, 0]) == pytest.approx(
                0 if alone is None else alone.weights[0]
            )


def test_the_forks_joint_program():
    """Groups of a layer share its bias: the explicit rows have it in every group."""
    rng = np.random.default_rng(0)
    t, K = 3, 2
    first, columns, bias = rng.normal(size=(t, 4)), rng.normal(size=(K, t, 5)), rng.normal(size=(t, 2))
    g_first, g_columns, g_bias = rng.normal(size=4), rng.normal(size=(K, 5)), rng.normal(size=2)
    parts = [(first, g_first), *zip(columns, g_columns, strict=True), (bias, g_bias)]
    dots, gram = np.stack([G @ g for G, g in parts]), np.stack([G @ G.T for G, _ in parts])
    dots -= 5  # certainly violated; the linear term below follows
    bound = rng.normal(size=dots.shape)
    ours = blockwise.gem_fork(dots, lambda: gram, bound, [slice(1, 3)])
    rows = np.zeros((K * t, 12))
    for k in range(K):
        rows[k * t : (k + 1) * t, k * 5 : k * 5 + 5] = columns[k]
        rows[k * t : (k + 1) * t, 10:] = bias
    c = (dots[1:3] + dots[3]).ravel()
    eye = np.eye(K * t)
    v = quadprog.solve_qp(rows @ rows.T + 1e-3 * eye, -c, eye * (1 + 1e-5), bound[1:3].ravel())[0]
    assert ours.weights[1:3].ravel() == pytest.approx(v, abs=1e-9)
    assert ours.weights[3] == pytest.approx(v.reshape(K, t).sum(0), abs=1e-9)
    assert blockwise.gem_fork(np.abs(dots), lambda: gram, bound, [slice(1, 3)]) is None


def test_programs_are_counted_where_the_bounds_do_not_solve_them():
    """Three blocks: bounds that are enough, a program, and nothing violated."""
    dots, gram = np.array([[-1.0], [-1.0], [1.0]]), np.ones((3, 1, 1))
    correction = blockwise.gem(dots, lambda: gram, np.array([[2.0], [0.5], [0.5]]))
    assert correction.weights[:, 0] == pytest.approx([2.0, 1.0, 0.0], abs=1e-5) and correction.weights[0, 0] == 2.0
    assert correction.solved == 1 and not correction.rescued
    assert blockwise.gem(-dots[:2], None, np.zeros((2, 1))) is None


def test_a_stronger_ridge_in_any_block_is_said():
    indefinite, plain = np.array([[1.0, 1.001], [1.001, 1.0]]), np.eye(2)
    for grams in ([indefinite, plain], [plain, indefinite]):
        correction = blockwise.gem(-np.ones((2, 2)), lambda grams=grams: np.stack(grams), np.zeros((2, 2)))
        assert correction.rescued and correction.solved == 2 and (correction.weights >= 0).all()


def test_scales_of_blocks_are_their_own():
    rng = np.random.default_rng(0)
    G, g = rng.standard_normal((2, 3, 8)), rng.standard_normal((2, 8))
    G[1] *= 1e6
    g[1] *= 1e-6
    g -= 5 * G.sum(1) * np.array([[1], [1e-12]])
    bound = np.full((2, 3), 0.1)
    ours = blockwise.gem(np.einsum("brp,bp->br", G, g), lambda: G @ G.swapaxes(1, 2), bound)
    for b in range(2):
        alone = projection.gem(G[b] @ g[b], lambda b=b: G[b] @ G[b].T, 0.1)
        assert ours.weights[b] == pytest.approx(alone.weights, rel=1e-9)


def test_one_row_in_closed_form():
    dots, gram = np.array([[-1.0], [2.0], [-3.0], [0.0]]), np.array([2.0, 1.0, 0.5, 1.0]).reshape(4, 1, 1)
    correction = blockwise.one_row(dots, lambda: gram)
    assert correction.weights[:, 0].tolist() == [0.5, 0.0, 6.0, 0.0]
    assert correction.solved is correction.rescued is False
    assert blockwise.one_row(dots, lambda: gram, 1.0).weights[:, 0].tolist() == [1.0, 0.0, 6.0, 0.0]
    assert blockwise.one_row(np.abs(dots), None) is None
    with pytest.raises(FloatingPointError, match="not finite"):
        blockwise.one_row(dots, lambda: gram * np.inf)


def test_one_row_for_all_blocks():
    dots, gram = np.array([[-3.0], [1.0]]), np.array([1.0, 3.0]).reshape(2, 1, 1)
    assert blockwise.one_row_globally(dots, lambda: gram).weights.tolist() == [[0.5], [0.5]]
    assert blockwise.one_row_globally(dots, lambda: gram, 2.0).weights.tolist() == [[2.0], [2.0]]
    assert blockwise.one_row_globally(-dots, None) is None


def test_what_is_not_finite_never_reaches_a_solver():
    bad = np.full((1, 1, 1), np.nan)
    for call in (
        lambda: blockwise.gem(np.array([[-1.0]]), lambda: bad, np.zeros((1, 1))),
        lambda: blockwise.gem_fork(np.array([[-1.0]]), lambda: bad, np.zeros((1, 1)), []),
    ):
        with pytest.raises(FloatingPointError, match="not finite"):
            call()


def test_the_forks_program_without_layers_and_its_first_block():
    correction = blockwise.gem_fork(np.array([[-2.0]]), lambda: np.array([[[1.0]]]), np.zeros((1, 1)), [])
    assert correction.weights == pytest.approx(np.array([[2 / (1 + 1e-3)]])) and correction.solved == 1
    assert not correction.rescued
    bounded = blockwise.gem_fork(np.array([[-2.0]]), lambda: np.array([[[1.0]]]), np.full((1, 1), 5.0), [])
    assert bounded.weights[0, 0] == pytest.approx(5 / (1 + 1e-5), rel=1e-12)


def test_the_forks_program_fails_and_is_rescued_as_the_other(monkeypatch):
    ridges = []
    failing(monkeypatch, 2, ridges)
    given = np.array([[-1.0]]), lambda: np.ones((1, 1, 1)), np.zeros((1, 1)), []
    assert blockwise.gem_fork(*given).rescued and ridges == pytest.approx([1e-3, 1e-2, 1e-1])
    ridges.clear()
    failing(monkeypatch, 99, ridges)
    with pytest.raises(
        FloatingPointError, match=r"^the quadratic program of 1 rows has no solution, whatever the ridge$"
    ):
        blockwise.gem_fork(*given)
    assert len(ridges) == 8
