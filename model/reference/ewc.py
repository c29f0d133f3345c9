"""Elastic weight consolidation, in the reference's arithmetic: a penalty for every past task and tensor.

The O(p) form of ``model.ewc`` is the same sum, rounded differently.
"""

import torch

from model import UsageError, ewc
from model.reference.arithmetic import Arithmetic


class Net(Arithmetic, ewc.Net):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        if self.args.ewc_fisher != "batch":
            raise UsageError(
                f"--ewc_fisher {self.args.ewc_fisher} --parity yes: the reference knows no Fisher but batch; "
                "give one of the two"
            )

    def observe(self, x, t, y):
        if t != self.task:
            self.anchor()
            self.begin(t)
        self.remember(x, y)
        loss = self.task_loss(x, t, y)
        for _, F, theta in self.terms:
            tensors = (self.net.parameters(), self.engine.flat.split(F), self.engine.flat.split(theta))
            for p, F_p, anchor in zip(*tensors, strict=True):
                loss = loss + (self.args.memory_strength * F_p * (p - anchor).pow(2)).sum()
        self.step(self.backward(loss))
        self.kept.write(t, x, y)

    def remember(self, x, y):
        """Keep the first n_memories examples, but the first batch whole, however small that number is."""
        if self.x is None:
            self.x, self.y = x.clone(), y.clone()
        else:
            super().remember(x, y)

    def anchor(self):
        """Keep the F (p,) and the parameters (p,) of the task that was learned, if there is one."""
        if self.x is None:
            return
        gradients = self.backward(self.task_loss(self.x, self.task, self.y))
        F, theta = (torch.cat([a.detach().reshape(-1) for a in each]) for each in (gradients, self.net.parameters()))
        self.terms.append((self.task, F.square(), theta))
        self.x = self.y = None

    def finish_task(self):
        """Nothing: the reference looks back where the next task begins, so never on the last one.

        Its pass over the examples moves BatchNorm's running statistics.
        """

    def unlearn(self, x, t, y, attack):
        self.anchor()
        super().unlearn(x, t, y, attack)
