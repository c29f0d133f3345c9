"""Meta-experience replay in one batch (Riemer et al. 2019, Algorithm 6).

    theta_W <- theta
    for each example e of E in turn:  theta <- theta - alpha grad loss(e)
    theta <- theta_W + gamma (theta - theta_W)

E are k - 1 examples drawn from the reservoir, then the current one. As in the authors' code all of it is done
`--batches_per_example` times, which is once by default.
"""

from model.replay import ReplayLearner


class Net(ReplayLearner):
    steps_itself = "Reptile interpolates between steps of plain SGD"

    def observe(self, x, t, y):
        for current in self.examples(x, t, y):
            for _ in range(self.args.batches_per_example):
                theta_W = self.parameters_now()
                E = self.with_drawn(current, last=True)
                self.engine.one_by_one(*E, [self.lr] * len(E.y))
                self.go_from(theta_W, self.args.gamma)
