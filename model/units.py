"""The units of a Transformer, their gates, and which parameters belong to each (Ke et al. 2023, section 3.1).

A layer has units of three types: attention heads (H), intermediate units (d_ff) and output units (d). A gate multiplies
what its unit puts out: a head's context vector, an intermediate unit's pre-activation, and an output unit's value after the
second linear layer. Gates are set by hooks, so that the network itself knows nothing of them. Without any the output is that
of the network, bit for bit.
"""

from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from model import UsageError

TYPES = ("head", "intermediate", "output")


class LayerUnits(NamedTuple):
    """The linear layers of one layer in which its units lie."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    context: nn.Linear  # W_O, which takes the heads' context vectors
    intermediate: nn.Linear
    output: nn.Linear
    heads: int


def find(net: nn.Module) -> list[LayerUnits]:
    """The layers of a network whose parts are called as in BERT or DistilBERT. `UsageError` if there are none."""
    found = []
    for module in net.modules():
        if hasattr(module, "attention") and hasattr(module, "intermediate") and hasattr(module, "output"):
            own = module.attention.self
            parts = (own.query, own.key, own.value, module.attention.output.dense)
            found.append(LayerUnits(*parts, module.intermediate.dense, module.output.dense, own.num_attention_heads))
        elif hasattr(module, "attention") and hasattr(module, "ffn"):
            own = module.attention
            found.append(
                LayerUnits(own.q_lin, own.k_lin, own.v_lin, own.out_lin, module.ffn.lin1, module.ffn.lin2, own.n_heads)
            )
    if not found:
        raise UsageError(
            f"{type(net).__name__}: no layers with parts called as in BERT (attention.self.query ..) or DistilBERT "
            "(attention.q_lin ..) are found in it; das can mask no other"
        )
    return found


class Units:
    """The units of all layers of ``net``. An importance is a dict: type -> (layers, units of that type) in [0, 1]."""

    def __init__(self, net: nn.Module):
        self.layers = find(net)
        first = self.layers[0]
        sizes = (first.heads, first.intermediate.out_features, first.output.out_features)
        self.sizes = dict(zip(TYPES, sizes, strict=True))

    def filled(self, value: float, like: torch.Tensor, batch: int | None = None) -> dict:
        """type -> (layers, units), or (layers, batch, units), of one value."""
        shape = (len(self.layers),) if batch is None else (len(self.layers), batch)
        return {kind: like.new_full((*shape, n), value) for kind, n in self.sizes.items()}

    @contextmanager
    def gated(self, gates: dict | None):
        """Inside, every unit's output is multiplied by its gate; ``gates``: type -> (layers, units) or (layers, B, units)."""
        hooks = []
        for i, layer in enumerate(self.layers if gates else ()):
            head, intermediate, output = (_over_positions(gates[kind][i]) for kind in TYPES)

            def context(module, inputs, gate=head, heads=layer.heads):
                h = inputs[0]
                return ((h.unflatten(-1, (heads, -1)) * gate.unsqueeze(-1)).flatten(-2), *inputs[1:])

            hooks.append(layer.context.register_forward_pre_hook(context))
            hooks.append(layer.intermediate.register_forward_hook(lambda m, x, y, gate=intermediate: y * gate))
            hooks.append(layer.output.register_forward_hook(lambda m, x, y, gate=output: y * gate))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def free(self, importance: dict, parameters: list, split, like: torch.Tensor) -> torch.Tensor:
        """1 - importance of the unit that each parameter belongs to (p,); 1 for parameters of no unit.

        A head owns its rows of W_Q, W_K, W_V and their biases, and its columns of W_O; an intermediate unit its row of W_1
        and b_1, an output unit its row of W_2 and b_2. ``split`` cuts a vector like ``like`` (p,) into views, one for each
        of the ``parameters``.
        """
        result = torch.ones_like(like)
        views = {id(parameter): view for parameter, view in zip(parameters, split(result), strict=True)}

        def rows(linear, left):
            views[id(linear.weight)].copy_(left.unsqueeze(1).expand_as(linear.weight))
            if linear.bias is not None:
                views[id(linear.bias)].copy_(left)

        for i, layer in enumerate(self.layers):
            head, intermediate, output = (1 - importance[kind][i] for kind in TYPES)
            head = head.repeat_interleave(layer.query.out_features // layer.heads)
            for linear in (layer.query, layer.key, layer.value):
                rows(linear, head)
            views[id(layer.context.weight)].copy_(head.expand_as(layer.context.weight))
            rows(layer.intermediate, intermediate)
            rows(layer.output, output)
        return result


def _over_positions(gate: torch.Tensor) -> torch.Tensor:
    """(units,) stay; (B, units) get an axis for the positions."""
    return gate.unsqueeze(1) if gate.dim() == 2 else gate
