"""Plain SGD on one task after another: what is learned without any method."""

from model.learner import Learner


class Net(Learner):
    cannot_unlearn = "it keeps nothing of any task"

    def observe(self, x, t, y):
        self.begin(t)
        self.engine.gradients(x, y, t).descend(self.lr)
