"""A-GEM in closed form on the mean of the past tasks' gradients: the A-GEM note's way (2).

The deterministic limit of the published method (`agem_sampled`): r is the mean gradient over all of the memory, every
task weighing the same, and g - (<g, r> / <r, r>) r replaces g where <g, r> < 0 (Chaudhry et al. 2019, eq. 11). There is
no margin.

With `--agem_trigger any` it replaces g as soon as one task's <g, g_s> < 0, as the note may be read too.
"""

from functools import partial

from model.episodic import EpisodicLearner
from model.memory import averaged, portions
from model.numeric import projection


class Net(EpisodicLearner):
    has_margin = False

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        every = self.args.agem_trigger == "any"
        self.weighting, self.rule = (portions, projection.sum_of_rows) if every else (averaged, projection.one_row)

    def observe(self, x, t, y):
        self.recall(t, self.weighting)
        g = self.engine.gradients(x, y, t)
        if self.rule is projection.one_row:
            self.descend_closed(g)
        else:
            self.descend(g, self.rule(g.dots(), g.gram))
        self.memory.write(t, x, y)

    def unlearn(self, x, t, y, attack):
        self.see_again(x, t, y, partial(attack.along_mean, rule=projection.one_row))
