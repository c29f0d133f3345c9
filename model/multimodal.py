"""A first layer for each task, and all others shared (the "multimodal" baseline of Lopez-Paz & Ranzato 2017).

    h = relu(U_t x),    h = relu(W_l h) for each other hidden layer,    log softmax(W_out h).

`--n_layers` counts all hidden layers, U_t among them. With `--n_layers 0` each task has a linear model of its own. The
normalisation (`--norm`) behind U_t is the task's own too.
"""

import itertools

import torch
from torch import nn

from model import UsageError, common, networks, room
from model.learner import PerTask


class Stack(nn.Module):
    """Linear layers, which belong to others too, with ReLU between them; ``after`` as in ``common.stack``."""

    def __init__(self, layers, after=()):
        super().__init__()
        self.net = common.stack(layers, after)

    def forward(self, x):
        return self.net(x)


class Net(PerTask):
    CACHES = ("_after",)
    first_task_differs = "its layers are initialised in another way"
    cannot_unlearn = "its tasks share all layers but the first"

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        if self.args.net not in ("auto", "mlp"):
            raise UsageError(
                f"--net {self.args.net}: multimodal has a linear first layer for each task; give --net mlp"
            )
        hidden = networks.hidden_sizes(self.args)
        if not hasattr(args, "task_outputs"):  # the reference's main program has lowered n_layers by one
            hidden.append(self.args.n_hiddens)
        sizes = [n_inputs, *hidden, n_outputs]
        networks.require_room(sizes, self.args)
        each = (n_inputs + 1) * sizes[1]
        room.require(8 * n_tasks * each, f"--n_tasks {n_tasks}: a first layer of {each:,} parameters for each task")
        self.i_layer = nn.ModuleList(nn.Linear(n_inputs, sizes[1]) for _ in range(n_tasks))
        self.h_layer, self.o_layer = nn.ModuleList(), nn.ModuleList()
        if hidden:
            self.h_layer.append(nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(hidden)))
            self.o_layer.append(nn.Linear(hidden[-1], n_outputs))
        self._after = [networks.after_hidden(hidden, self.args)] * n_tasks
        if self.args.norm != "none" and hidden:  # of its own behind the layer that each task has
            (_, dropout), *others = self._after[0]
            firsts = (networks.normalisation(self.args.norm, hidden[0]) for _ in range(n_tasks))
            self._after = [[(norm, dropout), *others] for norm in firsts]
        modules = dict.fromkeys(module for after in self._after for pair in after for module in pair)
        if modules:
            self.after = nn.ModuleList(module for module in modules if module is not None)
        shared = [layer for group in self.h_layer for layer in group]
        if self.args.parity:  # the reference's code resets the bias of the first of them only
            shared = shared[:1]
        for layer in (*self.i_layer, *shared, *self.o_layer):
            nn.init.zeros_(layer.bias)

    def network(self, t):
        return Stack([self.i_layer[t], *itertools.chain.from_iterable(self.h_layer), *self.o_layer], self._after[t])

    def outputs_of(self, t):
        return self.outputs

    def forward(self, x, t):
        """Log probabilities (B, n_outputs)."""
        return torch.log_softmax(self.outputs.mask_(self.network(t)(x), t), 1)

    def observe(self, x, t, y):
        self.engine_of(t).gradients(x, y, t).descend(self.lr)
