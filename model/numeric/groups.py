"""Groups of the units of a hidden layer: a network's communities, random groups, or every unit by itself.

The communities are those of a mixture of multinomials over the edges of each unit (Watanabe et al. 2018,
arXiv:1703.00168): an edge is a weight whose absolute value is above a threshold xi; unit k belongs to community c with
probability q_kc; a community spreads its edges over the units below as tau_c and over those above as tau'_c. Absent edges
say nothing.

Everything here is pure; groups are labels (n,), numbered from 0 without gaps.
"""

from typing import NamedTuple

import torch

ATTEMPTS = 50  # restarts at most
CONVERGED = 11  # restarts that converged, after which the best is taken
ITERATIONS = 1_000
TOLERANCE = 0.1  # sum over q of one iteration's changes
SMOOTHING = 1e-12  # of tau


class Mixture(NamedTuple):
    """Logarithms of pi (K,), of tau (K, I) over the units below, and of tau' (K, J) over those above."""

    pi: torch.Tensor
    below: torch.Tensor
    above: torch.Tensor


def edges(W: torch.Tensor, xi: float | str = "median") -> torch.Tensor:
    """1.0 where |W| is above xi, else 0.0, as float64. ``median`` selects half of the weights, whatever their scale."""
    size = W.detach().cpu().double().abs()
    return (size > (size.median() if xi == "median" else xi)).double()


def maximise(q: torch.Tensor, below: torch.Tensor, above: torch.Tensor) -> Mixture:
    """The M-step: parameters from memberships q (n, K) and edges ``below`` (n, I), ``above`` (n, J)."""
    pi = q.mean(0).clamp_min(1e-300)
    return Mixture(pi.log(), *((_spread(q.t() @ matrix)).log() for matrix in (below, above)))


def _spread(counts: torch.Tensor) -> torch.Tensor:
    """Rows that sum to 1, slightly smoothed; uniform where a community has no edges."""
    counts = counts + SMOOTHING * counts.sum(1, keepdim=True).clamp_min(1.0)
    return counts / counts.sum(1, keepdim=True)


def expect(mixture: Mixture, below: torch.Tensor, above: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The E-step: q (n, K), and the log-likelihood of all units' edges under ``mixture``.

    A unit's log-probability is about -900 in a layer of usual size, so that only differences may be exponentiated.
    """
    joint = mixture.pi + below @ mixture.below.t() + above @ mixture.above.t()
    total = torch.logsumexp(joint, 1, keepdim=True)
    return (joint - total).exp(), float(total.sum())


def communities(W_in, W_out, K: int, generator, xi: float | str = "median", attempts: int = ATTEMPTS):
    """Labels of the n units between W_in (n, I) and W_out (J, n), at most K communities; None if no attempt converged.

    Each attempt starts from memberships drawn uniformly from the simplex. One that puts all units into one community is
    dropped. The best of the first ``CONVERGED`` by their likelihood with hard memberships is returned.
    """
    n = len(W_in)
    if K == 1:
        return torch.zeros(n, dtype=torch.long)
    below, above = edges(W_in, xi), edges(W_out, xi).t().contiguous()
    best, best_score, converged = None, -torch.inf, 0
    for _ in range(attempts):
        q = torch.empty(n, K, dtype=torch.float64).exponential_(generator=generator)
        q, done = _climb(q / q.sum(1, keepdim=True), below, above)
        labels = q.argmax(1)
        if not done or bool((labels == labels[0]).all()):
            continue
        converged += 1
        mixture = maximise(q, below, above)
        joint = mixture.pi + below @ mixture.below.t() + above @ mixture.above.t()
        score = float(joint.gather(1, labels.unsqueeze(1)).sum())
        if score > best_score:
            best, best_score = labels, score
        if converged == CONVERGED:
            break
    return None if best is None else without_gaps(best)


def _climb(q, below, above) -> tuple[torch.Tensor, bool]:
    """Iterate from memberships q (n, K) until they change little. Returns the last ones, and whether they converged."""
    for _ in range(ITERATIONS):
        before = q
        q, _ = expect(maximise(q, below, above), below, above)
        if float((q - before).abs().sum()) < TOLERANCE:
            return q, True
    return q, False


def without_gaps(labels: torch.Tensor) -> torch.Tensor:
    """The same groups, numbered without empty ones."""
    return labels.unique(return_inverse=True)[1]


def random(n: int, K: int, generator: torch.Generator) -> torch.Tensor:
    """Labels of n units in K random groups whose sizes differ by one at most."""
    labels = torch.empty(n, dtype=torch.long)
    for k, units in enumerate(torch.randperm(n, generator=generator).tensor_split(K)):
        labels[units] = k
    return labels


def each_unit(n: int) -> torch.Tensor:
    """Labels of n units, each its own group."""
    return torch.arange(n)
