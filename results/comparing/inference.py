"""Statistics of few runs: spread, differences, prediction intervals, correction for many tests.

One rule for the difference of two groups of runs: over their common seeds, in pairs, where they have any; else Welch's,
which does not take the spreads to be equal. All intervals are Student's. Pure functions of numbers; ValueError where
there are too few of them.
"""

import math
from typing import NamedTuple

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """Mean difference, and its confidence interval; (None, None) where there are too few runs for one.

    n: common seeds, over which it was taken in pairs; 0: there is none, the means of both groups were subtracted.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


class Sample(NamedTuple):
    """What is known of a group of n values: mean and standard deviation (None if n is 1)."""

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
    """Of Student's t with `freedom` degrees of freedom."""
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

    Degrees of freedom by Welch and Satterthwaite. Two groups without any spread: the difference itself, twice.
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
