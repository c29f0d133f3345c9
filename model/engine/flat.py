"""All parameters of a network as views into one vector, and all gradients into another."""

import torch
from torch import nn


class FlatParameters:
    """``theta`` (p,) and ``grad`` (p,), in the order of ``parameters()``, weight then bias.

    ``bind`` makes the views and must be called before each use: it costs a few hundred nanoseconds while they are whole,
    and makes them anew after ``.double()``, ``.cuda()``, a copy, or ``zero_grad(set_to_none=True)`` has broken them.
    """

    def __init__(self, module: nn.Module):
        self.parameters = list(module.parameters())
        self.sizes = [p.numel() for p in self.parameters]
        self.theta: torch.Tensor | None = None
        self._grad: torch.Tensor | None = None
        self._addresses: list[int] = []

    def bind(self) -> bool:
        """Make sure that every parameter is a view into ``theta``; True if they had to be bound again."""
        for parameter, address in zip(self.parameters, self._addresses, strict=False):
            if parameter.data_ptr() != address:
                break
        else:
            if self._addresses and self.parameters[0].dtype == self.theta.dtype:
                return False
        self.theta = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        for parameter, view in zip(self.parameters, self.split(self.theta), strict=True):
            parameter.data = view
        self._addresses = [p.data_ptr() for p in self.parameters]
        self._grad = None
        return True

    def split(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """Views into ``vector`` (p,) in the shapes of the parameters."""
        return [part.view(p.shape) for part, p in zip(vector.split(self.sizes), self.parameters, strict=True)]

    @property
    def grad(self) -> torch.Tensor:
        """The gradients' vector; every parameter's ``.grad`` is a view into it."""
        if self._grad is None or self._grad_broken():
            self._grad = torch.zeros_like(self.theta)
            self._grad_views = self.split(self._grad)
            for parameter, view in zip(self.parameters, self._grad_views, strict=True):
                parameter.grad = view
        return self._grad

    def _grad_broken(self) -> bool:
        views = zip(self.parameters, self._grad_views, strict=True)
        return any(p.grad is None or p.grad.data_ptr() != view.data_ptr() for p, view in views)
