"""Experience replay (Riemer et al. 2019, Algorithm 4): a step on each new example together with stored ones.

theta <- theta - alpha grad (mean loss of E),      E = k - 1 examples drawn from the reservoir, and the current one.
"""

from model.replay import ReplayLearner


class Net(ReplayLearner):
    def observe(self, x, t, y):
        for current in self.examples(x, t, y):
            E = self.with_drawn(current, last=True)
            self.engine.step(*E, self.lr)
