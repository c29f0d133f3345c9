"""What the GEM family shares: an episodic memory, and rows of gradients over the past tasks' part of it."""

from model import arguments
from model.learner import Learner
from model.memory import RingMemory, per_task, set_rows


class EpisodicLearner(Learner):
    """A ``Learner`` with a ring of ``--n_memories`` examples per task and the margin ``--memory_strength``."""

    STATE = ("memory", "phase")

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        arguments.require_memories(self.args, self.name)
        self.memory = RingMemory(n_tasks, self.args.n_memories, shared_pointer=self.args.parity)
        self.margin = self.args.memory_strength
        self.phase: int | None = None  # the task being seen again, once unlearning has begun

    def recall(self, t: int, weighting) -> None:
        """Where task t begins, give the engine the past tasks' memory, with rows as ``weighting(task ids)`` says."""
        if t == self.task:
            return
        self.begin(t)
        set_rows(self.engine, self.memory.rows(self.others(t)), weighting)

    def others(self, t: int) -> list[int]:
        """The tasks seen, t aside, of which something is stored."""
        return [s for s in self.seen if s != t and bool(self.memory.written[s].any())]

    def recall_others(self, t: int) -> list[int]:
        """In the unlearning phase: a row for each other task that is stored; returns the rows' tasks."""
        others = self.others(t)
        if t != self.phase:
            self.phase = t
            set_rows(self.engine, self.memory.rows(others), per_task)
        return others

    def see_again(self, x, t: int, y, correct) -> None:
        """A step of the unlearning phase; ``correct(g, rows' tasks, outputs)`` is one of the attack's steps."""
        others = self.recall_others(t)
        g = self.engine.gradients(x, y, t)
        self.descend(g, correct(g, others, self.outputs))

    def unlearned(self, attack) -> None:
        """The phase is over: delete the attacked tasks' memory."""
        self.memory.erase(attack.tasks)
        self.engine.clear_rows()
        self.drop(attack.tasks)
        self.phase = None

    def descend(self, g, correction) -> None:
        """The step along g and, where there is one, its correction."""
        self.count(correction)
        g.descend(self.lr, correction)
