"""What the GEM family shares: an episodic memory, and rows of gradients over the past tasks' part of it."""

from model import arguments
from model.learner import Learner
from model.memory import RingMemory, per_task, set_rows
from model.numeric import projection


class EpisodicLearner(Learner):
    """A ``Learner`` with a ring of ``--n_memories`` examples per task and the margin ``--memory_strength``.

    A margin is a replay weight: a step with a violated constraint descends the batch's loss plus at least margin times
    the loss of each past task. ``counts["replay_weight"]`` adds these weights up, and ``results.life`` warns of large
    ones.
    """

    has_margin = True
    loses = "constraints on the gradient do not bind a step of another direction"

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        arguments.require_memories(self.args, self.name)
        self.memory = RingMemory(n_tasks, self.args.n_memories, shared_pointer=self.args.parity)
        self.margin = self.args.memory_strength if self.has_margin else 0.0
        self.row_weight = 0.0
        if self.margin > 1:
            self.counts["replay_weight"] = 0.0
        self.phase: int | None = None  # the task being seen again, once unlearning has begun

    def recall(self, t: int, weighting) -> None:
        """If task t begins here, give the engine the past tasks' memory, with rows as ``weighting(task ids)`` says."""
        if t == self.task:
            return
        self.begin(t)
        self.row_weight = set_rows(self.engine, self.memory.rows(self.others(t)), weighting)

    def others(self, t: int) -> list[int]:
        """The tasks other than t that were seen and have stored examples."""
        return [s for s in self.seen if s != t and bool(self.memory.written[s].any())]

    def recall_others(self, t: int) -> list[int]:
        """In the unlearning phase, give the engine a row for each other task that is stored; return the rows' tasks."""
        others = self.others(t)
        if t != self.phase:
            self.phase = t
            self.row_weight = set_rows(self.engine, self.memory.rows(others), per_task)
        return others

    def see_again(self, x, t: int, y, correct) -> None:
        """Make a step of the unlearning phase; ``correct(g, rows' tasks, outputs)`` is one of the attack's steps."""
        others = self.recall_others(t)
        g = self.engine.gradients(x, y, t)
        self.descend(g, correct(g, others, self.outputs))

    def unlearned(self, attack) -> None:
        """Delete the attacked tasks' memory, now that the phase is over."""
        self.memory.erase(attack.tasks)
        self.engine.clear_rows()
        self.drop(attack.tasks)
        self.phase = None

    def count(self, correction) -> None:
        """Count the outcome as ``Learner.count`` does, and add up the replay weight.

        Of weights (n_blocks, R) the replay counts in proportion to the share of blocks that are corrected.
        """
        super().count(correction)
        if correction is not None and self.margin > 1:
            *blocks, R = correction.weights.shape
            share = float(correction.weights.any(1).mean()) if blocks else 1.0
            self.counts["replay_weight"] += self.margin * self.row_weight * R * share

    def descend_closed(self, g) -> None:
        """Make the step of A-GEM's closed form along g's one row. An engine that does not wait keeps the count to itself."""
        if self.engine.waits:
            self.descend(g, projection.one_row(g.dots(), g.gram))
            return
        self.counts["violations"] = self.counts["violations"] + g.correct()
        g.descend(self.lr)

    def descend(self, g, correction) -> None:
        """Make the step along g with its ``correction``, or along g alone if that is None; count the outcome."""
        self.count(correction)
        g.descend(self.lr, correction)
