"""Gradient Episodic Memory, in the reference's arithmetic: every product of gradients on the reference's strides."""

import numpy as np
import quadprog
import torch

from model import gem
from model.numeric.projection import REFERENCE_RIDGE, Correction
from model.reference.arithmetic import Arithmetic


class Net(Arithmetic, gem.Net):
    CACHES = ("_columns",)

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        self._columns = None  # (p, n_tasks): column s is the gradient on task s, of its memory or the current batch

    def observe(self, x, t, y):
        if t != self.task:
            self.begin(t)
            self.memory.require_complete(self.others(t))
        self.memory.write(t, x, y)
        past = self.others(t)
        for s in past:
            self.note(s, self.backward(self.task_loss(self.memory.x[s], s, self.memory.y[s])))
        gradients = self.backward(self.task_loss(x, t, y))
        if past:
            self.note(t, gradients)
            rows = self._columns.index_select(1, torch.tensor(past, device=self._columns.device))
            g = self._columns[:, t]
            if bool((torch.mm(g.unsqueeze(0), rows) < 0).any()):
                weights, projected = project(g, rows, self.margin)
                self.count(Correction(weights, solved=True))
                gradients = self.engine.flat.split(projected)
        self.step(gradients)

    def note(self, task, gradients):
        """Write the gradient on a task into its column."""
        flat = torch.cat([g.reshape(-1) for g in gradients])
        if self._columns is None:
            self._columns = flat.new_empty(len(flat), self.memory.n_tasks)
        self._columns[:, task] = flat


def project(g: torch.Tensor, columns: torch.Tensor, margin: float) -> tuple[np.ndarray, torch.Tensor]:
    """The weights v (R,) of the rows, and x (p,) = g + M'v in g's dtype, M (R, p) being the transpose of ``columns``.

    v minimises 1/2 v'(M M' + REFERENCE_RIDGE I)v + (M g)'v subject to v >= margin. M keeps the strides of ``columns`` (p, R),
    contiguous, which decide how BLAS forms the three products, and so their last bits.
    """
    M = columns.cpu().t().double().numpy()
    g64 = g.cpu().contiguous().double().numpy()
    R = len(M)
    P = np.dot(M, M.T)
    P = 0.5 * (P + P.T) + REFERENCE_RIDGE * np.eye(R)
    if not (np.isfinite(P).all() and np.isfinite(g64).all()):
        raise FloatingPointError("a gradient is not finite")
    try:
        v = quadprog.solve_qp(P, -np.dot(M, g64), np.eye(R), np.full(R, float(margin)))[0]
    except ValueError as error:  # where the reference ends in a traceback
        raise FloatingPointError(f"the reference's quadratic program of {R} rows fails ({error})") from None
    return v, torch.from_numpy(np.dot(v, M) + g64).to(g)
