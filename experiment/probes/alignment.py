"""Alignment: cosines with the gradients of the past tasks' memories, at every evaluation.

For the batch that follows the evaluation, and for each past task s with memory gradient g_s: the cosine of g_s with the
batch's gradient (`before`), with what the method's correction made of it (`after`), and with the step (`step`), which is
minus the displacement of the parameters. A constraint is violated where a cosine is negative. A method of the GEM family is
watched with its own memory. Any other gets a memory that only watches, ``--probe_memories`` examples a task.

Gradients are those of the mean cross-entropy, on a copy of the network, in float64. Batch normalisation takes the statistics
of each batch, as in training; nothing is dropped out.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from experiment.probes import moments
from model import UsageError
from model.memory import RingMemory


class Probe(moments.Probe):
    MADE = ("view", "net", "own", "pending")

    def __init__(self, view):
        super().__init__(view)
        if view.continuum.together:
            raise UsageError("--probe alignment: joint has no past tasks; leave it out")
        self.net = copy.deepcopy(view.require_network("alignment")).double()
        tasks = view.data.n_tasks
        kept = isinstance(getattr(view.method, "memory", None), RingMemory)
        self.own = None if kept else RingMemory(tasks, view.args.probe_memories, flag="probe_memories")
        self.pending: dict | None = None
        self.task: int | None = None
        self.found: list[dict] = []

    def before_step(self, x, task, y):
        due = task != self.task or self.view.at_evaluation
        self.task, self.pending = task, None
        stored = self._stored(task) if due else None
        if stored is None:
            return
        self.net.load_state_dict(self.view.network().state_dict())
        self.net.train()
        for module in self.net.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.eval()
        past = stored[2].unique_consecutive().tolist()
        self.pending = {
            "past": past,
            "before": self._gradient(x, y, self.view.own(task)),
            "rows": [self._gradient(*(part[stored[2] == s] for part in stored[:2]), s) for s in past],
            "theta": self._theta(),
        }

    def _stored(self, task: int):
        """x, y and the method's task ids of the examples stored of the past tasks; None if there are none."""
        method = self.view.method
        if self.own is None:
            now = self.view.own(task)
            return method.memory.rows([s for s in method.seen if s != now and bool(method.memory.written[s].any())])
        stored = self.own.rows([s for s in range(self.own.n_tasks) if s != task and bool(self.own.written[s].any())])
        return stored and (*stored[:2], stored[2] + self.view.own(0))

    def after_step(self, x, task, y):
        if self.own is not None:
            self.own.write(task, x, y)
        if self.pending is None:
            return
        held, self.pending = self.pending, None
        self.net.load_state_dict(self.view.network().state_dict())
        step = held["theta"] - self._theta()
        entry = {"step": self.view.step - 1, "task": task, "past": held["past"]}
        for name, vector in (("before", held["before"]), ("of_step", step)):
            entry[name] = [float(F.cosine_similarity(vector, row, dim=0, eps=0)) for row in held["rows"]]
        self.found.append(entry)

    def _theta(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.net.parameters()])

    @torch.enable_grad()
    def _gradient(self, x, y, task: int) -> torch.Tensor:
        """The gradient (p,) of the mean cross-entropy of a batch of one task."""
        loss = F.cross_entropy(self.view.method.outputs.mask_(self.net(x.double()), task), y)
        parameters = list(self.net.parameters())
        parts = torch.autograd.grad(loss, parameters, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, parts, strict=True)]
        return torch.cat([part.flatten() for part in parts])

    def report(self):
        names = ("step", "task", "past", "before", "of_step")
        return {name: [entry[name] for entry in self.found] for name in names}

    def checkpoint(self):
        return {**super().checkpoint(), "memory": self.own and self.own.checkpoint()}

    def restore(self, state):
        memory = state.pop("memory")
        super().restore(state)
        if memory:
            self.own.restore(memory)
