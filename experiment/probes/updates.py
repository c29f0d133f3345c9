"""Relative update sizes: |theta_after - theta_before| / |theta_before| of every layer, at every step.

A layer is a module with parameters of its own, its weights and biases together. All steps are in the .npz beside the
record; the record has the layers' names, and means over the first steps of each task and over the others.
"""

import torch

from experiment.probes import moments


class Probe(moments.Probe):
    MADE = ("view", "names", "members", "before")

    def __init__(self, view):
        super().__init__(view)
        parameters = [name for name, _ in view.method.named_parameters()]
        self.names = list(dict.fromkeys(name.rpartition(".")[0] for name in parameters))
        self.members = [[name for name in parameters if name.rpartition(".")[0] == layer] for layer in self.names]
        self.before: list[torch.Tensor] = []
        self.tasks: list[int] = []
        self.sizes: list[list[float]] = []

    def _layers(self) -> list[torch.Tensor]:
        """The parameters of each layer in float64, as one vector each."""
        state = self.view.method.state_dict()
        return [torch.cat([state[name].double().flatten() for name in members]) for members in self.members]

    def before_step(self, x, task, y):
        self.before = self._layers()

    def after_step(self, x, task, y):
        pairs = zip(self._layers(), self.before, strict=True)
        self.tasks.append(task)
        self.sizes.append([float((now - was).norm() / was.norm()) for now, was in pairs])

    def report(self):
        sizes, tasks = torch.tensor(self.sizes, dtype=torch.float64), torch.tensor(self.tasks)
        order = list(dict.fromkeys(self.tasks))
        first, rest = [], []
        for task in order:
            of_task = sizes[tasks == task]
            first.append(_mean(of_task[: self.view.args.probe_batches]))
            rest.append(_mean(of_task[self.view.args.probe_batches :]))
        kinds = [type(self.view.method.get_submodule(name)).__name__ for name in self.names]
        return {"layers": self.names, "kinds": kinds, "task": order, "first_batches": first, "later": rest}

    def arrays(self):
        return {"size": torch.tensor(self.sizes, dtype=torch.float32), "task": torch.tensor(self.tasks)}


def _mean(sizes: torch.Tensor) -> list[float] | None:
    return sizes.mean(0).tolist() if len(sizes) else None
