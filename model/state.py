"""The exact state of a method, and back: parameters, buffers, gradients, and what the attributes of its modules hold.

An attribute is state if ``model.frozen`` can hold its value. Those that a method's ``CACHES`` names are none, because it
can make them anew. Anything else is refused. (What torch's own modules hold beside is their own affair.)
"""

import copy
import inspect
import random
import sys
import types

import numpy as np
import torch
from torch import nn

from model import UsageError
from model.frozen import KIND, Freezer, Thawer, same

OF_PARAMETERS = "attributes of parameters"  # the key beside the names of modules
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
    for place, module in model.named_modules():  # what was deleted
        if not _of_a_library(module):
            for name in vars(module).keys() - _left_out(module, model) - state["attributes"].get(place, {}).keys():
                delattr(module, name)


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
        if parent._modules.get(name) is None:
            vars(parent).pop(name, None)  # the None in its place
            parent.add_module(name, copy.deepcopy(model.get_submodule(like)))


def _beside(model: nn.Module) -> dict:
    """What ``state_dict`` leaves out: gradients, which parameters are frozen, and buffers that are not persistent."""
    named, kept = dict(model.named_parameters()), model.state_dict().keys()
    return {
        "gradients": {key: p.grad.clone() for key, p in named.items() if p.grad is not None},
        "fixed": [key for key, p in named.items() if not p.requires_grad],
        "buffers": {key: b.clone() for key, b in model.named_buffers() if key not in kept},
        "hooks": _hooks(model),
    }


def _hooks(model: nn.Module) -> dict:
    """How many functions wait for a pass of each module and parameter: only a constructor can make them anew."""
    found = {place: [v for name, v in vars(m).items() if name.endswith("_hooks")] for place, m in model.named_modules()}
    found |= {key: [p._backward_hooks or ()] for key, p in model.named_parameters()}
    return {name: n for name, hooks in found.items() if (n := sum(map(len, hooks)))}


def waits_for_shapes(model: nn.Module) -> bool:
    """Whether parameters get their shapes in the first pass."""
    return any(nn.parameter.is_lazy(p) for p in model.parameters())


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
    for key, buffer in model.named_buffers():
        if freezer.is_a_view(buffer):
            freezer.refuse_view(key)
    for place, module in model.named_modules():
        entries = found[place] = {}
        left_out = _left_out(module, model, but)
        for name, value in vars(module).items():
            if name in left_out:
                continue
            told = f"{place}.{name}".lstrip(".")
            try:
                entries[name] = freezer.freeze(value, told)
            except UsageError:
                if not _of_a_library(module):
                    raise
            except Exception as error:  # of what somebody's object does when it is looked at
                raise UsageError(
                    f"a checkpoint cannot hold the attribute {told}, a {type(value).__name__} ({type(error).__name__}); "
                    "name it in CACHES if the method can make it anew"
                ) from error
    own = {key: vars(p) for key, p in model.named_parameters() if vars(p)}
    if own:
        found[OF_PARAMETERS] = {
            key: {name: freezer.freeze(value, f"{key}.{name}") for name, value in values.items()}
            for key, values in own.items()
        }
    freezer.finish()
    return found


def _left_out(module: nn.Module, model: nn.Module, but: tuple = ()) -> set:
    """The attributes of one of the model's modules that are no state."""
    return {*TORCH_OWN, *but, *getattr(model, "CACHES", ())} if module is model else {*TORCH_OWN}


def _of_a_library(module: nn.Module) -> bool:
    return type(module).__module__.startswith(("torch.", "transformers."))


def set_attributes(model: nn.Module, found: dict) -> None:
    """The counterpart of ``attributes``."""
    thawer = Thawer(model)
    for place, module in model.named_modules():
        for name, value in found.get(place, {}).items():
            setattr(module, name, thawer.thaw(value, vars(module).get(name), f"{place}.{name}".lstrip(".")))
    for key, values in found.get(OF_PARAMETERS, {}).items():
        for name, value in values.items():
            setattr(thawer.parts[key], name, thawer.thaw(value, None, f"{key}.{name}"))


def outside(model: nn.Module) -> dict:
    """What a method's module and its classes hold beside the object: {its name: value}, frozen to be compared.

    It is in no checkpoint. Of functions it is what they were given, and what was hung on to them.
    """
    freezer, found = Freezer(model, lenient=True), {}
    file = sys.modules[type(model).__module__]
    own = [kind for kind in vars(file).values() if isinstance(kind, type) and kind.__module__ == file.__name__]
    for owner in (file, *own):
        for name, value in list(vars(owner).items()):
            if name.startswith("__") or not name.isidentifier():  # Python's own, and a debugger's
                continue
            inside = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else None
            if isinstance(inside, types.FunctionType) and inside.__module__ == file.__name__:
                value = [inside, inside.__defaults__, inside.__kwdefaults__, vars(inside)]
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
