"""Latent vectors: the activations of every hidden layer for fixed held-out examples, before and after each task.

The examples, 1,000 or as many as there are, lie at equal distances in the held-out sets of all tasks. In the .npz beside
the record: `latents.layer1` (tasks + 1, examples, units) and so on, the first of them before any training, and `latents.y`
and `latents.of_task` (examples,). What was before a task is what was after the one before it.
"""

import torch

from experiment.probes import moments
from experiment.probes.view import hidden, hidden_layers
from model import room

EXAMPLES = 1_000


class Probe(moments.Probe):
    MADE = ("view", "layers", "x", "y", "of_task")

    def __init__(self, view):
        super().__init__(view)
        self.layers = hidden_layers(view, "latents")
        sizes = view.sizes(range(view.data.n_tasks))
        of_task = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        within = torch.cat([torch.arange(size) for size in sizes])
        chosen = torch.linspace(0, len(within) - 1, min(EXAMPLES, len(within))).round().long()
        self.of_task = of_task[chosen]
        rows = [within[chosen][self.of_task == task] for task in range(len(sizes))]
        tests = view.data.test
        self.x = torch.cat([tests[task][1][index] for task, index in enumerate(rows)])
        self.y = torch.cat([tests[task][2][index] for task, index in enumerate(rows)])
        shapes = [H.shape for H in hidden(view.require_network("latents").eval(), view.inputs(self.x[:1]))]
        T, N, units = view.data.n_tasks, len(self.y), sum(units for _, units in shapes)
        held = 8 * (T + 1) * N * units  # and a copy at the end
        room.require(held, f"--probe latents: a table of {T + 1} x {N} x {units} activations")
        self.tasks: list[int] = []
        self.found: list[list[torch.Tensor]] = []

    def task_begins(self, task):
        if not self.found:
            self._note()

    def task_ends(self, task):
        self.tasks.append(task)
        self._note()

    def _note(self):
        layers = hidden(self.view.network(), self.view.inputs(self.x))
        self.found.append([layer.float().cpu() for layer in layers])

    def report(self):
        return {"examples": len(self.y), "task": self.tasks}

    def arrays(self):
        layers = {
            f"layer{i + 1}": torch.stack([each[i] for each in self.found]) for i in range(self.layers) if self.found
        }
        return {**layers, "y": self.y, "of_task": self.of_task}
