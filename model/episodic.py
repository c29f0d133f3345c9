"""What the GEM family shares: an episodic memory, and rows of gradients over the past tasks' part of it."""

import torch

from model import arguments
from model.learner import Learner
from model.memory import RingMemory


class EpisodicLearner(Learner):
    """A ``Learner`` with a ring of ``--n_memories`` examples per task and the margin ``--memory_strength``."""

    STATE = ("memory",)

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        arguments.require_memories(self.args, type(self).__module__.rpartition(".")[2])
        self.memory = RingMemory(n_tasks, self.args.n_memories, shared_pointer=self.args.parity)
        self.margin = self.args.memory_strength

    def recall(self, t: int, weighting) -> None:
        """Where task t begins, give the engine the past tasks' memory, with rows as ``weighting(task ids)`` says."""
        if t == self.task:
            return
        stored = self.memory.rows(self.begin(t))
        if stored is None:
            self.engine.clear_rows()
        else:
            self.engine.set_rows(*stored, weighting(stored[2]))

    def descend(self, g, correction) -> None:
        """The step along g and, where there is one, its correction."""
        self.count(correction)
        g.descend(self.lr, correction)


def per_task(tasks: torch.Tensor) -> torch.Tensor:
    """A row for each task in ``tasks`` (N,): the mean of its examples; (t, N) float64."""
    members = (tasks.unique_consecutive().unsqueeze(1) == tasks).double()
    return members / members.sum(1, keepdim=True)


def summed(tasks: torch.Tensor) -> torch.Tensor:
    """One row: the sum of the tasks' means; (1, N)."""
    return per_task(tasks).sum(0, keepdim=True)


def averaged(tasks: torch.Tensor) -> torch.Tensor:
    """One row: the mean of the tasks' means; (1, N)."""
    return per_task(tasks).mean(0, keepdim=True)


def pooled(tasks: torch.Tensor) -> torch.Tensor:
    """One row: the mean of all examples, whatever their task; (1, N)."""
    return torch.full((1, len(tasks)), 1.0 / len(tasks), dtype=torch.float64)
