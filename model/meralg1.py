"""Meta-experience replay (Riemer et al. 2019, Algorithm 1): Reptile on batches of the current and stored examples.

    theta_A <- theta
    --batches_per_example times:
        theta_W <- theta
        for each example e of E in turn:  theta <- theta - alpha grad loss(e)
        theta <- theta_W + beta (theta - theta_W)
    theta <- theta_A + gamma (theta - theta_A)

E is the current example, then k - 1 drawn from the reservoir, anew for every batch. To first order such a step descends on
the sum of the losses and raises the inner products of their gradients.
"""

from model.replay import ReplayLearner


class Net(ReplayLearner):
    steps_itself = "Reptile interpolates between steps of plain SGD"

    def observe(self, x, t, y):
        for current in self.examples(x, t, y):
            theta_A = self.parameters_now()
            for _ in range(self.args.batches_per_example):
                theta_W = self.parameters_now()
                E = self.with_drawn(current)
                self.engine.one_by_one(*E, [self.lr] * len(E.y))
                self.go_from(theta_W, self.args.beta)
            self.go_from(theta_A, self.args.gamma)
