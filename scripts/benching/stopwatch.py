"""Shared by the parts of scripts/bench.py: the data, a yardstick, medians in yardsticks, and a table."""

import argparse
import dataclasses
import random
import statistics
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

import model as methods
from data import files, pixels, standard
from experiment.stream import Continuum
from model import arguments, common
from model.engine import fast
from results.table import render

DATA = "fashion_mnist_permutations_reduced.pt"
OWN_CLASSES = ("icarl",)  # learn tasks of two classes each, even and odd labels, of which they keep 10 examples a task


class Bench:
    """The data, the yardstick, and a bar that shows where the run is."""

    def __init__(self, options):
        self.options = options
        self.clock = time.process_time if options.cpu_time else time.perf_counter
        path = Path(options.data_path, DATA)
        standard.ensure(path, options.raw_path)
        begun = time.perf_counter()
        file = files.load(path)
        train, test = ([(name, pixels.floats(x), y) for name, x, y in tasks] for tasks in (file.train, file.test))
        self.file = dataclasses.replace(file, train=train, test=test)  # the steps and evaluations timed take floats
        self.tasks = [(x[:1000].clone(), y[:1000].clone()) for _, x, y in self.file.train]
        self.load_seconds = time.perf_counter() - begun
        self.bar = tqdm(disable=not sys.stderr.isatty(), unit="part")

    def yardstick(self, steps: int = 1500) -> float:
        """Seconds of one plain training step."""
        torch.set_num_threads(1)
        nn = torch.nn
        net = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
        x, y = self.tasks[0]
        if self.options.cuda:
            net, x, y = net.cuda(), x.cuda(), y.cuda()
        sgd, ce = torch.optim.SGD(net.parameters(), 0.01), nn.CrossEntropyLoss()
        return self.timed(lambda i: self._plain_step(net, sgd, ce, x, y, i % 1000), steps)

    @staticmethod
    def _plain_step(net, sgd, ce, x, y, i):
        sgd.zero_grad()
        ce(net(x[i : i + 1]), y[i : i + 1]).backward()
        sgd.step()

    def timed(self, step, n: int) -> float:
        """Seconds of one call step(i): the mean over n calls, after a few that are not timed."""
        for i in range(20):
            step(i)
        self.wait()
        begun = self.clock()
        for i in range(n):
            step(i)
        self.wait()
        return (self.clock() - begun) / n

    def wait(self):
        if self.options.cuda:
            torch.cuda.synchronize()

    def paired(self, measure) -> tuple[float, ...]:
        """Medians over the repeats of ``measure()``'s results (seconds), each divided by the yardstick beside it."""
        rows = []
        for _ in range(self.options.repeats):
            before = self.yardstick()
            values = measure()
            yard = (before + self.yardstick()) / 2
            rows.append([value / yard for value in values])
            self.bar.update()
        return tuple(statistics.median(column) for column in zip(*rows, strict=True))

    # ---------------------------------------------------------------- training

    def net(self, name: str, n_tasks: int = 10, form: str = "auto", **given):
        """A fresh method, as the A-GEM note's command makes it but for the margin, 0.5."""
        torch.manual_seed(3)
        settled = {"n_memories": 10, "memory_strength": 0.5, "lr": 0.01, "seed": 3, "threads": 1, "task_outputs": None}
        settled.update(memories=200, replay_batch_size=10, batches_per_example=10, beta=0.03, gamma=1.0)
        outputs = 10
        if name in OWN_CLASSES:
            outputs = 2 * n_tasks
            settled.update(n_memories=10 * n_tasks, task_outputs=common.equal_slices(outputs, n_tasks))
        model = methods.load(name).Net(784, outputs, n_tasks, arguments.of(argparse.Namespace(**{**settled, **given})))
        if isinstance(model.engine, fast.FastEngine):
            model.engine.wanted = form
        return model.cuda() if self.options.cuda else model

    def ten_tasks(self, name: str, engine: str) -> tuple[float, float]:
        """Seconds a step, the stream's loop included: over 10 tasks of 1,000 steps, and over the last task alone."""
        steps = self.options.steps
        model = self.net(name, engine=engine, samples_per_task=steps)
        torch.set_num_threads(1)
        random.seed(0)
        own = name in OWN_CLASSES
        stream = Continuum(
            [["", x, y % 2 + 2 * t if own else y] for t, (x, y) in enumerate(self.tasks)],
            argparse.Namespace(batch_size=1, samples_per_task=steps, n_epochs=1, shuffle_tasks="no"),
        )
        begun = last = self.clock()
        for i, (x, t, y) in enumerate(stream):
            if i == 9 * steps:
                self.wait()
                last = self.clock()
            if self.options.cuda:
                x, y = x.cuda(), y.cuda()
            model.observe(x, t, y)
        self.wait()
        end = self.clock()
        return (end - begun) / (10 * steps), (end - last) / steps

    def at_task(self, name: str, n_tasks: int, memories: int, form: str = "auto", batch: int = 1, steps=200) -> float:
        """Seconds a step in the last of ``n_tasks`` tasks. The tasks before only fill their memory, untrained."""
        model = self.net(name, n_tasks, form, n_memories=memories)
        torch.set_num_threads(1)
        draw = torch.Generator().manual_seed(0)
        for t in range(n_tasks):
            x, y = self.tasks[t % len(self.tasks)]
            x = x[:, torch.randperm(784, generator=draw)]
            if self.options.cuda:
                x, y = x.cuda(), y.cuda()
            if t + 1 < n_tasks:
                for i in range(0, memories, 5):
                    model.memory.write(t, x[i : i + 5], y[i : i + 5])
                model.begin(t)
        return self.timed(lambda i: model.observe(x[i : i + batch], t, y[i : i + batch]), steps)


def table(title: str, heads: list[str], rows: list[list]) -> None:
    """Print a Markdown table of texts and numbers."""
    texts = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    print("\n" + render(heads, texts, "markdown", title), flush=True)
