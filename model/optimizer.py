"""What `--optimizer` and `--momentum` make of the gradient of a step.

A step of rate lr subtracts lr times a direction (p,). Plain SGD, the default, takes the gradient itself and has no object
here. The state of an optimizer is cleared where a task begins, unless `--optimizer_state keep` says otherwise: a stored
direction that a method avoids would be left along gradients from before it was stored.
"""

import warnings

import torch

from model import UsageError

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam (Kingma & Ba 2015), as in torch.optim


class HeavyBall:
    """v <- momentum v + g; the direction is v (torch.optim.SGD without dampening)."""

    name = "momentum"

    def __init__(self, momentum: float):
        self.momentum = momentum
        self.clear()

    def clear(self) -> None:
        """Forget all gradients."""
        self.v: torch.Tensor | None = None

    def direction(self, g: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """What a step of rate 1 along the gradient g (p,) at theta (p,) subtracts; not to be written into."""
        self.v = g.clone() if self.v is None else self.v.mul_(self.momentum).add_(g)
        return self.v

    def checkpoint(self) -> dict:
        return {"v": None if self.v is None else self.v.clone()}

    def restore(self, state: dict) -> None:
        self.v = None if state["v"] is None else state["v"].clone()


class Adam:
    """m <- b1 m + (1 - b1) g, s <- b2 s + (1 - b2) g^2; the direction is m' / (sqrt(s') + eps), m', s' without bias.

    With a ``decay`` it is AdamW (Loshchilov & Hutter 2019): decay theta is added to the direction, of all parameters.
    """

    name = "Adam"

    def __init__(self, decay: float = 0.0):
        self.decay = decay
        self.clear()

    def clear(self) -> None:
        """Forget all gradients."""
        self.m = self.s = None
        self.steps = 0

    def direction(self, g: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """As ``HeavyBall.direction``."""
        if self.m is None:
            self.m, self.s = torch.zeros_like(g), torch.zeros_like(g)
        self.steps += 1
        b1, b2 = BETAS
        self.m.lerp_(g, 1 - b1)
        self.s.mul_(b2).addcmul_(g, g, value=1 - b2)
        scale = (1 - b2**self.steps) ** 0.5
        found = self.m / self.s.sqrt().div_(scale).add_(EPSILON).mul_(1 - b1**self.steps)
        return found.add_(theta, alpha=self.decay) if self.decay else found

    def checkpoint(self) -> dict:
        return {"steps": self.steps, **{k: None if (v := getattr(self, k)) is None else v.clone() for k in ("m", "s")}}

    def restore(self, state: dict) -> None:
        self.steps = state["steps"]
        self.m, self.s = (None if state[k] is None else state[k].clone() for k in ("m", "s"))


def make(args) -> HeavyBall | Adam | None:
    """The optimizer that ``args`` ask for; None for plain SGD."""
    if args.optimizer == "adam":
        return Adam(args.weight_decay)
    return HeavyBall(args.momentum) if args.momentum else None


def asked_for(args) -> str:
    """The flags that ask for another optimizer than plain SGD; "" where it is plain."""
    if args.optimizer != "sgd":
        return f"--optimizer {args.optimizer}"
    return f"--momentum {args.momentum:g}" if args.momentum else ""


def refuse(args, method: str, reason: str) -> None:
    """``UsageError`` unless ``args`` ask for plain SGD: the method makes its steps itself."""
    if flags := asked_for(args):
        remedy = "--optimizer sgd" if args.optimizer != "sgd" else "--momentum 0"
        raise UsageError(f"{flags}: {method} makes its steps itself: {reason}; give {remedy}")


def warn(args, method: str, lost: str) -> None:
    """Unless ``args`` ask for plain SGD, say what of the method's guarantee is ``lost``."""
    if flags := asked_for(args):
        warnings.warn(f"{flags}: {method}'s guarantee needs plain SGD: {lost}", stacklevel=3)
