"""Statistics of few runs: spread, differences, prediction intervals, correction for many tests.

The difference of two groups of runs is taken in pairs over their common seeds. Without common seeds it is the
difference of the means with Welch's interval, which does not assume equal spreads. All intervals are Student's. These
are pure functions of numbers; ValueError if there are too few numbers.
"""

import math
from typing import NamedTuple

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """Mean difference and its confidence interval (low, high), which is (None, None) if there are too few runs.

    n: the number of common seeds, over which pairs were taken; 0 if there are none and the groups' means were
    subtracted.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


class Sample(NamedTuple):
    """The mean, standard deviation (None if n is 1) and number n of a group of values."""

    mean: float
    sd: float | None
    n: int


def mean(values):
    return math.fsum(values) / len(values)


def deviation(values):
    """Standard deviation with divisor n - 1; None for a single value."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def sample(values):
    return Sample(mean(values), deviation(values), len(values))


def quantile(probability, freedom):
    """The quantile of Student's t with `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def two_sided(t, freedom):
    """Probability that |T| exceeds |t|."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(t)))


def interval(values, confidence=CONFIDENCE):
    """Confidence interval (low, high) of the mean; (None, None) for a single value."""
    if len(values) < 2:
        return None, None
    half = quantile((1 + confidence) / 2, len(values) - 1) * deviation(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def welch(ours, theirs, confidence=CONFIDENCE):
    """Confidence interval (low, high) of the difference of two Samples' means; (None, None) if one has n < 2.

    Degrees of freedom are Welch and Satterthwaite's. Without any spread in both groups low = high = the difference.
    """
    if ours.n < 2 or theirs.n < 2:
        return None, None
    difference, parts = ours.mean - theirs.mean, [s.sd**2 / s.n for s in (ours, theirs)]
    error = math.fsum(parts)
    if error == 0:
        return difference, difference
    freedom = error**2 / math.fsum(part**2 / (s.n - 1) for part, s in zip(parts, (ours, theirs), strict=True))
    half = quantile((1 + confidence) / 2, freedom) * math.sqrt(error)
    return difference - half, difference + half


def difference(ours, theirs, confidence=CONFIDENCE):
    """The Difference ours - theirs of two dicts seed -> value; None if one of them is empty."""
    if not ours or not theirs:
        return None
    pairs = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if pairs:
        return Difference(mean(pairs), *interval(pairs, confidence), len(pairs))
    groups = [sample(list(values.values())) for values in (ours, theirs)]
    return Difference(groups[0].mean - groups[1].mean, *welch(*groups, confidence), 0)


def prediction(values, confidence=CONFIDENCE):
    """Interval (low, high) that holds one further value with this probability: mean +- t s sqrt(1 + 1/n)."""
    if len(values) < 2:
        raise ValueError(f"{len(values)} value: a prediction interval needs two or more")
    half = quantile((1 + confidence) / 2, len(values) - 1) * deviation(values) * math.sqrt(1 + 1 / len(values))
    return mean(values) - half, mean(values) + half


def surprise(value, values, rounding=0.0):
    """Two-sided probability of a further value at least as far from the mean of `values` as this one.

    rounding: half a unit of the value's last printed digit, by which it may be nearer than it looks.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} value: a prediction interval needs two or more")
    distance = max(abs(value - mean(values)) - rounding, 0.0)
    spread = deviation(values) * math.sqrt(1 + 1 / len(values))
    if distance <= 1e-12:
        return 1.0
    return two_sided(distance / spread, len(values) - 1) if spread > 0 else 0.0


def holm(probabilities):
    """Holm's adjusted probabilities, in the order given: reject those below the level for all tests together."""
    order = sorted(range(len(probabilities)), key=probabilities.__getitem__)
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * probabilities[i]))
        adjusted[i] = highest
    return adjusted
