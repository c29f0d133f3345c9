"""The networks that the flags ask for: their kind, sizes, normalisation and dropout; and what their hidden layers hold."""

import itertools
from contextlib import contextmanager

import torch
from torch import nn

from model import UsageError, room, transformer
from model.common import IMAGE_INPUTS, MLP, ResNet18, Xavier, stack
from model.dropout import Dropout, dropouts

LENET_HIDDEN = (120, 84)
LENET_MAPS = (6, 16)
LENET_INPUTS = {784: (1, 28, 2), 1024: (1, 32, 0), IMAGE_INPUTS: (3, 32, 0)}  # channels, side, padding
RESNET_MAPS = 20


def normalisation(norm: str, n: int, maps: bool = False) -> nn.Module | None:
    """The module between a layer of n units, or n ``maps``, and its ReLU; None for "none"."""
    if norm == "batch":
        return nn.BatchNorm2d(n) if maps else nn.BatchNorm1d(n)
    if norm == "layer":
        return nn.GroupNorm(1, n) if maps else nn.LayerNorm(n)
    return None


def after_hidden(sizes: list[int], args) -> list[tuple]:
    """For each hidden layer of these sizes the modules (normalisation, dropout) that ``args`` ask for; () if none."""
    if args.norm == "none" and not args.dropout:
        return []
    dropout = None
    if args.dropout:
        first = Dropout(args.dropout, args.seed)
        dropout = [first, *(Dropout(args.dropout, args.seed, first.generator) for _ in sizes[1:])]
    return [(normalisation(args.norm, n), dropout and dropout[i]) for i, n in enumerate(sizes)]


def hidden_sizes(args, parts: int = 1) -> list[int]:
    """The units of each hidden layer of a stack of linear layers, divided by ``parts``, one at least."""
    sizes = [args.n_hiddens] * args.n_layers
    if args.hidden_sizes != "auto":
        sizes = [int(size) for size in args.hidden_sizes.split(",")]
    elif args.net == "lenet5":
        sizes = LENET_HIDDEN
    return [max(1, size // parts) for size in sizes]


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, for 28 x 28, 32 x 32 or 3 x 32 x 32 inputs.

    Two convolutions of 5 x 5 with 6 and 16 maps (``features``), then a stack of linear layers (``net``) with hidden layers
    of the sizes given, 120 and 84 in the paper. 28 x 28 images are padded to 32 x 32.
    """

    def __init__(self, n_inputs: int, hidden: list[int], n_outputs: int, norm="none", after=(), maps=LENET_MAPS):
        super().__init__()
        if n_inputs not in LENET_INPUTS:
            known = " or ".join(map(str, LENET_INPUTS))
            raise UsageError(f"--net lenet5: needs {known} inputs, the data has {n_inputs}; give --net mlp")
        channels, self.side, padding = LENET_INPUTS[n_inputs]
        parts = []
        for n_in, n_out, pad in zip((channels, maps[0]), maps, (padding, 0), strict=True):
            parts += [nn.Conv2d(n_in, n_out, 5, padding=pad), normalisation(norm, n_out, maps=True)]
            parts += [nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*(part for part in parts if part is not None), nn.Flatten())
        sizes = [maps[1] * 25, *hidden, n_outputs]
        self.net = stack([nn.Linear(*pair) for pair in itertools.pairwise(sizes)], after)
        self.net.apply(Xavier)
        self.shape = (-1, channels, self.side, self.side)

    def forward(self, x):
        return self.net(self.features(x.view(self.shape)))


def network(n_inputs: int, n_outputs: int, args, parts: int = 1) -> nn.Module:
    """The network that ``args`` asks for: ResNet18 if and only if there are 3,072 inputs, unless ``--net`` says so.

    In parity the reference's rule holds: ResNet18 if and only if the data file is ``cifar100.pt``. Each layer has a
    ``parts``-th of its units or maps, at least one. Text (``args.text``, a ``transformer.Language``) gets a Transformer.
    """
    if getattr(args, "text", None):
        return transformer.encoder(n_inputs, n_outputs, args)
    if wants_resnet(n_inputs, args):
        return ResNet18(n_outputs, max(1, RESNET_MAPS // parts))
    hidden = hidden_sizes(args, parts)
    sizes = [n_inputs, *hidden, n_outputs]
    require_room(sizes, args)
    if args.net == "lenet5":
        maps = [max(1, n // parts) for n in LENET_MAPS]
        return LeNet5(n_inputs, hidden, n_outputs, args.norm, after_hidden(hidden, args), maps)
    return MLP(sizes, after_hidden(hidden, args))


def means_resnet(n_inputs: int, args) -> bool:
    """Whether ``--net`` means a ResNet18 for so many inputs."""
    images = args.data_file == "cifar100.pt" if args.parity else n_inputs == IMAGE_INPUTS
    return args.net == "resnet18" or (args.net == "auto" and images)


def wants_resnet(n_inputs: int, args) -> bool:
    """Whether ``args`` ask for a ResNet18; ``UsageError`` if it does not fit the inputs, or the other flags do not fit it."""
    wanted = means_resnet(n_inputs, args)
    if wanted and n_inputs != IMAGE_INPUTS:
        raise UsageError(f"--net resnet18: needs {IMAGE_INPUTS} inputs, the data has {n_inputs}; give --net mlp")
    if wanted:
        for flag, none in {"norm": "none", "dropout": 0, "l1_activations": 0, "hidden_sizes": "auto"}.items():
            if getattr(args, flag) != none:
                raise UsageError(
                    f"--{flag} {getattr(args, flag)}: a ResNet18 has layers of its own; give --net mlp or --net lenet5"
                )
    return wanted


def require_room(sizes: list[int], args, copies: int = 1) -> None:
    """``UsageError`` unless so many MLPs of these sizes, and their gradients, fit into memory."""
    p = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    flags = f"--n_layers {args.n_layers} --n_hiddens {args.n_hiddens}"
    if args.hidden_sizes != "auto":
        flags = f"--hidden_sizes {args.hidden_sizes}"
    room.require(8 * copies * p, f"{flags}: the network")


def activations(net: nn.Module, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The activations (B, n) of each hidden layer of an MLP, or of LeNet5's linear layers, and its outputs (B, C).

    Activations are those that leave the ReLU, before dropout.
    """
    if hasattr(net, "features"):
        x = net.features(x.view(net.shape))
    hidden = []
    for layer in net.net:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            hidden.append(x)
    return hidden, x


def serves_activations(net: nn.Module) -> bool:
    """Whether ``activations`` knows the network."""
    return isinstance(getattr(net, "net", None), nn.Sequential)


@contextmanager
def unmoved(model: nn.Module):
    """Inside, passes in training mode compute what a step would, and change nothing that later steps depend on.

    Running statistics of batch normalisation stay, and dropout draws again afterwards what it drew inside.
    """
    norms = batch_norms(model)
    tracked = [m.track_running_stats for m in norms]
    drawn = [(m.generator, m.generator.get_state()) for m in dropouts(model)]
    shared = torch.get_rng_state()  # a module of one's own may have torch's dropout
    for module in norms:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module, flag in zip(norms, tracked, strict=True):
            module.track_running_stats = flag
        for generator, state in drawn:
            generator.set_state(state)
        torch.set_rng_state(shared)


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The layers that normalise a batch by its own statistics."""
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def needs_two(model: nn.Module) -> bool:
    """Whether a batch in training must have two examples at least: there is batch normalisation of single units."""
    return any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
