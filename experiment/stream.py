"""What a run learns from: the tasks of a data file, and the stream of their mini-batches."""

import os
import random
from typing import NamedTuple

import torch

from data import files, joint, standard
from data.cut import cut
from experiment import problem
from model import UsageError

LONGEST = 10**9  # examples of a stream, whose order is drawn before the first is learned


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
    return Datasets(train, posed.tests(files.in_memory(test)), n_inputs, n_outputs, len(train), outputs, posed, file)


class Continuum:
    """The stream of mini-batches ``(x (B, n_inputs), task, y (B,))``: task after task, each shuffled once an epoch.

    The draws are the reference's, in its order: ``torch.randperm`` for the order of tasks if they are shuffled, another
    for each task's samples, then ``random.shuffle`` for each task and epoch. ``position`` is the number of batches
    given so far; setting it moves the stream.

    With ``together`` it is one stream of all tasks, and "tasks" are equal parts of it (``data.joint``). Its batches mix
    tasks unless ``split``. ``shown(x, y, place)`` makes what is learned of the stored examples at a place of the stream.
    """

    def __init__(self, data: list, args, together: bool = False, split: bool = False, shown=problem.Images.shown):
        self.batch_size, self.position, self.together, self.shown = args.batch_size, 0, together, shown
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
        if args.n_epochs * sum(self.task_sizes) > LONGEST:
            most = LONGEST // sum(self.task_sizes)
            raise UsageError(f"--n_epochs {args.n_epochs}: more than {LONGEST:,} examples in all; give {most} or fewer")
        self.data = files.in_memory(chosen)
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
        self._runs, batches = [], 0  # and the number of its first batch
        for task, examples in runs:
            self._runs.append((task, examples, batches))
            batches += -(-len(examples) // self.batch_size)
        self._length = batches

    def __len__(self) -> int:
        return self._length

    def task_before(self, position: int) -> int:
        """The task of the batch before ``position``; the first task if there is none."""
        return next(task for task, _, first in reversed(self._runs) if first < max(position, 1))

    def samples_per_task(self) -> list[int]:
        """The number of examples of each task that the run will see, all epochs together, in the order of learning."""
        return [len(examples) for _, examples, _ in self._runs]

    def batches(self, task: int, n: int, start: int = 0):
        """The first ``n`` batches (x, y) of a task once more, from batch ``start`` on, as they were learned."""
        _, x, y = self.data[task]
        examples = next(examples for t, examples, _ in self._runs if t == task)
        for index in examples[: n * self.batch_size].split(self.batch_size)[start:] if n else ():
            yield self.shown(x[index], y[index], 0)

    def _gathered(self, task, index, place):
        if self.together:
            return self.shown(*joint.gather(self.data, index), place)
        _, x, y = self.data[task]
        return self.shown(x[index], y[index], place)

    def __iter__(self):
        size, wide = self.batch_size, max(1, 1024 // self.batch_size)  # batches gathered together; one is then a view
        for task, examples, first in self._runs:
            while (start := self.position - first) * size < len(examples):
                skipped = start % wide  # a block begins where it would without a stop: addresses decide about rounding
                index = examples[(start - skipped) * size : (start - skipped + wide) * size]
                xs, ys = self._gathered(task, index, first + start - skipped)
                for at in range(skipped * size, len(index), size):
                    self.position += 1
                    yield xs[at : at + size], task, ys[at : at + size]
