"""Averaged GEM as published (Chaudhry et al. 2019, Algorithm 2): a fresh random reference batch at every step."""

from functools import partial

import torch

from model.episodic import EpisodicLearner
from model.memory import pooled
from model.numeric import projection


class Net(EpisodicLearner):
    CACHES = ("_stored",)
    has_margin = False

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        self.generator = torch.Generator().manual_seed(self.args.seed)
        self._stored = None  # all past examples, for the current task

    def observe(self, x, t, y):
        new = t != self.task
        if new:
            self.begin(t)
            self.engine.clear_rows()
        if new or self._stored is None:  # after a restore the engine has its rows, and this object has not
            self._stored = self.memory.rows(self.others(t))
        if new and self._stored is not None and self.all_of_it:  # the same examples at every step
            self.engine.set_rows(*self.draw())
        if self._stored is not None and not self.all_of_it:
            self.engine.set_rows(*self.draw(), once=True)
        g = self.engine.gradients(x, y, t)
        self.descend(g, projection.one_row(g.dots(), g.gram))
        self.memory.write(t, x, y)

    def unlearn(self, x, t, y, attack):
        self.see_again(x, t, y, partial(attack.along_mean, rule=projection.one_row))

    @property
    def all_of_it(self) -> bool:
        """Whether one reference batch holds all stored examples."""
        return len(self._stored[1]) <= self.args.agem_batch

    def draw(self):
        """Draw ``--agem_batch`` examples of all past tasks without replacement, or all of them if there are no more.

        Returns x (N, n_inputs), y (N,), task ids (N,) and the weights (1, N) of their row.
        """
        x, y, tasks = self._stored
        if not self.all_of_it:
            drawn = torch.randperm(len(y), generator=self.generator)[: self.args.agem_batch].sort().values
            tasks, drawn = tasks[drawn], drawn.to(x.device)
            x, y = x[drawn], y[drawn]
        return x, y, tasks, pooled(tasks)
