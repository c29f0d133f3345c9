"""Stands in for an engine where the reference's digits are wanted: each parameter and gradient a tensor of its own."""

from torch.nn import functional as F

from model.reference.arithmetic import Arithmetic


class Tensorwise(Arithmetic):
    """Steps of SGD with the rate ``lr`` on the mean cross-entropy of ``net``, over all its outputs.

    ``s`` multiplies the loss of an example whose rate is not ``lr``.
    """

    form = "autograd"

    def __init__(self, net, lr: float, s: float = 1.0):
        self.net, self.lr, self.s = net, lr, s

    def gradients(self, x, y, task):
        """The gradient of the mean loss."""
        self._gradient = self.backward(F.cross_entropy(self.net(x), y))
        return self

    def descend(self, lr):
        """theta -= lr g."""
        super().step(self._gradient)

    def step(self, x, y, tasks, rate, weights=None):
        """A step on the mean loss; with ``weights``, on the sum of the tasks' means, in the order of the batch."""
        if weights is None:
            self.gradients(x, y, tasks).descend(rate)
            return
        groups = [tasks == t for t in dict.fromkeys(tasks.tolist())]
        self._go(sum(F.cross_entropy(self.net(x[group]), y[group]) for group in groups))

    def _go(self, loss):
        super().step(self.backward(loss))

    def one_by_one(self, x, y, tasks, rates):
        """A step on each example, which lies in memory of its own."""
        for i, rate in enumerate(rates):
            loss = F.cross_entropy(self.net(x[i : i + 1].clone()), y[i : i + 1])
            self._go(loss if rate == self.lr else self.s * loss)

    def predict(self, x, t):
        """Logits (B, n_outputs)."""
        return self.net(x)

    def checkpoint(self):
        """Nothing is carried along."""
        return {}

    def restore(self, state):
        """Nothing is carried along."""
