"""How a past task relates to the present one, group by group: divergences between covariances (arXiv:2011.01272).

For each group of hidden units, z = [x; y], where x holds the activations of the group's units, and y (the y-part) is
the label as one number, or all outputs. Two tasks are close if y given x is distributed alike in both. The measure is
the symmetrised conditional divergence of their covariances of z. A softmax over the past tasks turns divergences into
relatedness.

The paper was withdrawn by its authors, who found that a conclusion does not follow from one of its theorems:
relatedness is a heuristic.

Both divergences are Bregman divergences of a function phi of a symmetric matrix, so that the symmetrised form is
D(A||B) + D(B||A) = <A - B, grad phi(A) - grad phi(B)>: von Neumann's has grad phi = log, LogDet's -inverse. One
decomposition a matrix is thus enough, whatever the number of tasks it is compared with.

Everything here is float64; matrices (..., d, d) may be stacked.
"""

from typing import NamedTuple

import torch

SMALLEST = 1e-12  # the smallest eigenvalue that a logarithm is taken of


def ridged(C: torch.Tensor) -> torch.Tensor:
    """C + (1e-6 trace(C)/d + 1e-12) I: positive definite although dead units make C singular."""
    d = C.shape[-1]
    ridge = 1e-6 * C.diagonal(dim1=-2, dim2=-1).sum(-1) / d + 1e-12
    return C + ridge[..., None, None] * torch.eye(d, dtype=C.dtype)


def logarithm(C: torch.Tensor) -> torch.Tensor:
    """The matrix logarithm of symmetric C, eigenvalues clipped from below."""
    values, vectors = torch.linalg.eigh(C)
    return (vectors * values.clamp_min(SMALLEST).log().unsqueeze(-2)) @ vectors.mT


def negative_inverse(C: torch.Tensor) -> torch.Tensor:
    """-C^-1 of positive definite C."""
    return -torch.cholesky_inverse(torch.linalg.cholesky(C))


GRADIENTS = {"von_Neumann": logarithm, "LogDet": negative_inverse}


def _trace(A: torch.Tensor) -> torch.Tensor:
    return A.diagonal(dim1=-2, dim2=-1).sum(-1)


def von_neumann(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """tr(A log A - A log B - A + B)."""
    return (A * (logarithm(A) - logarithm(B))).sum((-2, -1)) - _trace(A) + _trace(B)


def log_det(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """tr(A B^-1) - log det(A B^-1) - d: twice the KL divergence of centred Gaussians."""
    inverse = torch.linalg.slogdet
    return _trace(torch.linalg.solve(B, A)) - inverse(A)[1] + inverse(B)[1] - A.shape[-1]


class Prepared(NamedTuple):
    """A covariance of z and its block of x, with their gradients of phi."""

    xy: torch.Tensor
    x: torch.Tensor
    xy_gradient: torch.Tensor
    x_gradient: torch.Tensor


def prepare(C: torch.Tensor, n_y: int, divergence: str) -> Prepared:
    """Prepare covariances C (..., d, d), whose last ``n_y`` coordinates are the y-part, for ``conditional``."""
    gradient, d = GRADIENTS[divergence], C.shape[-1] - n_y
    x = C[..., :d, :d]
    return Prepared(C, x, gradient(C), gradient(x))


def conditional(A: Prepared, B: Prepared) -> torch.Tensor:
    """The symmetrised divergence (...) of y given x: 1/2 [D(A||B) + D(B||A)] of z, less the same of x; not below 0."""
    joint = ((A.xy - B.xy) * (A.xy_gradient - B.xy_gradient)).sum((-2, -1))
    marginal = ((A.x - B.x) * (A.x_gradient - B.x_gradient)).sum((-2, -1))
    return (0.5 * (joint - marginal)).clamp_min(0.0)


def relatedness(D: torch.Tensor, reverse: bool = False) -> torch.Tensor:
    """rho (n_groups, t) of divergences D (n_groups, t); it sums to 1 over the tasks.

    Near tasks weigh most; with ``reverse`` they weigh least.
    """
    return torch.softmax(D if reverse else -D, -1)


def margins(rho: torch.Tensor, layers: list[slice], margin: float, sub_mean: bool, negative: bool = False):
    """Lower bounds h (n_blocks, t) of the dual variables from rho (n_blocks, t). Block 0 gets no relatedness.

    h = margin + rho, less the mean of rho over the layer's groups if ``sub_mean``. A negative bound would let the step
    agree less with a past task than the gradient does; it is set to 0 unless ``negative``.
    """
    h = torch.full_like(rho, margin)
    for blocks in layers:
        h[blocks] += rho[blocks]
        if sub_mean:
            h[blocks] -= rho[blocks].mean(0)
    return h if negative else h.clamp_min(0.0)


class Covariance:
    """Running mean and scatter of samples (G, d) (Welford; whole batches are merged as by Chan, Golub & LeVeque 1983).

    With ``biased`` samples are taken one at a time and the new mean is subtracted from both factors, as the fork does.
    The scatter is then too small by a factor that tends to 1.
    """

    def __init__(self, G: int, d: int, biased: bool = False):
        self.n, self.biased = 0, biased
        self.mean = torch.zeros(G, d, dtype=torch.float64)
        self.scatter = torch.zeros(G, d, d, dtype=torch.float64)

    def update(self, Z: torch.Tensor) -> None:
        """Add the samples Z (n, G, d)."""
        if self.biased and len(Z) > 1:
            for z in Z:
                self.update(z.unsqueeze(0))
            return
        before, n = self.n, len(Z)
        self.n += n
        mean = Z.mean(0)
        shift = mean - self.mean
        self.mean = self.mean + shift * (n / self.n)
        share = (before / self.n) ** 2 if self.biased else before * n / self.n
        Z = (Z - mean).transpose(0, 1)
        self.scatter = self.scatter + Z.mT @ Z + share * shift.unsqueeze(2) * shift.unsqueeze(1)

    def matrix(self) -> torch.Tensor:
        """S/n (G, d, d)."""
        return self.scatter / max(self.n, 1)

    def checkpoint(self) -> dict:
        return {"n": self.n, "mean": self.mean.clone(), "scatter": self.scatter.clone()}

    def restore(self, state: dict) -> None:
        self.n, self.mean, self.scatter = state["n"], state["mean"].clone(), state["scatter"].clone()
