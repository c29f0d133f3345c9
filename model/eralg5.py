"""Experience replay with tasks (Riemer et al. 2019, Algorithm 5): every task that is drawn counts as much as the current.

theta <- theta - alpha grad sum_t (mean loss of E's examples of task t),     E as in Algorithm 4.
"""

from model.replay import ReplayLearner


class Net(ReplayLearner):
    by_task = True

    def observe(self, x, t, y):
        for current in self.examples(x, t, y):
            E = self.with_drawn(current)
            of_its_task = (E.tasks == E.tasks.unsqueeze(1)).sum(1)
            self.engine.step(*E, self.lr, of_its_task.to(E.x).reciprocal())
