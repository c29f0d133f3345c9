"""All tasks together, in one shuffled stream: what the methods that learn task after task are measured against.

Papers print it as "single, shuffled data"; it is an upper bound. The main program makes the stream (`data/joint.py`) and
the step is that of `single`. Where tasks have outputs of their own, a batch holds examples of one task, and its labels say
of which.
"""

from model import single


class Net(single.Net):
    cannot_unlearn = "it learns all tasks together"

    def observe(self, x, t, y):
        if self.outputs.foreign is not None:
            t = int((~self.outputs.foreign[:, int(y[0])]).nonzero()[0])
        self.engine.gradients(x, y, t).descend(self.lr)  # no task begins: all of it is one
