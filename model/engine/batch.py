"""One step of SGD on a small batch of examples of any tasks, for stacks of linear layers and ReLU.

On ten examples a step takes as long as its calls take to make, not as its products. So all buffers, transposes and views
are made once for a number of examples, and a bias is stepped by one product instead of a sum and a difference.
"""

import torch

from model.common import FOREIGN_LOGIT

_addmm_relu = torch._addmm_activation  # relu(b + X W') in one call
_relu_backward = torch.ops.aten.threshold_backward.grad_input


class BatchStep:
    """Buffers for k examples and the ``layers``, pairs W (o, i), b (o,), which it changes in place.

    Examples are rows of every matrix, but logits and their deltas are kept as (C, k), because a softmax along short
    contiguous rows takes seven times as long.
    """

    def __init__(self, layers, k: int):
        W, b = layers[-1]
        self.k, self.hidden, self.last = k, [], (W, b.unsqueeze(1))
        new = W.new_empty
        self.logits, self.DT = new(len(b), k), new(len(b), k)
        self.probe, self.ones, self.minus_ones = self.DT[0, 0], W.new_ones(k), -W.new_ones(1, k)
        below, deltas = None, []
        for W, b in layers[:-1]:
            H = new(k, len(b))
            self.hidden.append((b, W.t(), below, H))
            deltas.append(torch.empty_like(H))
            below = H
        self.top = None if below is None else below.t()
        deltas.append(self.DT.t())
        inputs = [None, *(H for *_, H in self.hidden)]
        self.down = [(deltas[i], layers[i][0], deltas[i - 1], inputs[i]) for i in range(len(layers) - 1, 0, -1)]
        self.updates = [(W, b, D.t(), A) for (W, b), D, A in zip(layers, deltas, inputs, strict=True)]

    def run(self, x: torch.Tensor, y: torch.Tensor, rate: float, weights=None, foreign=None) -> None:
        """Descend on the mean cross-entropy of x (k, n_inputs), y (k,), or on the sum with ``weights`` (k,).

        ``foreign`` (k, C) masks the logits of other tasks' outputs. Raises ``FloatingPointError`` if a loss is not finite.
        """
        for b, W_t, below, H in self.hidden:
            _addmm_relu(b, x if below is None else below, W_t, out=H)
        W, column = self.last
        torch.addmm(column, W, x.t() if self.top is None else self.top, out=self.logits)
        if foreign is not None:
            self.logits.masked_fill_(foreign.t(), FOREIGN_LOGIT)
        torch.softmax(self.logits, 0, out=self.DT)
        self.DT.scatter_add_(0, y.unsqueeze(0), self.minus_ones)
        probe = self.probe.item()
        if probe - probe != 0:
            raise FloatingPointError("the loss of the batch is not finite")
        if weights is None:
            rate /= self.k
        else:
            self.DT.mul_(weights)
        for D, W, below, H in self.down:
            torch.mm(D, W, out=below)
            _relu_backward(below, H, 0, grad_input=below)
        for W, b, D_t, A in self.updates:
            W.addmm_(D_t, x if A is None else A, alpha=-rate)
            b.addmv_(D_t, self.ones, alpha=-rate)
