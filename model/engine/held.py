"""Parameters in an engine's hands: the first touch by anybody else hands them out, complete and plain.

While an engine holds a network's parameters their memory is the engine's own, and need not be complete. The `Parameter`
objects, which an optimizer or a list may refer to, stay where they are. Their class is replaced, as torch does with its
`UninitializedParameter`: torch passes every function of such a tensor, reading or writing, to ``__torch_function__``.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn

# These say nothing about values: asking for them, as `zero_grad` does, hands nothing out.
METADATA = frozenset(
    [
        torch.Tensor.grad.__get__,
        torch.Tensor.grad.__set__,
        torch.Tensor.shape.__get__,
        torch.Tensor.dtype.__get__,
        torch.Tensor.device.__get__,
        torch.Tensor.requires_grad.__get__,
        torch.Tensor.numel,
        torch.Tensor.size,
        torch.Tensor.dim,
    ]
)


def held_by(hand_out: Callable[[], None]) -> type[nn.Parameter]:
    """The class of parameters that are held; ``hand_out`` makes them plain parameters again."""

    class HeldParameter(nn.Parameter):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function in METADATA:
                with torch._C.DisableTorchFunctionSubclass():
                    return function(*args, **(kwargs or {}))
            for kind in types:
                if hasattr(kind, "hand_out"):
                    kind.hand_out()
            return function(*args, **(kwargs or {}))

        def __deepcopy__(self, memo):
            hand_out()
            return copy.deepcopy(self, memo)

        def __reduce_ex__(self, protocol):
            hand_out()
            return self.__reduce_ex__(protocol)

    HeldParameter.hand_out = staticmethod(hand_out)
    return HeldParameter


class Carrier:
    """Whoever goes on with more than the ``public`` values that everybody sees, views into ``theta``.

    It says how to make these complete from its own state (``complete``), and how to begin again from them (``adopt``).
    """

    public: Sequence[torch.Tensor]
    shown: list[torch.Tensor] | None = None  # what was handed out, if that could be written to

    def hand_out(self) -> None:
        """Make the public values complete, and remember them; the carrier's own state is left alone."""
        self.complete()
        self.shown = [tensor.clone() for tensor in self.public]

    def take_back(self) -> None:
        """Public values that are no longer those handed out replace the carrier's own."""
        if self.shown is not None and any(bool((a != b).any()) for a, b in zip(self.public, self.shown, strict=True)):
            self.adopt()
            self.shown = [tensor.clone() for tensor in self.public]

    def fold(self) -> None:
        """Complete values, from which the carrier begins again."""
        self.complete()
        self.adopt()
