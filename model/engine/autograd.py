"""The engine for any network, by autograd: rows are materialised, one backward pass a task and row."""

from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from model import networks
from model.engine.flat import FlatParameters
from model.engine.partition import Blend


class AutogradEngine:
    """Gradients of ``net`` with respect to its flat parameters, through autograd.

    Unless the engine ``waits``, no step needs a value on the CPU: no loss is looked at, so that numbers which are not finite
    are found at the next evaluation, as parameters.

    In a network with batch normalisation, passes over the memory use the statistics of their own batch, which holds one
    task. They leave the running statistics alone; with ``parity`` they update them, as the reference does. A single
    example, whose own statistics would leave nothing of it, takes the running ones.

    ``optimizer`` makes steps of gradients; None is plain SGD. ``l1`` is the weight of the mean absolute activations of
    the hidden layers in the loss of the current batch.
    """

    form = "autograd"

    def __init__(
        self, net: nn.Module, outputs, parity: bool = False, optimizer=None, l1: float = 0.0, waits: bool = True
    ):
        self.net, self.outputs, self.parity, self.optimizer, self.l1 = net, outputs, parity, optimizer, l1
        self.waits = waits
        self.flat = FlatParameters(net)
        self._norms = networks.batch_norms(net)
        self._needs_two = networks.needs_two(net)
        self.clear_rows()

    @property
    def theta(self) -> torch.Tensor:
        """All parameters (p,), complete and writable."""
        self.flat.bind()
        return self.flat.theta

    # ---------------------------------------------------------------- any loss

    def predict(self, x: torch.Tensor, tasks) -> torch.Tensor:
        """Logits (B, n_outputs) with the other tasks' outputs masked; nothing is remembered beyond autograd's graph."""
        return self.outputs.mask_(self._logits_of(x), tasks)

    def _logits_of(self, x: torch.Tensor) -> torch.Tensor:
        if self._needs_two and len(x) == 1 and self.net.training:
            with self._in_mode(False):
                return self.net(x)
        return self.net(x)

    def forward(self, x: torch.Tensor, tasks) -> torch.Tensor:
        """As ``predict``, without a graph for the caller; ``backward`` may follow."""
        self.flat.bind()
        with torch.enable_grad():
            self._logits = self.predict(x, tasks)
        return self._logits.detach()

    @contextmanager
    def recording(self, training: bool = False):
        """For passes that only record (Fisher, directions, importance): cross-entropy alone, in evaluation mode.

        ``training``, and parity, leave the network in training mode.
        """
        l1, self.l1 = self.l1, 0.0
        try:
            with self._in_mode(self.net.training and (training or self.parity)):
                yield
        finally:
            self.l1 = l1

    @contextmanager
    def _in_mode(self, training: bool):
        before = self.net.training
        self.net.train(training)
        try:
            yield
        finally:
            self.net.train(before)

    def backward(self, dlogits: torch.Tensor, per_sample: bool = False) -> torch.Tensor:
        """The gradient (p,) of <logits, dlogits>, a view that the next call overwrites; (B, p) if ``per_sample``."""
        grad = self.flat.grad
        if not per_sample:
            grad.zero_()
            self._logits.backward(dlogits)
            return grad
        result = grad.new_empty(len(dlogits), len(grad))
        for i, row in enumerate(result):
            one = torch.zeros_like(dlogits)
            one[i] = dlogits[i]
            grad.zero_()
            self._logits.backward(one, retain_graph=i + 1 < len(dlogits))
            row.copy_(grad)
        return result

    # ---------------------------------------------------------------- cross-entropy over a batch and stored examples

    def set_rows(self, x, y, tasks, weights, once: bool = False) -> None:
        """The stored examples x (N, n_inputs), y (N,), task ids (N,), and the rows as signed weights (R, N) over them.

        Row r's gradient is that of sum_n weights[r, n] CE_n. ``once`` says that the rows serve for one step only.
        """
        self._stored = (x, y, tasks, weights)
        self._rows = []  # for each row, the (x, y, task, weights) of each task in it
        for row in weights:
            parts = []
            for task in tasks.unique_consecutive().tolist():
                member = (tasks == task) & (row != 0)
                if bool(member.any()):
                    index = member.nonzero()[:, 0].to(x.device)
                    parts.append((x[index], y[index], task, row[member].to(x)))
            self._rows.append(parts)

    def clear_rows(self) -> None:
        self._stored = self._rows = None

    def gradients(self, x: torch.Tensor, y: torch.Tensor, task, blended: bool = False, weights=None) -> "Gradients":
        """The gradient of the mean cross-entropy of a batch x (B, n_inputs), y (B,), and those of all rows.

        ``task`` is one task, or (B,) of them. With ``weights`` (B,) it is the gradient of the weighted sum. With
        ``blended`` the one row is not computed yet: a ``partition.Blend`` says later how its tasks count in each block.
        ``FloatingPointError`` if the batch's loss is not finite.
        """
        self.flat.bind()
        grad = self.flat.grad
        rows, losses = None, []
        with torch.enable_grad():
            if self._rows is not None and not blended:
                rows = grad.new_empty(len(self._rows), len(grad))
                with self.memory_pass():
                    for row, parts in zip(rows, self._rows, strict=True):
                        grad.zero_()
                        losses.append(sum(self._accumulate(*part) for part in parts))
                        row.copy_(grad)
            grad.zero_()
            if self.l1:
                hidden, logits = networks.activations(self.net, x)
                logits = self.outputs.mask_(logits, task)
            else:
                hidden, logits = (), self.predict(x, task)
            if weights is None:
                loss = F.cross_entropy(logits, y)
            else:
                loss = F.cross_entropy(logits, y, reduction="none") @ weights
            for H in hidden:
                loss = loss + self.l1 * H.abs().mean()
            loss.backward()
        loss = self._seen(loss)
        if self.waits and not loss - loss == 0:
            raise FloatingPointError(f"the loss of the batch is {loss}")
        return Gradients(self, grad, rows, [loss, *losses], (x, task))

    def gradient(self, loss) -> torch.Tensor:
        """The gradient (p,) of ``loss()``, a scalar computed with the network; the next call overwrites it.

        ``FloatingPointError`` if the loss is not finite.
        """
        self.flat.bind()
        grad = self.flat.grad.zero_()
        with torch.enable_grad():
            value = loss()
            value.backward()
        if not value.isfinite():
            raise FloatingPointError(f"the loss of the batch is {value.item()}")
        return grad

    def step(self, x: torch.Tensor, y: torch.Tensor, tasks, rate: float, weights=None) -> None:
        """A step of SGD on the mean cross-entropy of x (k, n_inputs), y (k,) of ``tasks`` (k,), or the sum with ``weights``.

        With one shared head ``tasks`` may be None. Raises ``FloatingPointError`` if a loss is not finite.
        """
        self.gradients(x, y, tasks, weights=weights).descend(rate)

    def one_by_one(self, x: torch.Tensor, y: torch.Tensor, tasks, rates) -> None:
        """A step of SGD on the cross-entropy of each example in turn: x (k, n_inputs), y (k,), tasks and ``rates`` (k,).

        With one shared head ``tasks`` may be None. Raises ``FloatingPointError`` if a loss is not finite.
        """
        for i, rate in enumerate(rates):
            task = None if tasks is None else tasks[i : i + 1]
            self.gradients(x[i : i + 1], y[i : i + 1], task).descend(rate)

    def blended(self, blend) -> torch.Tensor:
        """The one row (1, p), its tasks weighed as ``blend`` (``partition.Blend``) says; overwrites the gradient."""
        grad = self.flat.grad
        row = torch.zeros_like(grad)
        (parts,) = self._rows
        with torch.enable_grad(), self.memory_pass():
            for part in parts:
                grad.zero_()
                self._accumulate(*part)
                blend.accumulate(row, grad, part[2])
        return row.unsqueeze(0)

    def _seen(self, loss: torch.Tensor):
        """The loss as a number, or on the device if nobody waits for it."""
        return loss.item() if self.waits else loss.detach()

    def _accumulate(self, x, y, task, weights):
        losses = F.cross_entropy(self.predict(x, task), y, reduction="none")
        loss = losses @ weights
        loss.backward()
        return self._seen(loss)

    def direction(self, g: torch.Tensor) -> torch.Tensor:
        """What a step of rate 1 along the gradient g (p,) subtracts; not to be written into."""
        return g if self.optimizer is None else self.optimizer.direction(g, self.theta)

    def move(self, g: torch.Tensor, lr: float) -> None:
        """theta -= lr g for a gradient g (p,), or lr times the direction that the optimizer makes of it."""
        self.theta.sub_(self.direction(g), alpha=lr)

    def memory_pass(self):
        """For passes over stored examples: batch normalisation takes the batch's own statistics, and keeps its running ones."""
        return nullcontext() if self.parity or not self._norms else self._frozen_statistics()

    @contextmanager
    def _frozen_statistics(self):
        tracked = [m.track_running_stats for m in self._norms]
        for module in self._norms:
            module.track_running_stats = False
        try:
            yield
        finally:
            for module, flag in zip(self._norms, tracked, strict=True):
                module.track_running_stats = flag

    # ---------------------------------------------------------------- state

    def checkpoint(self) -> dict:
        """Exact state beside the parameters: the rows."""
        return {"rows": None if self._stored is None else [tensor.clone() for tensor in self._stored]}

    def restore(self, state: dict) -> None:
        """The counterpart of ``checkpoint``."""
        if state["rows"] is None:
            self.clear_rows()
        else:
            self.set_rows(*(tensor.clone() for tensor in state["rows"]))


class Gradients:
    """g_0 (p,) of the current batch and rows g_1..g_R (R, p)."""

    orthogonal = False

    def __init__(self, engine: AutogradEngine, g: torch.Tensor, rows: torch.Tensor | None, losses: list, batch):
        self._engine, self._g, self._rows, self._losses, self._batch = engine, g, rows, losses, batch
        self._rows64 = None

    @property
    def losses(self) -> list[float]:
        """The losses of the batch and of each row."""
        return list(map(float, self._losses))

    def dots(self, partition=None) -> np.ndarray:
        """<g_0, g_r> for every row: float64 (R,), or (n_blocks, R) over the blocks of the ``partition`` given."""
        if partition is not None:
            if self._rows is None and isinstance(partition, Blend):
                self._g = self._g.clone()
                self._rows = self._engine.blended(partition)
            return partition.row_dots(self._g, self._rows)
        if self._rows is None:
            return np.empty(0)
        return (self._double() @ self._g.double()).cpu().numpy()

    def gram(self, partition=None) -> np.ndarray:
        """<g_r, g_s>: float64 (R, R), or (n_blocks, R, R) over the blocks of the ``partition`` given."""
        if partition is not None:
            return partition.row_gram(self._rows)
        rows = self._double()
        return (rows @ rows.t()).cpu().numpy()

    def correct(self) -> torch.Tensor:
        """Make g_0 A-GEM's closed form along the one row, if there is one, where the gradients lie; whether it changed (), bool.

        As ``projection.one_row`` without a margin and ``flat`` with its outcome, but the CPU knows nothing of it.
        """
        if self._rows is None:
            return torch.zeros((), dtype=torch.bool, device=self._g.device)
        (r,), g = self._double(), self._g.double()
        dot, square = torch.dot(g, r), torch.dot(r, r)
        violated = dot < 0
        v = torch.where(violated & (square > 0), -dot / square, torch.zeros_like(dot))
        self._g.copy_(torch.addcmul(g, r, v))
        return violated

    def flat(self, correction=None) -> torch.Tensor:
        """g_0 + sum_r v_r g_r as a vector (p,), v the weights of ``correction`` (None: g_0 alone).

        The next call of the engine overwrites it.
        """
        if correction is not None:
            v = torch.as_tensor(correction.weights).to(self._g.device)
            self._g.copy_(torch.addmv(self._g.double(), self._double().t(), v))
        return self._g

    @property
    def hidden(self) -> list[torch.Tensor]:
        """The activations (B, n) of the current batch in each hidden layer of an MLP; ask before the step."""
        return self._activations()[0]

    @property
    def scores(self) -> torch.Tensor:
        """The logits (B, C) of an MLP for the current batch; those of other tasks' outputs are 0."""
        _, task = self._batch
        return self._engine.outputs.own(self._activations()[1], task)

    def _activations(self):
        with torch.no_grad():
            return networks.activations(self._engine.net, self._batch[0])

    def descend(self, lr: float, correction=None, partition=None) -> None:
        """theta -= lr (g_0 + sum_r v_r g_r), v the weights of ``correction`` (None: g_0 alone).

        With ``partition`` the weights are (n_blocks, R).
        """
        g = self.flat(None if partition is not None else correction)
        if correction is not None and partition is not None:
            partition.combine(g, self._rows, correction.weights)
        self._engine.move(g, lr)

    def _double(self) -> torch.Tensor:
        if self._rows64 is None:
            self._rows64 = self._rows.double()
        return self._rows64
