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

from model import UsageError, common
from model.engine import sequence
from model.engine.batch import BatchStep
from model.engine.flat import FlatParameters
from model.engine.held import held_by
from model.engine.layers import Blocks, FirstLayer, KeptFirstLayer, Layer
from model.engine.orthogonal import OrthogonalPass, Span
from model.engine.passes import Pass
from model.numeric.directions import Directions
from model.numeric.gram_basis import GramBasis

FOLD_EVERY = 1_000  # steps after which what is carried along in float32 is computed anew
SIZES = 4  # of steps whose calls are kept: while a reservoir fills, every step has another size
WIDE = 2**24  # operations of a pass from which several threads pay


def linear_layers(net: nn.Module) -> list[nn.Linear] | None:
    """The layers of a net that is a stack of linear layers with ReLU between them; None if it is anything else."""
    stack = getattr(net, "net", None)
    if not isinstance(stack, nn.Sequential) or len(stack) % 2 == 0 or len(list(net.children())) != 1:
        return None
    kinds = [nn.Linear if i % 2 == 0 else nn.ReLU for i in range(len(stack))]
    if any(type(module) is not kind for module, kind in zip(stack, kinds, strict=True)):
        return None
    if any(layer._parameters.get(name) is None for layer in stack[::2] for name in ("weight", "bias")):
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

    While there are rows, the first layer carries more along than its weights; while there are directions to avoid, all
    layers do (``carrier``). So the engine then holds the parameters
    (``held``): whoever else touches one is given them all, complete (``hand_out``). The next call of the engine takes them
    back, and what was written meanwhile counts. If somebody else still refers to their memory, they are complete after
    every step.

    ``form``: ``auto`` keeps the first layer (``layers.KeptFirstLayer``) while the rows last where that takes fewer
    operations; ``kept`` and ``plain`` force it. ``threads`` serve kernels whose digits do not depend on them.

    ``optimizer`` makes steps of gradients; None is plain SGD. ``l1`` is the weight of the mean absolute activations of
    each hidden layer in the loss of the current batch.
    """

    foreign_logit = common.FOREIGN_LOGIT
    waits = True  # for the loss of each step

    def __init__(self, net: nn.Module, outputs, threads: int = 1, form: str = "auto", optimizer=None, l1: float = 0.0):
        self.net, self.outputs, self.threads, self.wanted = net, outputs, threads, form
        self.optimizer, self.l1 = optimizer, l1
        self.flat = FlatParameters(net)
        self.forms: set[str] = set()
        self._linear = linear_layers(net)
        self.stored: Stored | None = None
        self.basis: GramBasis | None = None
        self.layers: list[Layer] | None = None
        self.span: Span | None = None
        self.held, self._held_class = False, None
        self._carried: dict | None = None  # what the carrier is to go on with, once it is made
        self.capacity, self._since_fold, self._passes = 1, 0, {}
        self._steps, self._stepped = {}, None  # lists of calls (`_made`); the theta that they are of

    @property
    def form(self) -> str:
        """The forms that ran, for the record."""
        return " ".join(["fast", *sorted(self.forms)])

    # ---------------------------------------------------------------- parameters

    @property
    def carrier(self) -> FirstLayer | Span:
        """Who carries along more than weights."""
        return self.layers[0] if self.span is None else self.span

    @property
    def theta(self) -> torch.Tensor:
        """All parameters (p,), complete and writable."""
        self._open()
        return self.flat.theta

    def hand_out(self) -> None:
        """Complete and plain parameters, for everybody."""
        if self.held:
            self.held = False
            self.carrier.hand_out()
            self.flat.show()

    def _open(self) -> None:
        """Complete and plain parameters, and ``flat.theta`` made of them."""
        self.hand_out()
        status = self.flat.bind()
        if status == "whole":
            return
        self._linear = linear_layers(self.net)
        if self._linear is None:
            raise UsageError("the network is no longer a stack of linear layers with ReLU; give --engine autograd")
        if status == "new":
            self.layers = None

    def _take(self) -> None:
        """The parameters in the engine's hands; what others did to them meanwhile counts."""
        if self.held and self.flat.in_place():
            return
        self._open()
        if self.layers is None:
            self._build()
        carrier = self.carrier
        carrier.take_back()
        if self.stored is None and self.span is None:
            return
        if self.flat.references() == self._references:
            self.flat.hide(self._held_class)
            self.held, carrier.shown = True, None
        elif carrier.shown is None:
            carrier.hand_out()

    def _build(self) -> None:
        """Layers and buffers for the parameters, stored examples and directions as they are now."""
        self._passes, self.span = {}, None
        theta, others = self.flat.theta, self.flat.references()
        views = self.flat.split(theta)
        blocks = X = None
        if self.stored is not None:
            X, y, tasks, weights, blocks, once = self.stored
            X, weights, y = X.to(theta), weights.to(theta), y.to(theta.device)
            blocks = Blocks(blocks.R, blocks.m, theta.new_empty(0))
            self.stored = Stored(X, y, tasks, weights, blocks, once)
        N = blocks.N if blocks else 0
        wide = self.threads if N * len(theta) > WIDE else 1
        Z = theta.new_zeros(N + self.capacity, len(views[1]))
        if blocks is None and self.basis is not None and self.basis.k:
            self.forms.add("gram")
            self.span = Span(self.basis, views)
            self.layers = self.span.layers(Z)
        else:
            kept = blocks is not None and self._keep(blocks, *views[0].shape)
            first = (KeptFirstLayer if kept else FirstLayer)(*views[:2], blocks, X, Z, wide)
            if blocks is not None:
                self.forms.add("kept" if kept else "plain")
            upper = [Layer(W, b, blocks, wide) for W, b in zip(views[2::2], views[3::2], strict=True)]
            self.layers = [first, *upper]
        if self._carried is not None and self.carrier.fits(self._carried):
            self.carrier.restore(self._carried)
        self._carried = None
        self._references = self.flat.references() - others  # the layers' own
        self._held_class = self._held_class or held_by(self.hand_out)

    def _keep(self, blocks: Blocks, o: int, i: int) -> bool:
        """Whether the first layer is kept: asked for, or cheaper and within the bound on a method's arrays."""
        if self.wanted != "auto" or self.stored.once or self.optimizer is not None:
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
        if once and self.layers is not None and self.stored is not None and self.stored.once:
            blocks = self.stored.blocks
            if (blocks.R, blocks.m) == (len(members), m):
                self._replace(x, y, tasks, values)
                return
        self.clear_rows()
        self.stored = Stored(x, y, tasks, values, Blocks(len(members), m, x), once)

    def _replace(self, x, y, tasks, weights) -> None:
        """Other stored examples of the same number, in the same buffers."""
        self._take()
        theta, first = self.flat.theta, self.layers[0]
        self.stored = Stored(x.to(theta), y.to(theta.device), tasks, weights.to(theta), first.blocks, True)
        first.replace(self.stored.X)
        for each in self._passes.values():
            each.load(self.stored)

    def clear_rows(self) -> None:
        """No stored examples. Raises ``FloatingPointError`` if a parameter is not finite."""
        self.hand_out()
        self._check()
        self.stored = self.layers = self.span = self._carried = None

    def avoid(self, basis: GramBasis) -> None:
        """From here on steps without stored examples are orthogonal to the directions of ``basis``, as they are now.

        To be said again when the basis has changed.
        """
        self.hand_out()
        self._check()
        self.basis, self.layers, self.span, self._carried = basis, None, None, None

    def gradients(self, x: torch.Tensor, y: torch.Tensor, task: int, blended: bool = False) -> Pass:
        """Of the mean cross-entropy of a batch x (B, n_inputs), y (B,) of one task, and of all rows.

        ``blended`` says that products will be asked for with a ``partition.Blend``; a pass is the same. Raises
        ``FloatingPointError`` if the batch's loss is not finite.
        """
        self._take()
        B = len(y)
        return (self._passes.get(B) or self._pass(B)).run(x, y, task)

    # ---------------------------------------------------------------- steps on examples of any tasks

    def step(self, x: torch.Tensor, y: torch.Tensor, tasks, rate: float, weights=None) -> None:
        """A step of SGD on the mean cross-entropy of x (k, n_inputs), y (k,) of ``tasks`` (k,), or the sum with ``weights``.

        With one shared head ``tasks`` may be None. Raises ``FloatingPointError`` if a loss is not finite.
        """
        self._open()
        if self.optimizer is not None or self.l1:
            self.move(self._gradient(x, y, tasks, weights), rate)
            return
        step = self._made(BatchStep, len(y))
        step.run(x, y, rate, weights, None if self.outputs.foreign is None else self.outputs.foreign[tasks])

    def _made(self, kind, *size):
        """A list of calls for steps of this ``kind`` and size, as it was made the first time."""
        if self.flat.theta is not self._stepped:
            self._steps, self._stepped = {}, self.flat.theta
        key = kind, *size
        if key not in self._steps:
            if len(self._steps) == SIZES:
                self._steps.clear()
            self._steps[key] = kind(self._plain_layers(), *size)
        return self._steps[key]

    def _gradient(self, x, y, tasks, weights=None) -> torch.Tensor:
        """The gradient (p,) of the loss of ``step``, with its part of the activations."""
        dlogits = torch.softmax(self.forward(x, tasks), 1)
        dlogits[torch.arange(len(y)), y] -= 1
        probe = dlogits[0, 0].item()
        if probe - probe != 0:
            raise FloatingPointError("the loss of the batch is not finite")
        dlogits = dlogits / len(y) if weights is None else dlogits * weights.unsqueeze(1)
        return self._summed(self.directions(dlogits, self.l1 / len(y)))

    def move(self, g: torch.Tensor, lr: float) -> None:
        """theta -= lr g for a gradient g (p,), or lr times the direction that the optimizer makes of it."""
        self.theta.sub_(self.direction(g), alpha=lr)

    def direction(self, g: torch.Tensor) -> torch.Tensor:
        """What a step of rate 1 along the gradient g (p,) subtracts; not to be written into."""
        return g if self.optimizer is None else self.optimizer.direction(g, self.theta)

    def _plain_layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """W and b of each layer, as views into ``flat.theta``."""
        views = self.flat.split(self.flat.theta)
        return list(zip(views[::2], views[1::2], strict=True))

    def one_by_one(self, x: torch.Tensor, y: torch.Tensor, tasks, rates) -> None:
        """A step of SGD on the cross-entropy of each example in turn: x (k, n_inputs), y (k,), tasks and ``rates`` (k,).

        With one shared head ``tasks`` may be None. Raises ``FloatingPointError`` if a loss is not finite.
        """
        if self.optimizer is not None or self.l1:
            for i, rate in enumerate(rates):
                self.step(x[i : i + 1], y[i : i + 1], None if tasks is None else tasks[i : i + 1], rate)
            return
        self._open()
        foreign = None if self.outputs.foreign is None else self.outputs.foreign[tasks]
        for start in range(0, len(y), sequence.LENGTH):
            at = slice(start, start + sequence.LENGTH)
            steps = self._made(sequence.Sequence, len(y[at]), foreign is not None)
            steps.run(x[at], y[at], rates[at], None if foreign is None else foreign[at])

    def before_step(self, g: Pass) -> None:
        """Take the parameters back for a step along ``g``. Raises ``RuntimeError`` if there are other layers by now."""
        self._take()
        if g.layers is not self.layers:
            raise RuntimeError("descend: the rows, or the parameters' type, have changed; call gradients() again")

    def stepped(self) -> None:
        """Note a step; from time to time compute anew what is carried along."""
        self._since_fold += 1
        if self._since_fold >= FOLD_EVERY:
            self.carrier.fold()
            self._check()
        if not self.held:
            self.carrier.hand_out()

    def _check(self) -> None:
        """Raises ``FloatingPointError`` if a parameter is not finite; they are complete."""
        self._since_fold = 0
        if self.layers is not None and not bool(self.flat.theta.isfinite().all()):
            raise FloatingPointError("a parameter is not finite")

    # ---------------------------------------------------------------- any loss

    def predict(self, x: torch.Tensor, tasks) -> torch.Tensor:
        """Logits (B, n_outputs) with the other tasks' outputs masked; what the engine carries along is not changed."""
        H = x
        for module in self.net.net:
            H = H.relu_() if isinstance(module, nn.ReLU) else module(H)
        return self.outputs.mask_(H, tasks)

    def forward(self, x: torch.Tensor, tasks) -> torch.Tensor:
        """As ``predict``; ``backward`` or ``directions`` may follow."""
        self._open()
        self._inputs, self._tasks = [], tasks
        H = x
        for i, layer in enumerate(self._linear):
            self._inputs.append(H)
            H = torch.addmm(layer.bias.detach(), H, layer.weight.detach().t())
            if i + 1 < len(self._linear):
                H.relu_()
        return self.outputs.mask_(H, tasks)

    def directions(self, dlogits: torch.Tensor, l1: float = 0.0) -> Directions:
        """The gradients of <logits_i, dlogits_i> for each example i, as activations and deltas of every layer.

        With ``l1`` they are those of <logits_i, dlogits_i> + l1 times the mean activation of each hidden layer.
        """
        D = dlogits
        if self.outputs.foreign is not None:
            D = D.masked_fill(self.outputs.foreign[self._tasks], 0)
        deltas = [D]
        for layer, A in zip(self._linear[:0:-1], self._inputs[:0:-1], strict=True):
            below = torch.mm(deltas[-1], layer.weight.data)
            if l1:
                below.add_(l1 / below.shape[1])
            deltas.append(below.mul_(A > 0))
        return Directions(self._inputs, deltas[::-1])

    def backward(self, dlogits: torch.Tensor, per_sample: bool = False) -> torch.Tensor:
        """The gradient (p,) of <logits, dlogits>, a view that the next call overwrites; (B, p) if ``per_sample``."""
        each = self.directions(dlogits)
        return each.dense() if per_sample else self._summed(each)

    def _summed(self, each: Directions) -> torch.Tensor:
        """The sum (p,) of the examples' gradients, in ``flat.grad``."""
        views = self.gradient_views()
        for weight, bias, A, D in zip(views[::2], views[1::2], *each, strict=True):
            torch.mm(D.t(), A, out=weight)
            torch.sum(D, 0, out=bias)
        return self.flat.grad

    @contextmanager
    def recording(self, training: bool = False):
        """For passes that only record: cross-entropy alone. An MLP has nothing to be put into evaluation mode."""
        l1, self.l1 = self.l1, 0.0
        try:
            yield
        finally:
            self.l1 = l1

    memory_pass = recording  # nor statistics to be left alone

    # ---------------------------------------------------------------- state

    def checkpoint(self) -> dict:
        """Exact state beside the parameters: the stored examples, and what is carried along."""
        if self.stored is not None:
            self._take()
        state = {"stored": None, "carried": self._carrier_state(), "since_fold": self._since_fold}
        state["forms"] = sorted(self.forms)
        if self.stored is not None:
            X, y, tasks, weights, blocks, once = self.stored
            state["stored"] = [tensor.clone() for tensor in (X, y, tasks, weights)]
            state["shape"] = [blocks.R, blocks.m, once]
        return state

    def _carrier_state(self) -> dict | None:
        """What is carried along; the parameters are complete."""
        if self.layers is None:
            return self._carried
        self.hand_out()
        return self.carrier.checkpoint()

    def restore(self, state: dict) -> None:
        """The counterpart of ``checkpoint``, after the parameters were loaded."""
        self.clear_rows()
        self._carried = state["carried"]
        if state["stored"] is not None:
            R, m, once = state["shape"]
            tensors = [tensor.clone() for tensor in state["stored"]]
            self.stored = Stored(*tensors, Blocks(R, m, tensors[0]), once)
            self._take()
        self._since_fold, self.forms = state["since_fold"], set(state["forms"])

    def __getstate__(self) -> dict:
        """For copies and pickles: complete parameters, and what is carried along; layers and buffers are made anew."""
        carried = self._carrier_state()
        gone = {"layers": None, "span": None, "_passes": {}, "_steps": {}, "_stepped": None, "_held_class": None}
        return {**self.__dict__, **gone, "_carried": carried}
