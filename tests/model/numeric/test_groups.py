"""Groups of units: the EM's promises, planted communities, and partitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import common
from model.numeric import groups


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def random_edges(n, I, J, density=0.4, seed=0):
    generator = draw(seed)
    return [(torch.rand(n, size, generator=generator) < density).double() for size in (I, J)]


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(2, 5), st.floats(0, 1))
def test_probabilities_sum_to_one_and_the_likelihood_never_falls(seed, n, K, density):
    below, above = random_edges(n, 7, 4, density, seed)
    q = torch.empty(n, K).double().exponential_(generator=draw(seed))
    q /= q.sum(1, keepdim=True)
    last = -torch.inf
    for _ in range(15):
        mixture = groups.maximise(q, below, above)
        for logs, axis in ((mixture.pi, 0), (mixture.below, 1), (mixture.above, 1)):
            assert torch.allclose(logs.exp().sum(axis), torch.ones(()).double(), atol=1e-9)
        q, likelihood = groups.expect(mixture, below, above)
        assert torch.allclose(q.sum(1), torch.ones(n).double(), atol=1e-12)
        assert likelihood >= last - 1e-9 * (1 + abs(likelihood))
        last = likelihood


def test_the_e_step_is_bayes_rule():
    """Against probabilities multiplied out, where they do not underflow."""
    below, above = random_edges(5, 4, 3)
    q = torch.rand(5, 2, generator=draw()).double()
    mixture = groups.maximise(q / q.sum(1, keepdim=True), below, above)
    tau, tau2, pi = mixture.below.exp(), mixture.above.exp(), mixture.pi.exp()
    joint = torch.stack(
        [
            torch.stack([pi[c] * tau[c][below[k] > 0].prod() * tau2[c][above[k] > 0].prod() for c in (0, 1)])
            for k in range(5)
        ]
    )
    q, likelihood = groups.expect(mixture, below, above)
    assert torch.allclose(q, joint / joint.sum(1, keepdim=True), atol=1e-10)
    assert likelihood == pytest.approx(float(joint.sum(1).log().sum()), abs=1e-9)


@pytest.mark.parametrize("n", [40, 80])
@pytest.mark.parametrize("seed", range(4))
def test_planted_communities_are_found(n, seed):
    """Edge densities 0.8 inside, 0.1 outside; the answer does not depend on how groups are numbered."""
    generator = draw(seed)
    member = torch.arange(n) % 2
    lower, upper = torch.arange(60) % 2, torch.arange(30) % 2
    W_in = torch.rand(n, 60, generator=generator) < torch.where(member[:, None] == lower, 0.8, 0.1)
    W_out = torch.rand(30, n, generator=generator) < torch.where(upper[:, None] == member, 0.8, 0.1)
    labels = groups.communities(W_in.double(), W_out.double(), 2, draw(seed), xi=0.5)
    assert torch.equal(labels, member) or torch.equal(labels, 1 - member)


def test_relabelled_start_gives_relabelled_groups():
    below, above = random_edges(20, 9, 9)
    q = torch.rand(20, 3, generator=draw()).double()
    order = torch.tensor([2, 0, 1])
    one, _ = groups.expect(groups.maximise(q, below, above), below, above)
    other, _ = groups.expect(groups.maximise(q[:, order], below, above), below, above)
    assert torch.allclose(one[:, order], other, atol=1e-12)


@pytest.mark.parametrize("xi", ["median", 0.069])
def test_no_underflow_in_a_layer_of_usual_size(xi):
    """About 190 edges a unit: every probability is below the smallest double, none is nan."""
    torch.manual_seed(0)
    net = common.MLP([784, 100, 100, 10]).net
    W_in, W_out = net[0].weight, net[2].weight
    below, above = groups.edges(W_in, xi), groups.edges(W_out, xi).t()
    q = torch.rand(100, 20).double()
    q, likelihood = groups.expect(groups.maximise(q / q.sum(1, keepdim=True), below, above), below, above)
    assert bool(q.isfinite().all()) and likelihood < -50_000
    labels = groups.communities(W_in, W_out, 20, draw(), xi)
    assert labels.shape == (100,) and 2 <= len(labels.unique()) <= 20
    assert set(labels.tolist()) == set(range(int(labels.max()) + 1))


def test_median_edges_are_half_of_the_weights():
    assert groups.edges(torch.randn(10, 31)).mean() == pytest.approx(0.5, abs=0.01)


def test_nothing_to_find_ends():
    """No edges at all: every attempt puts all units together or none converges; the search is bounded."""
    assert groups.communities(torch.zeros(6, 4), torch.zeros(3, 6), 1, draw()).tolist() == [0] * 6
    found = groups.communities(torch.zeros(6, 4), torch.zeros(3, 6), 3, draw(), attempts=5)
    assert found is None or found.shape == (6,)


def test_an_em_that_never_converges_is_given_up(monkeypatch):
    calls = []
    monkeypatch.setattr(groups, "_climb", lambda q, *_: (calls.append(1) or q, False))
    assert groups.communities(torch.randn(8, 4), torch.randn(3, 8), 3, draw()) is None
    assert len(calls) == groups.ATTEMPTS


@settings(max_examples=12)
@given(st.integers(1, 50), st.data())
def test_random_groups_are_balanced(n, data):
    K = data.draw(st.integers(1, n))
    sizes = groups.random(n, K, draw(n)).bincount(minlength=K)
    assert int(sizes.sum()) == n and int(sizes.min()) >= 1 and int(sizes.max() - sizes.min()) <= 1


def test_every_unit_by_itself():
    assert groups.each_unit(4).tolist() == [0, 1, 2, 3]
    assert groups.without_gaps(torch.tensor([5, 2, 5])).tolist() == [1, 0, 1]
