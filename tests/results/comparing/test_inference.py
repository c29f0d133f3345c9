"""The statistics of few runs, against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from results.comparing import inference

OURS, THEIRS = [0.71, 0.74, 0.69, 0.80, 0.75], [0.60, 0.66, 0.61, 0.65, 0.70]
FINALS = [0.74, 0.75, 0.76, 0.77, 0.73]


def test_paired_interval_is_scipys():
    pair = inference.difference(dict(enumerate(OURS)), dict(enumerate(THEIRS)))
    reference = stats.ttest_rel(OURS, THEIRS).confidence_interval(0.95)
    assert pair.low == pytest.approx(reference.low, abs=1e-12)
    assert pair.high == pytest.approx(reference.high, abs=1e-12)
    assert pair.mean == pytest.approx(0.094) and pair.n == 5


def test_paired_over_common_seeds_only():
    pair = inference.difference({0: 1.0, 1: 2.0, 2: 9.0}, {1: 1.5, 0: 0.0, 7: 3.0})
    assert pair.mean == pytest.approx(0.75) and pair.n == 2
    assert inference.difference({0: 1.0}, {0: 0.5}) == (0.5, None, None, 1)
    assert inference.difference({0: 1.0}, {}) is None


@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy's, of the group without any spread
@pytest.mark.parametrize("ours, theirs", [(OURS, THEIRS[:3]), ([0.1, 0.9], THEIRS), (OURS, [0.5, 0.5])])
def test_without_common_seeds_the_interval_is_welchs(ours, theirs):
    found = inference.difference(dict(enumerate(ours)), {100 + i: v for i, v in enumerate(theirs)}, 0.9)
    reference = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12) and found.n == 0
    assert found.mean == pytest.approx(inference.mean(ours) - inference.mean(theirs))


def test_too_few_runs_for_an_interval():
    assert inference.difference({0: 1.0}, {1: 0.5, 2: 0.5}) == (0.5, None, None, 0)
    assert inference.welch(inference.Sample(0.5, 0.0, 2), inference.Sample(0.25, 0.0, 5)) == (0.25, 0.25)


def test_spread():
    assert inference.deviation([1.0]) is None
    assert inference.deviation(OURS) == pytest.approx(stats.tstd(OURS))


def test_prediction_interval():
    low, high = inference.prediction(FINALS)
    half = stats.t.ppf(0.975, 4) * np.std(FINALS, ddof=1) * math.sqrt(1 + 1 / 5)
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half))
    assert inference.surprise(high, FINALS) == pytest.approx(0.05)
    assert inference.surprise(high + 0.001, FINALS, rounding=0.001) == pytest.approx(0.05)
    assert inference.surprise(0.75, [0.75, 0.75]) == 1 and inference.surprise(0.76, [0.75, 0.75]) == 0
    with pytest.raises(ValueError, match="1 value"):
        inference.prediction([0.5])


def test_holm():
    assert inference.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert inference.holm([0.9, 0.8]) == [1.0, 1.0] and inference.holm([]) == []


def test_prediction_interval_holds_what_it_says():
    """A further value of the same normal distribution lies inside 95 % of the time."""
    draw = np.random.default_rng(0).normal(size=(2000, 6))
    inside = [low <= row[5] <= high for row in draw for low, high in [inference.prediction(list(row[:5]))]]
    assert 0.935 < np.mean(inside) < 0.965


def test_two_values_are_enough_for_every_interval():
    two = [0.0, 2.0]
    assert inference.sample(two) == (1.0, math.sqrt(2), 2) and inference.sample([3.0]) == (3.0, None, 1)
    reference = stats.t.interval(0.95, 1, loc=1.0, scale=1.0)
    assert inference.interval(two) == pytest.approx(reference)
    assert inference.interval([1.0]) == (None, None)
    assert inference.prediction(two) == pytest.approx(stats.t.interval(0.95, 1, loc=1.0, scale=math.sqrt(2 + 1)))
    assert inference.surprise(4.0, two) == pytest.approx(2 * stats.t.sf(3 / math.sqrt(3), 1))
    both = inference.welch(inference.sample(two), inference.sample([5.0, 6.0]))
    wanted = stats.ttest_ind(two, [5.0, 6.0], equal_var=False).confidence_interval()
    assert both == pytest.approx((wanted.low, wanted.high))


def test_welch_needs_two_runs_on_either_side():
    one, two = inference.sample([1.0]), inference.sample([1.0, 2.0])
    assert inference.welch(one, two) == inference.welch(two, one) == (None, None)


def test_the_level_is_ninety_five_percent_where_none_is_given():
    groups = inference.sample(OURS), inference.sample(THEIRS)
    assert inference.welch(*groups) == inference.welch(*groups, 0.95) != inference.welch(*groups, 0.9)
    for of in (inference.interval, inference.prediction):
        assert of(OURS) == of(OURS, 0.95) != of(OURS, 0.9)
    for theirs in (dict(enumerate(THEIRS)), {9 + i: v for i, v in enumerate(THEIRS)}):
        ours = dict(enumerate(OURS))
        assert inference.difference(ours, theirs) == inference.difference(ours, theirs, 0.95)
        assert inference.difference(ours, theirs) != inference.difference(ours, theirs, 0.9)


def test_no_surprise_within_rounding():
    assert inference.surprise(0.7501, [0.74, 0.76], rounding=0.0002) == 1.0
    assert inference.surprise(0.75 + 1e-13, [0.75, 0.75]) == 1.0  # the sum's own rounding
    assert inference.surprise(0.75 + 1e-11, [0.75, 0.75]) == 0.0
    assert inference.surprise(0.2, [0.1, 0.3, 0.2]) == 1.0
    below, above = (inference.surprise(0.2 + d, [0.1, 0.3, 0.2]) for d in (-0.05, 0.05))
    assert below == pytest.approx(above) and 0 < below < 1
    for of in (inference.prediction, lambda values: inference.surprise(0.5, values)):
        with pytest.raises(ValueError, match=r"^1 value: a prediction interval needs two or more$"):
            of([0.5])


def test_holm_is_the_sequential_rule():
    """Reject in order of size while p is at most level / (tests left); stop at the first that is not."""
    draw = np.random.default_rng(0)
    for n in range(1, 7):
        p, level = draw.random(n) ** 3, 0.3
        rejected = set()
        for rank, i in enumerate(np.argsort(p)):
            if p[i] > level / (n - rank):
                break
            rejected.add(int(i))
        assert {i for i, adjusted in enumerate(inference.holm(list(p))) if adjusted <= level} == rejected
