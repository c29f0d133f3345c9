"""One network a task (the "independent" baseline of Lopez-Paz & Ranzato 2017), each a T-th as wide as the usual one.

An MLP has n_hiddens / T units in each hidden layer, a ResNet18 20 / T feature maps, at least one of them;
other networks likewise. With
`--finetune yes` a task's network begins as that of the task learned just before. Where tasks have outputs of their own, a
task's network has only these.
"""

import torch
from torch import nn

from model import UsageError, common, networks
from model.learner import PerTask


class Net(PerTask):
    first_task_differs = "its network is narrower, and serves one task"
    cannot_continue = "the width of its networks follows from the number of tasks"
    cannot_unlearn = "each task has a network of its own, so that a task is forgotten by deleting its network"

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        hidden = networks.hidden_sizes(self.args, n_tasks)
        images = networks.wants_resnet(n_inputs, self.args)
        widest = networks.RESNET_MAPS if images else self.args.n_hiddens
        if self.args.parity and widest < n_tasks and (images or hidden):  # there the reference ends in a traceback
            what = f"--n_tasks {n_tasks}" if images else f"--n_hiddens {widest}"
            raise UsageError(
                f"{what} --parity yes: each of {n_tasks} tasks gets {widest} // {n_tasks} units, which is none; "
                "give fewer tasks, more units, or --parity no"
            )
        if not images:
            networks.require_room([n_inputs, *hidden, self.outputs.count(0)], self.args, n_tasks)
        self.nets = nn.ModuleList()
        for t in range(n_tasks):
            self.nets.append(networks.network(n_inputs, self.outputs.count(t), self.args, parts=n_tasks))

    def network(self, t):
        return self.nets[t]

    def outputs_of(self, t):
        return common.TaskOutputs(self.outputs.count(t))

    def forward(self, x, t):
        logits = self.nets[t](x)
        if self.outputs.foreign is None:
            return logits
        every = logits.new_full((len(x), self.outputs.n_outputs), common.FOREIGN_LOGIT)
        every[:, self.outputs.of(t).to(x.device)] = logits
        return every

    def observe(self, x, t, y):
        if t != self.task:
            self.initialise(t)
        own = self.outputs.of(t).to(y.device)
        self.engine_of(t).gradients(x, torch.searchsorted(own, y), 0).descend(self.lr)

    def initialise(self, t):
        """With ``--finetune yes``, the network of a new task begins as that of the task learned just before."""
        if self.args.finetune and self.task is not None and t not in self.seen:
            self.copy(self.task, t)

    @torch.no_grad()
    def copy(self, source, target):
        """Copy the parameters of one task's network into another's; a head of another size stays as it is."""
        for old, new in zip(self.nets[source].parameters(), self.nets[target].parameters(), strict=True):
            if old.shape == new.shape:
                new.copy_(old)
