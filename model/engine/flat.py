"""All parameters of a network as views into one vector, and all gradients into another."""

import itertools
import sys
from contextlib import contextmanager

import torch
from torch import nn

from model import UsageError


class FlatParameters:
    """``theta`` (p,) and ``grad`` (p,), in the order of ``parameters()``, weight then bias.

    ``bind`` makes the views and must be called before each use: it costs a few hundred nanoseconds while they are whole,
    and makes them anew after ``.double()``, ``.cuda()``, a copy, ``p.data = ...``, a new ``Parameter`` in a module, or
    ``zero_grad(set_to_none=True)`` has broken them. Memory given by ``p.data = ...`` is copied, and not used itself.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self.names = [name for name, _ in module.named_parameters()]
        self.parameters = list(module.parameters())
        self.shapes = [p.shape for p in self.parameters]
        self.sizes = [p.numel() for p in self.parameters]
        self.theta: torch.Tensor | None = None
        self._views: list[torch.Tensor] = []
        self._grad: torch.Tensor | None = None
        self._find()

    # ---------------------------------------------------------------- parameters

    def bind(self) -> str:
        """Make sure that every parameter is a view into ``theta``, and say how they were found.

        "whole"; "moved", where one lay elsewhere and its values were copied; or "new", where ``theta`` is another tensor
        than before: the first time, and after a change of type or device.
        """
        if self._views and self.in_place() and self._whole():
            return "whole"
        if not self.in_place():
            self._find()
        values = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        new = not self._views or values.dtype != self.theta.dtype or values.device != self.theta.device
        if new:
            self.theta, self._grad = values, None
            self._views = self.split(values)
            self._nan = [values.new_full((), torch.nan).expand(shape) for shape in self.shapes]
            self._own = self._references()
        else:
            self.theta.copy_(values)
        self._memory = []
        for parameter, view, shape in zip(self.parameters, self._views, self.shapes, strict=True):
            parameter.data = view
            transposable = len(set(shape)) < len(shape)  # into the same shape
            self._memory.append((parameter, view.data_ptr(), transposable))
        return "new" if new else "moved"

    def in_place(self) -> bool:
        """Whether every parameter, and every module, is still the object that it was."""
        for table, name, member in self._places:  # noqa: SIM110, a generator takes twice as long
            if table.get(name) is not member:
                return False
        return True

    def _whole(self) -> bool:
        for parameter, address, transposable in self._memory:
            if parameter.data_ptr() != address or (transposable and not parameter.is_contiguous()):
                return False
        return True

    def _find(self) -> None:
        """The parameters as objects in their modules. Raises ``UsageError`` if one is gone, or has another shape."""
        now = dict(self.module.named_parameters())
        if {id(p) for p in now.values()} != {id(p) for p in self.parameters}:
            for name, shape in zip(self.names, self.shapes, strict=True):
                if name not in now or now[name].shape != shape:
                    raise UsageError(
                        f"the network has lost its parameter {name} {tuple(shape)}; make a new method for it"
                    )
            self.parameters = [now[name] for name in self.names]
        modules = list(self.module.modules())
        tables = [table for module in modules for table in (module._parameters, module._modules)]
        self._places = [(table, name, member) for table in tables for name, member in table.items()]

    def split(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """Views into ``vector`` (p,) in the shapes of the parameters."""
        ends = itertools.accumulate(self.sizes)
        pieces = zip(self.shapes, self.sizes, ends, strict=True)
        return [vector[end - size : end].view(shape).detach() for shape, size, end in pieces]

    # ---------------------------------------------------------------- in an engine's hands

    def hide(self, held: type[nn.Parameter]) -> None:
        """Make the parameters ``held`` ones without values; what gets around them sees NaN."""
        self._classes = [type(parameter) for parameter in self.parameters]
        for parameter, nan in zip(self.parameters, self._nan, strict=True):
            torch.autograd.graph.increment_version(parameter)  # autograd refuses a graph made before
            parameter.data = nan
            parameter.__class__ = held

    def show(self) -> None:
        """The counterpart of ``hide``."""
        for parameter, kind, view in zip(self.parameters, self._classes, self._views, strict=True):
            parameter.__class__ = kind
            parameter.data = view

    def references(self) -> int:
        """How many tensors use the memory of ``theta``, the parameters and what this object holds aside."""
        return self._references() - self._own - len(self.parameters)

    def _references(self) -> int:
        storage = self.theta.untyped_storage()
        return torch._C._storage_Use_Count(storage._cdata) + sys.getrefcount(storage)

    # ---------------------------------------------------------------- gradients

    @property
    def grad(self) -> torch.Tensor:
        """The gradients' vector; every parameter's ``.grad`` is a view into it."""
        if self._grad is None or self._grad_broken():
            self._grad = torch.zeros_like(self.theta)
            views = self.split(self._grad)
            self._grad_addresses = [view.data_ptr() for view in views]
            for parameter, view in zip(self.parameters, views, strict=True):
                parameter.grad = view
        return self._grad

    def _grad_broken(self) -> bool:
        places = zip(self.parameters, self._grad_addresses, strict=True)
        return any(p.grad is None or p.grad.data_ptr() != address for p, address in places)

    def __getstate__(self) -> dict:
        """For copies and pickles, in which the parameters lie elsewhere."""
        return {**self.__dict__, "_views": [], "_grad": None}


@contextmanager
def threads(n: int):
    """``n`` threads for the kernels inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
