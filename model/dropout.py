"""Dropout with draws of its own, which depend on the seed and on how many tasks were begun."""

import torch
from torch import nn

TASK_SEEDS = 2**32  # from one task's seed of dropout to the next; --seed is smaller


class Dropout(nn.Module):
    """Zeros each activation with probability ``p`` in training, and divides the others by 1 - p.

    Draws come from ``generator``. ``begin`` seeds it for a task, so that a task's draws do not depend on how long the
    tasks before it took.
    """

    def __init__(self, p: float, seed: int, generator: torch.Generator | None = None):
        super().__init__()
        self.p, self.seed = p, seed
        self.generator = generator or torch.Generator()
        self.begin(0)

    def begin(self, k: int) -> None:
        """Seed for the k-th task that is learned, counted from 1."""
        self.generator.manual_seed(self.seed + k * TASK_SEEDS)

    def forward(self, x):
        if not self.training:
            return x
        kept = torch.empty(x.shape, dtype=x.dtype).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.to(x.device).div_(1 - self.p)

    def extra_repr(self):
        return f"p={self.p}"


def dropouts(model: nn.Module) -> list[Dropout]:
    """The dropout modules of a network, or of all networks of a method."""
    return [module for module in model.modules() if isinstance(module, Dropout)]
