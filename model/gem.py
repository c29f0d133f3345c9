"""Gradient Episodic Memory (Lopez-Paz & Ranzato 2017, Algorithm 1).

One constraint per past task: the step must not increase, to first order, the mean loss on that task's memory. The
margin is a lower bound on the dual variables, as in the authors' code.
"""

from functools import partial

import quadprog  # noqa: F401 - if it is missing, that is found out before training and not in its midst

from model.episodic import EpisodicLearner
from model.memory import per_task
from model.numeric import projection


class Net(EpisodicLearner):
    def observe(self, x, t, y):
        self.recall(t, per_task)
        g = self.engine.gradients(x, y, t)
        self.descend(g, projection.gem(g.dots(), g.gram, self.margin))
        self.memory.write(t, x, y)

    def unlearn(self, x, t, y, attack):
        self.see_again(x, t, y, partial(attack.along_rows, rule=partial(projection.gem, margin=self.margin)))
