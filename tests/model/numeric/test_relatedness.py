"""Divergences, covariances and relatedness against scipy and plain formulas."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.numeric import relatedness
from model.numeric.relatedness import Covariance, conditional, log_det, margins, prepare, ridged, von_neumann

KINDS = {"von_Neumann": von_neumann, "LogDet": log_det}


def positive(d, seed, batch=()):
    M = torch.randn(*batch, d, 2 * d, generator=torch.Generator().manual_seed(seed)).double()
    return M @ M.mT / (2 * d) + 0.05 * torch.eye(d).double()


def reference(kind, A, B):
    A, B = A.numpy(), B.numpy()
    if kind == "von_Neumann":
        return np.trace(A @ scipy.linalg.logm(A) - A @ scipy.linalg.logm(B) - A + B)
    M = A @ np.linalg.inv(B)
    return np.trace(M) - np.log(np.linalg.det(M)) - len(A)


def between(A, B, n_y, kind):
    return conditional(prepare(A, n_y, kind), prepare(B, n_y, kind))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_divergences_against_matrix_functions(kind, d, seed):
    A, B = positive(d, seed), positive(d, seed + 1)
    D = float(KINDS[kind](A, B))
    assert pytest.approx(reference(kind, A, B), abs=1e-10) == D
    assert D >= -1e-12 and float(KINDS[kind](A, A)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 10**6))
def test_conditional_divergence(kind, n_x, n_y, seed):
    """Its definition from four divergences; not negative; symmetric; 0 for equal arguments; stacks as one by one."""
    A, B = positive(n_x + n_y, seed, (2,)), positive(n_x + n_y, seed + 1, (2,))
    value = between(A, B, n_y, kind)
    x, D = slice(n_x), KINDS[kind]
    for i in range(2):
        a, b = A[i], B[i]
        expected = 0.5 * (D(a, b) + D(b, a) - D(a[x, x], b[x, x]) - D(b[x, x], a[x, x]))
        assert float(expected) > -1e-10
        assert float(value[i]) == pytest.approx(float(expected), abs=1e-9)
        assert float(value[i]) == pytest.approx(float(between(a, b, n_y, kind)), abs=1e-10)
    assert torch.allclose(value, between(B, A, n_y, kind), atol=1e-10)
    assert bool((between(A, A, n_y, kind) == 0).all())


@settings(max_examples=12)
@given(st.integers(0, 10**6))
def test_logdet_ignores_a_change_of_coordinates(seed):
    """z -> M z with M acting on x and y apart."""
    n_x, n_y = 4, 2
    A, B = positive(6, seed), positive(6, seed + 1)
    generator = torch.Generator().manual_seed(seed)
    M = torch.block_diag(*(torch.eye(n) + 0.3 * torch.rand(n, n, generator=generator) for n in (n_x, n_y))).double()
    moved = between(M @ A @ M.T, M @ B @ M.T, n_y, "LogDet")
    assert float(moved) == pytest.approx(float(between(A, B, n_y, "LogDet")), rel=1e-8, abs=1e-9)


def test_von_neumann_is_homogeneous():
    A, B = positive(4, 0), positive(4, 1)
    assert float(von_neumann(3 * A, 3 * B)) == pytest.approx(3 * float(von_neumann(A, B)))


@pytest.mark.parametrize("kind", KINDS)
def test_dead_units_and_constant_samples(kind):
    """Singular covariances: finite and not negative, also where nothing varies at all."""
    A, B = positive(5, 0), positive(5, 1)
    A[1], A[:, 1] = 0, 0
    B[:3], B[:, :3] = 0, 0
    for left, right in ((A, B), (B, A), (A, torch.zeros_like(A)), (torch.zeros_like(A), torch.zeros_like(A))):
        value = between(ridged(left), ridged(right), 1, kind)
        assert bool(value.isfinite()) and float(value) >= 0


@settings(max_examples=12)
@given(st.integers(1, 8), st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 100))
def test_welford_equals_the_covariance_of_all(d, batches, seed):
    Z = 50 + torch.randn(sum(batches), 3, d, generator=torch.Generator().manual_seed(seed)).double()
    covariance = Covariance(3, d)
    for part in Z.split(batches):
        covariance.update(part)
    for group in range(3):
        expected = np.cov(Z[:, group].numpy(), rowvar=False, bias=True).reshape(d, d)
        assert covariance.matrix()[group].numpy() == pytest.approx(expected, abs=1e-10)


def test_the_forks_covariance():
    """(z - mean_new)(z - mean_new)', sample by sample, whatever the batches: too small."""
    Z = torch.randn(20, 1, 3).double()
    mean, S = torch.zeros(3).double(), torch.zeros(3, 3).double()
    for n, z in enumerate(Z[:, 0], start=1):
        mean = mean + (z - mean) / n
        S += torch.outer(z - mean, z - mean)
    for sizes in ([20], [1] * 20, [7, 13]):
        biased = Covariance(1, 3, biased=True)
        for part in Z.split(sizes):
            biased.update(part)
        assert torch.allclose(biased.matrix()[0], S / 20, atol=1e-12)


@settings(max_examples=12)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_relatedness_is_a_softmax_over_tasks(G, t, seed):
    D = 2_000 * torch.rand(G, t, generator=torch.Generator().manual_seed(seed)).double()
    near, far = relatedness.relatedness(D), relatedness.relatedness(D, reverse=True)
    for rho in (near, far):
        assert bool((rho >= 0).all()) and torch.allclose(rho.sum(1), torch.ones(G).double())
    mild = D / 2_000
    assert torch.equal(relatedness.relatedness(mild).argsort(1), relatedness.relatedness(mild, True).argsort(1).flip(1))
    assert torch.allclose(relatedness.relatedness(torch.full((G, t), 1e4).double()), torch.full((), 1 / t).double())


def test_margins():
    rho = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.3, 0.7], [0.2, 0.8]]).double()
    layers = [slice(1, 3), slice(3, 4)]
    h = margins(rho, layers, 2.0, sub_mean=False)
    assert torch.allclose(h, 2 + rho * torch.tensor([[0], [1], [1], [1]]))
    h = margins(rho, layers, 0.0, sub_mean=True)
    assert torch.allclose(h, torch.tensor([[0, 0], [0.3, 0], [0, 0.3], [0, 0]]).double())
    h = margins(rho, layers, 0.0, sub_mean=True, negative=True)
    assert torch.allclose(h[1:], torch.tensor([[0.3, -0.3], [-0.3, 0.3], [0, 0]]).double())
