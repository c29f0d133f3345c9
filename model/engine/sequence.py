"""Steps of SGD on a few examples, one example at a time, for stacks of linear layers and ReLU.

The first layer is by far the largest, and every step changes all of it; but what the examples of the sequence see of it
is little. With X (k, n_inputs) the examples and d_j (o,) the deltas of step j at the first layer, step i finds

    W = W_0 - sum_(j<i) rate_j d_j x_j',   b = b_0 - sum_(j<i) rate_j d_j,

so its pre-activation W x_i + b is p_i - sum_(j<i) rate_j (x_j'x_i + 1) d_j, where P = X W_0' + b_0 is one product for the
whole sequence, and so are K = X X' + 1 and the sum that is added to W_0 at the end. The layers above make each step as it
is, on vectors. On vectors a call takes longer to be made than to be carried out, so the calls of a sequence are made once.
"""

from functools import partial

import torch

from model.common import FOREIGN_LOGIT

LENGTH = 128  # examples at most in one sequence: K and P then stay in a cache


class Sequence:
    """The calls of k steps, and their buffers; the ``layers``, pairs W (o, i), b (o,), are changed in place.

    ``masked``: whether the logits of other tasks' outputs are masked.
    """

    def __init__(self, layers, k: int, masked: bool):
        (W, b), *self.upper = layers
        n_outputs, new = len(layers[-1][1]), W.new_empty
        self.W, self.b = W, b
        self.P, self.K, self.D = new(k, len(b)), new(k, k), new(k, len(b))
        self.one, self.eye, self.targets = W.new_ones(1), torch.eye(n_outputs).to(W), new(k, n_outputs)
        self.foreign = torch.empty(k, n_outputs, dtype=torch.bool, device=W.device) if masked else None
        self.outputs = [new(len(b_l)) for _, b_l in self.upper]
        self.inputs = [new(len(b)), *self.outputs][:-1]  # of the upper layers, for one example, as the outputs are
        self.deltas = [*(torch.empty_like(h) for h in self.inputs), new(n_outputs)]
        self.steps: dict[tuple[int, float], list] = {}

    def run(self, x: torch.Tensor, y: torch.Tensor, rates, foreign: torch.Tensor | None = None) -> None:
        """Descend on the cross-entropy of one example after the other.

        x (k, n_inputs), y (k,) and the numbers ``rates`` (k,) are of the examples, and so is ``foreign`` (k, C), which masks
        the logits that belong to other tasks. Raises ``FloatingPointError`` if a loss is not finite.
        """
        torch.addmm(self.b, x, self.W.t(), out=self.P)
        torch.addmm(self.one, x, x.t(), out=self.K)
        torch.index_select(self.eye, 0, y, out=self.targets)
        if foreign is not None:
            self.foreign.copy_(foreign)
        for step in enumerate(rates):
            for call in self.steps.get(step) or self._make_calls(*step):
                call()
        probe = self.D[-1].sum().item()
        if probe - probe != 0:
            raise FloatingPointError("the loss of an example is not finite")
        self.W.addmm_(self.D.t(), x, alpha=-1)
        self.b.sub_(self.D.sum(0))

    def _make_calls(self, i: int, rate: float) -> list:
        """The calls of step i of the sequence."""
        if len(self.steps) >= 4 * len(self.D):  # the rates change all the time
            self.steps.clear()
        logits, delta, calls = self.P[i], self.deltas[-1], []
        if self.upper:
            calls.append(partial(torch.clamp_min, logits, 0, out=self.inputs[0]))
        for (W, b), h, logits in zip(self.upper, self.inputs, self.outputs, strict=True):
            calls.append(partial(torch.addmv, b, W, h, out=logits))
            if logits is not self.outputs[-1]:
                calls.append(logits.relu_)
        if self.foreign is not None:
            calls.append(partial(logits.masked_fill_, self.foreign[i], FOREIGN_LOGIT))
        calls += partial(torch.softmax, logits, 0, out=delta), partial(delta.sub_, self.targets[i])
        for (W, b), h, below in zip(self.upper[::-1], self.inputs[::-1], self.deltas[-2::-1], strict=True):
            calls.append(partial(torch.mv, W.t(), delta, out=below))
            calls += partial(W.addr_, delta, h, alpha=-rate), partial(b.sub_, delta, alpha=rate)
            calls += h.sign_, partial(below.mul_, h)  # the derivative of h's ReLU; h itself has served
            delta = below
        calls.append(partial(torch.mul, delta, rate, out=self.D[i]))
        calls.append(partial(self.P.addr_, self.K[i], self.D[i], alpha=-1))
        self.steps[i, rate] = calls
        return calls
