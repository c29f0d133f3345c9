"""Meta-experience replay with a higher rate for the current example (Riemer et al. 2019, Algorithm 7).

    theta_W <- theta
    for each example e of E in turn:  theta <- theta - alpha s_e grad loss(e)
    theta <- theta_W + gamma (theta - theta_W)

E are the current example and k - 1 drawn from the reservoir, in random order; s_e is `--s` for the current example and 1
for the others. The first example of all is only stored.
"""

from model.replay import ReplayLearner


class Net(ReplayLearner):
    steps_itself = "Reptile interpolates between steps of plain SGD"

    def observe(self, x, t, y):
        for current in self.examples(x, t, y):
            if not len(self.memory):
                continue
            theta_W = self.parameters_now()
            E = self.with_drawn(current)
            order = self.memory.shuffled(len(E.y))
            rates = [self.lr * (self.args.s if i == 0 else 1) for i in order.tolist()]
            self.engine.one_by_one(*E.at(order), rates)
            self.go_from(theta_W, self.args.gamma)
