"""Networks and outputs, as every method uses them: the reference's names, draws and state-dict keys."""

import itertools
import math
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn
from torch.nn import functional as F

from model import UsageError

# What a logit of another task becomes: never the largest, and nothing in a softmax (the reference's value).
FOREIGN_LOGIT = -1e11
IMAGE_INPUTS = 3 * 32 * 32


def Xavier(module: nn.Module) -> None:  # noqa: N802 - the reference's name
    """Glorot's uniform initialisation of a linear layer, zero bias (Glorot & Bengio 2010, eq. 16)."""
    if isinstance(module, nn.Linear):
        fan_out, fan_in = module.weight.shape
        bound = math.sqrt(3.0) * math.sqrt(2.0 / (fan_in + fan_out))
        module.weight.data.uniform_(-bound, bound)
        module.bias.data.fill_(0.0)


def stack(layers, after=()) -> nn.Sequential:
    """The linear ``layers`` with a ReLU after each but the last.

    ``after`` has for each hidden layer the modules (normalisation, dropout) before and behind its ReLU; None: no module.
    """
    parts = []
    for layer, (norm, dropout) in itertools.zip_longest(layers[:-1], after, fillvalue=(None, None)):
        parts += [layer, norm, nn.ReLU(), dropout]
    return nn.Sequential(*(part for part in (*parts, layers[-1]) if part is not None))


class MLP(nn.Module):
    """Linear layers of the given sizes with ReLU between them; ``after`` as in ``stack``."""

    def __init__(self, sizes: list[int], after=()):
        super().__init__()
        self.net = stack([nn.Linear(*pair) for pair in itertools.pairwise(sizes)], after)
        self.net.apply(Xavier)

    def forward(self, x):
        return self.net(x)


def _conv3x3(n_in: int, n_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, kernel_size=3, stride=stride, padding=1, bias=False)


class _Projection(nn.Conv2d):
    """A strided 1x1 convolution without bias.

    On maps that lie pixel by pixel it picks every stride-th pixel and convolves those without a stride: oneDNN's
    strided convolution writes beyond its memory there, in the backward pass with few channels, an odd batch and two
    threads (torch 2.13).
    """

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__(n_in, n_out, kernel_size=1, stride=stride, bias=False)

    def forward(self, x):
        if x.is_contiguous(memory_format=torch.channels_last):
            return F.conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight)
        return super().forward(x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, Figure 2)."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1 = _conv3x3(n_in, n_out, stride)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = _conv3x3(n_out, n_out)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(_Projection(n_in, n_out, stride), nn.BatchNorm2d(n_out))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


_plain_layout = ContextVar("plain_layout", default=False)


@contextmanager
def resnet_layout(plain: bool):
    """Set the memory layout of every ResNet18 that is made inside, also by a foreign module that knows of no layout.

    If ``plain``, maps lie one after another, as the reference's do; else they lie pixel by pixel.
    """
    token = _plain_layout.set(plain)
    try:
        yield
    finally:
        _plain_layout.reset(token)


class ResNet18(nn.Module):
    """The reduced ResNet-18 of the GEM paper: ``width`` feature maps where He et al. have 64; 3 x 32 x 32 inputs.

    It has 1,109,240 parameters with 20 maps and 100 outputs. On a CPU maps lie pixel by pixel (``channels_last``),
    which takes half the time where they are few. They lie map by map where ``resnet_layout`` asks for the reference's
    digits.
    """

    def __init__(self, n_outputs: int, width: int = 20):
        super().__init__()
        self.plain_layout = _plain_layout.get()
        self.conv1 = _conv3x3(3, width)
        self.bn1 = nn.BatchNorm2d(width)
        maps = width
        for index, stride in enumerate((1, 2, 2, 2)):
            n_out = width * 2**index
            stage = nn.Sequential(BasicBlock(maps, n_out, stride), BasicBlock(n_out, n_out, 1))
            setattr(self, f"layer{index + 1}", stage)
            maps = n_out
        self.linear = nn.Linear(maps, n_outputs)

    def forward(self, x):
        x = x.view(-1, 3, 32, 32)
        if not self.plain_layout and x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.linear(F.avg_pool2d(out, 4).flatten(1))


def device(args) -> torch.device:
    """Where data, memories and networks lie: the GPU if ``args.cuda`` says so, else the CPU."""
    return torch.device("cuda" if getattr(args, "cuda", False) else "cpu")


class TaskOutputs:
    """Which of ``n_outputs`` outputs belong to each task: all of them (one shared head), or a set a task.

    ``foreign`` is None for a shared head, else a (n_tasks, n_outputs) mask of the outputs that are not the task's.
    """

    def __init__(self, n_outputs: int, sets: list[list[int]] | None = None):
        self.n_outputs = n_outputs
        self.foreign = None
        self._sets = [] if sets is None else [torch.tensor(sorted(set(s)), dtype=torch.long) for s in sets]
        if sets is not None:
            self.foreign = torch.ones(len(sets), n_outputs, dtype=torch.bool)
            for t, outputs in enumerate(self._sets):
                self.foreign[t, outputs] = False

    def mask_(self, logits: torch.Tensor, tasks) -> torch.Tensor:
        """Fill, in place, the logits (B, n_outputs) that are foreign to ``tasks``: one task, or (B,) of them."""
        return logits if self.foreign is None else logits.masked_fill_(self._foreign_to(logits)[tasks], FOREIGN_LOGIT)

    def own(self, logits: torch.Tensor, tasks) -> torch.Tensor:
        """The logits (B, n_outputs) with 0 in place of those that are foreign to ``tasks``: one task, or (B,) of them."""
        return logits if self.foreign is None else logits.masked_fill(self._foreign_to(logits)[tasks], 0)

    def _foreign_to(self, logits: torch.Tensor) -> torch.Tensor:
        if self.foreign.device != logits.device:
            self.foreign = self.foreign.to(logits.device)
        return self.foreign

    def of(self, task: int) -> torch.Tensor:
        """The outputs of the task, in increasing order, on the CPU; not to be written into."""
        return torch.arange(self.n_outputs) if self.foreign is None else self._sets[task]

    def count(self, task: int) -> int:
        """How many outputs the task has."""
        return len(self.of(task))


def task_outputs(n_outputs: int, n_tasks: int, args) -> TaskOutputs:
    """The outputs of each task: ``args.task_outputs`` (None, or a list of output indices a task) where main set it.

    Otherwise the reference's rule: equal slices for ``cifar100.pt``, one shared head for every other file.
    """
    if hasattr(args, "task_outputs"):
        return TaskOutputs(n_outputs, args.task_outputs)
    if args.data_file == "cifar100.pt":
        return TaskOutputs(n_outputs, equal_slices(n_outputs, n_tasks))
    return TaskOutputs(n_outputs)


def equal_slices(n_outputs: int, n_tasks: int) -> list[list[int]]:
    """The reference's split head: task t owns the outputs [t c, (t + 1) c), c = n_outputs // n_tasks."""
    c = n_outputs // n_tasks
    return [list(range(t * c, (t + 1) * c)) for t in range(n_tasks)]


def outputs_by_label(labels: list[set[int]], n_outputs: int, args) -> list[list[int]] | None:
    """The outputs of each task from its ``labels``: None for a shared head; where labels are disjoint, a set a task.

    ``UsageError`` if ``--head`` asks for what the labels do not allow, or if it does not say what to do with labels that
    are neither the same in every task nor disjoint.
    """
    n_tasks = len(labels)
    slices = equal_slices(n_outputs, n_tasks)
    disjoint = n_tasks > 1 and sum(map(len, labels)) == len(set().union(*labels))
    if args.head == "split" and not disjoint:
        raise UsageError("--head split: the tasks share labels, so no output belongs to one task; give --head shared")
    if args.head == "auto" and not disjoint and any(task != labels[0] for task in labels):
        label, s, t = _shared_label(labels)
        other, u, v = _missing_label(labels)
        raise UsageError(
            f"--head auto: the tasks' labels overlap only in part, since label {label} is in tasks {s} and {t}, and label "
            f"{other} in task {u} and not in task {v}; give --head shared for one "
            "head over all labels, or number the classes of each task anew"
        )
    if args.head == "shared" or not disjoint:
        return None
    if all(task <= set(outputs) for task, outputs in zip(labels, slices, strict=True)):
        return slices
    return [sorted(task) for task in labels]


def _shared_label(labels: list[set[int]]) -> tuple[int, int, int]:
    """A label that two tasks share, and these tasks, of tasks that are not disjoint."""
    first = {}
    for t, task in enumerate(labels):
        if known := task & first.keys():
            return min(known), first[min(known)], t
        first |= dict.fromkeys(task, t)
    raise ValueError("no two tasks share a label")


def _missing_label(labels: list[set[int]]) -> tuple[int, int, int]:
    """A label, a task that has it, and one that has not, of tasks that do not all have the same labels."""
    v, task = next((v, task) for v, task in enumerate(labels) if task != labels[0])
    if missing := labels[0] - task:
        return min(missing), 0, v
    return min(task - labels[0]), v, 0


def unmasked(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The tokens (B, L) that stood there, from what was seen x (B, L) and what was to be told y (B, L), below 0 elsewhere."""
    return torch.where(y < 0, x, y)
