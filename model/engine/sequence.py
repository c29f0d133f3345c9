"""Steps of SGD on a few examples, one example at a time, for stacks of linear layers and ReLU.

The first layer is by far the largest, and every step changes all of it; but what the examples of the sequence see of it
is little. With X (k, n_inputs) the examples and d_j (o,) the deltas of step j at the first layer, step i finds

    W = W_0 - sum_(j<i) rate_j d_j x_j',   b = b_0 - sum_(j<i) rate_j d_j,

so its pre-activation W x_i + b is p_i - sum_(j<i) rate_j (x_j'x_i + 1) d_j, where P = X W_0' + b_0 is one product for the
whole sequence, and so are K = X X' + 1 and the sum that is added to W_0 at the end. The layers above make each step as it
is, on vectors.
"""

import torch

from model.common import FOREIGN_LOGIT

LENGTH = 128  # examples at most in one sequence: K and P then stay in a cache
_relu_backward = torch.ops.aten.threshold_backward.grad_input


def descend(layers, x: torch.Tensor, y: torch.Tensor, rates, foreign: torch.Tensor | None = None) -> None:
    """Descend on the cross-entropy of one example after the other, in place.

    ``layers`` are pairs W (o, i), b (o,); x (k, n_inputs), y (k,) and the numbers ``rates`` (k,) are of the examples.
    ``foreign`` (k, C) masks the logits that belong to other tasks. Raises ``FloatingPointError`` if a loss is not finite.
    """
    (W, b), *upper = layers
    P = torch.addmm(b, x, W.t())
    K = torch.addmm(b.new_ones(1), x, x.t())
    D = torch.empty_like(P)
    targets = torch.eye(len(layers[-1][1]), dtype=W.dtype, device=W.device)[y]
    inputs = [W.new_empty(W_l.shape[1]) for W_l, _ in upper]
    outputs = [*inputs[1:], W.new_empty(targets.shape[1])]
    up = list(zip(upper, inputs, outputs, strict=False))  # a network of one layer has no layer above the first
    down = [(W_l, W_l.t(), b_l, h, torch.empty_like(h)) for (W_l, b_l), h in zip(upper, inputs, strict=True)][::-1]
    masks = [None] * len(y) if foreign is None else foreign
    for p, k, d, target, mask, rate in zip(P, K, D, targets, masks, rates, strict=True):
        logits = p
        if up:
            torch.clamp_min(p, 0, out=inputs[0])
        for (W_l, b_l), h, logits in up:
            torch.addmv(b_l, W_l, h, out=logits)
            if logits is not outputs[-1]:
                logits.relu_()
        if mask is not None:
            logits.masked_fill_(mask, FOREIGN_LOGIT)
        delta = torch.softmax(logits, 0).sub_(target)
        for W_l, W_t, b_l, h, below in down:
            torch.mv(W_t, delta, out=below)
            _relu_backward(below, h, 0, grad_input=below)
            W_l.addr_(delta, h, alpha=-rate)
            b_l.sub_(delta, alpha=rate)
            delta = below
        torch.mul(delta, rate, out=d)
        P.addr_(k, d, alpha=-1)
    probe = D[-1].sum().item()
    if probe - probe != 0:
        raise FloatingPointError("the loss of an example is not finite")
    W.addmm_(D.t(), x, alpha=-1)
    b.sub_(D.sum(0))
