"""What a run learns from: the tasks of a data file, and the stream of their mini-batches."""

import bisect
import itertools
import os
import random
from typing import NamedTuple

import torch

from data import files, joint, standard
from data.cut import cut
from experiment import problem
from model import UsageError, common, room

LONGEST = 10**9  # examples of a stream, whose order is drawn before the first is learned
PLACE = 16  # bytes of a place in that order: in the list that is drawn, and in the tensor made of it


class Datasets(NamedTuple):
    """Tasks as a run sees them: ``[description, x (N, n_inputs), y (N,)]`` each, cut to the first ``n_tasks``.

    The training images are still in the file. ``Continuum`` reads those that it will show. ``problem`` says what is to be
    learned from them. A test task's y may hold several targets an example, -100 where there is none.
    """

    train: list
    test: list
    n_inputs: int
    n_outputs: int
    n_tasks: int
    outputs: list[list[int]] | None  # the outputs of each task; None: one shared head
    problem: problem.Images | problem.MaskedText
    file: files.DataFile  # what it was cut from; its ``bytes``: every pixel is one that a byte stands for

    @property
    def hash(self) -> str:
        return self.file.hash


def load_datasets(args) -> Datasets:
    """Read the data file, building it first if it is a standard one; cut it, then derive the outputs from the labels."""
    path = os.path.join(args.data_path, args.data_file)
    standard.ensure(path, args.raw_path)
    file = files.examine(path, args.verify)
    posed = problem.of(file, args)
    train, test = cut(file.train, file.test, args.data_file, args.first_task, args.n_tasks, args.validation)
    n_inputs, (n_outputs, outputs) = train[0][1].shape[1], posed.outputs(train, test)
    test = placed(posed.tests(files.in_memory(test)), common.device(args))
    return Datasets(train, test, n_inputs, n_outputs, len(train), outputs, posed, file)


def placed(tasks: list, device: torch.device) -> list:
    """The tasks (description, x, y) on a device, x as it is stored; tensors that tasks share are moved once."""
    of = {id(tensor): tensor for _, *pair in tasks for tensor in pair}
    of = {key: tensor.to(device) for key, tensor in of.items()}
    return [(name, of[id(x)], of[id(y)]) for name, x, y in tasks]


class Continuum:
    """The stream of mini-batches ``(x (B, n_inputs), task, y (B,))``: task after task, each shuffled once an epoch.

    The draws are the reference's, in its order: ``torch.randperm`` for the order of tasks if they are shuffled, another
    for each task's samples, then ``random.shuffle`` for each task and epoch. ``position`` is the number of batches
    given so far; setting it moves the stream.

    With ``together`` it is one stream of all tasks, and "tasks" are equal parts of it (``data.joint``). Its batches mix
    tasks unless ``split``. ``shown(x, y, place)`` makes what is learned of the stored examples at a place of the stream.

    An epoch ends with the batch that holds its last example, also where that batch holds examples of the next one.
    ``end_task`` leaves out the rest of the present task. All draws are made before the first batch, so that those of later
    tasks stay. ``ended`` says how many batches are left of the tasks ended so; setting it ends them.
    """

    def __init__(self, data: list, args, together: bool = False, split: bool = False, shown=problem.Images.shown):
        self.batch_size, self.n_epochs, self.together, self.shown = args.batch_size, args.n_epochs, together, shown
        self.position = 0
        self.order = list(range(len(data)))
        if args.shuffle_tasks == "yes":
            self.order = torch.randperm(len(data)).tolist()
        chosen, samples = [], []  # the examples that will be shown, and their places there in the order of the draws
        for name, x, y in data:
            n = min(args.samples_per_task, len(x)) if args.samples_per_task > 0 else len(x)
            rows, places = torch.randperm(len(x))[:n].unique(return_inverse=True)
            chosen.append((name, x[rows], y[rows]))
            samples.append(places.tolist())
        self.task_sizes = list(map(len, samples))  # the examples of each task, those of one epoch
        total = args.n_epochs * sum(self.task_sizes)
        if total > LONGEST:
            most = LONGEST // sum(self.task_sizes)
            raise UsageError(f"--n_epochs {args.n_epochs}: more than {LONGEST:,} examples in all; give {most} or fewer")
        room.require(PLACE * total, f"--n_epochs {args.n_epochs}: the order of {total:,} examples")
        device = common.device(args)
        self.data = placed(files.in_memory(chosen), device)
        runs = []  # (task, its examples in the order of learning)
        for task in self.order:
            examples = []
            for _ in range(args.n_epochs):
                random.shuffle(epoch := list(samples[task]))
                examples += epoch
            runs.append((task, torch.tensor(examples)))
        if together:
            self.order = list(range(len(data)))
            runs = list(enumerate(joint.parts(runs, args.n_epochs, args.seed, self.batch_size if split else None)))
        self._runs = [(task, examples.to(device)) for task, examples in runs]
        self._examples = dict(self._runs)
        self._before = [0, *itertools.accumulate(self.samples_per_task())]  # examples before each run, then in all
        self.ended = {}

    @property
    def ended(self) -> dict[int, int]:
        """The tasks that ended early: how many of their batches were given."""
        return self._ended

    @ended.setter
    def ended(self, batches: dict[int, int]) -> None:
        self._ended = dict(batches)
        lengths = [self._ended.get(task, -(-len(examples) // self.batch_size)) for task, examples in self._runs]
        self._firsts = [0, *itertools.accumulate(lengths)]  # the number of each run's first batch, then of all

    def __len__(self) -> int:
        return self._firsts[-1]

    def _run_before(self, position: int) -> int:
        """Which run has the batch before ``position``; the first if there is none."""
        return bisect.bisect_left(self._firsts, max(position, 1)) - 1

    def task_before(self, position: int) -> int:
        """The task of the batch before ``position``; the first task if there is none."""
        return self._runs[self._run_before(position)][0]

    def samples_per_task(self) -> list[int]:
        """The number of examples of each task, all epochs together, in the order of learning; early ends do not count."""
        return [len(examples) for _, examples in self._runs]

    def batches_per_task(self) -> list[int]:
        """The number of batches of each task, early ends counted, in the order of learning."""
        return [end - first for first, end in itertools.pairwise(self._firsts)]

    # ---------------------------------------------------------------- epochs

    @property
    def epoch(self) -> int:
        """How many epochs of the present task (with ``together``: of the stream) the batches so far have completed."""
        return self._epochs(self.position)

    @property
    def epoch_ended(self) -> bool:
        """Whether the batch given last completed an epoch."""
        run = self._run_before(self.position)
        new = self.position - self._firsts[run] == 1 and not (self.together and run)
        return self.position > 0 and self.epoch > (0 if new else self._epochs(self.position - 1))

    def _epochs(self, position: int) -> int:
        if not position:
            return 0
        run = self._run_before(position)
        task, examples = self._runs[run]
        seen = min((position - self._firsts[run]) * self.batch_size, len(examples))
        if not self.together:
            return seen // self.task_sizes[task]
        return (seen + self._before[run]) * self.n_epochs // self._before[-1]

    def end_task(self) -> None:
        """Leave out the batches of the present task (with ``together``: of the stream) that have not been given."""
        run = self._run_before(self.position)
        rest = {task: 0 for task, _ in self._runs[run + 1 :]} if self.together else {}
        self.ended = {**self.ended, self._runs[run][0]: self.position - self._firsts[run], **rest}

    @property
    def left_out(self) -> list[int]:
        """The tasks of which no batch is given, since the stream ended early."""
        return [task for task, batches in self.ended.items() if not batches]

    def smallest_batch(self, batch_size: int | None = None) -> tuple[int, int]:
        """The examples in the smallest batch, of this or another ``batch_size``, and its task."""
        B = batch_size or self.batch_size
        return min((len(examples) % B or B, task) for task, examples in self._runs)

    def batches(self, task: int, n: int, start: int = 0):
        """The first ``n`` batches (x, y) of a task once more, from batch ``start`` on, as they were learned."""
        _, x, y = self.data[task]
        n = min(n, self.ended.get(task, n))
        for index in self._examples[task][: n * self.batch_size].split(self.batch_size)[start:] if n else ():
            yield self.shown(x[index], y[index], (task,))

    def _gathered(self, task, index, place):
        if self.together:
            return self.shown(*joint.gather(self.data, index), place)
        _, x, y = self.data[task]
        return self.shown(x[index], y[index], place)

    def __iter__(self):
        size, wide = self.batch_size, max(1, 1024 // self.batch_size)  # batches gathered together; one is then a view
        for run, (task, examples) in enumerate(self._runs):
            while self.position < self._firsts[run + 1]:
                start = self.position - self._firsts[run]
                skipped = start % wide  # a block begins where it would without a stop: addresses decide about rounding
                index = examples[(start - skipped) * size : (start - skipped + wide) * size]
                xs, ys = self._gathered(task, index, (run, start - skipped))
                for at in range(skipped * size, len(index), size):
                    self.position += 1
                    yield xs[at : at + size], task, ys[at : at + size]
                    if self.position == self._firsts[run + 1]:  # the task's last batch, or it has been ended
                        break
