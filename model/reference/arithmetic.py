"""What the reference's methods share: the loss on a task's outputs, and steps of SGD tensor by tensor."""

import torch
from torch.nn import functional as F


class Arithmetic:
    """For a ``Learner``: training that never makes the parameters views of one vector.

    A matrix product may round differently where its operands do not begin at a multiple of 16 bytes, as views do.
    """

    def task_loss(self, x: torch.Tensor, t: int, y: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy over the outputs of task t alone, the labels y (B,) counted from the first of them.

        Masking the other outputs gives the same value and a gradient that rounds differently.
        """
        logits = self.net(x)
        if self.outputs.foreign is None:
            return F.cross_entropy(logits, y)
        own = (~self.outputs.foreign[t]).nonzero()[:, 0].tolist()
        return F.cross_entropy(logits[:, own[0] : own[-1] + 1], y - own[0])

    def backward(self, loss: torch.Tensor) -> list[torch.Tensor]:
        """The gradient of ``loss``, a tensor for each parameter."""
        self.net.zero_grad()
        loss.backward()
        return [p.grad for p in self.net.parameters()]

    @torch.no_grad()
    def step(self, gradients) -> None:
        """theta -= lr g, g given as a tensor for each parameter."""
        for p, g in zip(self.net.parameters(), gradients, strict=True):
            p.add_(g, alpha=-self.lr)
