"""What ER and MER share (Riemer et al. 2019): a reservoir of examples, and learning from them example by example."""

import functools
from typing import NamedTuple

import torch

from model import UsageError
from model.learner import Learner
from model.memory import ReservoirMemory


class Examples(NamedTuple):
    """x (k, n_inputs), y (k,) and the task ids (k,) of examples; the ids are None where nobody tells tasks apart."""

    x: torch.Tensor
    y: torch.Tensor
    tasks: torch.Tensor | None

    def at(self, index: torch.Tensor) -> "Examples":
        """The examples with these indices."""
        x, y, tasks = self
        there = index.to(x.device)
        return Examples(x[there], y[there], None if tasks is None else tasks[index])


@functools.cache
def task_id(t: int) -> torch.Tensor:
    """t as a tensor (1,), which takes as long to make as a step on a layer."""
    return torch.tensor([t])


class ReplayLearner(Learner):
    """A ``Learner`` with a reservoir of ``--memories`` examples, of which ``--replay_batch_size`` are replayed at a time.

    The stream is learned example by example, whatever ``--batch_size``. Draws come from the reservoir's own generator.
    An example costs a step on ten, which takes as long as the calls of torch that it makes: each of them counts.
    """

    CACHES = ("_batch",)
    by_task = False  # whether the method weighs examples by their tasks
    first_task_differs = "stored examples are replayed from the second example on"
    cannot_unlearn = "it replays stored examples, and has no rule for ascending on some of them"

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        if self.args.norm == "batch":
            raise UsageError(
                f"--norm batch: {self.name} learns one example at a time, and batch normalisation needs two in a batch; "
                "give --norm layer"
            )
        for name in ("memories", "replay_batch_size"):
            if getattr(self.args, name) < 1:
                raise UsageError(
                    f"--{name} {getattr(self.args, name)}: {self.name} replays stored examples; give 1 or more"
                )
        self.memory = ReservoirMemory(self.args.memories, self.args.seed, "memories")
        self._batch: tuple | None = None  # the latest of `with_drawn`: its size and form, and what `_make_batch` made

    @property
    def tells_tasks(self) -> bool:
        """Whether anything depends on the task of an example: its weight, or its outputs."""
        return self.by_task or self.outputs.foreign is not None

    def examples(self, x, t: int, y):
        """Each example of a batch of task t, as ``Examples`` of length 1. It is offered to the reservoir after its step."""
        if t != self.task:
            self.begin(t)
        ids = task_id(t) if self.tells_tasks else None
        for one_x, one_y in ((x, y),) if len(y) == 1 else zip(x.split(1), y.split(1), strict=True):
            yield Examples(one_x, one_y, ids)
            self.memory.write(t, one_x, one_y)

    def with_drawn(self, current: Examples, last: bool = False) -> Examples:
        """The current example and ``--replay_batch_size`` stored ones, or all if fewer are stored; the current one first.

        Each is drawn uniformly from all that are stored. ``last``: the current one comes last. The next call overwrites them.
        """
        memory = self.memory
        n = min(self.args.replay_batch_size, len(memory))
        if self._batch is None or self._batch[0] != (n, last):
            self._batch = (n, last), *self._make_batch(current, n, last)
        _, E, (x, y, tasks), places, index = self._batch
        for place, part in zip(places, current, strict=True):
            if part is not None:
                place.copy_(part)
        if n:
            memory.draw(n, out=index)
            there = index.to(x.device) if x.is_cuda else index
            torch.index_select(memory.x, 0, there, out=x)
            torch.index_select(memory.y, 0, there, out=y)
            if tasks is not None:
                torch.index_select(memory.tasks, 0, index, out=tasks)
        return E

    @staticmethod
    def _make_batch(like: Examples, n: int, last: bool) -> tuple[Examples, Examples, Examples, torch.Tensor]:
        """Memory for n drawn examples and the current one: the batch, views of both, and the drawn indices."""
        E = [None if part is None else part.new_empty(n + 1, *part.shape[1:]) for part in like]
        drawn, place = (slice(n), slice(n, None)) if last else (slice(1, None), slice(1))
        views = (Examples(*(None if part is None else part[at] for part in E)) for at in (drawn, place))
        return Examples(*E), *views, torch.empty(n, dtype=torch.long)

    def __getstate__(self):
        """The state for copies and pickles, in which the views of a batch would not be views of it."""
        return {**self.__dict__, "_batch": None}

    def parameters_now(self) -> torch.Tensor:
        """A copy of all parameters (p,)."""
        return self.engine.theta.clone()

    def go_from(self, start: torch.Tensor, rate: float) -> None:
        """Reptile's step: theta <- start + rate (theta - start)."""
        theta = self.engine.theta
        torch.lerp(start, theta, rate, out=theta)
