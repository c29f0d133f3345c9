"""A-GEM with the mean of the past tasks' gradients in GEM's QP, margin included: the A-GEM note's way (3).

With `--agem_trigger any` the program is solved as soon as one task's <g, g_s> < 0, as the note may be read too.
"""

from functools import partial

from model.episodic import EpisodicLearner
from model.memory import averaged, portions
from model.numeric import projection


class Net(EpisodicLearner):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        every = self.args.agem_trigger == "any"
        self.weighting, rule = (portions, projection.sum_of_rows) if every else (averaged, projection.one_row)
        self.rule = partial(rule, margin=self.margin)

    def observe(self, x, t, y):
        self.recall(t, self.weighting)
        g = self.engine.gradients(x, y, t)
        self.descend(g, self.rule(g.dots(), g.gram))
        self.memory.write(t, x, y)

    def unlearn(self, x, t, y, attack):
        self.see_again(x, t, y, partial(attack.along_mean, rule=partial(projection.one_row, margin=self.margin)))
