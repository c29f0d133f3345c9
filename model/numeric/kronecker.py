r"""Products with Kronecker-factored matrices, and sums of two of them brought back to one product.

With vec(X) the rows of X (m, n) one after another, and symmetric L (m, m), R (n, n),

    (L (x) R) vec(X) = vec(L X R),        vec(X)' (L (x) R) vec(X) = sum(X * L X R).

L1 (x) R1 + L2 (x) R2 is not a Kronecker product in general. ``additive`` dominates it, ``frobenius`` is nearest to it,
and ``kl`` minimises KL(N(0, sum) || N(0, L (x) R)). All functions are pure; sums and inverses are meant for float64.
"""

import math

import torch
from torch import Tensor

KL_ITERATIONS, KL_STOP, KL_ACCEPT = 1_000, 1e-22, 5e-4  # mean squares of relative changes
FEW = 8  # a factor (n, n) of at most n / FEW rows is taken by them: eigenvalues of all of it cost many products


def matvec(L: Tensor, X: Tensor, R: Tensor) -> Tensor:
    """(L (x) R) vec(X) as a matrix (m, n)."""
    return L @ X @ R


def quadratic(L: Tensor, X: Tensor, R: Tensor) -> Tensor:
    """vec(X)' (L (x) R) vec(X)."""
    return (X * matvec(L, X, R)).sum()


def balanced(L: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the same product, both symmetric to the last bit and with the same mean eigenvalue."""
    ratio = math.sqrt((R.trace() / len(R)) / (L.trace() / len(L)))
    return 0.5 * ratio * (L + L.t()), 0.5 / ratio * (R + R.t())


def inverse(L: Tensor, R: Tensor, alpha: float = 0.0) -> tuple[Tensor, Tensor]:
    """Factors of the inverse of L (x) R, both positive definite; before, the additive rule adds alpha I (x) alpha I."""
    if alpha > 0:
        L, R = additive((L, R), (alpha * torch.eye(len(L)).to(L), alpha * torch.eye(len(R)).to(R)))
    return tuple(torch.cholesky_inverse(torch.linalg.cholesky(factor)) for factor in (L, R))


def additive(one: tuple, two: tuple) -> tuple[Tensor, Tensor]:
    """(L1 + pi L2) (x) (R1 + R2 / pi), pi = sqrt(tr L1 tr R2 / (tr L2 tr R1)): the sum, and two cross terms.

    The cross terms are positive semi-definite, so the result dominates the sum. A product of trace 0 adds nothing.
    """
    pi = _balance(one, two)
    return one if pi is None else (one[0] + pi * two[0], one[1] + two[1] / pi)


def frobenius(one: tuple, two: tuple) -> tuple[Tensor, Tensor]:
    """The product nearest to the sum in the Frobenius norm (Van Loan & Pitsianis 1993); exact for proportional terms.

    It is the leading singular pair of vec(L1) vec(R1)' + vec(L2) vec(R2)', of rank 2: two thin QRs and a 2 x 2 SVD.
    """
    if _balance(one, two) is None:
        return one
    one, two = balanced(*one), balanced(*two)
    (QL, TL), (QR, TR) = (
        torch.linalg.qr(torch.stack((a.flatten(), b.flatten()), 1)) for a, b in zip(one, two, strict=True)
    )
    U, s, Vh = torch.linalg.svd(TL @ TR.t())
    L, R = (QL @ U[:, 0]).view_as(one[0]), (QR @ Vh[0]).view_as(one[1])
    sign = 1.0 if L.trace() > 0 else -1.0
    return balanced(sign * s[0] * L, sign * R)


def kl(one: tuple, two: tuple, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The product L (x) R nearest to the sum S in KL(N(0, S) || N(0, L (x) R)); exact for proportional terms.

    Its conditions are L = e1 L1 + e2 L2 with e_i = tr(R_i R^-1) / n_R, R = f1 R1 + f2 R2 with f_i = tr(L_i L^-1) / n_L.
    They are solved in turn, from the additive rule's result on, and each solution lowers the divergence. (The authors'
    code takes 0.3 of both steps at once, towards the same point.) In the eigenvectors that R1 and R2 share, and L1 and
    L2 likewise, every trace is a sum of scalars. Nothing is inverted inside the loop, so that it can go on to rounding
    level.

    ``rows`` (r, n), if given, are such that R2 = rows' rows; with r much below n that saves most of the time.

    Raises ``ArithmeticError`` where it does not converge, ``torch.linalg.LinAlgError`` where the sum is singular.
    """
    pi = _balance(one, two)
    if pi is None:
        return one
    size = two[1].trace()
    one, two = balanced(*one), balanced(*two)
    if rows is not None:
        rows = rows * (two[1].trace() / size).sqrt()
    spectra = [_shared_spectrum(one[0], two[0]), _shared_spectrum(one[1], two[1], rows)]
    grams = [_products(a, b) for a, b in zip(one, two, strict=True)]
    pi = _balance(one, two)
    e, f = (torch.tensor(c, dtype=one[0].dtype, device=one[0].device) for c in ([1.0, pi], [1.0, 1 / pi]))
    for _ in range(KL_ITERATIONS):
        before = e, f
        e = (spectra[1] / (f @ spectra[1])).mean(1)
        f = (spectra[0] / (e @ spectra[0])).mean(1)
        moves = zip((e, f), before, grams, strict=True)
        moved = max(((c - b) @ G @ (c - b) / (c @ G @ c)).item() for c, b, G in moves)
        if moved < KL_STOP:
            break
    if not moved < KL_ACCEPT:
        raise ArithmeticError(f"the KL-optimal sum moves by {moved:.1e} after {KL_ITERATIONS} iterations")
    return balanced(e[0] * one[0] + e[1] * two[0], f[0] * one[1] + f[1] * two[1])


SUMS = {"kl": kl, "additive": additive, "frobenius": frobenius}


def _balance(one, two) -> float | None:
    """pi of the additive rule; None where the second product is zero."""
    traces = [factor.trace().item() for factor in (*one, *two)]
    if traces[2] <= 0 or traces[3] <= 0:
        return None
    return math.sqrt(traces[0] * traces[3] / (traces[2] * traces[1]))


def _shared_spectrum(A: Tensor, B: Tensor, rows: Tensor | None = None) -> Tensor:
    """(2, n): the eigenvalues of A and of B relative to A + B, in eigenvectors that the two share; they sum to 1.

    ``rows`` (r, n): B = rows' rows. All but r eigenvalues of B are then 0.
    """
    T = torch.linalg.cholesky(A + B)
    if rows is not None:
        few = torch.linalg.svdvals(torch.linalg.solve_triangular(T, rows.t(), upper=False)).square().clamp(0, 1)
        b = torch.cat((few, few.new_zeros(len(B) - len(few))))
        return torch.stack((1 - b, b))
    W = torch.linalg.solve_triangular(T, A, upper=False)
    W = torch.linalg.solve_triangular(T, W.t(), upper=False)
    a = torch.linalg.eigvalsh(0.5 * (W + W.t())).clamp(0, 1)
    return torch.stack((a, 1 - a))


def _products(A: Tensor, B: Tensor) -> Tensor:
    """The Gram matrix of A and B as vectors."""
    both = torch.stack((A.flatten(), B.flatten()))
    return both @ both.t()
