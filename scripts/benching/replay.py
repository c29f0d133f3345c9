"""Experience replay and MER against a plain loop in autograd that computes the same."""

import random

import torch
from torch import nn

from scripts.benching.stopwatch import Bench, table

CASES = {
    "eralg4": ({"memories": 200, "replay_batch_size": 10, "lr": 0.1}, 300),
    "eralg4, 5120 memories": ({"memories": 5120, "replay_batch_size": 25, "lr": 0.1}, 200),
    "meralg1": ({"memories": 200, "replay_batch_size": 10, "batches_per_example": 10, "lr": 0.03, "beta": 0.03}, 10),
    "meralg1, 5120 memories": (
        {"memories": 5120, "replay_batch_size": 100, "batches_per_example": 10, "lr": 0.03, "beta": 0.03},
        2,
    ),
}


class Plain:
    """What a user would write: a list of examples, `nn.Sequential`, `CrossEntropyLoss`, `torch.optim.SGD`."""

    def __init__(self, memories=0, replay_batch_size=0, lr=0.1, batches_per_example=0, beta=1.0):
        self.net = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
        self.sgd, self.ce = torch.optim.SGD(self.net.parameters(), lr), nn.CrossEntropyLoss()
        self.capacity, self.k, self.batches, self.beta = memories, replay_batch_size, batches_per_example, beta
        self.stored, self.seen = [], 0

    def observe(self, x, t, y):
        """One example, x (1, 784), y (1,)."""
        if not self.batches:
            self.step(*self.drawn(x, y))
        for _ in range(self.batches):
            before = [p.detach().clone() for p in self.net.parameters()]
            xs, ys = self.drawn(x, y)
            for i in range(len(ys)):
                self.step(xs[i : i + 1], ys[i : i + 1])
            with torch.no_grad():
                for p, start in zip(self.net.parameters(), before, strict=True):
                    p.copy_(start + self.beta * (p - start))
        self.seen += 1
        place = len(self.stored) if len(self.stored) < self.capacity else random.randrange(self.seen)
        if place < self.capacity:
            self.stored[place : place + 1] = [(x, y)]

    def drawn(self, x, y):
        """The example and ``k`` stored ones."""
        drawn = random.choices(self.stored, k=min(self.k, len(self.stored))) if self.stored else []
        return torch.cat([x, *(a for a, _ in drawn)]), torch.cat([y, *(b for _, b in drawn)])

    def step(self, x, y):
        self.sgd.zero_grad()
        self.ce(self.net(x), y).backward()
        self.sgd.step()


def replay(bench: Bench) -> dict:
    """The time of an example of ER and MER, in yardsticks, and that of the plain loop; full memories."""
    rows, result = [], {}
    for case, (given, n) in CASES.items():
        name = case.partition(",")[0]

        def measure(name=name, given=given, n=n):
            plain = Plain(**given)
            if bench.options.cuda:
                plain.net.cuda()
            return [seconds(bench, model, given["memories"], n) for model in (bench.net(name, **given), plain)]

        ours, plain = bench.paired(measure)
        result[case] = {"fast": ours, "plain": plain, "ratio": plain / ours}
        rows.append([case, ours, plain, plain / ours])
    heads = ["method", "fast", "plain loop in autograd", "times as fast"]
    table("An example of experience replay, batch 1, in yardsticks", heads, rows)
    return result


def seconds(bench: Bench, model, memories: int, n: int) -> float:
    """Seconds an example, once the memory is full. It is filled without training."""
    x, y = (torch.cat(parts) for parts in zip(*bench.tasks, strict=True))
    if bench.options.cuda:
        x, y = x.cuda(), y.cuda()
    if isinstance(model, Plain):
        model.stored, model.seen = [(x[i : i + 1], y[i : i + 1]) for i in range(memories)], memories
    else:
        model.memory.write(0, x[:memories], y[:memories])
    return bench.timed(
        lambda i: model.observe(x[memories + i : memories + i + 1], 1, y[memories + i : memories + i + 1]), n
    )
