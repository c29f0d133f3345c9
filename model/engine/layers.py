"""Linear layers as the fast engine sees them: the stored examples' share of a Gram matrix, and of a step.

Stored examples come in R blocks of m, one block a row of the Gram matrix; their deltas D (N, o), N = R m, already carry
the rows' weights, so that row r's gradient is D_r' A_r for the weights and the column sums of D_r for the bias. A layer
finds a row's products in one of two ways, whichever takes fewer operations:

* by pairs of examples, (D D') * (A A' + 1) summed over blocks: N^2 (o + i) operations;
* from the materialised rows: N o i operations for them and R^2 o i for their products.
"""

import torch

from model.engine.flat import threads
from model.engine.held import Carrier

# A product of two flat matrices with few rows runs at a fraction of the speed of one with many: its operations count for
# more (measured, 9 x 10,000 against 90 x 100: 2.4 times).
SKINNY = 2.4


class Blocks:
    """How N stored examples make up R rows: R blocks of m; scratch for products of pairs."""

    def __init__(self, R: int, m: int, like: torch.Tensor):
        self.R, self.m, self.N = R, m, R * m
        self.like = like
        self._pairs: tuple | None = None

    def pairs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Three (N, N) matrices: a sum, and two factors."""
        if self._pairs is None:
            self._pairs = tuple(self.like.new_zeros(self.N, self.N) for _ in range(3))
        return self._pairs

    def split(self, D: torch.Tensor) -> torch.Tensor:
        """D (N, o) as (R, m, o)."""
        return D.view(self.R, self.m, D.shape[1])


class Layer:
    """A layer whose inputs A (N + B, i) are at hand: every layer but the first."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, blocks: Blocks | None, wide: int = 1):
        self.W, self.b, self.blocks = weight, bias, blocks
        # products with few rows or columns are shared out along the sum, which changes digits
        self.wide = wide if min(weight.shape) >= 32 else 1
        self.Wt = weight.t()
        self.flat_W = weight.view(-1)
        self.column = bias.unsqueeze(1)
        o, i = weight.shape
        self.by_pairs = False
        self.prepared = None  # what `gram` has made for the step of the same pass
        if blocks is not None:
            R, N = blocks.R, blocks.N
            rows = N * o * i + SKINNY * R * R * o * i
            self.by_pairs = R > 1 and self.pairs_allowed and N * N * (o + i) < rows

    pairs_allowed = True

    def forward(self, A: torch.Tensor, out: torch.Tensor) -> None:
        """Pre-activations (M, o) of inputs A (M, i)."""
        if self.wide > 1:
            with threads(self.wide):
                torch.addmm(self.b, A, self.Wt, out=out)
        else:
            torch.addmm(self.b, A, self.Wt, out=out)

    def backward(self, D: torch.Tensor, out: torch.Tensor) -> None:
        """Gradients (M, i) at the inputs, given those at the outputs."""
        if self.wide > 1:
            with threads(self.wide):
                torch.mm(D, self.W, out=out)
        else:
            torch.mm(D, self.W, out=out)

    def gram(self, D: torch.Tensor, A: torch.Tensor) -> torch.Tensor | float:
        """This layer's share of <g_r, g_s>, (R, R) or a number if R = 1; 0 if it went into ``blocks.pairs()[0]``."""
        if self.by_pairs:
            S, dd, aa = self.blocks.pairs()
            torch.mm(D, D.t(), out=dd)
            torch.addmm(self.b.new_ones(1), A, A.t(), out=aa)
            S.addcmul_(dd, aa)
            return 0.0
        G, g = self.prepared = self.rows(D, A)
        if self.blocks.R == 1:
            return float(torch.dot(G, G)) + float(torch.dot(g, g))
        return torch.mm(G, G.t()).add_(torch.mm(g, g.t())).double()

    def rows(self, D: torch.Tensor, A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The materialised rows: G (R, o i) and g (R, o), or vectors if R = 1."""
        with threads(self.wide):
            if self.blocks.R == 1:
                return torch.mm(D.t(), A).view(-1), D.sum(0)
            D, A = self.blocks.split(D), self.blocks.split(A)
            return torch.bmm(D.transpose(1, 2), A).view(self.blocks.R, -1), D.sum(1)

    def descend_current(self, lr: float, D: torch.Tensor, A: torch.Tensor) -> None:
        """Subtract lr times the gradient of the examples with deltas D (B, o) and inputs A (B, i)."""
        if len(D) == 1:
            D = D[0]
            self.W.addr_(D, A[0], alpha=-lr)
            self.b.sub_(D, alpha=lr)
        else:
            self.W.addmm_(D.t(), A, alpha=-lr)
            self.b.sub_(D.sum(0), alpha=lr)

    def descend_rows(self, lr: float, v, D: torch.Tensor, A: torch.Tensor) -> None:
        """Subtract lr sum_r v_r g_r from the materialised rows; v is a number if R = 1."""
        G, g = self.rows(D, A) if self.prepared is None else self.prepared
        if self.blocks.R == 1:
            self.flat_W.sub_(G, alpha=lr * v)
            self.b.sub_(g, alpha=lr * v)
        else:
            self.flat_W.addmv_(G.t(), v, alpha=-lr)
            self.b.addmv_(g.t(), v, alpha=-lr)
        self.prepared = None


class FirstLayer(Layer, Carrier):
    """The layer that sees the inputs; X (N, i) of the stored ones, if there are any.

    Z[:N], the stored examples' pre-activations, follow the steps on the current batch, and are computed anew after a step
    along the rows.
    """

    pairs_allowed = False
    kept = False

    def __init__(self, weight, bias, blocks=None, X=None, Z=None, wide=1):
        super().__init__(weight, bias, blocks, wide)
        self.public = weight, bias
        self.X, self.Z, self.one, self.stale = X, Z, bias.new_ones(1), True
        if X is not None:
            self.Xt, self.P = X.t(), Z[: len(X)]

    def forward(self, x: torch.Tensor, current: torch.Tensor, k: torch.Tensor | None) -> None:
        """Fill ``current`` (B, o) with the pre-activations of x (B, i), k (B, N) with x X' + 1, and make Z[:N] right."""
        if self.stale and self.X is not None:
            self.refresh()
        torch.addmm(self.b, x, self.Wt, out=current)
        if self.X is not None:
            torch.addmm(self.one, x, self.Xt, out=k)

    def refresh(self) -> None:
        """Compute Z[:N] from the weights, exactly."""
        with threads(self.wide):
            torch.addmm(self.b, self.X, self.Wt, out=self.P)
        self.stale = False

    def step(self, lr: float, v, D: torch.Tensor, N: int, x: torch.Tensor, k: torch.Tensor | None) -> None:
        """One step: along the current batch, and along the rows with weights v unless that is None."""
        self.descend_current(lr, D[N:], x)
        if v is not None:
            self.descend_rows(lr, v, D[:N], self.X)
            self.stale = True
        elif N and not self.stale:
            self.P.addmm_(k.t(), D[N:], alpha=-lr)

    def hand_out(self) -> None:
        if self.X is not None:
            super().hand_out()

    def complete(self) -> None:
        """Make the public values those of the layer; in this form they are."""

    def adopt(self) -> None:
        """The public values are those of the layer from now on."""
        self.stale = True

    def replace(self, X: torch.Tensor) -> None:
        """Other stored inputs of the same number."""
        self.X, self.Xt, self.stale = X, X.t(), True

    def extend(self, B: int) -> None:
        """Room for batches of B examples."""
        N = 0 if self.X is None else len(self.X)
        Z = self.Z.new_zeros(N + B, self.Z.shape[1])
        Z[:N] = self.Z[:N]
        self.Z, self.P = Z, Z[:N]

    def checkpoint(self) -> dict | None:
        """What is carried along beside the public values, if anything; after ``hand_out``."""
        if self.X is None:
            return None
        return {"P": self.P.clone(), "stale": self.stale, "shown": [tensor.clone() for tensor in self.shown]}

    def fits(self, state: dict) -> bool:
        """Whether ``state`` is what a layer of this form carries along."""
        return "P" in state and state["P"].dtype == self.Z.dtype and self.kept == ("C" in state)

    def restore(self, state: dict) -> None:
        """The counterpart of ``checkpoint``; ``take_back`` is to follow."""
        self.P.copy_(state["P"])
        self.stale, self.shown = state["stale"], [tensor.to(self.P).clone() for tensor in state["shown"]]


class KeptFirstLayer(FirstLayer):
    """The first layer kept as W + C' X, b + sum_n C_n while the stored examples stay the same; C is (N, o).

    With K = X X' + 1 computed once, a step along the rows costs N^2 o operations and touches no matrix of the size of W.
    W and b are the layer's own; the public ones are complete after ``hand_out`` only.
    """

    kept = True

    def __init__(self, weight, bias, blocks, X, Z, wide=1):
        super().__init__(weight.clone(), bias.clone(), blocks, X, Z, wide)
        self.public = weight, bias
        self.K = torch.addmm(self.one, X, self.Xt)
        self.C = weight.new_zeros(blocks.N, len(bias))

    @staticmethod
    def pays(blocks: Blocks, o: int, i: int) -> bool:
        """Whether a step along the rows takes fewer operations than with complete weights."""
        R, N = blocks.R, blocks.N
        plain = 2 * N * o * i + (SKINNY * R * R * o * i if R > 1 else 0)
        return (1 if R == 1 else 2) * N * N * o < plain

    def forward(self, x, current, k):
        super().forward(x, current, k)
        current.addmm_(k, self.C)

    def refresh(self):
        self.fold()
        super().refresh()

    def gram(self, D, A):
        if self.blocks.R == 1:
            q = self.prepared = torch.mm(self.K, D)
            return float(torch.dot(q.view(-1), D.reshape(-1)))
        S, dd, _ = self.blocks.pairs()
        torch.mm(D, D.t(), out=dd)
        S.addcmul_(dd, self.K)
        return 0.0

    def step(self, lr, v, D, N, x, k):
        self.descend_current(lr, D[N:], x)
        self.P.addmm_(k.t(), D[N:], alpha=-lr)
        if v is None:
            return
        stored = D[:N]
        if self.blocks.R == 1:
            q = torch.mm(self.K, stored) if self.prepared is None else self.prepared
            self.P.sub_(q, alpha=lr * v)
            self.C.sub_(stored, alpha=lr * v)
        else:
            self.blocks.split(stored).mul_(v.view(-1, 1, 1))
            self.P.addmm_(self.K, stored, alpha=-lr)
            self.C.sub_(stored, alpha=lr)
        self.prepared = None

    def complete(self):
        W, b = self.public
        with threads(1):  # a reader's threads must not decide about the digits that a fold goes on with
            torch.mm(self.C.t(), self.X, out=W).add_(self.W)
            torch.sum(self.C, 0, out=b).add_(self.b)

    def adopt(self):
        for own, public in zip((self.W, self.b), self.public, strict=True):
            own.copy_(public)
        self.C.zero_()
        super().adopt()

    def replace(self, X):
        self.fold()
        super().replace(X)
        torch.addmm(self.one, X, self.Xt, out=self.K)

    def checkpoint(self):
        return {**super().checkpoint(), "own": [self.W.clone(), self.b.clone()], "C": self.C.clone()}

    def restore(self, state):
        super().restore(state)
        for own, saved in zip((self.W, self.b, self.C), (*state["own"], state["C"]), strict=True):
            own.copy_(saved)
