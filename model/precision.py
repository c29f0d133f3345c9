"""Precision matrices of a network's parameters, for natural continual learning: Kronecker-factored, or a diagonal.

Both start as I / N, grow by the Fisher of each task, and are inverted once a task. ``solve`` is what a step costs.
Vectors (p,) are in the order of the engine's ``theta``. Numbers are kept in theta's dtype; sums and inverses are
computed in float64.
"""

import torch
from torch.nn import functional as F

from model.engine.passes import Pass
from model.numeric import kronecker


def factors(g) -> list | None:
    """Deltas (B, o) and inputs (B, i) of each layer, whose products D'A and sums D'1 are the gradients of the batch.

    None if the engine of ``g`` does not keep them.
    """
    if not isinstance(g, Pass):
        return None
    return [(D[g.N :], A) for D, A in zip(g.D, [g.x, *g.hidden], strict=True)]


class Kronecker:
    """Lambda = kron(G_l, A_l) for each linear layer l, over vec([W_l | b_l]); layers are independent.

    G_l (o, o) is the mean of d d' over examples, where d is the derivative of one example's loss with respect to the
    layer's outputs. A_l (i + 1, i + 1) is the mean of a a', where a holds the layer's inputs and a 1.
    """

    def __init__(self, layers, flat, alpha: float, rule: str):
        self.layers, self.flat, self.alpha, self.rule = layers, flat, alpha, kronecker.SUMS[rule]
        self.pairs: list[tuple] | None = None  # (G_l, A_l)

    @property
    def started(self) -> bool:
        return self.pairs is not None

    def start(self, N: int, theta: torch.Tensor) -> None:
        """Lambda = I / N, in the dtype of ``theta`` (p,): each factor I / sqrt(N)."""
        shapes = [(layer.out_features, layer.in_features + 1) for layer in self.layers]
        self._set([tuple(torch.eye(n).to(theta) / N**0.5 for n in shape) for shape in shapes])

    def _set(self, pairs: list[tuple]) -> None:
        self.pairs, self.inverses = pairs, []
        for L, R in pairs:
            inverse = kronecker.inverse(*kronecker.balanced(L.double(), R.double()), self.alpha)
            self.inverses.append(tuple(factor.to(L) for factor in inverse))
        self.step = pairs[0][0].new_empty(sum(self.flat.sizes))
        self.views = self.flat.split(self.step)
        self.n, self.fisher, self.rows = 0, [[0.0, 0.0] for _ in pairs], [[] for _ in pairs]

    def solve(self, g) -> torch.Tensor:
        """Lambda^-1 g (p,) of an engine's gradients ``g``; the next call overwrites it.

        A batch of B examples has a gradient of rank B, so that the product with the inverse of A_l (i + 1, i + 1) takes
        B (i + 1)^2 operations instead of o (i + 1)^2.
        """
        low_rank = factors(g)
        dense = self.flat.split(g.flat()) if low_rank is None or len(low_rank[0][0]) > len(self.views[1]) else None
        for l, (L, R) in enumerate(self.inverses):
            if dense is None:
                D, A = low_rank[l]
                left, right = (D @ L).t(), torch.addmm(R[-1], A, R[:-1])
            else:
                W, b = dense[2 * l : 2 * l + 2]
                left, right = L, torch.outer(b, R[-1]).addmm_(W, R[:-1])
            torch.mm(left, right[:, :-1], out=self.views[2 * l])
            torch.mv(left, right[:, -1], out=self.views[2 * l + 1])
        return self.step

    def quadratic(self, v: torch.Tensor) -> torch.Tensor:
        """v' Lambda v."""
        views = self.flat.split(v)
        return sum(
            kronecker.quadratic(L, torch.cat((W, b.unsqueeze(1)), 1), R)
            for (L, R), W, b in zip(self.pairs, views[::2], views[1::2], strict=True)
        )

    def collect(self, x: torch.Tensor, gradients) -> None:
        """Add examples x (n, n_inputs) to the Fisher; ``gradients`` yields their gradients (n, p), all summed."""
        for each in gradients:
            for fisher, d in zip(self.fisher, self._deltas(each), strict=True):
                fisher[0] = fisher[0] + d.t() @ d
        for fisher, rows, layer in zip(self.fisher, self.rows, self.layers, strict=True):
            a = F.pad(x, (0, 1), value=1.0).double()
            fisher[1] = fisher[1] + a.t() @ a
            if (self.n + len(a)) * kronecker.FEW <= a.shape[1]:
                rows.append(a)
            x = torch.relu(F.linear(x, layer.weight.data, layer.bias.data))
        self.n += len(a)

    def _deltas(self, gradients: torch.Tensor) -> list[torch.Tensor]:
        """Each layer's deltas (n, o), which are the examples' gradients with respect to the bias."""
        return [v.double() for v in gradients.split(self.flat.sizes, 1)[1::2]]

    def grow(self) -> int:
        """Lambda <- Lambda + the Fisher collected, as one Kronecker product again; then its inverse.

        Returns the number of sums for which the rule failed and the additive one took its place.
        """
        pairs, fallbacks = [], 0
        for (L, R), (G, A), rows in zip(self.pairs, self.fisher, self.rows, strict=True):
            one, two = (L.double(), R.double()), (G / self.n, A / self.n)
            few = {}
            if self.rule is kronecker.kl and sum(map(len, rows)) == self.n:
                few = {"rows": torch.cat(rows) / self.n**0.5}
            try:
                total = self.rule(one, two, **few)
            except (ArithmeticError, torch.linalg.LinAlgError):
                fallbacks += 1
                total = kronecker.additive(one, two)
            pairs.append(tuple(factor.to(L) for factor in kronecker.balanced(*total)))
        self._set(pairs)
        return fallbacks

    def checkpoint(self) -> dict:
        return {"pairs": self.pairs and [(L.clone(), R.clone()) for L, R in self.pairs]}

    def restore(self, state: dict) -> None:
        if state["pairs"] is not None:
            self._set([(L.clone(), R.clone()) for L, R in state["pairs"]])


class Diagonal:
    """Lambda = diag(f), f (p,) = 1 / N plus mean squared gradients of one example's loss; for any network."""

    def __init__(self, flat, alpha: float):
        self.flat, self.alpha = flat, alpha
        self.f: torch.Tensor | None = None

    @property
    def started(self) -> bool:
        return self.f is not None

    def start(self, N: int, theta: torch.Tensor) -> None:
        """Lambda = I / N, in the dtype of ``theta`` (p,)."""
        self._set(torch.full_like(theta, 1 / N))

    def _set(self, f: torch.Tensor) -> None:
        self.f, self.inverse = f, 1 / (f + self.alpha**2)
        self.n, self.fisher = 0, 0.0

    def solve(self, g) -> torch.Tensor:
        """Lambda^-1 g (p,) of an engine's gradients ``g``."""
        return g.flat() * self.inverse

    def quadratic(self, v: torch.Tensor) -> torch.Tensor:
        """v' Lambda v."""
        return (v * v) @ self.f

    def collect(self, x: torch.Tensor, gradients) -> None:
        """As ``Kronecker.collect``."""
        for each in gradients:
            self.fisher = self.fisher + each.double().square().sum(0)
        self.n += len(x)

    def grow(self) -> int:
        """Lambda <- Lambda + the Fisher collected. Returns 0: this sum never fails."""
        self._set((self.f + self.fisher / self.n).to(self.f))
        return 0

    def checkpoint(self) -> dict:
        return {"f": None if self.f is None else self.f.clone()}

    def restore(self, state: dict) -> None:
        if state["f"] is not None:
            self._set(state["f"].clone())
