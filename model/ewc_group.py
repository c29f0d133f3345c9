"""Elastic weight consolidation by groups of hidden units, with relatedness (arXiv:2011.01272, and the fork of MER).

The penalty of task t is lambda sum_s sum_i rho_sb(i) F_si (theta_i - theta*_si)^2 over past tasks s, where b(i) is the
coordinate's block (`engine.partition`), rho is the relatedness of task s to the present one there (1/t in block 0,
which has the biases), F is as in `ewc`, and lambda = memory_strength. With a_i = sum_s rho F and m_i the mean of the
theta*_s with the weights rho F, the penalty's gradient is 2 lambda a (theta - m). It costs O(p) a step and O(T p) an
estimate.

The paper was withdrawn by its authors, who found that a conclusion does not follow from one of its theorems: the method
is a heuristic without theory. Deviation from the fork: the fork leaves F out everywhere but in the first layer.
`--use_fisher no` does that for the groups; `--fork_compat yes` also weighs the first layer and the biases as the fork
does.
"""

import math

import torch

from model import ewc
from model.grouped import Grouping, reverse


class Net(ewc.Net):
    CACHES = ("_of",)

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        own = bool(self.args.ewc_reverse)
        self.grouping = Grouping(self, reverse(self.args, own), own_biases=self.args.fork_compat)
        self._of = None

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.begin(t)
            self.grouping.begin(t, [s for s in self.seen if s != t])
        self.remember(x, y)
        g = self.engine.gradients(x, y, t)
        self.grouping.watch(g, x, y)
        if self.grouping.past and self._of is not self.grouping.rho:
            self.fold()
        self.descend(g)
        self.kept.write(t, x, y)

    def finish_task(self):
        """Keep the finished task's F and parameters; does nothing if that was done before."""
        self.grouping.finish()
        if self.x is not None:
            self.terms = [term for term in self.terms if term[0] != self.task]
            self.terms.append((self.task, self.fisher(), self.engine.theta.clone()))
            self.x = self.y = None

    def unlearned(self, attack):
        super().unlearned(attack)
        self.grouping.erase(attack.tasks)

    def fold(self):
        """Compute a, m and what follows from them for the present relatedness."""
        self.a = self.mean = None
        terms = {task: (F, theta) for task, F, theta in self.terms}
        weights, plain = self.weights()
        labels = self.grouping.partition.labels().to(self.engine.theta.device)
        bare = plain[labels] if bool(plain.any()) else None  # coordinates without F
        for s, task in enumerate(self.grouping.past):
            F, theta = terms[task]
            F = F if bare is None else torch.where(bare, 1.0, F)
            self.consolidate(weights[:, s].to(F)[labels] * F, theta)
        self._of = self.grouping.rho

    def weights(self):
        """What each past task weighs in each block (n_blocks, t), and whether F is left out there (n_blocks,)."""
        grouping, args = self.grouping, self.args
        rho, layers = grouping.rho.clone(), grouping.partition.slices
        plain = torch.zeros(len(rho), dtype=torch.bool)
        if args.fork_compat or not args.use_fisher:
            for blocks in layers:
                plain[blocks] = True
        if args.fork_compat:
            rho[0] = 1.0
            D, sign = grouping.divergences, 1 if grouping.reverse else -1
            for blocks, bias in zip(layers, grouping.partition.biases, strict=True):
                plain[bias] = True
                if D is None:
                    rho[blocks] = 1.0
                else:
                    weight = (sign * D[blocks.start - 1 : blocks.stop - 1]).exp().mean(0) / len(grouping.past)
                    rho[bias] = weight if math.isfinite(float(weight.sum())) else 1 / len(grouping.past)
        return rho, plain
