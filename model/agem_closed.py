"""A-GEM in closed form on the mean of the past tasks' gradients: the A-GEM note's way (2).

The deterministic limit of the published method (`agem_sampled`): r is the mean gradient over all of the memory, every
task weighing the same, and g - (<g, r> / <r, r>) r replaces g where <g, r> < 0 (Chaudhry et al. 2019, eq. 11). There is
no margin.
"""

from functools import partial

from model.episodic import EpisodicLearner
from model.memory import averaged
from model.numeric import projection


class Net(EpisodicLearner):
    has_margin = False

    def observe(self, x, t, y):
        self.recall(t, averaged)
        g = self.engine.gradients(x, y, t)
        self.descend(g, projection.one_row(g.dots(), g.gram))
        self.memory.write(t, x, y)

    def unlearn(self, x, t, y, attack):
        self.see_again(x, t, y, partial(attack.along_mean, rule=projection.one_row))
