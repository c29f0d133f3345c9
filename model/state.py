"""The exact state of a method, and back: parameters, buffers, gradients, and what the attributes of its modules hold.

An attribute is state if ``model.frozen`` can hold its value. Functions, modules and arguments are no state, because the
constructor makes them. Nor are the attributes that a method's ``CACHES`` names, which it can make anew. Anything else is
refused. (What torch's own modules hold beside is their own affair.)
"""

import collections
import copy
import random
import sys
from contextlib import suppress

import numpy as np
import torch
from torch import nn

from model import UsageError
from model.frozen import FUNCTIONS, GENERATORS, KIND, PLAIN, Freezer, Thawer, same

MADE = (nn.Module, *FUNCTIONS)  # made by the constructor, or by the program
CHANGING = (*PLAIN, list, dict, set, collections.deque, torch.Tensor, np.ndarray, GENERATORS)
TORCH_OWN = frozenset(vars(nn.Module())) - {
    "training"
}  # what torch keeps in every module, parameters and buffers among it


def checkpoint(model: nn.Module) -> dict:
    """The state of any method: by its own ``checkpoint``, else what its attributes hold.

    ``UsageError`` if an attribute holds what is no state.
    """
    if hasattr(model, "checkpoint") and hasattr(model, "restore"):
        return model.checkpoint()
    parts = {"parameters": parameters(model), "copies": copies(model), "beside": _beside(model)}
    return {**parts, "attributes": attributes(model)}


def restore(model: nn.Module, state: dict) -> None:
    """The counterpart of ``checkpoint``, into a fresh object of the same arguments."""
    if hasattr(model, "checkpoint") and hasattr(model, "restore"):
        model.restore(state)
        return
    make_copies(model, state.get("copies", {}))
    model.load_state_dict(state["parameters"])
    _set_beside(model, state.get("beside", {}))
    set_attributes(model, state["attributes"])


def parameters(model: nn.Module) -> dict:
    """Copies of parameters and buffers, by their keys."""
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def copies(model: nn.Module) -> dict:
    """The modules that may be copies of others, as a teacher is of the network: {place: the first place of such a one}."""
    first, found = {}, {}
    for place, module in model.named_modules():
        if place and any(True for _ in module.parameters()):
            like = first.setdefault(f"{type(module)} {module}", place)
            parent = model.get_submodule(place.rpartition(".")[0])
            if like != place and (parent is model or isinstance(parent, nn.ModuleList | nn.ModuleDict)):
                found[place] = like
    return found


def make_copies(model: nn.Module, found: dict) -> None:
    """Make those modules of ``copies`` that a fresh method does not have."""
    for place, like in found.items():
        holder, _, name = place.rpartition(".")
        parent = model.get_submodule(holder)
        if getattr(parent, "_modules", {}).get(name) is None:
            vars(parent).pop(name, None)  # the None in its place
            parent.add_module(name, copy.deepcopy(model.get_submodule(like)))


def _beside(model: nn.Module) -> dict:
    """What ``state_dict`` leaves out: gradients, which parameters are frozen, and buffers that are not persistent."""
    named, kept = dict(model.named_parameters()), model.state_dict().keys()
    return {
        "gradients": {key: p.grad.clone() for key, p in named.items() if p.grad is not None},
        "fixed": [key for key, p in named.items() if not p.requires_grad],
        "buffers": {key: b.clone() for key, b in model.named_buffers() if key not in kept},
    }


def _set_beside(model: nn.Module, found: dict) -> None:
    for key, p in model.named_parameters():
        gradient = found.get("gradients", {}).get(key)
        p.requires_grad_(key not in found.get("fixed", []))
        p.grad = None if gradient is None else gradient.clone()
    for key, buffer in found.get("buffers", {}).items():
        place, _, name = key.rpartition(".")
        setattr(model.get_submodule(place), name, buffer.clone())


def attributes(model: nn.Module, but: tuple = ()) -> dict:
    """What the attributes of each module hold, frozen: {name of the module: {name of the attribute: value}}.

    ``but``: attributes of ``model`` that are left out.
    """
    freezer, found = Freezer(model), {}
    for place, module in model.named_modules():
        entries = found[place] = {}
        left_out = TORCH_OWN if module is not model else {*TORCH_OWN, *but, *getattr(model, "CACHES", ())}
        for name, value in vars(module).items():
            if name in left_out or isinstance(value, MADE):
                continue
            try:
                entries[name] = freezer.freeze(value, f"{place}.{name}".lstrip("."))
            except UsageError:
                if not type(module).__module__.startswith(("torch.", "transformers.")):
                    raise
    freezer.finish()
    return found


def set_attributes(model: nn.Module, found: dict) -> None:
    """The counterpart of ``attributes``."""
    thawer = Thawer(model)
    for place, module in model.named_modules():
        for name, value in found.get(place, {}).items():
            setattr(module, name, thawer.thaw(value, vars(module).get(name), f"{place}.{name}".lstrip(".")))


def outside(model: nn.Module) -> dict:
    """What a method's module and its classes hold beside the object, frozen: {its name: value}. It is in no checkpoint."""
    freezer, found = Freezer(model), {}
    file = sys.modules[type(model).__module__]
    for owner in (file, *(kind for kind in vars(file).values() if isinstance(kind, type))):
        if owner is not file and owner.__module__ != file.__name__:
            continue
        for name, value in vars(owner).items():
            if not name.startswith("__") and isinstance(value, CHANGING):
                with suppress(UsageError):  # a table of functions, say
                    found[name if owner is file else f"{owner.__name__}.{name}"] = freezer.freeze(value, name)
    freezer.finish()
    return found


def require_unchanged(before: dict, model: nn.Module) -> None:
    """``UsageError`` if anything ``outside`` the method's object is not what it was."""
    now = outside(model)
    for name in now:
        if name not in before or not same(before[name], now[name]):
            raise UsageError(
                f"a checkpoint cannot hold {name}, which belongs to model/{type(model).__module__.rpartition('.')[2]}.py "
                "and not to the method's object; make it an attribute of the object"
            )


def packed(value):
    """A list of numbers, or of rows of as many numbers each, as one tensor; any other value as it is.

    A checkpoint of millions of them is read eighty times as fast.
    """
    if not isinstance(value, list):
        return value
    rows = value if value and all(isinstance(row, list) for row in value) else [value]
    kinds = {type(number) for row in rows for number in row}
    if kinds not in (set(), {int}, {float}) or len(set(map(len, rows))) > 1:
        return value
    return {KIND: "numbers", "values": torch.tensor(value, dtype=torch.int64 if kinds == {int} else torch.float64)}


def unpacked(value):
    """The counterpart of ``packed``."""
    return value["values"].tolist() if isinstance(value, dict) and value.get(KIND) == "numbers" else value


def random_state() -> dict:
    """The states of the generators that everybody shares: those of torch, numpy and ``random``."""
    shared = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "random": random.getstate()}
    if torch.cuda.is_available():
        shared["cuda"] = torch.cuda.get_rng_state_all()
    freezer = Freezer()
    frozen = freezer.freeze(shared)
    freezer.finish()
    return frozen


def set_random_state(state: dict) -> None:
    """The counterpart of ``random_state``."""
    state = Thawer().thaw(state, None)
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])
    random.setstate(state["random"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])
