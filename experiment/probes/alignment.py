"""Alignment: cosines with the gradients of the past tasks' memories, at every evaluation.

For the batch that follows the evaluation, and for each past task s with memory gradient g_s: the cosine of g_s with the
batch's gradient (`before`), with what the method's correction made of it (`after`), and with the step (`of_step`), which is
minus the displacement of the parameters. A constraint is violated where a cosine is negative. A method of the GEM family is
watched with its own memory. Any other gets a memory that only watches, ``--probe_memories`` examples a task.

Under plain SGD the step is the corrected gradient times the rate. So `after` is `of_step` there. With momentum or Adam the
corrected gradient is what the optimizer was given.

Gradients are those of the training loss of the batch, and of the mean cross-entropy of the memories, on a copy of the
network in float64. Batch normalisation takes the statistics of each batch, as in training; nothing is dropped out.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from experiment.probes import moments
from model import UsageError, networks
from model.dropout import Dropout
from model.memory import RingMemory


class Probe(moments.Probe):
    MADE = ("view", "net", "by_pairs", "own", "pending")

    def __init__(self, view):
        super().__init__(view)
        if view.continuum.together:
            raise UsageError("--probe alignment: joint has no past tasks; leave it out")
        self.net = copy.deepcopy(view.require_network("alignment")).double()
        self.by_pairs = networks.needs_two(self.net)
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
        self.pending = {
            "stored": stored,
            "state": {key: value.clone() for key, value in self.net.state_dict().items()},
            "before": self._gradient(x, y, self.view.own(task), self.view.args.l1_activations),
        }
        if optimizer := getattr(self.view.method, "optimizer", None):
            self._listen(optimizer, self.pending)

    def _stored(self, task: int):
        """x, y and the method's task ids of the examples stored of the past tasks; None if there are none."""
        method = self.view.method
        if self.own is None:
            now = self.view.own(task)
            return method.memory.rows(method.others(now))
        stored = self.own.rows([s for s in range(self.own.n_tasks) if s != task and bool(self.own.written[s].any())])
        return stored and (*stored[:2], stored[2] + self.view.own(0))

    def after_step(self, x, task, y):
        if self.own is not None:
            self.own.write(task, x, y)
        if self.pending is None:
            return
        held, self.pending = self.pending, None
        self.net.load_state_dict(self.view.network().state_dict())
        theta = self._theta()
        self.net.load_state_dict(held["state"])
        step = self._theta() - theta
        vectors = {"before": held["before"], "after": held.get("after", step), "of_step": step}
        *examples, tasks = held["stored"]
        entry = {"step": self.view.step - 1, "task": task, "past": tasks.unique_consecutive().tolist()}
        entry |= {name: [] for name in vectors}
        for s in entry["past"]:  # one row at a time: all of them would take T times the network in float64
            row = self._gradient(*(part[tasks == s] for part in examples), s)
            for name, vector in vectors.items():
                entry[name].append(float(F.cosine_similarity(vector, row, dim=0, eps=0)))
        self.found.append(entry)

    @staticmethod
    def _listen(optimizer, noted: dict) -> None:
        """Note under ``after`` the first gradient that the optimizer gets from now on."""

        def direction(g, theta):
            del optimizer.direction  # the class's own is there again
            noted["after"] = g.double()
            return optimizer.direction(g, theta)

        optimizer.direction = direction

    def _theta(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.net.parameters()])

    @torch.enable_grad()
    def _gradient(self, x, y, task: int, l1: float = 0.0) -> torch.Tensor:
        """The gradient (p,) of the loss of a batch of one task."""
        net, x = self.net.train(not self.by_pairs or len(y) > 1), x.double()
        for module in net.modules():
            if isinstance(module, Dropout | nn.modules.dropout._DropoutNd):
                module.eval()
        hidden, logits = networks.activations(net, x) if l1 else ((), net(x))
        loss = F.cross_entropy(self.view.method.outputs.mask_(logits, task), y)
        loss = loss + sum(l1 * H.abs().mean() for H in hidden)
        parameters = list(net.parameters())
        parts = torch.autograd.grad(loss, parameters, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, parts, strict=True)]
        return torch.cat([part.flatten() for part in parts])

    def report(self):
        names = ("step", "task", "past", "before", "after", "of_step")
        return {name: [entry[name] for entry in self.found] for name in names}

    def checkpoint(self):
        return {**super().checkpoint(), "memory": self.own and self.own.checkpoint()}

    def restore(self, state):
        memory = state.pop("memory")
        super().restore(state)
        if memory:
            self.own.restore(memory)
