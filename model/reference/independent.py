"""`independent` in the reference's arithmetic."""

from model import independent
from model.reference.tensorwise import Tensorwise


class Net(independent.Net):
    """As ``model.independent``; with ``--finetune yes`` a task other than task 0 begins as the last such task, also again."""

    STATE = ("last",)

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        self.last = 0

    def make_engine(self, t):
        return Tensorwise(self.nets[t], self.lr)

    def initialise(self, t):
        if self.args.finetune and t > 0 and t != self.last:
            self.copy(self.last, t)
            self.last = t
