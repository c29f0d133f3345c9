"""The probes, by name: what ``--probe`` measures of a run beside its accuracies (docs/probes.md).

A probe is a module of this folder with a class ``Probe`` (``experiment.probes.moments``) and a line in the table. Nothing
of it is imported until it is asked for.
"""

import importlib

from model import UsageError

PROBES = {
    "alignment": "cosines of the batch's gradient and of the step with the gradients of the past tasks' memories",
    "confidence": "mean predicted probabilities of each true class, entropy, and the loss after one fitted temperature",
    "curve": "accuracy on old and new tasks after each of the first mini-batches of a task",
    "drift": "cosine of each stored direction of ogd with the gradient of the same example now",
    "epochs": "losses and accuracies of every epoch, in training and on held-out examples",
    "latents": "activations of every hidden layer for 1,000 fixed held-out examples, before and after each task",
    "relatedness": "divergence of each task from those before it, as the group methods estimate it, and the weights",
    "sparsity": "share of zeros among the activations of the hidden layers, after each task",
    "updates": "size of every step in every layer, relative to the layer's parameters",
}


def names(text: str) -> list[str]:
    """The probes that ``--probe`` names; ``UsageError`` if there is no such probe."""
    found = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in found:
        if name not in PROBES:
            raise UsageError(f"--probe {name[:60]}: no such probe; the probes are {', '.join(PROBES)}")
    return found


def of_run(args, method, model, data, continuum):
    """The ``watched.Probes`` of a run; None if it has none. ``UsageError`` if one cannot serve the method or its network."""
    kinds = {name: importlib.import_module(f"{__name__}.{name}").Probe for name in names(args.probe)}
    if not kinds:
        return None
    from experiment.probes.watched import Probes

    return Probes(kinds, args, method, model, data, continuum)
