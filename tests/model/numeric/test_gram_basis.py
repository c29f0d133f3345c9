"""The basis in Gram space against dense Gram-Schmidt, QR and explicit products in float64."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.numeric.basis import tolerance
from model.numeric.directions import PIECE, Columns, Directions
from model.numeric.gram_basis import GramBasis
from model.numeric.inverse_factor import InverseFactor


def made_up(n, shapes, seed=0, dtype=torch.float32, gap=None):
    """n directions of layers with ``shapes``; with ``gap`` all near one of them."""
    g = torch.Generator().manual_seed(seed)

    def draw(width):
        rows = torch.randn(n, width, generator=g, dtype=torch.float64)
        return (rows if gap is None else torch.randn(width, generator=g, dtype=torch.float64) + gap * rows).to(dtype)

    return Directions([draw(i) for _, i in shapes], [draw(o) for o, _ in shapes])


def joined(*parts):
    return Directions(*([torch.cat(layer) for layer in zip(*side, strict=True)] for side in zip(*parts, strict=True)))


def written_down(directions):
    return Directions([a.double() for a in directions.A], [d.double() for d in directions.D]).dense()


def inverse(ours):
    return torch.cat([torch.nn.functional.pad(T, (0, ours.k - T.shape[1])) for T in ours.factor.panels])


def stored(ours):
    return written_down(Directions(*([getattr(s, name).matrix.t() for s in ours.shares] for name in "AD")))


def gram_schmidt(U, tau):
    """Orthonormal rows for what the rows of U add in their order, each to within ``tau`` of its norm; float64."""
    V = torch.zeros(0, U.shape[1], dtype=torch.float64)
    for u in U:
        w = u / u.norm()
        for _ in range(3):
            w = w - V.t() @ (V @ w)
            if w.norm() <= tau:
                break
        else:
            V = torch.cat((V, (w / w.norm()).unsqueeze(0)))
    return V


SHAPES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 70)), min_size=1, max_size=3)


@given(SHAPES, st.integers(1, 150), st.integers(0, 2**31), st.booleans(), st.integers(1, 100))
def test_the_projection_is_that_of_dense_gram_schmidt(shapes, n, seed, double, part):
    """Also with repeated directions, multiples of them, and more of them than dimensions; in calls of any size."""
    dtype = torch.float64 if double else torch.float32
    fresh = made_up(n, shapes, seed, dtype)
    again = fresh.rows(slice(0, n // 3))
    offered = joined(fresh, Directions(again.A, [-4.0 * d for d in again.D]))
    U = written_down(offered)
    ours = GramBasis(U.shape[1] + 1, shapes)
    for start in range(0, len(U), part):
        assert ours.add(offered.rows(slice(start, start + part))) == 0
    V = gram_schmidt(U, tolerance(dtype))
    assert ours.k == len(V)
    g = torch.randn(U.shape[1], generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    T, stayed = inverse(ours), stored(ours)
    size = float(T.norm())  # how much the directions magnify rounding
    assert torch.allclose(ours.reject_(g.clone()), g - V.t() @ (V @ g), atol=1e-13 * size)
    assert torch.allclose(T @ stayed @ stayed.t() @ T.t(), torch.eye(ours.k, dtype=torch.float64), atol=1e-13 * size**2)


@pytest.mark.parametrize("gap", [1.0, 1e-1, 1e-2, 2e-3])
def test_nearly_collinear_directions_in_float32(gap):
    """Down to parts outside the span at the tolerance; the condition of the Gram matrix reaches 7e12."""
    shapes = [(20, 60), (5, 20)]
    offered = made_up(300, shapes, gap=gap)
    ours = GramBasis(500, shapes)
    ours.add(offered)
    V = gram_schmidt(written_down(offered), 1e-4)
    assert ours.k == len(V) > 100
    U = stored(ours)
    for g in (torch.randn(U.shape[1], dtype=torch.float64), U.sum(0)):
        projected = ours.reject_(g.clone())
        assert ((U @ projected).abs() / U.norm(dim=1) / g.norm()).max() < 1e-9
        assert (projected - (g - V.t() @ (V @ g))).norm() < 1e-5 * g.norm()


@pytest.mark.parametrize("outside, kept", [(1e-3, 2), (1e-7, 2), (1e-9, 2), (1e-11, 1), (0.0, 1)])
def test_the_tolerance_in_float64_is_that_of_the_dense_basis(outside, kept):
    """A Gram matrix knows parts outside the span to 1e-8 only: what is nearer is written down."""
    one, other = torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64)
    one[0, 0] = other[0, 0] = 1.0
    other[0, 1] = outside
    d = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    ours = GramBasis(9, [(2, 4)])
    ours.add(joined(Directions([one], [d]), Directions([other], [d]), made_up(3, [(2, 4)], dtype=torch.float64)))
    assert ours.k == kept + 3


def test_scales_do_not_matter_and_zero_and_nan_do_not_count():
    shapes = [(3, 40), (2, 3)]
    one = made_up(30, shapes)
    scales = torch.logspace(-18, 18, 30).unsqueeze(1)
    other = Directions(one.A, [scales * d for d in one.D])
    dead, nan = Directions(one.A, [0 * d for d in one.D]), Directions(one.A, [float("nan") * d for d in one.D])
    ours, theirs = GramBasis(99, shapes), GramBasis(99, shapes)
    assert ours.add(one) == theirs.add(joined(dead, other, nan)) == 0 and ours.k == theirs.k == 30
    g = torch.randn(sum(o * i + o for o, i in shapes), dtype=torch.float64)
    assert torch.allclose(ours.reject_(g.clone()), theirs.reject_(g.clone()), atol=1e-5)


def test_a_full_basis_says_how_many_were_left():
    shapes = [(10, 30)]
    offered = made_up(100, shapes)
    ours = GramBasis(70, shapes)
    assert ours.add(offered) == 30 and ours.k == 70
    assert ours.add(offered.rows(slice(0, 7))) == 7
    reference = GramBasis(200, shapes)
    reference.add(offered.rows(slice(0, 70)))
    g = torch.randn(310, dtype=torch.float64)
    assert torch.allclose(ours.reject_(g.clone()), reference.reject_(g.clone()), atol=1e-12)


def test_what_is_added_one_by_one_makes_full_panels():
    shapes = [(4, 50)]
    offered = made_up(130, shapes)
    one, all_ = GramBasis(200, shapes), GramBasis(200, shapes)
    for i in range(130):
        one.add(offered.rows(slice(i, i + 1)))
    all_.add(offered)
    assert [len(T) for T, _ in one.factor.parts] == [len(T) for T, _ in all_.factor.parts] == [128, 2]
    assert all(T.is_contiguous() for T, _ in all_.factor.parts)  # otherwise a product with T takes twice as long
    u = torch.randn(130, dtype=torch.float64)
    assert torch.allclose(one.factor.solve(u).clone(), all_.factor.solve(u), rtol=1e-9, atol=1e-12)


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_the_inverse_factor_solves(n, seed):
    g = torch.Generator().manual_seed(seed)
    R = torch.randn(n, n + 3, generator=g, dtype=torch.float64)
    K = R @ R.t()
    T = torch.linalg.inv(torch.linalg.cholesky(K))
    factor = InverseFactor()
    for i in range(n):
        factor.append(T[i : i + 1, : i + 1])
    u = torch.randn(n, generator=g, dtype=torch.float64)
    expected = torch.linalg.solve(K, u)
    assert torch.allclose(factor.solve(u), expected, rtol=1e-6, atol=1e-6 * float(expected.norm()))


def test_two_halves_are_the_factor_to_48_bits_and_the_upper_one_solves_roughly():
    """Also where the last panel is filled up, which adds halves together and splits them again."""
    g = torch.Generator().manual_seed(0)
    R = torch.randn(150, 200, generator=g, dtype=torch.float64)
    K = R @ R.t()
    T = torch.linalg.inv(torch.linalg.cholesky(K))
    halves = InverseFactor(torch.float32)
    for start in range(0, 150, 30):
        halves.append(T[start : start + 30, : start + 30])
    assert all(part.dtype == torch.float32 for parts in halves.parts for part in parts)
    for panel, rows in zip(halves.panels, T.split(128), strict=True):
        assert bool(((panel - rows[:, : panel.shape[1]]).abs() <= 2.0**-48 * rows[:, : panel.shape[1]].abs()).all())
    u = R @ torch.randn(200, generator=g, dtype=torch.float64)
    expected = torch.linalg.solve(K, u)
    assert (halves.solve(u) - expected).norm() < 1e-11 * expected.norm()
    assert 1e-9 * expected.norm() < (halves.roughly(u).double() - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("limit", [0, 30, 60])
@pytest.mark.parametrize("n", [1, 31, 32, 33, 100, 784, 787])
def test_inner_products_in_pieces_lose_less_than_in_one(n, limit):
    g = torch.Generator().manual_seed(0)
    columns, rows = torch.rand(50, n, generator=g), torch.rand(40, n, generator=g)
    ours = Columns(n, columns, limit)
    ours.append(columns[:20])
    ours.append(columns[20:])
    assert torch.equal(ours.matrix.t(), columns) and ours.pieces.shape[1] <= PIECE
    exact = rows.double() @ columns.double().t()
    lengths = rows.norm(dim=1).double().unsqueeze(1) * columns.norm(dim=1).double()
    singly, by_two = (torch.cat([ours.dots(part) for part in rows.split(m)]) for m in (1, 2))
    assert singly.dtype == by_two.dtype == torch.float64
    assert max(((dots - exact).abs() / lengths).max() for dots in (singly, by_two, ours.dots(rows))) < 4e-7
    out = torch.ones(40, n)
    ours.add_to(out, exact)
    assert torch.allclose(out, (1 + exact @ columns.double()).float(), rtol=1e-4)
    if n >= 784:
        whole, fine, wide = (
            max(((dots - exact).abs() / lengths).mean() for dots in each)
            for each in ([rows @ columns.t()], [singly, by_two], [ours.dots(rows)])
        )
        assert fine < whole / 2 and wide < whole


def test_a_restored_basis_goes_on_alike():
    shapes = [(4, 50), (3, 4)]
    offered = made_up(200, shapes)
    ours, other = GramBasis(150, shapes), GramBasis(150, shapes)
    ours.add(offered.rows(slice(0, 90)))
    other.restore(ours.checkpoint())
    for each in (ours, other):
        each.add(offered.rows(slice(90, 200)))
    assert ours.k == other.k == 150
    g = torch.randn(219)
    assert torch.equal(ours.reject_(g.clone()), other.reject_(g.clone()))
    assert all(torch.equal(a, b) for a, b in zip(ours.factor.panels, other.factor.panels, strict=True))


def test_a_pickled_basis_holds_each_number_once_and_goes_on_alike():
    shapes = [(20, 300), (10, 20)]
    offered = made_up(300, shapes)
    ours = GramBasis(250, shapes)
    ours.add(offered.rows(slice(0, 150)))
    ours.reject_(torch.randn(6230))
    text = pickle.dumps(ours)
    assert len(text) < 1.5 * (4 * 250 * 350 + GramBasis.size(150, []))
    other = pickle.loads(text)
    for each in (ours, other, again := copy.deepcopy(ours)):
        each.add(offered.rows(slice(150, 300)))
    g = torch.randn(6230)
    assert torch.equal(ours.reject_(g.clone()), other.reject_(g.clone()))
    assert torch.equal(ours.reject_(g.clone()), again.reject_(g.clone()))


def test_its_size_is_what_it_holds():
    shapes = [(100, 784), (100, 100), (10, 100)]
    ours = GramBasis(500, shapes)
    ours.add(made_up(400, shapes))
    held = [columns.filled.nbytes for share in ours.shares for columns in (share.A, share.D)]
    held += [part.nbytes for parts in ours.factor.parts for part in parts]
    assert sum(held) == pytest.approx(GramBasis.size(400, shapes), rel=0.1)
