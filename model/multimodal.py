"""A first layer for each task, and all others shared (the "multimodal" baseline of Lopez-Paz & Ranzato 2017).

    h = relu(U_t x),    h = relu(W_l h) for each other hidden layer,    log softmax(W_out h).

`--n_layers` counts all hidden layers, U_t among them. With `--n_layers 0` each task has a linear model of its own.
"""

import itertools

import torch
from torch import nn

from model import common
from model.learner import PerTask


class Stack(nn.Module):
    """Linear layers, which belong to others too, with ReLU between them."""

    def __init__(self, layers):
        super().__init__()
        self.net = nn.Sequential(
            *itertools.chain.from_iterable((layer, nn.ReLU()) for layer in layers[:-1]), layers[-1]
        )

    def forward(self, x):
        return self.net(x)


class Net(PerTask):
    first_task_differs = "its layers are initialised in another way"
    cannot_unlearn = "its tasks share all layers but the first"

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        hidden, width = self.args.n_layers, self.args.n_hiddens
        if not hasattr(args, "task_outputs"):  # the reference's main program has lowered n_layers by one
            hidden += 1
        first = width if hidden else n_outputs
        common.require_room([n_inputs, *[width] * hidden, n_outputs], self.args)
        self.i_layer = nn.ModuleList(nn.Linear(n_inputs, first) for _ in range(n_tasks))
        self.h_layer, self.o_layer = nn.ModuleList(), nn.ModuleList()
        if hidden:
            self.h_layer.append(nn.ModuleList(nn.Linear(width, width) for _ in range(hidden - 1)))
            self.o_layer.append(nn.Linear(width, n_outputs))
        shared = [layer for group in self.h_layer for layer in group]
        if self.args.parity:  # the reference's code resets the bias of the first of them only
            shared = shared[:1]
        for layer in (*self.i_layer, *shared, *self.o_layer):
            nn.init.zeros_(layer.bias)

    def network(self, t):
        return Stack([self.i_layer[t], *itertools.chain.from_iterable(self.h_layer), *self.o_layer])

    def outputs_of(self, t):
        return self.outputs

    def forward(self, x, t):
        """Log probabilities (B, n_outputs)."""
        return torch.log_softmax(self.outputs.mask_(self.network(t)(x), t), 1)

    def observe(self, x, t, y):
        self.engine_of(t).gradients(x, y, t).descend(self.lr)
