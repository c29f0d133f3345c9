"""Losses and accuracies of every epoch.

* `train_loss`, `train_accuracy`: over the epoch's batches, each just before its step, in training mode: with the dropout and
  the batch statistics that the step sees. The loss has the penalty on activations in it, if there is one.
* `loss`, `accuracy`: on the held-out examples of all tasks seen so far, at the epoch's end; cross-entropy alone.

Losses are means over examples, in nats. An epoch ends with the batch that holds its last example. Where that batch holds
examples of the next epoch too, they count in this one.
"""

import torch
from torch.nn import functional as F

from experiment.probes import moments
from experiment.probes.curve import weighted
from model import networks


class Probe(moments.Probe):
    def __init__(self, view):
        super().__init__(view)
        self.sums = {"loss": 0.0, "right": 0, "seen": 0}
        self.found: list[dict] = []

    @torch.no_grad()
    def before_step(self, x, task, y):
        method, l1 = self.view.method, self.view.args.l1_activations
        with networks.unmoved(method):
            logits = self.view.model(x, task)
        loss = float(F.cross_entropy(logits.double(), y))
        if l1:
            with networks.unmoved(method):  # the same dropout once more
                hidden, _ = networks.activations(self._network(task), x)
            loss += l1 * sum(float(H.double().abs().mean()) for H in hidden)
        self.sums["loss"] += loss * len(y)
        self.sums["right"] += int((logits.argmax(1) == y).sum())
        self.sums["seen"] += len(y)

    def _network(self, task: int):
        """The network in which the method learns a task."""
        method = self.view.method
        return method.net if hasattr(method, "net") else method.network(self.view.own(task))

    def after_step(self, x, task, y):
        if not self.view.continuum.epoch_ended:
            return
        tasks, sums = self.view.seen(task), self.sums
        accuracies = self.view.accuracies(tasks)
        total = sum(float(F.cross_entropy(*self.view.logits(seen), reduction="sum")) for seen in tasks)
        sizes = self.view.sizes(tasks)
        self.found.append(
            {
                "task": task,
                "epoch": self.view.continuum.epoch,
                "train_loss": sums["loss"] / sums["seen"],
                "train_accuracy": sums["right"] / sums["seen"],
                "loss": total / sum(sizes),
                "accuracy": accuracies and weighted(accuracies, sizes),
            }
        )
        self.sums = dict.fromkeys(sums, 0)

    def report(self):
        names = ("task", "epoch", "train_loss", "train_accuracy", "loss", "accuracy")
        return {name: [entry[name] for entry in self.found] for name in names}
