"""A-GEM with relatedness by groups of hidden units: the modular A-GEM that the A-GEM note's way (4) was after, in O(p) memory.

The reference gradient is a mean of the past tasks' that weighs them differently in each block of coordinates
(`engine.partition`), r|_b = sum_s rho_sb g_s|_b with the relatedness rho (1/t in block 0). Then A-GEM's closed form
(Chaudhry et al. 2019, eq. 11) or the 1-D QP with margin replaces g in each block where <g|_b, r|_b> < 0, or with
`--agem_group_scope global` once for the whole of r. With rho = 1/t and one scope it is `agem_closed` or `agem_meanqp`.

`--agem_group_rule mean_h` is what the note tried: one row, the mean over tasks and blocks of the rows of `gem_group`, and
one bound, the mean of their bounds h. The blocks' rows add up to g_s, so that the row is r / n with r the tasks' mean and
n the number of blocks; and the relatedness terms of a block add up to 1, so that their mean is the same whatever the
relatedness is: margin + (1 - 1/n) / t. Hence this rule is `agem_meanqp` with the margin mean(h) / n.

Relatedness comes from arXiv:2011.01272, which its authors withdrew, having found that a conclusion does not follow from
one of its theorems: a heuristic without theory. The bounds are the margin alone, for relatedness is already in r.
"""

from functools import partial

import numpy as np

from model.engine.partition import Blend
from model.episodic import EpisodicLearner
from model.grouped import Grouping, reverse
from model.memory import averaged
from model.numeric import blockwise, projection
from model.numeric.relatedness import margins


class Net(EpisodicLearner):
    in_blocks = True
    CACHES = ("_blend", "_of")

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        self.grouping = Grouping(self, reverse(self.args, self.args.gem_reverse))
        self._blend, self._of = None, None

    @property
    def has_margin(self) -> bool:
        return self.args.agem_group_rule == "qp"

    @property
    def plain_mean(self) -> bool:
        """Whether r is the mean of the past tasks' gradients in every block."""
        return self.args.gem_ignore_relatedness or self.args.agem_group_rule == "mean_h"

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.recall(t, averaged)
            self.grouping.begin(t, self.others(t))
        g = self.engine.gradients(x, y, t, blended=True)
        self.grouping.watch(g, x, y)
        blend = self.blend()
        correction = None if blend is None else self.rule()(g.dots(blend), partial(g.gram, blend))
        self.count(correction)
        g.descend(self.lr, correction, blend)
        self.memory.write(t, x, y)

    def blend(self):
        """The past tasks' shares of r in each block; None in the first task. Every new estimate of rho renews them."""
        grouping = self.grouping
        if self._of is not grouping.rho:
            rho = grouping.rho.numpy() * len(grouping.past)  # the engine's row has the factor 1/t
            if self.plain_mean:
                rho = np.ones_like(rho)
            self._blend, self._of = Blend(grouping.partition, grouping.past, rho), grouping.rho
        return self._blend if grouping.past else None

    def rule(self):
        """The projection of ``blockwise`` with its bound."""
        if self.args.agem_group_rule == "mean_h":
            return partial(blockwise.one_row_globally, bound=self.mean_bound() / self.grouping.partition.n_blocks)
        rule = blockwise.one_row if self.args.agem_group_scope == "block" else blockwise.one_row_globally
        return partial(rule, bound=self.margin)

    def mean_bound(self) -> float:
        """The mean of the bounds h that `gem_group` would use; before the first estimate, the margin."""
        grouping, margin = self.grouping, self.args.memory_strength
        estimated = grouping.divergences is not None and not self.args.gem_ignore_relatedness
        layers = grouping.partition.slices if estimated else []
        return float(margins(grouping.rho, layers, margin, sub_mean=False).mean())

    def finish_task(self):
        """Groups are made when the first task ends."""
        self.grouping.finish()

    def unlearn(self, x, t, y, attack):
        """A step of the unlearning phase, with whole gradients as in `agem_closed` or `agem_meanqp`."""
        self.see_again(x, t, y, partial(attack.along_mean, rule=partial(projection.one_row, margin=self.margin)))

    def unlearned(self, attack):
        super().unlearned(attack)
        self.grouping.erase(attack.tasks)
