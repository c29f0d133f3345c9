"""Population sparsity: the share of zeros among the activations of the hidden layers, over held-out examples.

After each task it is the number of activations that are exactly 0 over the number of examples times hidden units, all
layers together, as the split-MNIST note counts it, and that of each layer. The examples are those of all tasks seen so far.
"""

from experiment.probes import moments
from experiment.probes.view import hidden, hidden_layers


class Probe(moments.Probe):
    def __init__(self, view):
        super().__init__(view)
        self.layers = hidden_layers(view, "sparsity")
        self.found: list[dict] = []

    def task_ends(self, task):
        net, zeros, sizes = self.view.network(), [0] * self.layers, [0] * self.layers
        for seen in self.view.seen(task):
            for x, _ in self.view.held_out(seen):
                for layer, activations in enumerate(hidden(net, x)):
                    zeros[layer] += int((activations == 0).sum())
                    sizes[layer] += activations.numel()
        each = [a / b for a, b in zip(zeros, sizes, strict=True)]
        self.found.append({"task": task, "sparsity": sum(zeros) / sum(sizes), "layers": each})

    def report(self):
        return {name: [entry[name] for entry in self.found] for name in ("task", "sparsity", "layers")}
