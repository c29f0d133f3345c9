"""Drift of `ogd`: how far the gradients that its directions were made of have turned since they were stored.

For each direction: the cosine of the gradient at the parameters of its task's end with the gradient of the same example (or
of the same mean loss) at those of now, measured at every evaluation and at every task's end. With the fast engine gradients
are activations and deltas here too, and are not written down. Directions that the basis left out because they lay in the
span of others count as well; those of a task of which nothing more found room do not.
"""

from types import SimpleNamespace

import torch
from torch.nn import functional as F

from experiment.probes import moments
from model import UsageError
from model.dropout import dropouts
from model.engine.autograd import AutogradEngine
from model.engine.fast import FastEngine
from model.numeric.directions import Directions

PIECE = 32  # gradients of a network without a fast engine that are written down at a time


class Probe(moments.Probe):
    MADE = ("view", "engine", "gram", "pending")

    def __init__(self, view):
        super().__init__(view)
        if view.name != "ogd":
            raise UsageError(
                f"--probe drift: {view.name} stores no directions; give --model ogd, or leave the probe out"
            )
        net, outputs = view.require_network("drift"), view.method.outputs
        self.gram = view.method.gram
        self.engine = (FastEngine if self.gram else AutogradEngine)(net, outputs)
        self.pending: dict | None = None
        self.recorded: list[dict] = []  # of a task: examples, what their gradients are of, the network then
        self.found: list[dict] = []

    # ---------------------------------------------------------------- what was stored

    def task_ends(self, task):
        method = self.view.method
        rows = method.sample.rows()
        self.pending = None
        if rows is None:
            return
        x, y, _ = rows
        if method.args.ogd_mode != "loss_mean":
            n = method.args.ogd_per_task
            x, y = (torch.cat(parts) for parts in zip(*method.panels(x[:n], y[:n]), strict=True))
        then = {key: value.clone() for key, value in self.view.network().state_dict().items()}
        self.pending = {"task": task, "own": method.task, "x": x.clone(), "of": y.clone(), "then": then}
        self.pending["stored"] = method.basis.k

    def task_finished(self, task):
        if self.pending and self.view.method.basis.k > self.pending.pop("stored"):
            self.recorded.append(self.pending)
        self.pending = None
        if self.recorded:
            self._measure()

    # ---------------------------------------------------------------- how it has turned

    def before_step(self, x, task, y):
        if self.recorded and self.view.at_evaluation:
            self._measure()

    def _measure(self):
        now = {key: value.clone() for key, value in self.view.network().state_dict().items()}
        cosines = [self._cosines(one, now) for one in self.recorded]
        self.view.moved()
        self.found.append({"step": self.view.step, "cosine": cosines})

    def _cosines(self, one: dict, now: dict) -> torch.Tensor:
        """Cosines (k,) of the gradients of one task's examples, then and now."""
        if self.gram:
            return cosines(self._directions(one, one["then"]), self._directions(one, now))
        whole = self.view.method.args.ogd_mode == "loss_mean"
        written, size = (self._mean_loss, len(one["x"])) if whole else (self._each, PIECE)
        found = []
        for x, of in zip(one["x"].split(size), one["of"].split(size), strict=True):
            then, today = (written(x, of, one["own"], state).double() for state in (one["then"], now))
            found.append(F.cosine_similarity(then, today, dim=1, eps=0))
        return torch.cat(found)

    def _directions(self, one: dict, state: dict) -> Directions:
        self.engine.net.load_state_dict(state)
        self.engine.forward(one["x"], one["own"])
        n = len(self.view.method.shapes)
        return Directions(*(parts[:n] for parts in self.engine.directions(one["of"])))

    def _mean_loss(self, x, y, task: int, state: dict) -> torch.Tensor:
        """The gradient (1, p) of the mean loss, as the method stores it; nothing is dropped out."""
        net, method = self.engine.net, self.view.method
        net.load_state_dict(state)
        for module in dropouts(net.train()):
            module.eval()
        stand_in = SimpleNamespace(args=method.args, engine=self.engine, shared=method.shared, task=task)
        return type(method).mean_gradient(stand_in, x, y).unsqueeze(0)

    def _each(self, x, dlogits, task: int, state: dict) -> torch.Tensor:
        """The gradients (n, p) of <logits_i, dlogits_i>."""
        self.engine.net.eval().load_state_dict(state)
        self.engine.forward(x, task)
        return self.engine.backward(dlogits, per_sample=True)[:, : self.view.method.shared].clone()

    # ---------------------------------------------------------------- what is told

    def report(self):
        found = [entry["cosine"] for entry in self.found]
        return {
            "step": [entry["step"] for entry in self.found],
            "task": [one["task"] for one in self.recorded],
            "mean": [[float(each.mean()) for each in cosine] for cosine in found],
            "least": [[float(each.min()) for each in cosine] for cosine in found],
        }

    def arrays(self):
        if not self.recorded:
            return {}
        sizes = [len(each) for each in self.found[-1]["cosine"]]
        table = torch.full((len(self.found), sum(sizes)), torch.nan)
        for row, entry in zip(table, self.found, strict=True):
            known = torch.cat(entry["cosine"]) if entry["cosine"] else torch.empty(0)
            row[: len(known)] = known
        of_task = torch.tensor([one["task"] for one in self.recorded]).repeat_interleave(torch.tensor(sizes))
        return {"cosine": table, "of_task": of_task}


def cosines(one: Directions, other: Directions) -> torch.Tensor:
    """Cosines (n,) of n gradients with n others, float64, both as activations and deltas."""
    layers = zip(*one, *other, strict=True)
    products = sum((d.double() * e.double()).sum(1) * ((a.double() * b.double()).sum(1) + 1) for a, d, b, e in layers)
    return products / (one.norms() * other.norms())
