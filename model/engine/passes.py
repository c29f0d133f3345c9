"""One forward and backward pass over N stored and B current examples, and what a method asks of it."""

from typing import NamedTuple

import numpy as np
import torch

from model.common import FOREIGN_LOGIT
from model.engine.layers import Layer

_relu_backward = torch.ops.aten.threshold_backward.grad_input


class Upper(NamedTuple):
    """A layer above the first, and its part of a pass: the deltas that leave it, and the activations that enter it.

    ``deltas`` (N + B, o) and ``inputs`` (N + B, i) are of all examples; the others are views of their rows, the N stored
    examples' and the B current ones'.
    """

    layer: Layer
    deltas: torch.Tensor
    inputs: torch.Tensor
    stored_deltas: torch.Tensor
    stored_inputs: torch.Tensor
    current_deltas: torch.Tensor
    current_inputs: torch.Tensor


class Pass:
    """Buffers of a pass, made once for N and B; after ``run`` it is the gradients of that step.

    Examples are rows of every matrix, the stored ones first; but logits and the deltas of the output layer are kept as
    (C, N + B), because a softmax along short contiguous rows takes seven times as long. ``losses`` holds the loss of the
    batch, then that of each row.
    """

    orthogonal = False  # whether ``descend`` avoids the engine's directions

    def __init__(self, engine, layers, stored, B: int):
        self.engine, self.layers, self.first, self.B = engine, layers, layers[0], B
        self.blocks = None if stored is None else stored.blocks
        self.N = N = 0 if stored is None else stored.blocks.N
        self.by_pairs = N > 0 and self.blocks.R > 1 and (self.first.kept or any(layer.by_pairs for layer in layers))
        M, C, like = N + B, len(layers[-1].b), layers[0].Z
        sizes = [len(layer.b) for layer in layers[:-1]]
        self.Z, self.current = like[:M], like[N:M]
        self.H = [like.new_empty(M, size) for size in sizes]
        self.logits, self.DT = like.new_empty(C, M), like.new_empty(C, M)
        self.D = [*(like.new_empty(M, size) for size in sizes), self.DT.t()]
        self.probe = self.DT[0, N]
        self.k = like.new_empty(B, N) if N else None
        if N:
            self.s, self.d, self.a = (like.new_empty(B, N) for _ in range(3))
            self.per_row = self.s.view(B, self.blocks.R, self.blocks.m)
        self.eye = torch.eye(C, dtype=like.dtype, device=like.device)
        self.targets = like.new_empty(M, C)
        self.current_targets, self.targets_T = self.targets[N:], self.targets.t()
        self.weights = like.new_full((M,), 1.0 / B)
        self.weighted = N > 0 or B > 1
        self.foreign, self.foreign_task = None, None
        if engine.outputs.foreign is not None:
            self.foreign = torch.zeros(C, M, dtype=torch.bool, device=like.device)
        if stored is not None:
            self.load(stored)
        # what the loops below go through, looked up once
        self.up, self.down, self.upper = [], [], []
        if self.H:
            self.top = (layers[-1].column, layers[-1].W, self.H[-1].t())
            self.up = [(layer, self.H[i], self.H[i + 1]) for i, layer in enumerate(layers[1:-1])]
            stack = list(zip(layers[1:], self.D[1:], self.H, self.D[:-1], strict=True))
            self.down = [(layer, D, H, below) for layer, D, H, below in reversed(stack)]
            self.upper = [Upper(layer, D, H, D[:N], H[:N], D[N:], H[N:]) for layer, D, H, _ in stack]

    def load(self, stored) -> None:
        """Labels, weights and tasks of the stored examples."""
        torch.index_select(self.eye, 0, stored.y, out=self.targets[: self.N])
        self.weights[: self.N] = stored.weights
        if self.foreign is not None:
            self.foreign[:, : self.N] = self.engine.outputs.foreign[stored.tasks].t()

    # ---------------------------------------------------------------- the pass

    def run(self, x: torch.Tensor, y: torch.Tensor, task: int) -> "Pass":
        """Activations and weighted deltas of all examples. Raises ``FloatingPointError`` if they are not finite."""
        for layer in self.layers:
            layer.prepared = None
        self.forward(x, task)
        torch.softmax(self.logits, 0, out=self.DT)
        torch.index_select(self.eye, 0, y, out=self.current_targets)
        self.DT.sub_(self.targets_T)
        probe = self.probe.item()
        if probe - probe != 0:
            raise FloatingPointError("the loss of the batch is not finite")
        if self.weighted:
            self.DT.mul_(self.weights)
        self.backward()
        return self

    def forward(self, x: torch.Tensor, task: int) -> None:
        """Activations of all examples, and masked logits."""
        self.x = x
        self.first.forward(x, self.current, self.k)
        if self.H:
            torch.clamp_min(self.Z, 0, out=self.H[0])
            for layer, H, above in self.up:
                layer.forward(H, above)
                above.relu_()
        self.output()
        if self.foreign is not None:
            if task != self.foreign_task:
                self.foreign[:, self.N :] = self.engine.outputs.foreign[task].unsqueeze(1)
                self.foreign_task = task
            self.logits.masked_fill_(self.foreign, FOREIGN_LOGIT)

    def output(self) -> None:
        """Logits from the last hidden layer's activations."""
        if self.H:
            b, W, HT = self.top
            torch.addmm(b, W, HT, out=self.logits)
        else:
            self.logits.copy_(self.Z.t())

    def backward(self) -> None:
        """From the output layer's deltas to those of every layer below."""
        l1 = self.engine.l1
        for layer, D, H, below in self.down:
            layer.backward(D, below)
            if l1:  # of the current batch's activations, which are positive where they have a gradient
                below[self.N :].add_(l1 / (self.B * below.shape[1]))
            _relu_backward(below, H, 0, grad_input=below)

    # ---------------------------------------------------------------- what a method asks

    def dots(self, partition=None) -> np.ndarray:
        """<g_0, g_r> for every row: float64 (R,), or (n_blocks, R) over the blocks of the ``partition`` given."""
        if partition is not None:
            return partition.dots(self)
        if not self.N:
            return np.empty(0)
        D, N = self.D[0], self.N
        s, d, a, one = self.s, self.d, self.a, self.first.one
        torch.mm(D[N:], D[:N].t(), out=s)
        s.mul_(self.k)
        for _, _, _, D, H, Dc, Hc in self.upper:
            torch.mm(Dc, D.t(), out=d)
            torch.addmm(one, Hc, H.t(), out=a)
            s.addcmul_(d, a)
        return self.per_row.sum((0, 2), dtype=torch.float64).numpy(force=True)

    def gram(self, partition=None) -> np.ndarray:
        """<g_r, g_s>: float64 (R, R), or (n_blocks, R, R) over the blocks of the ``partition`` given."""
        if partition is not None:
            return partition.gram(self)
        S = self.blocks.pairs()[0].zero_() if self.by_pairs else None
        total = self.first.gram(self.D[0][: self.N], self.first.X)
        for layer, _, _, D, H, _, _ in self.upper:
            total = total + layer.gram(D, H)
        R, m = self.blocks.R, self.blocks.m
        if R == 1:
            return np.array([[total]])
        if S is not None:
            total = total + S.view(R, m, R, m).sum((1, 3), dtype=torch.float64)
        return total.numpy(force=True)

    def flat(self, correction=None) -> torch.Tensor:
        """g_0 + sum_r v_r g_r as a vector (p,), v the weights of ``correction`` (None: g_0 alone).

        The next call of the engine overwrites it.
        """
        N, views = self.N, self.engine.gradient_views()
        inputs = [self.x, *[H[N:] for H in self.H]]
        for i, (D, A) in enumerate(zip(self.D, inputs, strict=True)):
            torch.mm(D[N:].t(), A, out=views[2 * i])
            torch.sum(D[N:], 0, out=views[2 * i + 1])
        if correction is not None:
            v = torch.from_numpy(correction.weights).to(self.Z).repeat_interleave(self.blocks.m).unsqueeze(1)
            for i, (D, A) in enumerate(zip(self.D, [self.first.X, *[H[:N] for H in self.H]], strict=True)):
                D = D[:N] * v
                views[2 * i].addmm_(D.t(), A)
                views[2 * i + 1].add_(D.sum(0))
        return self.engine.flat.grad

    @property
    def losses(self) -> list[float]:
        """The mean loss of the batch, then the weighted loss of each row."""
        each = -(torch.log_softmax(self.logits, 0) * self.targets_T).sum(0) * self.weights
        rows = [] if not self.N else each[: self.N].view(self.blocks.R, -1).sum(1).tolist()
        return [float(each[self.N :].sum()), *rows]

    @property
    def hidden(self) -> list[torch.Tensor]:
        """The activations (B, n) of the current batch in each hidden layer."""
        return [H[self.N :] for H in self.H]

    @property
    def scores(self) -> torch.Tensor:
        """The logits (B, C) of the current batch; those of other tasks' outputs are 0."""
        logits = self.logits[:, self.N :]
        return (logits if self.foreign is None else logits.masked_fill(self.foreign[:, self.N :], 0)).t()

    def descend(self, lr: float, correction=None, partition=None) -> None:
        """theta -= lr (g_0 + sum_r v_r g_r), v the weights of ``correction`` (None: g_0 alone). Once a step.

        With ``partition`` the weights are (n_blocks, R).
        """
        self.engine.before_step(self)
        if self.engine.optimizer is not None:  # without a partition (model.engine.make)
            self.engine.move(self.flat(correction), lr)
            return
        if partition is not None and correction is not None:
            partition.descend(self, lr, correction.weights)
            return
        v = None
        if correction is not None:
            v = float(correction.weights[0]) if self.blocks.R == 1 else torch.from_numpy(correction.weights).to(self.Z)
        self.first.step(lr, v, self.D[0], self.N, self.x, self.k)
        for layer, D, H, Ds, Hs, Dc, Hc in self.upper:
            if v is None:
                layer.descend_current(lr, Dc, Hc)
            elif layer.by_pairs:
                self.blocks.split(Ds).mul_(v.view(-1, 1, 1))
                layer.descend_current(lr, D, H)
            else:
                layer.descend_current(lr, Dc, Hc)
                layer.descend_rows(lr, v, Ds, Hs)
        self.engine.stepped()
