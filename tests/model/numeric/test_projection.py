"""Every projection against its optimality conditions, quadprog and scipy."""

import numpy as np
import pytest
import quadprog
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from model.numeric import projection


def kkt(P, a, bound, v):
    """The largest violation of the conditions of min 1/2 v'Pv - a'v subject to v >= bound, relative to v's size."""
    slope = P @ v - a
    size = 1 + np.abs(v).sum()
    return max((bound - v).max() / size, -slope.min() / size, np.abs(slope * (v - bound)).max() / size**2)


@st.composite
def gradients(draw, max_rows=12):
    """(G, g): rows that are independent, nearly parallel, duplicated, zero, tiny, huge or of mixed scale."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, p = draw(st.integers(1, max_rows)), draw(st.integers(2, 40))
    G = rng.standard_normal((rows, p))
    kind = draw(st.sampled_from(["plain", "parallel", "duplicated", "zeros", "tiny", "huge", "mixed"]))
    if kind == "parallel":
        G = rng.standard_normal(p) + 10.0 ** -draw(st.integers(1, 12)) * G
    elif kind == "duplicated":
        G = G[rng.integers(0, rows, rows)]
    elif kind == "zeros":
        G[rng.random(rows) < 0.4] = 0
    else:
        G *= {"plain": 1, "tiny": 1e-8, "huge": 1e8, "mixed": 10.0 ** rng.uniform(-8, 8, (rows, 1))}[kind]
    return G, rng.standard_normal(p) * 10.0 ** draw(st.integers(-8, 8))


def normalised(G, g, margin):
    """The problem that `gem` says it solves: P, a, bound, and the norms of the rows that are not zero."""
    d = np.linalg.norm(G, axis=1)
    kept = d > 0
    d, N = d[kept], G[kept] / d[kept][:, None]
    return N @ N.T + projection.RIDGE * np.eye(len(d)), -N @ g, margin * d, d, kept


@given(gradients(), st.sampled_from([0.0, 0.5, 10.0]))
def test_gem_meets_the_optimality_conditions(problem, margin):
    G, g = problem
    correction = projection.gem(G @ g, lambda: G @ G.T, margin)
    if (G @ g >= 0).all():
        assert correction is None
        return
    P, a, bound, d, kept = normalised(G, g, margin)
    assert (correction.weights[~kept] == 0).all()
    scale = max(np.abs(a).max(), bound.max())
    assert kkt(P, a / scale, bound / scale, correction.weights[kept] * d / scale) < 1e-8


@given(gradients(6), st.sampled_from([0.0, 0.5, 10.0]))
def test_gem_equals_quadprog_and_scipy(problem, margin):
    G, g = problem
    if (G @ g >= 0).all():
        return
    P, a, bound, d, kept = normalised(G, g, margin)
    scale = max(np.abs(a).max(), bound.max())
    ours = projection.gem(G @ g, lambda: G @ G.T, margin).weights[kept] * d / scale

    def objective(v):
        return 0.5 * v @ P @ v - a / scale @ v

    by_quadprog = quadprog.solve_qp(P, a / scale, np.eye(len(a)), bound / scale)[0]
    assert objective(ours) == pytest.approx(objective(by_quadprog), abs=1e-9)
    # scipy: non-negative least squares on the Cholesky factor, shifted by the bound
    L = np.linalg.cholesky(P)
    target = np.linalg.solve(L, a / scale - P @ (bound / scale))
    by_scipy = scipy.optimize.nnls(L.T, target)[0] + bound / scale
    assert objective(ours) == pytest.approx(objective(by_scipy), abs=1e-8)


@given(gradients())
def test_gem_guarantees_the_constraints(problem):
    G, g = problem
    correction = projection.gem(G @ g, lambda: G @ G.T)
    if correction is not None:
        x, d = g + correction.weights @ G, np.linalg.norm(G, axis=1)
        slack = projection.RIDGE * d**2 * correction.weights + 1e-9 * d * (np.linalg.norm(g) + np.linalg.norm(x))
        assert (G @ x >= -slack).all()


def test_ten_thousand_hard_cases_never_fail():
    """Up to 100 rows; half of them with the rounding noise of float32 products; KKT conditions in every case."""
    rng = np.random.default_rng(1)
    solved = rescued = 0
    for i in range(10_000):
        rows = int(rng.integers(1, 101 if i % 10 == 0 else 12))
        G = rng.standard_normal((rows, 30))
        match i % 7:
            case 0:
                G = rng.standard_normal(30) + 10.0 ** -rng.integers(1, 12) * G
            case 1:
                G = G[rng.integers(0, rows, rows)]
            case 2:
                G[rng.random(rows) < 0.3] = 0
            case 3:
                G *= 1e-8
            case 4:
                G *= 1e8
            case 5:
                G *= 10.0 ** rng.uniform(-8, 8, (rows, 1))
        gram, dots, margin = G @ G.T, G @ rng.standard_normal(30), [0, 0.5, 10][i % 3]
        if i % 2:
            noise = 1e-7 * rng.standard_normal(gram.shape)
            gram *= 1 + noise + noise.T
        correction = projection.gem(dots, lambda gram=gram: gram, margin)
        if correction is None:
            continue
        assert np.isfinite(correction.weights).all()
        solved += correction.solved
        rescued += correction.rescued
        d = np.sqrt(gram.diagonal())
        kept = d > 0
        if correction.solved and not correction.rescued:
            d, P = d[kept], gram[np.ix_(kept, kept)]
            P, a, bound = P / np.outer(d, d) + projection.RIDGE * np.eye(len(d)), -dots[kept] / d, margin * d
            scale = max(np.abs(a).max(), bound.max())
            assert kkt(P, a / scale, bound / scale, correction.weights[kept] * d / scale) < 1e-8
    assert solved > 8_000
    assert rescued < solved / 100


def stress(rng, rows):
    """(Gram matrix, products, rows' norms) of a hard case: parallel, duplicated, zero, or rows of any scale."""
    p = int(rng.integers(2, 60))
    G = rng.standard_normal((rows, p))
    kind = int(rng.integers(6))
    if kind in (0, 4):
        G = rng.standard_normal(p) + 10.0 ** -rng.uniform(1, 15) * G
    if kind in (1, 5):
        G = G[rng.integers(0, max(1, rows // 2), rows)]
    if kind in (2, 5):
        G[rng.random(rows) < 0.3] = 0
    if kind >= 3:
        G *= 10.0 ** rng.uniform(-12, 12, (rows, 1))
    else:
        G *= 10.0 ** rng.uniform(-12, 12)
    g = rng.standard_normal(p) * 10.0 ** rng.uniform(-12, 12)
    if rng.random() < 0.3:  # against all rows at once
        g = g - 10 * np.linalg.norm(g) * (G / np.maximum(np.linalg.norm(G, axis=1), 1e-300)[:, None]).mean(0)
    return G @ G.T, G @ g


def residual(gram, dots, margin, weights):
    """The largest relative violation of the conditions of the ridged, normalised dual at ``weights``."""
    d = np.sqrt(gram.diagonal())
    kept = d > 0
    d, P = d[kept], gram[np.ix_(kept, kept)]
    P, a, bound = P / np.outer(d, d) + projection.RIDGE * np.eye(len(d)), -dots[kept] / d, margin * d
    scale = max(np.abs(a).max(), bound.max())
    assert (weights[~kept] == 0).all()
    return kkt(P, a / scale, bound / scale, weights[kept] * d / scale)


def stressed(n_cases, seed=0):
    """Solve ``n_cases`` cases of 1 to 200 rows; how many had a violation, were rescued, and the worst residual."""
    rng, solved, rescued, worst, largest = np.random.default_rng(seed), 0, 0, 0.0, 0
    for _ in range(n_cases):
        rows = int(np.exp(rng.uniform(0, np.log(200.99)))) if rng.random() < 0.3 else int(rng.integers(1, 12))
        gram, dots = stress(rng, rows)
        margin = float(rng.choice([0.0, 0.5, 10.0]))
        correction = projection.gem(dots, lambda gram=gram: gram, margin)
        if correction is None or not correction.solved:
            continue
        assert np.isfinite(correction.weights).all()
        solved, rescued, largest = solved + 1, rescued + correction.rescued, max(largest, rows)
        if not correction.rescued:
            worst = max(worst, residual(gram, dots, margin, correction.weights))
    return solved, rescued, worst, largest


def test_a_thousand_cases_of_any_scale():
    solved, rescued, worst, _ = stressed(1_000, seed=1)
    assert solved > 500 and rescued == 0 and worst < 1e-8


@pytest.mark.slow
def test_a_hundred_thousand_cases_of_any_scale(capsys):
    solved, rescued, worst, largest = stressed(100_000)
    with capsys.disabled():
        print(f"\n{solved:,} programs of 100,000, up to {largest} rows: {rescued} rescued, worst residual {worst:.1e}")
    assert rescued == 0 and worst < 1e-8


def test_an_indefinite_matrix_is_rescued_and_said_so():
    gram = np.array([[1.0, 1.001], [1.001, 1.0]])  # a Gram matrix spoilt by rounding: smallest eigenvalue -1e-3
    correction = projection.gem(np.array([-1.0, -1.0]), lambda: gram)
    assert correction.rescued and np.isfinite(correction.weights).all() and (correction.weights >= 0).all()


@given(gradients(1), st.sampled_from([0.0, 0.5, 10.0]))
def test_one_row_equals_quadprog(problem, margin):
    G, g = problem
    correction = projection.one_row(G @ g, lambda: G @ G.T, margin)
    if (G @ g)[0] >= 0:
        assert correction is None
        return
    size = np.linalg.norm(G)
    unit = G / size
    expected = quadprog.solve_qp(unit @ unit.T, -unit @ g, np.eye(1), np.array([margin * size]))[0] / size
    assert correction.weights == pytest.approx(expected, rel=1e-10)


@given(gradients(1))
def test_closed_form_is_the_nearest_vector(problem):
    G, g = problem
    correction = projection.one_row(G @ g, lambda: G @ G.T)
    if correction is not None:
        x, r = g + correction.weights @ G, G[0]
        assert abs(x @ r) <= 1e-9 * np.linalg.norm(g) * np.linalg.norm(r)
        assert np.linalg.norm(x - g) == pytest.approx(abs(g @ r) / np.linalg.norm(r), rel=1e-9)
        again = projection.one_row(7.5 * G @ g, lambda: 7.5**2 * (G @ G.T))
        assert again.weights * 7.5 == pytest.approx(correction.weights, rel=1e-12)


@given(gradients(6), st.sampled_from([None, 0.0, 0.5, 10.0]))
def test_a_sum_of_rows_is_corrected_where_any_row_is_violated(problem, margin):
    """Against quadprog's program of the one row r, or the removal of all of g along r."""
    G, g = problem
    found, r = projection.sum_of_rows(G @ g, lambda: G @ G.T, margin), G.sum(0)
    if not (G @ g < 0).any():
        assert found is None
        return
    square, product = (G @ G.T).sum(), (G @ g).sum()
    if square <= 0:
        assert not found.weights.any()
        return
    scale = np.sqrt(square)
    wanted = -product / square
    if margin is not None:
        program = np.eye(1), np.array([-product / scale / 1e8]), np.eye(1), np.array([margin * scale / 1e8])
        wanted = quadprog.solve_qp(*program)[0][0] * 1e8 / scale
    assert len(set(found.weights)) == 1 and found.weights[0] == pytest.approx(wanted, rel=1e-6)
    if margin is None and scale > 1e-6 * np.linalg.norm(G):
        left = abs((g + found.weights @ G) @ r)
        assert left <= 1e-6 * np.abs(G @ G.T).sum() / scale * np.linalg.norm(g)


def test_closed_form_of_the_gradient_direction_note():
    g, r = np.array([-1.0, 1.0]), np.array([[1.0, 0.0]])
    assert (g + projection.one_row(r @ g, lambda: r @ r.T).weights @ r).tolist() == [0.0, 1.0]
    assert projection.one_row(np.array([0.0]), None) is None
    assert projection.one_row(np.empty(0), None) is None
    assert projection.one_row(np.array([-1e-300]), lambda: np.zeros((1, 1))).weights == [0.0]


def test_margin_is_replay_weight():
    """Lower bound gamma on v is the same as adding gamma times every row to g first ."""
    rng = np.random.default_rng(3)
    G, g = rng.standard_normal((3, 8)), rng.standard_normal(8)
    g -= 5 * G.sum(0)
    x = g + projection.gem(G @ g, lambda: G @ G.T, 0.5).weights @ G
    replayed = g + 0.5 * G.sum(0)
    y = replayed + projection.gem(G @ replayed, lambda: G @ G.T).weights @ G
    assert x == pytest.approx(y, abs=1e-5)  # both carry the ridge


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_what_is_not_finite_never_reaches_the_solver(spoilt):
    with pytest.raises(FloatingPointError, match="not finite"):
        projection.gem(np.array([-1.0, 1.0]), lambda: np.full((2, 2), spoilt))
    with pytest.raises(FloatingPointError, match="not finite"):
        projection.one_row(np.array([-1.0]), lambda: np.full((1, 1), spoilt))


def failing(monkeypatch, times, ridges):
    """Let quadprog fail so many times; notes the ridge of each attempt at a matrix whose diagonal is 1."""
    solve = quadprog.solve_qp

    def attempt(P, *rest):
        ridges.append(P[0, 0] - 1.0)
        if len(ridges) <= times:
            raise ValueError("matrix G is not positive definite")
        return solve(P, *rest)

    monkeypatch.setattr(quadprog, "solve_qp", attempt)


def test_a_failed_solver_is_given_a_tenfold_ridge(monkeypatch):
    ridges = []
    failing(monkeypatch, 2, ridges)
    correction = projection.gem(np.array([-1.0, -1.0]), lambda: np.eye(2))
    assert ridges == pytest.approx([1e-6, 1e-5, 1e-4], rel=1e-9)
    assert correction.rescued and correction.solved and correction.weights == pytest.approx([1 / (1 + 1e-4)] * 2)


def test_a_ridge_lifts_the_smallest_eigenvalue(monkeypatch):
    ridges = []
    failing(monkeypatch, 1, ridges)
    projection.gem(np.array([-1.0, -1.0]), lambda: np.array([[1.0, 1.001], [1.001, 1.0]]))
    assert ridges == pytest.approx([1e-6, 1e-2], rel=1e-6)


def test_a_rescue_is_said_beside_a_row_of_norm_zero_too():
    gram = np.zeros((3, 3))
    gram[:2, :2] = [[1.0, 1.001], [1.001, 1.0]]
    correction = projection.gem(np.array([-1.0, -1.0, 0.0]), lambda: gram)
    assert correction.rescued and correction.weights[2] == 0


@pytest.mark.parametrize(
    ("dots", "margin"), [([-1e-9, 1e9], 0.0), ([-1e9, 1e-9], 0.0), ([-1e-9, 1.0], 1e9), ([-1e-12, 1e-13], 0.0)]
)
def test_the_solver_is_given_numbers_of_size_one(monkeypatch, dots, margin):
    sizes, solve = [], quadprog.solve_qp

    def watched(P, a, C, bound):
        sizes.append(max(np.abs(a).max(), bound.max()))
        return solve(P, a, C, bound)

    monkeypatch.setattr(quadprog, "solve_qp", watched)
    projection.gem(np.array(dots), lambda: np.eye(2), margin)
    assert sizes == [1.0]


def test_a_solver_that_always_fails_is_an_error(monkeypatch):
    ridges = []
    failing(monkeypatch, 99, ridges)
    with pytest.raises(
        FloatingPointError, match=r"^the quadratic program of 2 rows has no solution, whatever the ridge$"
    ):
        projection.gem(np.array([-1.0, -1.0]), lambda: np.eye(2))
    assert len(ridges) == 8


def test_what_a_correction_says_of_itself():
    gram = np.array([[1.0, 0.0], [0.0, 0.0]])
    one = projection.gem(np.array([-1.0]), lambda: gram[:1, :1])
    assert one.solved is True and not one.rescued
    part = projection.gem(np.array([-1.0, 0.0]), lambda: gram)
    assert part.solved and not part.rescued and part.weights == pytest.approx([1.0, 0.0], abs=1e-5)
    nothing = projection.gem(np.array([-1.0, 0.0]), lambda: 0 * gram)
    assert not nothing.solved and not nothing.rescued and nothing.weights.tolist() == [0.0, 0.0]
    spoilt = projection.gem(np.array([-1.0, -1.0]), lambda: np.array([[1.0, 0.0], [0.0, -1e-20]]))  # by rounding
    assert spoilt.weights == pytest.approx([1.0, 0.0], abs=1e-5)
    closed = projection.one_row(np.array([-1.0]), lambda: np.array([[0.25]]))
    assert closed.weights.tolist() == [4.0] and closed.solved is closed.rescued is False


def test_products_that_vanish_beside_their_rows():
    correction = projection.gem(np.array([-1e-300]), lambda: np.array([[1e300]]))
    assert correction.weights.tolist() == [0.0] and not correction.solved and not correction.rescued
    assert projection.gem(np.array([-1e-300]), lambda: np.array([[1e300]]), 2.0).weights == pytest.approx([2.0])


def test_what_is_not_finite_is_named():
    with pytest.raises(FloatingPointError, match=r"^inner products of the gradients are not finite: \[-inf\]$"):
        projection.one_row(np.array([-np.inf]), lambda: np.ones((1, 1)))
