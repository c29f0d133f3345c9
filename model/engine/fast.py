"""The engine for stacks of linear layers and ReLU, without autograd: one pass for the batch and all stored examples.

With activations a_{l-1} entering layer l and deltas d_l leaving it, the gradient of one example's loss is d_l a_{l-1}' for
the weights and d_l for the bias. So the inner product of two examples' gradients is

    sum_l <d_l, d'_l> (<a_{l-1}, a'_{l-1}> + 1),

and a weighted sum of gradients is one matrix product of the weighted deltas with the activations. docs/engine.md has the
algebra on one page, and the cost of each form.
"""

from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from model import common
from model.engine.flat import FlatParameters
from model.engine.layers import Blocks, FirstLayer, KeptFirstLayer, Layer
from model.engine.orthogonal import OrthogonalPass, Span, SpanFirstLayer, SpanLayer
from model.engine.passes import Pass
from model.numeric.directions import Directions
from model.numeric.gram_basis import GramBasis

FOLD_EVERY = 1_000  # steps after which what is carried along in float32 is computed anew
WIDE = 2**24  # operations of a pass from which several threads pay


def linear_layers(net: nn.Module) -> list[nn.Linear] | None:
    """The layers of a net that is a stack of linear layers with ReLU between them; None if it is anything else."""
    stack = getattr(net, "net", None)
    if not isinstance(stack, nn.Sequential) or len(stack) % 2 == 0 or len(list(net.children())) != 1:
        return None
    kinds = [nn.Linear if i % 2 == 0 else nn.ReLU for i in range(len(stack))]
    if any(type(module) is not kind for module, kind in zip(stack, kinds, strict=True)):
        return None
    return list(stack[::2])


class Stored(NamedTuple):
    """The stored examples in blocks of equal size: X (N, n_inputs), y (N,), task ids (N,), weights (N,)."""

    X: torch.Tensor
    y: torch.Tensor
    tasks: torch.Tensor
    weights: torch.Tensor
    blocks: Blocks
    once: bool


class FastEngine:
    """Gradients of an MLP with respect to its flat parameters.

    ``form``: ``auto`` keeps the first layer (``layers.KeptFirstLayer``) while the rows last where that takes fewer
    operations; ``kept`` and ``plain`` force it. ``threads`` serve kernels whose digits do not depend on them.
    """

    foreign_logit = common.FOREIGN_LOGIT

    def __init__(self, net: nn.Module, outputs, threads: int = 1, form: str = "auto"):
        self.net, self.outputs, self.threads, self.wanted = net, outputs, threads, form
        self.flat = FlatParameters(net)
        self.forms: set[str] = set()
        self._linear = linear_layers(net)
        self.stored: Stored | None = None
        self.basis: GramBasis | None = None
        self.span: Span | None = None
        self.layers: list[Layer] | None = None
        self.capacity, self._since_fold, self._passes = 1, 0, {}
        self._complete = None

    @property
    def form(self) -> str:
        """The forms that ran, for the record."""
        return " ".join(["fast", *sorted(self.forms)])

    # ---------------------------------------------------------------- parameters

    @property
    def theta(self) -> torch.Tensor:
        """All parameters (p,), complete and writable."""
        self._bind()
        self.fold()
        return self.flat.theta

    def _bind(self) -> None:
        """Views whole, layers made. Parameters changed from outside count as they are now."""
        status = self.flat.bind()
        if status == "whole" and self.layers is not None:
            return
        if status == "rebound" and self.layers is not None:  # the same values elsewhere: what they lacked still counts
            views = self.flat.split(self.flat.theta)
            self.layers[0].add_to(*views[:2])
            if self.span is not None:
                self.span.add_to(views)
        self._build()

    def _build(self) -> None:
        """Layers and buffers for the parameters and stored examples as they are now."""
        theta = self.flat.theta
        views = self.flat.split(theta)
        blocks = X = None
        if self.stored is not None:
            X, y, tasks, weights, blocks, once = self.stored
            X, weights, y = X.to(theta), weights.to(theta), y.to(theta.device)
            blocks = Blocks(blocks.R, blocks.m, theta)
            self.stored = Stored(X, y, tasks, weights, blocks, once)
        N = blocks.N if blocks else 0
        wide = self.threads if N * len(theta) > WIDE else 1
        Z = theta.new_zeros(N + self.capacity, len(views[1]))
        kept = blocks is not None and self._keep(blocks, *views[0].shape)
        first = (KeptFirstLayer if kept else FirstLayer)(*views[:2], blocks, X, Z, wide)
        if blocks is not None:
            self.forms.add("kept" if kept else "plain")
        upper = [Layer(W, b, blocks, wide) for W, b in zip(views[2::2], views[3::2], strict=True)]
        self.layers, self._passes, self._complete, self.span = [first, *upper], {}, None, None
        if blocks is None and self.basis is not None and self.basis.k:
            self.forms.add("gram")
            self.span = Span(self.basis)
            share, *shares = self.basis.shares
            self.layers[0] = SpanFirstLayer(*views[:2], Z, share, self.span.c)
            for l, share in enumerate(shares, start=1):
                self.layers[l] = SpanLayer(*views[2 * l : 2 * l + 2], share, self.span.c)

    def _keep(self, blocks: Blocks, o: int, i: int) -> bool:
        """Whether the first layer is kept: asked for, or cheaper and within the bound on a method's arrays."""
        if self.wanted != "auto" or self.stored.once:
            return self.wanted == "kept"
        t = len(self.stored.tasks.unique())
        bound = max(4 * (t + 1) * len(self.flat.theta), 4 * blocks.N * o)
        return bound >= blocks.N**2 and KeptFirstLayer.pays(blocks, o, i)

    def _pass(self, B: int) -> Pass:
        """Buffers for batches of B examples."""
        if self.capacity < B:
            self.capacity, self._passes = B, {}
            self.layers[0].extend(B)
        if self.span is None:
            self._passes[B] = Pass(self, self.layers, self.stored, B)
        else:
            self._passes[B] = OrthogonalPass(self, self.layers, self.span, B)
        return self._passes[B]

    def gradient_views(self) -> list[torch.Tensor]:
        """Views into ``flat.grad`` in the shapes of the parameters."""
        return self.flat.split(self.flat.grad)

    # ---------------------------------------------------------------- cross-entropy over a batch and stored examples

    def set_rows(self, x, y, tasks, weights, once: bool = False) -> None:
        """The stored examples x (N, n_inputs), y (N,), task ids (N,), and the rows as signed weights (R, N) over them.

        Row r's gradient is that of sum_n weights[r, n] CE_n. ``once`` says that the rows serve for one step only.
        """
        members = [row.nonzero()[:, 0] for row in weights]
        m = max(1, *map(len, members))
        # rows of unequal size are filled up with examples of weight 0
        index = torch.cat([torch.cat((j, j.new_zeros(m - len(j)))) for j in members])
        values = torch.cat([torch.cat((w[j], w.new_zeros(m - len(j)))) for w, j in zip(weights, members, strict=True)])
        if not torch.equal(index, torch.arange(len(x))):
            at = index.to(x.device)
            x, y, tasks = x[at], y[at], tasks[index]
        before, self.stored = self.stored, Stored(x, y, tasks, values, Blocks(len(members), m, x), once)
        if once and before is not None and before.once and before.weights.shape == values.shape and self.layers:
            self._replace()
        else:
            self._settle()
            self.layers = None

    def _replace(self) -> None:
        """Other stored examples of the same number, in the same buffers."""
        theta, blocks = self.flat.theta, self.layers[0].blocks
        X, y, tasks, weights, _, once = self.stored
        self.stored = Stored(X.to(theta), y.to(theta.device), tasks, weights.to(theta), blocks, once)
        self.layers[0].replace(self.stored.X)
        for each in self._passes.values():
            each.load(self.stored)

    def clear_rows(self) -> None:
        """No stored examples."""
        self._settle()
        self.stored = self.layers = None

    def avoid(self, basis: GramBasis) -> None:
        """Steps without stored examples are orthogonal to the directions of ``basis``, as they are now, from here on.

        To be said again when directions have come to it; ``fold`` before any are taken from it.
        """
        self._settle()
        self.basis, self.layers, self.span = basis, None, None

    def gradients(self, x: torch.Tensor, y: torch.Tensor, task: int, blend=None) -> Pass:
        """Of the mean cross-entropy of a batch x (B, n_inputs), y (B,) of one task, and of all rows.

        ``blend`` (``blocks.Blend``) is for products that are asked for later; a pass does not need it. Raises
        ``FloatingPointError`` if the batch's loss is not finite.
        """
        self._bind()
        B = len(y)
        return (self._passes.get(B) or self._pass(B)).run(x, y, task)

    def stepped(self) -> None:
        """Note a step; from time to time compute anew what is carried along."""
        self._complete = None
        self._since_fold += 1
        if self._since_fold >= FOLD_EVERY:
            self._settle()

    def _settle(self) -> None:
        """Complete weights; raises ``FloatingPointError`` if a parameter is not finite."""
        self._since_fold = 0
        if self.layers is not None:
            self.fold()
            if not bool(self.flat.theta.isfinite().all()):
                raise FloatingPointError("a parameter is not finite")

    # ---------------------------------------------------------------- any loss

    def predict(self, x: torch.Tensor, tasks) -> torch.Tensor:
        """Logits (B, n_outputs) with the other tasks' outputs masked, from complete parameters; no state is touched."""
        H = x
        for i, (layer, (W, b)) in enumerate(zip(self._linear, self._weights(), strict=True)):
            if torch.is_grad_enabled() and W is not layer.weight:  # gradients reach the parameters all the same
                W, b = layer.weight + (W - layer.weight).detach(), layer.bias + (b - layer.bias).detach()
            H = F.linear(H.relu_() if i else H, W, b)
        return self.outputs.mask_(H, tasks)

    def _weights(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each layer's complete weight and bias."""
        plain = [(layer.weight, layer.bias) for layer in self._linear]
        if self.layers is None:
            return plain
        first, span = self.layers[0], self.span
        lacking = (first.kept and not first.stale) or (span is not None and span.moved)
        if not lacking or self.flat.bind(look=True) != "whole":
            return plain
        if self._complete is None:
            if span is not None:
                views = [p.detach().clone() for p in self.flat.parameters]
                span.add_to(views)
                self._complete = list(zip(views[::2], views[1::2], strict=True))
            else:
                self._complete = [first.effective(), *plain[1:]]
        return self._complete

    def forward(self, x: torch.Tensor, tasks) -> torch.Tensor:
        """As ``predict``; ``backward`` or ``directions`` may follow."""
        self._bind()
        self._inputs, self._used, self._tasks = [], [(W.detach(), b.detach()) for W, b in self._weights()], tasks
        H = x
        for i, (W, b) in enumerate(self._used):
            H = torch.addmm(b, H.relu_() if i else H, W.t())
            self._inputs.append(H)
        self._inputs = [x, *self._inputs[:-1]]
        return self.outputs.mask_(H, tasks)

    def directions(self, dlogits: torch.Tensor) -> Directions:
        """The gradients of <logits_i, dlogits_i> for each example i, as activations and deltas of every layer."""
        D = dlogits
        if self.outputs.foreign is not None:
            D = D.masked_fill(self.outputs.foreign[self._tasks], 0)
        deltas = [D]
        for (W, _), A in zip(self._used[:0:-1], self._inputs[:0:-1], strict=True):
            deltas.append(torch.mm(deltas[-1], W).mul_(A > 0))
        return Directions(self._inputs, deltas[::-1])

    def backward(self, dlogits: torch.Tensor, per_sample: bool = False) -> torch.Tensor:
        """The gradient (p,) of <logits, dlogits>, a view that the next call overwrites; (B, p) if ``per_sample``."""
        each, views = self.directions(dlogits), self.gradient_views()
        if per_sample:
            return each.dense()
        for weight, bias, A, D in zip(views[::2], views[1::2], *each, strict=True):
            torch.mm(D.t(), A, out=weight)
            torch.sum(D, 0, out=bias)
        return self.flat.grad

    @contextmanager
    def recording(self):
        """For passes that only record; an MLP has nothing to be put into evaluation mode."""
        yield

    # ---------------------------------------------------------------- state

    def complete(self, state: dict, prefix: str) -> None:
        """Put the complete parameters into a state dict of ``net``."""
        for l, (W, b) in enumerate(self._weights()):
            state[f"{prefix}net.{2 * l}.weight"], state[f"{prefix}net.{2 * l}.bias"] = W.detach(), b.detach()

    def fold(self) -> None:
        """Complete parameters in the network itself, before it is converted, moved or loaded."""
        if self.layers is not None:
            self.layers[0].fold()
            if self.span is not None:
                self.span.add_to(self.flat.split(self.flat.theta))
                self.span.clear()
            self._complete = None

    def checkpoint(self) -> dict:
        """Exact state beside the parameters: the stored examples, and what is carried along."""
        if self.stored is None:
            return {
                "stored": None,
                "span": None if self.span is None else self.span.c.clone(),
                "since_fold": self._since_fold,
            }
        X, y, tasks, weights, blocks, once = self.stored
        first = None if self.layers is None else self.layers[0].checkpoint()
        return {
            "stored": [tensor.clone() for tensor in (X, y, tasks, weights)],
            "shape": [blocks.R, blocks.m, once],
            "first": first,
            "since_fold": self._since_fold,
        }

    def restore(self, state: dict) -> None:
        """The counterpart of ``checkpoint``, after the parameters were loaded."""
        self.clear_rows()
        if state["stored"] is None:
            self._since_fold = state["since_fold"]
            if state["span"] is not None:
                self._bind()
                self.span.c.copy_(state["span"])
                self.span.moved = True
            return
        R, m, once = state["shape"]
        tensors = [tensor.clone() for tensor in state["stored"]]
        self.stored = Stored(*tensors, Blocks(R, m, tensors[0]), once)
        self._bind()
        if state["first"] is not None:
            self.layers[0].restore(state["first"])
        self._since_fold = state["since_fold"]
