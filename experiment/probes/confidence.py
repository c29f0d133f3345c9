"""How sure the network is, after each task, on the held-out examples of all tasks seen so far.

* `probabilities`: the mean predicted probability of every output (column), for each true class (row).
* `entropy`: of the predictions, in nats, mean over examples.
* `smallest`: the smallest probability that a true class is given.
* `loss`: the mean cross-entropy, in nats.
* `temperature` T: the loss of the logits divided by T is smallest (Guo et al. 2017). `loss_at_temperature`: that loss, where
  T is fitted on every other example and the loss measured on those between, and the other way round.
"""

import math

import torch
from torch.nn import functional as F

from experiment.probes import moments
from model import UsageError, room

COLDEST, HOTTEST = 1e-4, 1e4  # temperatures


class Probe(moments.Probe):
    def __init__(self, view):
        super().__init__(view)
        if view.name == "icarl":
            raise UsageError("--probe confidence: icarl predicts classes and no probabilities; leave the probe out")
        T, C = view.data.n_tasks, view.method.outputs.n_outputs
        room.require(8 * T * C**2, f"--probe confidence: a table of {T} x {C} x {C} probabilities")  # and a copy
        self.found: list[dict] = []
        self.matrices: list[torch.Tensor] = []

    def task_ends(self, task):
        pieces = [self.view.logits(seen) for seen in self.view.seen(task)]
        logits, y = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        log_p = torch.log_softmax(logits, 1)
        own = log_p.gather(1, y.long().unsqueeze(1))[:, 0]
        self.found.append(
            {
                "task": task,
                "entropy": float(-torch.where(log_p.exp() > 0, log_p.exp() * log_p, 0).sum(1).mean()),
                "smallest": float(own.min().exp()),
                "loss": float(-own.mean()),
                "temperature": temperature(logits, y),
                "loss_at_temperature": crossed(logits, y),
            }
        )
        self.matrices.append(mean_probabilities(log_p.exp(), y).float())

    def report(self):
        names = ("task", "entropy", "smallest", "loss", "temperature", "loss_at_temperature")
        return {name: [entry[name] for entry in self.found] for name in names}

    def arrays(self):
        return {"probabilities": torch.stack(self.matrices)} if self.matrices else {}


def mean_probabilities(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean of p (N, C) over the examples of each true class y (N,): (C, C), rows of nan for classes without any."""
    member = F.one_hot(y.long(), p.shape[1]).to(p)
    return (member.t() @ p) / member.sum(0).unsqueeze(1)


def temperature(logits: torch.Tensor, y: torch.Tensor) -> float:
    """The T at which the mean cross-entropy of logits / T is smallest, within [COLDEST, HOTTEST]; nan without finite logits.

    In b = 1 / T the loss is convex, and its derivative is the mean of (the expected logit minus the true class's one).
    """
    own = logits.gather(1, y.long().unsqueeze(1))[:, 0]

    def slope(log_b):
        return float(((torch.softmax(logits * math.exp(log_b), 1) * logits).sum(1) - own).mean())

    if not bool(logits.isfinite().all()):
        return math.nan
    low, high = -math.log(HOTTEST), -math.log(COLDEST)
    for _ in range(60):  # halvings
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def crossed(logits: torch.Tensor, y: torch.Tensor) -> float:
    """The mean cross-entropy (nats) of each half of the examples, every other one, at the temperature of the other half."""
    if len(y) < 2:
        return math.nan
    total = 0.0
    for here, there in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        T = temperature(logits[there], y[there])
        total += float(F.cross_entropy(logits[here] / T, y[here].long(), reduction="sum"))
    return total / len(y)
