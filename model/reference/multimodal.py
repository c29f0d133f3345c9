"""`multimodal` in the reference's arithmetic."""

from model import common, multimodal
from model.reference.tensorwise import Tensorwise


class Net(multimodal.Net):
    """As ``model.multimodal``; all tasks have all outputs, whatever the data file."""

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        self.outputs = common.TaskOutputs(n_outputs)

    def make_engine(self, t):
        return Tensorwise(self.network(t), self.lr)
