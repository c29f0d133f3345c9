"""Kronecker-factored products, inverses and sums against the dense matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.numeric import kronecker


def spd(n, rank, generator, ridge=0.05):
    X = torch.randn(n, rank, generator=generator, dtype=torch.float64)
    return X @ X.t() / rank + ridge * torch.eye(n, dtype=torch.float64)


@st.composite
def pairs(draw):
    """Two products (L1, R1), (L2, R2): the first positive definite, the second positive semi-definite, of any scale."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    m, n = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    scale = 10.0 ** draw(st.integers(-4, 4))
    one = spd(m, m, g), spd(n, n, g)
    two = scale * spd(m, draw(st.integers(1, m)), g, 0), spd(n, draw(st.integers(1, n)), g, 0)
    return one, two


def dense(pair):
    return torch.kron(*pair)


def divergence(S, pair):
    """KL(N(0, S) || N(0, L (x) R)), up to what does not depend on the pair."""
    K = dense(pair)
    return 0.5 * (torch.linalg.solve(K, S).trace() + torch.logdet(K)).item()


@given(pairs())
def test_products_equal_the_explicit_kronecker_product(problem):
    (L, R), _ = problem
    X = torch.randn(len(L), len(R), dtype=torch.float64)
    K, v = dense((L, R)), X.flatten()
    size = K.norm() * v.norm()
    assert torch.allclose(kronecker.matvec(L, X, R).flatten(), K @ v, rtol=0, atol=1e-10 * size)
    assert abs(kronecker.quadratic(L, X, R) - v @ K @ v) <= 1e-10 * size * v.norm()
    inverse = kronecker.inverse(L, R)
    assert torch.allclose(kronecker.matvec(inverse[0], X, inverse[1]).flatten(), torch.linalg.solve(K, v), rtol=1e-8)
    assert torch.allclose(dense(kronecker.balanced(L, R)), K, rtol=1e-12)
    L, R = kronecker.balanced(L, R)
    assert torch.equal(L, L.t()) and torch.equal(R, R.t())
    assert L.trace() / len(L) == pytest.approx((R.trace() / len(R)).item(), rel=1e-12)


def test_the_inverse_is_damped_by_the_additive_rule():
    g = torch.Generator().manual_seed(0)
    L, R = spd(3, 1, g, 0), spd(4, 1, g, 0)  # singular: without damping there is no inverse
    with pytest.raises(torch.linalg.LinAlgError):
        kronecker.inverse(L, R)
    a = torch.eye(3, dtype=torch.float64) * 0.1, torch.eye(4, dtype=torch.float64) * 0.1
    damped = kronecker.additive((L, R), a)
    assert torch.allclose(dense(kronecker.inverse(L, R, 0.1)) @ dense(damped), torch.eye(12, dtype=torch.float64))


@given(pairs())
def test_the_additive_rule_dominates_the_sum(problem):
    one, two = problem
    S, K = dense(one) + dense(two), dense(kronecker.additive(one, two))
    assert torch.linalg.eigvalsh(K - S)[0] >= -1e-10 * K.norm()


@given(pairs())
def test_the_frobenius_rule_is_nearest(problem):
    """Against the leading singular value of the rearranged sum, and better than the other two."""
    one, two = problem
    S = dense(one) + dense(two)
    m, n = len(one[0]), len(one[1])
    rearranged = S.view(m, n, m, n).permute(0, 2, 1, 3).reshape(m * m, n * n)
    tail = torch.linalg.svdvals(rearranged)[1:].norm()
    error = (dense(kronecker.frobenius(one, two)) - S).norm()
    assert error == pytest.approx(tail.item(), abs=1e-8 * S.norm().item())
    for rule in (kronecker.additive, kronecker.kl):
        assert error <= (dense(rule(one, two)) - S).norm() + 1e-12 * S.norm()
    assert all(torch.linalg.eigvalsh(factor)[0] >= -1e-12 * factor.norm() for factor in kronecker.frobenius(one, two))


@given(pairs())
def test_the_kl_rule_is_stationary_and_below_the_others(problem):
    one, two = problem
    S = dense(one) + dense(two)
    L, R = kronecker.kl(one, two)
    assert torch.linalg.eigvalsh(L)[0] > 0 and torch.linalg.eigvalsh(R)[0] > 0
    here = divergence(S, (L, R))
    assert here <= divergence(S, kronecker.additive(one, two)) + 1e-9
    free = [L.clone().requires_grad_(), R.clone().requires_grad_()]
    K = torch.kron(*free)
    slopes = torch.autograd.grad(torch.linalg.solve(K, S).trace() + torch.logdet(K), free)
    for factor, slope in zip((L, R), slopes, strict=True):
        root = torch.linalg.cholesky(factor)
        relative = root.t() @ (0.5 * (slope + slope.t())) @ root  # per relative change of the factor
        assert relative.abs().max() < 1e-6 * len(S)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 40), st.integers(-3, 3))
def test_the_kl_rule_from_a_few_rows_is_that_of_the_whole_factor(seed, rank, more, scale):
    """Rows a of which the second product's right factor is a'a; also rows that depend on one another."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.randn(rank, rank + more, generator=g, dtype=torch.float64) * 10.0**scale
    rows[-1] = rows[0]
    one, two = (spd(3, 3, g), spd(rank + more, rank + more, g)), (spd(3, 2, g, 0), rows.t() @ rows)
    for whole, few in zip(kronecker.kl(one, two), kronecker.kl(one, two, rows), strict=True):
        assert torch.allclose(whole, few, rtol=1e-8, atol=1e-10 * whole.abs().max())


def test_the_kl_rule_beats_frobenius_where_it_should():
    g = torch.Generator().manual_seed(3)
    one, two = (spd(4, 4, g), spd(6, 6, g)), (spd(4, 1, g, 0), spd(6, 2, g, 0))
    S = dense(one) + dense(two)
    by_rule = {name: divergence(S, rule(one, two)) for name, rule in kronecker.SUMS.items()}
    assert by_rule["kl"] < by_rule["frobenius"] and by_rule["kl"] < by_rule["additive"]


@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_proportional_sums_are_exact_but_for_the_additive_rule(seed, factor):
    g = torch.Generator().manual_seed(seed)
    L, R = spd(3, 3, g), spd(5, 5, g)
    two = (factor * L * 7.0, R / 7.0)
    S = (1 + factor) * dense((L, R))
    assert torch.allclose(dense(kronecker.frobenius((L, R), two)), S, rtol=1e-10)
    assert torch.allclose(dense(kronecker.kl((L, R), two)), S, rtol=1e-7)


def test_two_and_three_times_a_matrix_are_nearly_ten_times_it_by_the_additive_rule():
    g = torch.Generator().manual_seed(1)
    L, R = spd(3, 3, g), spd(5, 5, g)
    total = dense(kronecker.additive((2 * L, R), (3 * L, R)))
    assert torch.allclose(total, (5 + 2 * 6**0.5) * dense((L, R)), rtol=1e-12)  # 9.9, not 5


@pytest.mark.parametrize("rule", kronecker.SUMS)
def test_a_product_of_zero_adds_nothing(rule):
    g = torch.Generator().manual_seed(2)
    one = spd(3, 3, g), spd(4, 4, g)
    total = kronecker.SUMS[rule](one, (torch.zeros(3, 3).double(), spd(4, 2, g)))
    assert torch.allclose(dense(total), dense(one), rtol=1e-12)


def test_a_singular_sum_is_refused_by_the_kl_rule():
    zero = torch.zeros(3, 3, dtype=torch.float64)
    zero[0, 0] = 1.0
    with pytest.raises((ArithmeticError, torch.linalg.LinAlgError)):
        kronecker.kl((zero, zero), (zero, zero))
