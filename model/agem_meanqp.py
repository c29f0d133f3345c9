"""A-GEM with the mean of the past tasks' gradients in GEM's QP, margin included: the A-GEM note's way (3)."""

from functools import partial

from model.episodic import EpisodicLearner
from model.memory import averaged
from model.numeric import projection


class Net(EpisodicLearner):
    def observe(self, x, t, y):
        self.recall(t, averaged)
        g = self.engine.gradients(x, y, t)
        self.descend(g, projection.one_row(g.dots(), g.gram, self.margin))
        self.memory.write(t, x, y)

    def unlearn(self, x, t, y, attack):
        self.see_again(x, t, y, partial(attack.along_mean, rule=partial(projection.one_row, margin=self.margin)))
