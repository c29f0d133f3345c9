"""The gradient engines: inner products and weighted sums of the gradients that a method asks for (docs/engine.md)."""

from model import UsageError
from model.engine.autograd import AutogradEngine
from model.engine.fast import FastEngine, linear_layers


def make(net, outputs, args, optimizer=None, in_blocks=False):
    """The engine that ``--engine`` asks for; ``auto`` is the fast one where the network and ``--parity`` allow it.

    ``optimizer``: what makes steps of gradients (``model.optimizer``), None for plain SGD. ``in_blocks``: corrections have
    weights of their own in blocks of coordinates, of which the fast engine makes steps of plain SGD only.
    """
    plain = optimizer is None or not in_blocks
    fits = plain and linear_layers(net) is not None
    if args.engine == "fast" and args.parity:
        raise UsageError(
            "--engine fast --parity yes: the reference's digits need --engine autograd; give one of the two"
        )
    if args.engine == "fast" and not plain:
        raise UsageError("--engine fast: steps in blocks of parameters are plain SGD there; give --engine auto")
    if args.engine == "fast" and not fits:
        raise UsageError(
            f"--engine fast: this {type(net).__name__} is not a stack of linear layers with ReLU; give --engine auto"
        )
    if args.engine == "fast" or (args.engine == "auto" and fits and not args.parity and not args.cuda):
        return FastEngine(net, outputs, args.threads or 1, optimizer=optimizer, l1=args.l1_activations)
    return AutogradEngine(net, outputs, args.parity, optimizer, args.l1_activations, waits=not args.cuda)
