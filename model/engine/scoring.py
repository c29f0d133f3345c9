r"""Which examples an MLP gets right, as a fact about its parameters: not about kernels, threads or chunks.

A float32 product is rounded, differently by every kernel. With u = 2^-24, gamma_n = n u / (1 - n u), h and z the computed
inputs and outputs of a layer and E a bound on the Euclidean norm of the error so far, any order of the sum gives

    E_l <= |W_l| E_(l-1) + gamma_(m+1) (|W_l|_F |h| + |b_l|) + tiny            (Higham 2002, section 3.1)

because a ReLU does not increase a distance. m is the nonzero numbers in h: the products of the others are 0, and adding 0
rounds nothing. The pixels of a test set are counted once; most may be black. Elsewhere m is the width of h.

So an example is right if its own logit exceeds all others by more than sqrt(2) E_L, and wrong if another exceeds it by
more. The others are computed again in float64, and those that float64 does not decide either once more, one by one, on one
thread: there the label is right if no logit is larger, and no equal one has a lower index.

On bytes the first layer may be a product of integers (`numeric.integers`), whose error is a hundredth of float32's.
"""

import math
from typing import NamedTuple

import torch

from model import UsageError
from model.engine.flat import threads
from model.numeric import integers

SAFETY = 1.01  # for the rounding of the bounds themselves
TINY = 2.0**-100  # underflow
SMALL = 2.0**-63  # numbers whose squares a norm in float32 may lose
UNITS = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


class Sizes(NamedTuple):
    """What the rounding of a layer depends on, of its inputs h (B, n): gamma_(m+1) and gamma_(m+1) |h|, each (B,)."""

    gamma: torch.Tensor
    length: torch.Tensor

    def rows(self, index) -> "Sizes":
        """Those of some of the inputs."""
        return Sizes(self.gamma[index], self.length[index])


def sizes(h: torch.Tensor, counted: bool = False) -> Sizes:
    """Of inputs h (B, n) in float32 or float64; with m = n unless they are to be ``counted``, which takes a while."""
    n, unit = h.shape[1], UNITS[h.dtype]
    length = torch.linalg.vector_norm(h, dim=1).add_(SMALL * math.sqrt(n))
    # a product with ones counts in a third of the time that a sum over truth values takes
    terms = (h.sign().abs_() @ h.new_ones(n)).add_(1) if counted else torch.full_like(length, n + 1)
    gamma = terms.mul_(unit / (1 - (n + 1) * unit))
    return Sizes(gamma, length.mul_(gamma))


class Scorer:
    """Counts of right answers of a stack of linear layers with ReLU; ``layers`` are pairs W (o, i), b (o,) in float32.

    Where tasks have outputs of their own there are two counts: one among the task's outputs, and one among all outputs. A
    margin is then a row for each of the two, (2, B), else (1, B).

    ``outputs`` are the tasks' outputs (`common.TaskOutputs`). ``floats`` turns stored inputs into float32; signed bytes
    (int8) go through the first layer as integers. ``again`` counts examples computed again, ``singly`` those of them that
    float64 could not decide.
    """

    def __init__(self, layers, outputs, floats):
        self.layers, self.outputs, self.floats = layers, outputs, floats
        self.norms = [(_spectral(W), float(W.double().norm()), float(b.double().norm())) for W, b in layers]
        self.examples = self.integers = self.again = self.singly = 0
        self._bytes = self._double = None

    def add_to(self, tally: dict) -> None:
        """Add the counts to those of ``nothing()``."""
        for name in tally:
            tally[name] += getattr(self, name)

    def right(self, x: torch.Tensor, y: torch.Tensor, task: int, known: Sizes | None = None) -> int:
        """How many of the stored inputs x (B, n_inputs) with labels y (B,) of one task its own outputs answer rightly.

        ``known`` are the ``sizes`` of the floats that x stands for, where the caller has them.
        """
        return self.counts(x, y, task, known)[0]

    def counts(self, x: torch.Tensor, y: torch.Tensor, task: int, known: Sizes | None = None) -> list[int]:
        """As ``right``, followed by the count among all outputs where tasks have outputs of their own."""
        return self.answers(x, y, task, known).sum(1).tolist()

    def answers(self, x: torch.Tensor, y: torch.Tensor, task, known: Sizes | None = None) -> torch.Tensor:
        """Which examples are right (1 or 2, B), for each count; ``task`` may be the tasks (B,) of the examples."""
        right, doubtful = self._decide(*self._margins(x, y, task, known))
        self.examples += len(y)
        if len(doubtful):
            self.again += len(doubtful)
            right[:, doubtful] = self._in_float64(self.floats(x[doubtful]).double(), y[doubtful], _of(task, doubtful))
        return right

    def _in_float64(self, x, y, task) -> torch.Tensor:
        """As ``answers``, for examples that float32 could not decide."""
        right, doubtful = self._decide(*self._margins_of(x, y, task, self._in_double(), sizes(x)))
        self.singly += len(doubtful)
        with threads(1):
            for i in doubtful.tolist():
                right[:, i] = torch.tensor(self._single(x[i], int(y[i]), _of(task, i)))
        return right

    @staticmethod
    def _decide(margin, bound) -> tuple[torch.Tensor, torch.Tensor]:
        """Which examples are right where no count doubts it, and the indices of those where one does."""
        right = margin > bound
        doubtful = ~(right | (margin < -bound)).all(0)  # a nan is doubtful
        return right, doubtful.nonzero()[:, 0]

    def _margins(self, x, y, task, known=None):
        if x.dtype != torch.int8:
            x = self.floats(x)
            return self._margins_of(x, y, task, self.layers, known or sizes(x))
        if self._bytes is None:
            self._bytes = integers.ByteLayer(*self.layers[0])
        self.integers += len(y)
        # pixels in float32 are rounded themselves
        pixels = UNITS[torch.float32] * self.norms[0][1] * math.sqrt(x.shape[1])
        error = torch.tensor(float(self._bytes.errors.norm()) + pixels)
        return self._rest(self._bytes(x), error, y, task, self.layers)

    def _margins_of(self, x, y, task, layers, known):
        """By how much the label's logit exceeds all others, of each count, and the bound on its error (B,)."""
        W, b = layers[0]
        error = self._rounding(0, known)
        return self._rest(torch.addmm(b, x, W.t()), error, y, task, layers)

    def _rest(self, z, error, y, task, layers):
        for i, (W, b) in enumerate(layers[1:], start=1):
            h = z.relu_()
            error = error * self.norms[i][0] + self._rounding(i, sizes(h))
            z = torch.addmm(b, h, W.t())
        z = z.t().contiguous()
        label = y.unsqueeze(0)
        own = z.gather(0, label)[0]
        z.scatter_(0, label, -math.inf)
        margins = [own - z.amax(0)]
        if self.outputs.foreign is not None:
            foreign = self.outputs.foreign[task].view(-1, len(z))  # of the one task, or of each example
            z.masked_fill_(foreign.t(), -math.inf)
            strange = foreign.expand(len(y), -1).gather(1, y.unsqueeze(1))[:, 0]  # a label that is not the task's
            margins.insert(0, own.masked_fill(strange, -math.inf) - z.amax(0))
        return torch.stack(margins), error * (math.sqrt(2) * SAFETY)

    def _rounding(self, i: int, inputs: Sizes) -> torch.Tensor:
        """What layer i adds to the error (B,)."""
        _, frobenius, bias = self.norms[i]
        return (inputs.length * frobenius).add_(inputs.gamma, alpha=bias).add_(TINY)

    def _single(self, x, y: int, task: int) -> list[bool]:
        layers = self._in_double()
        for i, (W, b) in enumerate(layers):
            x = torch.addmv(b, W, x.relu() if i else x)
        rights = [_is_first(x, y)]
        if self.outputs.foreign is not None:
            x[self.outputs.foreign[task]] = -math.inf
            rights.insert(0, _is_first(x, y))
        return rights

    def _in_double(self):
        if self._double is None:
            self._double = [(W.double(), b.double()) for W, b in self.layers]
        return self._double


def _of(task, index):
    """The tasks of some examples; ``task`` is the one of all, or a tensor."""
    return task[index] if isinstance(task, torch.Tensor) else task


def _is_first(z: torch.Tensor, y: int) -> bool:
    """Whether no entry of z (C,) is larger than the one of index y, and no equal one has a lower index."""
    return bool(z[y] > -math.inf) and bool((z[:y] < z[y]).all()) and bool((z[y + 1 :] <= z[y]).all())


def _spectral(W: torch.Tensor) -> float:
    """An upper bound on W's spectral norm, within a few percent as a rule: |(W W')^4|_F^(1/8)."""
    W = W.double()
    square = W @ W.t() if len(W) <= W.shape[1] else W.t() @ W
    size = float(square.norm())
    if not 0 < size < math.inf:
        return math.sqrt(size) if size == 0 else math.inf
    square = square / size
    for _ in range(2):
        square = square @ square
    return math.sqrt(size * float(square.norm()) ** 0.25)


def nothing() -> dict:
    """Counts of a run's evaluations, before the first: examples, those in integers, and those computed again."""
    return dict.fromkeys(("examples", "integers", "again", "singly"), 0)


def of(model, floats) -> Scorer | None:
    """The scorer of one of our methods with an MLP in float32 on the CPU, as its parameters are now; None of any other."""
    layers = getattr(model, "complete_layers", lambda: None)()
    return None if layers is None else Scorer(layers, model.outputs, floats)


def in_integers(model, wanted: str, are_bytes: bool) -> bool:
    """Whether test sets are to be signed bytes, as ``--evaluation`` asks; ``UsageError`` if that is not possible."""
    if wanted == "float32":
        return False
    layers = getattr(model, "complete_layers", lambda: None)()
    reason = None
    if layers is None:
        reason = "only an MLP in float32, on the CPU and without --parity yes, is evaluated so"
    elif not are_bytes:
        reason = "the pixels of the data file are not all k / 255"
    elif not integers.exact(layers[0][0].shape[1], layers[0][0].shape[0]):
        reason = "products of integers are wrong on this processor"
    if wanted == "integer" and reason:
        raise UsageError(f"--evaluation integer: {reason}; give --evaluation auto")
    return reason is None and (wanted == "integer" or integers.quick())
