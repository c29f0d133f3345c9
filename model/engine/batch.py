"""One step of SGD on a small batch of examples of any tasks, for stacks of linear layers and ReLU.

On ten examples a step takes as long as its calls take to make, not as its products. So the calls themselves are made once,
with all buffers, transposes and views, and a step goes through the list of them. A bias is stepped by one product instead of
a sum and a difference, and a delta is masked by the sign of its ReLU.
"""

from functools import partial

import torch

from model.common import FOREIGN_LOGIT

_addmm_relu = torch._addmm_activation  # relu(b + X W') in one call


class BatchStep:
    """The calls of a step on k examples, and their buffers; the ``layers``, pairs W (o, i), b (o,), are changed in place.

    Examples are rows of every matrix, but logits and their deltas are kept as (C, k), because a softmax along short
    contiguous rows takes seven times as long.
    """

    def __init__(self, layers, k: int):
        W, b = layers[-1]
        self.layers, self.k = layers, k
        self.logits, self.DT = W.new_empty(len(b), k), W.new_empty(len(b), k)
        self.hidden = [W.new_empty(k, len(b)) for W, b in layers[:-1]]
        self.deltas = [*(torch.empty_like(H) for H in self.hidden), self.DT.t()]
        self.probe, self.ones, self.minus_ones = self.DT[0, 0].item, W.new_ones(k), -W.new_ones(1, k)
        self.x = self.y = self.rate = None

    def run(self, x: torch.Tensor, y: torch.Tensor, rate: float, weights=None, foreign=None) -> None:
        """Descend on the mean cross-entropy of x (k, n_inputs), y (k,), or on the sum with ``weights`` (k,).

        ``foreign`` (k, C) masks the logits of other tasks' outputs. Raises ``FloatingPointError`` if a loss is not finite.
        Fastest where x and y are the tensors of the call before, with other values.
        """
        if weights is None:
            rate /= self.k
        if x is not self.x or y is not self.y or rate != self.rate:
            self._make_calls(x, y, rate)
        for call in self.forward:
            call()
        if foreign is not None:
            self.logits.masked_fill_(foreign.t(), FOREIGN_LOGIT)
        for call in self.loss:
            call()
        probe = self.probe()
        if probe - probe != 0:
            raise FloatingPointError("the loss of the batch is not finite")
        if weights is not None:
            self.DT.mul_(weights)
        for call in self.backward:
            call()

    def _make_calls(self, x: torch.Tensor, y: torch.Tensor, rate: float) -> None:
        self.x, self.y, self.rate = x, y, rate
        inputs = [x, *self.hidden]
        self.forward = [
            partial(_addmm_relu, b, A, W.t(), out=H)
            for (W, b), A, H in zip(self.layers[:-1], inputs, self.hidden, strict=False)
        ]
        W, b = self.layers[-1]
        self.forward.append(partial(torch.addmm, b.unsqueeze(1), W, inputs[-1].t(), out=self.logits))
        self.loss = [
            partial(torch.softmax, self.logits, 0, out=self.DT),
            partial(self.DT.scatter_add_, 0, y.unsqueeze(0), self.minus_ones),
        ]
        self.backward = []
        for i in range(len(self.layers) - 1, -1, -1):
            (W, b), D, A = self.layers[i], self.deltas[i], inputs[i]
            if i:
                below = self.deltas[i - 1]
                self.backward.append(partial(torch.mm, D, W, out=below))
            self.backward.append(partial(W.addmm_, D.t(), A, alpha=-rate))
            self.backward.append(partial(b.addmv_, D.t(), self.ones, alpha=-rate))
            if i:  # A has served
                self.backward += A.sign_, partial(below.mul_, A)
