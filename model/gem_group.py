"""GEM by groups of hidden units, with margins from relatedness (arXiv:2011.01272, and the public fork of MER).

The coordinates fall into blocks (`engine.partition`), and the step must not increase, to first order, any past task's
loss *in any block*: GEM's QP is solved for each block that has a negative inner product. The lower bound of the dual
variables in a block is the margin plus the relatedness of the past task to the present one in that group.
`--gem_variant weighted` runs GEM on one row a task instead, g^w_s = sum_b w_sb g_s|_b, with bound 0.

The paper was withdrawn by its authors, who found that a conclusion does not follow from one of its theorems: the method
is a heuristic without theory. Deviations from the fork (docs/groups.md): biases are in block 0 and not copied into
every group, bounds are not negative, each block has its own trigger, and `--gem_reverse` is read. `--fork_compat yes`
restores the fork's behaviour.
"""

from functools import partial

import numpy as np
import quadprog  # noqa: F401 - a missing quadprog is found before training and not in its midst

from model.episodic import EpisodicLearner
from model.grouped import Grouping, reverse
from model.memory import per_task
from model.numeric import blockwise, projection
from model.numeric.relatedness import margins


class Net(EpisodicLearner):
    in_blocks = True
    CACHES = ("_bound", "_of")

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        fork = self.args.fork_compat and self.args.gem_variant == "rows"
        self.grouping = Grouping(self, reverse(self.args, self.args.gem_reverse), own_biases=fork)
        self._bound, self._of = None, None

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.recall(t, per_task)
            self.grouping.begin(t, self.others(t))
        g = self.engine.gradients(x, y, t)
        self.grouping.watch(g, x, y)
        correction = self.correction(g) if self.grouping.past else None
        self.count(correction)
        g.descend(self.lr, correction, self.grouping.partition)
        self.memory.write(t, x, y)

    def correction(self, g):
        """Weights (n_blocks, t) of the past tasks' gradients in each block, or None."""
        partition = self.grouping.partition
        dots, gram, bound = g.dots(partition), partial(g.gram, partition), self.bound()
        if self.args.gem_variant == "weighted":
            return self.weighted(dots, gram, bound)
        if self.args.fork_compat:
            return blockwise.gem_fork(dots, gram, bound, partition.slices)
        return blockwise.gem(dots, gram, bound)

    def bound(self):
        """The lower bounds h (n_blocks, t). Every new estimate of the relatedness renews them."""
        rho, args = self.grouping.rho, self.args
        if self._of is not rho:
            layers, margin = self.grouping.partition.slices, self.margin
            if args.gem_ignore_relatedness:  # the fork leaves the margin out too
                layers, margin = [], 0.0 if args.fork_compat else margin
            elif self.grouping.divergences is None:
                rho = rho.new_ones(rho.shape)  # the fork's first value
                layers = layers if args.fork_compat else []
            self._bound = margins(rho, layers, margin, args.gem_sub_mean, negative=args.fork_compat).numpy()
            self._of = self.grouping.rho
        return self._bound

    @staticmethod
    def weighted(dots, gram, bound):
        """GEM on the rows sum_b w_sb g_s|_b; w are the bounds, shifted in each block to have mean 1 over the tasks."""
        w = bound - bound.mean(1, keepdims=True) + 1.0
        correction = projection.gem((w * dots).sum(0), lambda: np.einsum("bs,bsr,br->sr", w, gram(), w))
        return None if correction is None else correction._replace(weights=w * correction.weights)

    def finish_task(self):
        """Groups are made when the first task ends."""
        self.grouping.finish()

    def unlearn(self, x, t, y, attack):
        """A step of the unlearning phase, with whole gradients as in `gem`."""
        self.see_again(x, t, y, partial(attack.along_rows, rule=partial(projection.gem, margin=self.margin)))

    def unlearned(self, attack):
        super().unlearned(attack)
        self.grouping.erase(attack.tasks)
