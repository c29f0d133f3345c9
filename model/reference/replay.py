"""What the reference modules of ER and MER share: draws and arithmetic of the MER authors' code (4b7b9c9).

Its draws come from Python's own generator. The list of all stored examples is shuffled for every single draw, and an
example enters a full memory with probability capacity / (N + 1) instead of capacity / N.
"""

import random

import torch

from model import UsageError
from model.memory import ReservoirMemory
from model.reference.tensorwise import Tensorwise


class ShuffledMemory(ReservoirMemory):
    """The same memory with the authors' draws."""

    def place(self) -> int:
        return self.seen if self.seen < self.capacity else random.randint(0, self.seen + 1)

    def draw(self, k, out=None):
        order = list(range(len(self)))
        drawn = []
        for j in range(min(k, len(order))):
            random.shuffle(order)
            drawn.append(order[j])
        drawn = torch.tensor(drawn, dtype=torch.long)
        return drawn if out is None else out.copy_(drawn)

    def shuffled(self, k):
        order = list(range(k))
        random.shuffle(order)
        return torch.tensor(order)

    def checkpoint(self):
        version, numbers, gauss = random.getstate()
        return {**super().checkpoint(), "random": [version, list(numbers), gauss]}

    def restore(self, state):
        super().restore(state)
        version, numbers, gauss = state["random"]
        random.setstate((version, tuple(numbers), gauss))


class Replay:
    """A mixin for a ``ReplayLearner``."""

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        if self.outputs.foreign is not None:
            raise UsageError(
                f"--parity yes: the MER authors' {self.name} knows one head for all tasks; give --head shared or --parity no"
            )
        self.memory = ShuffledMemory(self.args.memories, self.args.seed)
        self.engine = Tensorwise(self.net, self.lr, self.args.s)

    def parameters_now(self):
        return [p.detach().clone() for p in self.net.parameters()]

    @torch.no_grad()
    def go_from(self, start, rate):
        for p, s in zip(self.net.parameters(), start, strict=True):
            p.copy_(s + (p - s) * rate)
