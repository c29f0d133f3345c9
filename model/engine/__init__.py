"""The gradient engines: inner products and weighted sums of the gradients that a method asks for (DESIGN in docs/)."""

from model.engine.autograd import AutogradEngine


def make(net, outputs, args):
    """The engine that ``args`` asks for, for ``net`` and the outputs of its tasks."""
    return AutogradEngine(net, outputs, parity=args.parity)
