"""The gradient engines: inner products and weighted sums of the gradients that a method asks for (docs/engine.md)."""

from model import UsageError
from model.engine.autograd import AutogradEngine
from model.engine.fast import FastEngine, linear_layers


def make(net, outputs, args):
    """The engine that ``--engine`` asks for; ``auto`` is the fast one where the network and ``--parity`` allow it."""
    fits = linear_layers(net) is not None
    if args.engine == "fast" and args.parity:
        raise UsageError(
            "--engine fast --parity yes: the reference's digits need --engine autograd; give one of the two"
        )
    if args.engine == "fast" and not fits:
        raise UsageError(
            f"--engine fast: {type(net).__name__} is not a stack of linear layers with ReLU; give --engine auto"
        )
    if args.engine == "fast" or (args.engine == "auto" and fits and not args.parity and not args.cuda):
        return FastEngine(net, outputs, threads=args.threads or 1)
    return AutogradEngine(net, outputs, parity=args.parity)
