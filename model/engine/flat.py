"""All parameters of a network as views into one vector, and all gradients into another."""

import itertools
from contextlib import contextmanager

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

    def bind(self, look: bool = False) -> str:
        """Make sure that every parameter is a view into ``theta``, and say how they were found.

        "whole"; "touched", where a parameter was written to in place from outside, by ``load_state_dict`` say; or
        "rebound", where one lay elsewhere. ``look`` only looks.
        """
        status = "rebound"
        if self._addresses:
            status = "whole"
            for parameter, (address, version) in zip(self.parameters, self._addresses, strict=True):
                if parameter.data_ptr() != address or parameter.dtype != self.theta.dtype:
                    status = "rebound"
                    break
                if parameter._version != version:
                    status = "touched"
        if look or status == "whole":
            return status
        if status == "rebound":
            self.theta = torch.cat([p.detach().reshape(-1) for p in self.parameters])
            for parameter, view in zip(self.parameters, self.split(self.theta), strict=True):
                parameter.data = view
            self._grad = None
        self._addresses = [(p.data_ptr(), p._version) for p in self.parameters]
        return status

    def split(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """Views into ``vector`` (p,) in the shapes of the parameters."""
        ends = itertools.accumulate(self.sizes)
        pieces = zip(self.parameters, self.sizes, ends, strict=True)
        return [vector[end - size : end].view(p.shape).detach() for p, size, end in pieces]

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


@contextmanager
def threads(n: int):
    """``n`` threads for the kernels inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
