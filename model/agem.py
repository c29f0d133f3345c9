"""A-GEM from summed losses: the A-GEM note's way (1), "accumulate losses of previous tasks".

One reference gradient r, that of the sum of the past tasks' memory losses, and GEM's QP with this one row and a margin,
which has the exact solution of `projection.one_row`. At the same margin it pushes t times as hard as `agem_meanqp`.
"""

from functools import partial

from model.episodic import EpisodicLearner
from model.memory import summed
from model.numeric import projection


class Net(EpisodicLearner):
    def observe(self, x, t, y):
        self.recall(t, summed)
        g = self.engine.gradients(x, y, t)
        self.descend(g, projection.one_row(g.dots(), g.gram, self.margin))
        self.memory.write(t, x, y)

    def unlearn(self, x, t, y, attack):
        self.see_again(x, t, y, partial(attack.along_mean, rule=partial(projection.one_row, margin=self.margin)))
