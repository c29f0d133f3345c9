"""What the reference modules of ER and MER share: draws and arithmetic of the MER authors' code (4b7b9c9).

Its draws come from Python's own generator. The list of all stored examples is shuffled for every single draw, and an
example enters a full memory with probability capacity / (N + 1) instead of capacity / N.
"""

import random

import torch
from torch.nn import functional as F

from model import UsageError
from model.memory import ReservoirMemory
from model.reference.arithmetic import Arithmetic


class ShuffledMemory(ReservoirMemory):
    """The same memory with the authors' draws."""

    def place(self) -> int:
        return self.seen if self.seen < self.capacity else random.randint(0, self.seen + 1)

    def draw(self, k):
        order = list(range(len(self)))
        drawn = []
        for j in range(min(k, len(order))):
            random.shuffle(order)
            drawn.append(order[j])
        return torch.tensor(drawn, dtype=torch.long)

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


class Tensorwise:
    """Stands in for an engine: each example in memory of its own, each parameter and gradient a tensor of its own."""

    form = "autograd"

    def __init__(self, learner):
        self.learner = [learner]  # in a list, so that the learner is not a part of itself

    def gradients(self, x, y, tasks, weights=None):
        """The gradient of the mean loss; with ``weights``, of the sum of the tasks' means, in the order of the batch."""
        (learner,) = self.learner
        if weights is None:
            self._gradient = learner.backward(F.cross_entropy(learner.net(x), y))
            return self
        loss = 0.0
        for t in dict.fromkeys(tasks.tolist()):
            loss = loss + F.cross_entropy(learner.net(x[tasks == t]), y[tasks == t])
        self._gradient = learner.backward(loss)
        return self

    def descend(self, lr):
        """theta -= lr g."""
        self.learner[0].step(self._gradient)

    def one_by_one(self, x, y, tasks, rates):
        """A step on each example; a rate other than the learning rate multiplies the loss, and thereby its rounding."""
        (learner,) = self.learner
        for i, rate in enumerate(rates):
            loss = F.cross_entropy(learner.net(x[i : i + 1].clone()), y[i : i + 1])
            learner.step(learner.backward(loss if rate == learner.lr else learner.args.s * loss))

    def predict(self, x, t):
        """Logits (B, n_outputs)."""
        return self.learner[0].net(x)

    def checkpoint(self):
        """Nothing is carried along."""
        return {}

    def restore(self, state):
        """Nothing is carried along."""


class Replay(Arithmetic):
    """A mixin for a ``ReplayLearner``."""

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        if self.outputs.foreign is not None:
            raise UsageError(
                f"--parity yes: the MER authors' {self.name} knows one head for all tasks; give --head shared or --parity no"
            )
        self.memory = ShuffledMemory(self.args.memories, self.args.seed)
        self.engine = Tensorwise(self)

    def parameters_now(self):
        return [p.detach().clone() for p in self.net.parameters()]

    @torch.no_grad()
    def go_from(self, start, rate):
        for p, s in zip(self.net.parameters(), start, strict=True):
            p.copy_(s + (p - s) * rate)
