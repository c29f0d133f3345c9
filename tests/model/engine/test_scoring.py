"""Which examples are right: the same as float64 says, whatever the kernel, and few are computed again."""

import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data import pixels
from model import common
from model.engine import scoring
from model.engine.scoring import Scorer, _spectral
from model.numeric import integers


def network(sizes, seed, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(o, i, generator=draw) * scale / i**0.5, torch.randn(o, generator=draw) * 0.1)
        for i, o in itertools.pairwise(sizes)
    ]


def images(n, width, seed):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n, width), generator=draw) * (torch.rand(n, width, generator=draw) < 0.5)
    return x.to(torch.uint8), torch.randint(0, 10, (n,), generator=draw)


def logits(layers, x):
    z = pixels.floats(x).double()
    for i, (W, b) in enumerate(layers):
        z = (z.relu() if i else z) @ W.double().t() + b.double()
    return z


def exactly_right(layers, x, y, foreign=None):
    """By definition, example by example: no allowed logit is larger, and no equal one comes before."""
    z = logits(layers, x)
    if foreign is not None:
        z[:, foreign] = -torch.inf
    best = z.max(1, keepdim=True).values
    first = torch.where(z == best, torch.arange(z.shape[1]), z.shape[1]).min(1).values
    return int((first == y).sum())


@pytest.mark.parametrize("dtype, unit", [(torch.float32, Fraction(1, 2**24)), (torch.float64, Fraction(1, 2**53))])
def test_sizes_are_those_of_higham(dtype, unit):
    """gamma_(m+1) = (m + 1) u / (1 - (m + 1) u), of all inputs or of those that are not 0, whose gamma is a little larger."""
    h = torch.tensor([[3.0, 0.0, -4.0, 0.0], [0.0] * 4, [1.0] * 4]).to(dtype)
    for counted, terms in ((False, [5, 5, 5]), (True, [3, 1, 5])):
        found = scoring.sizes(h, counted)
        for n, gamma, length, norm in zip(terms, found.gamma.tolist(), found.length.tolist(), [5, 0, 2], strict=True):
            exact = n * unit / (1 - n * unit)
            assert exact <= Fraction(gamma) * (1 + unit) and gamma < float(exact) * (1 + 1e-5)
            assert length == pytest.approx(gamma * norm, rel=1e-6, abs=1e-25)


@pytest.mark.parametrize("integer", [False, True])
@given(seed=st.integers(0, 2**20), depth=st.integers(0, 3), scale=st.sampled_from([1e-30, 1e-3, 1.0, 30.0]))
def test_counts_are_float64s(integer, seed, depth, scale):
    layers = network([50, *[20] * depth, 10], seed, scale)
    x, y = images(300, 50, seed)
    scorer = Scorer(layers, common.TaskOutputs(10), pixels.floats)
    stored = pixels.signed(x.clone()) if integer else x
    assert scorer.right(stored, y, 0) == exactly_right(layers, x, y)
    assert scorer.examples == 300 and scorer.singly == 0
    if scale == 1.0:
        assert scorer.again < 10


@pytest.mark.parametrize("integer", [False, True])
def test_margins_are_within_their_bounds(integer):
    layers = network([784, 100, 100, 10], 3)
    x, y = images(2000, 784, 4)
    scorer = Scorer(layers, common.TaskOutputs(10), pixels.floats)
    margin, bound = scorer._margins(pixels.signed(x.clone()) if integer else x, y, 0)
    z = logits(layers, x)
    own = z.gather(1, y.unsqueeze(1))[:, 0]
    others = z.scatter(1, y.unsqueeze(1), -torch.inf).amax(1)
    error = (margin.double() - (own - others)).abs()
    assert bool((error <= bound).all())
    assert float(bound.max()) < (0.01 if integer else 0.1)


def test_the_bound_of_integers_has_the_rounding_of_pixels_in_it():
    """k / 255 in float32 is wrong by u, so a logit by u |W|_F sqrt(n) at most; here without a bias and other layers."""
    W = torch.randn(10, 50, generator=torch.Generator().manual_seed(0))
    x, y = images(20, 50, 1)
    scorer = Scorer([(W, torch.zeros(10))], common.TaskOutputs(10), pixels.floats)
    _, bound = scorer._margins(pixels.signed(x), y, 0)
    rounding = 2.0**-24 * float(W.double().norm()) * 50**0.5
    slices = float(scorer._bytes.errors.norm())
    assert bound.reshape(-1).tolist() == pytest.approx([2**0.5 * scoring.SAFETY * (slices + rounding)] * bound.numel())


@given(
    seed=st.integers(0, 2**20),
    nonzero=st.sampled_from([0, 1, 2, 7, 60]),
    depth=st.integers(0, 2),
    small=st.sampled_from([0, 40, 72]),
)
def test_margins_are_within_their_bounds_where_few_inputs_count(seed, nonzero, depth, small):
    """Weights of all magnitudes that cancel; hidden numbers so small that their squares are 0, and large weights after them."""
    draw = torch.Generator().manual_seed(seed)
    layers = network([60, *[20] * depth, 10], seed)
    for l, (W, b) in enumerate(layers):
        W *= 2.0 ** torch.randint(-12, 12, W.shape, generator=draw)
        W[:, 1::2] = -W[:, ::2] * (1 + 2.0**-20)  # neighbours cancel
        b *= 2.0 ** (-small if l < depth else -12)
    if depth:
        layers[0][0].mul_(2.0**-small)
        layers[-1][0].mul_(2.0**small)
    x, y = images(200, 60, seed)
    x[:, torch.randperm(60, generator=draw)[nonzero:]] = 0
    scorer = Scorer(layers, common.TaskOutputs(10), pixels.floats)
    known = scoring.sizes(pixels.floats(x), counted=True)
    margin, bound = scorer._margins(x, y, 0, known)
    z = logits(layers, x)
    own = z.gather(1, y.unsqueeze(1))[:, 0]
    others = z.scatter(1, y.unsqueeze(1), -torch.inf).amax(1)
    assert bool(((margin.double() - (own - others)).abs() <= bound).all())
    assert scorer.right(x, y, 0, known) == exactly_right(layers, x, y)


@pytest.mark.parametrize("scale", [2.0**-80, 2.0**-64, 1.0, 2.0**60])
@pytest.mark.parametrize("nonzero", [0, 1, 13, 100])
def test_sizes_are_upper_bounds(scale, nonzero):
    """Also of numbers whose squares float32 has no place for."""
    h = torch.rand(5, 100, generator=torch.Generator().manual_seed(0)) * scale
    h[:, nonzero:] = 0
    unit = (nonzero + 1) * 2.0**-24
    assert bool((scoring.sizes(h).length >= scoring.sizes(h, counted=True).length).all())
    ours = scoring.sizes(h, counted=True)
    exact = unit / (1 - unit)
    assert bool((ours.gamma.double() * scoring.SAFETY >= exact).all()) and bool((ours.gamma < 1.01 * exact).all())
    assert bool((ours.length.double() * scoring.SAFETY >= exact * h.double().norm(dim=1)).all())
    if scale == 1.0 and nonzero:
        assert bool((ours.length < 1.01 * exact * h.norm(dim=1)).all())


def test_black_pixels_make_the_bound_smaller_and_what_is_known_of_inputs_changes_nothing():
    layers = network([784, 10], 3)
    x, y = images(300, 784, 4)
    x[:, 100:] = 0
    scorer = Scorer(layers, common.TaskOutputs(10), pixels.floats)
    known = scoring.sizes(pixels.floats(x), counted=True)
    counted, plain = (scorer._margins(x, y, 0, each)[1] for each in (known, None))
    assert float((counted / plain).max()) < 0.2
    assert scorer.right(x[7:], y[7:], 0, known.rows(slice(7, 300))) == scorer.right(x[7:], y[7:], 0)


def test_ties_go_to_the_lowest_index():
    W, b = torch.zeros(4, 6), torch.tensor([0.0, 1.0, 1.0, 0.5])
    x = images(8, 6, 0)[0]
    y = torch.tensor([0, 1, 2, 3, 1, 1, 2, 0])
    scorer = Scorer([(W, b)], common.TaskOutputs(4), pixels.floats)
    assert scorer.right(x, y, 0) == 3
    assert scorer.singly == 5 and scorer.again == 5  # labels 1 and 2 tie


@pytest.mark.parametrize("integer", [False, True])
def test_only_the_tasks_outputs_count(integer):
    outputs = common.TaskOutputs(10, [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]])
    layers = network([50, 20, 10], 7)
    x, y = images(500, 50, 8)
    for task in range(3):
        scorer = Scorer(layers, outputs, pixels.floats)
        stored = pixels.signed(x.clone()) if integer else x
        expected = exactly_right(layers, x, y, outputs.foreign[task])
        assert scorer.counts(stored, y, task) == [expected, exactly_right(layers, x, y)]
        assert scorer.right(stored, y, task) == expected > 0  # also where a label is not the task's: never right


def test_a_tie_with_an_output_of_another_task_is_none_within_the_task():
    """Output 0 belongs to task 0 and ties with 1 and 2, task 1's: unmasked it comes first, masked it does not count."""
    W, b = torch.zeros(3, 6), torch.ones(3)
    x, y = images(8, 6, 0)[0], torch.tensor([0, 1, 2, 1, 1, 2, 0, 0])
    scorer = Scorer([(W, b)], common.TaskOutputs(3, [[0], [1, 2]]), pixels.floats)
    assert scorer.counts(x, y, 1) == [3, 3] and scorer.counts(x, y, 0) == [3, 3]
    y = torch.ones(8, dtype=torch.long)
    assert scorer.counts(x, y, 1) == [8, 0]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e30])
def test_numbers_out_of_range_are_settled_singly(value):
    layers = network([50, 20, 10], 7)
    layers[0][0][0, 0] = value
    x, y = images(20, 50, 8)
    scorer = Scorer(layers, common.TaskOutputs(10), pixels.floats)
    assert 0 <= scorer.right(x, y, 0) <= 20 and scorer.again > 0


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**20))
def test_the_spectral_bound(o, i, seed):
    W = torch.randn(o, i, generator=torch.Generator().manual_seed(seed))
    exact = float(torch.linalg.matrix_norm(W.double(), 2))
    assert exact * (1 - 1e-12) <= _spectral(W) <= 1.7 * exact
    assert _spectral(torch.zeros(o, i)) == 0


@given(st.integers(0, 2**20), st.sampled_from([1e-20, 1e-3, 1.0, 1e20]))
def test_the_layer_over_bytes(seed, scale):
    (W, b), *_ = network([123, 17], seed, scale)
    W[3] = 0
    x, _ = images(40, 123, seed)
    layer = integers.ByteLayer(W, b)
    exact = x.double() / 255 @ W.double().t() + b.double()
    assert bool(((layer(pixels.signed(x.clone())).double() - exact).abs() <= layer.errors).all())
    assert bool((layer.errors <= 1e-4 * (W.double().abs().sum(1) + b.double().abs())).all())


def test_slices_have_24_bits():
    W = network([784, 100], 0)[0][0]
    scale, q = integers.slices(W)
    whole = sum(each * 254.0**-i for i, each in enumerate(q)) * scale.unsqueeze(1)
    assert bool(((whole - W.double()).abs() <= scale.unsqueeze(1) / (2 * 254**2) * (1 + 1e-9)).all())
    assert all(bool((each.abs() <= 127).all()) and torch.equal(each, each.round()) for each in q)


def test_products_that_are_wrong_are_found_out(monkeypatch):
    honest = torch._int_mm
    integers.exact.cache_clear()
    assert integers.exact(64, 10) or not integers.quick()

    def saturating(a, b):  # as pairs of products of unsigned with signed bytes, added in 16 bits
        products = (a.int() + 128).unsqueeze(2) * b.int().unsqueeze(0)
        pairs = (products[:, ::2] + products[:, 1::2]).clamp(-(2**15), 2**15 - 1)
        return (pairs.sum(1) - 128 * b.int().sum(0)).int()

    def wrong_once(a, b):
        result = honest(a, b)
        result[-1, -1] += 1
        return result

    def refusing(a, b):
        raise RuntimeError("no such kernel")

    for kernel in (saturating, wrong_once, refusing):
        integers.exact.cache_clear()
        monkeypatch.setattr(torch, "_int_mm", kernel)
        assert not integers.exact(64, 10)
    integers.exact.cache_clear()
