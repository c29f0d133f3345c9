"""The exact state of a method as tensors and builtins, and back: what the attributes of its modules hold.

An attribute is state if its value is

* a tensor, a number, text, None, or a list, tuple, set, dict or deque of such;
* an array of numpy, or a generator of torch, of numpy or of ``random``;
* an object with ``checkpoint()`` and ``restore(state)``, or with ``state_dict()`` and ``load_state_dict(state)``.

Functions, modules and arguments are no state, because the constructor makes them. Nor are the attributes that a method's
``CACHES`` names, which it can make anew. Anything else is refused, so that nothing is lost silently. (What torch's own
modules hold beside is their own affair.)
"""

import argparse
import collections
import random

import numpy as np
import torch
from torch import nn

from model import UsageError

PLAIN = (bool, int, float, complex, str, bytes, type(None))
MADE = (nn.Module, argparse.Namespace)  # made by the constructor, and so is whatever can be called
KIND = "kind of object"  # the key that marks a dict as a frozen object, not a dict
TORCH_OWN = frozenset(vars(nn.Module())) - {
    "training"
}  # what torch keeps in every module, parameters and buffers among it


def checkpoint(model: nn.Module) -> dict:
    """The state of any method: by its own ``checkpoint``, else what its attributes hold.

    ``UsageError`` if an attribute holds what is no state.
    """
    if hasattr(model, "checkpoint") and hasattr(model, "restore"):
        return model.checkpoint()
    return {"parameters": parameters(model), "attributes": attributes(model)}


def restore(model: nn.Module, state: dict) -> None:
    """The counterpart of ``checkpoint``, into a fresh object of the same arguments."""
    if hasattr(model, "checkpoint") and hasattr(model, "restore"):
        model.restore(state)
        return
    model.load_state_dict(state["parameters"])
    set_attributes(model, state["attributes"])


def parameters(model: nn.Module) -> dict:
    """Copies of parameters and buffers, by their keys."""
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def attributes(model: nn.Module, but: tuple = ()) -> dict:
    """What the attributes of each module hold, frozen: {name of the module: {name of the attribute: value}}.

    ``but``: attributes of ``model`` that are left out.
    """
    copies: dict[int, tuple] = {}
    memory = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
    found: dict[str, dict] = {}
    for place, module in model.named_modules():
        entries = found[place] = {}
        left_out = TORCH_OWN if module is not model else {*TORCH_OWN, *but, *getattr(model, "CACHES", ())}
        for name, value in vars(module).items():
            if name in left_out or isinstance(value, MADE) or (callable(value) and not _has_state(value)):
                continue
            try:
                entries[name] = freeze(value, _Where(f"{place}.{name}".lstrip("."), copies, memory))
            except UsageError:
                if not type(module).__module__.startswith(("torch.", "transformers.")):
                    raise
    return found


def set_attributes(model: nn.Module, found: dict) -> None:
    """The counterpart of ``attributes``."""
    copies: dict[int, tuple] = {}
    for place, module in model.named_modules():
        for name, value in found.get(place, {}).items():
            where = _Where(f"{place}.{name}".lstrip("."), copies)
            setattr(module, name, thaw(value, vars(module).get(name), where))


class _Where:
    """The attribute that is being frozen or thawed, for messages, and what is known of the tensors so far."""

    def __init__(self, name: str, copies: dict, memory=frozenset()):
        self.name, self.copies, self.memory = name, copies, memory

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of a tensor; the same one wherever the same tensor is met again."""
        if tensor.numel() and tensor.untyped_storage().data_ptr() in self.memory:
            raise UsageError(
                f"a checkpoint cannot hold the attribute {self.name}, which is a view of the parameters; keep a clone()"
            )
        if id(tensor) not in self.copies:
            self.copies[id(tensor)] = (
                tensor,
                tensor.detach().clone(),
            )  # a tensor that is gone would leave its id to another
        return self.copies[id(tensor)][1]

    def refuse(self, value):
        raise UsageError(
            f"a checkpoint cannot hold the attribute {self.name}, a {type(value).__name__}; give it checkpoint() and "
            "restore(), or name it in CACHES if the method can make it anew"
        )


def freeze(value, where: _Where):
    """``value`` as tensors and builtins, which ``torch.load(weights_only=True)`` reads."""
    if isinstance(value, np.ndarray | np.generic):
        try:
            return {KIND: "array", "values": torch.from_numpy(np.array(value))}
        except TypeError:  # of text, or of objects
            where.refuse(value)
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, torch.Tensor):
        return where.copy(value)
    if isinstance(value, list | tuple | set):
        kind = next(kind for kind in (list, tuple, set) if isinstance(value, kind))
        return kind(freeze(item, where) for item in value)
    if isinstance(value, dict):
        return {freeze(key, where): freeze(item, where) for key, item in value.items()}
    if isinstance(value, collections.deque):
        return {KIND: "deque", "items": [freeze(item, where) for item in value], "maxlen": value.maxlen}
    if isinstance(value, torch.Generator | np.random.Generator | np.random.RandomState | random.Random):
        return {KIND: "generator", "state": freeze(_state_of(value), where)}
    if _has_state(value):
        own = value.checkpoint() if hasattr(value, "checkpoint") else value.state_dict()
        return {KIND: "object", "state": freeze(own, _Where(where.name, where.copies))}
    where.refuse(value)


def thaw(value, current, where: _Where):
    """The counterpart of ``freeze``; ``current`` is what the fresh object has in its place."""
    if isinstance(value, torch.Tensor):
        return where.copy(value)
    if isinstance(value, list | tuple | set):
        has = current if isinstance(current, list | tuple) and len(current) == len(value) else [None] * len(value)
        return type(value)(thaw(item, each, where) for item, each in zip(value, has, strict=True))
    if not isinstance(value, dict):
        return value
    match value.get(KIND):
        case None:
            has = current if isinstance(current, dict) else {}
            return {key: thaw(item, has.get(key), where) for key, item in value.items()}
        case "array":
            return value["values"].numpy().copy()[()]
        case "deque":
            return collections.deque((thaw(item, None, where) for item in value["items"]), value["maxlen"])
        case "generator" if current is not None:
            _set_state(current, thaw(value["state"], None, where))
            return current
        case "object" if _has_state(current):
            own = thaw(value["state"], None, where)
            (current.restore if hasattr(current, "restore") else current.load_state_dict)(own)
            return current
    raise UsageError(
        f"a checkpoint has the state of the attribute {where.name}, which a fresh method does not have; "
        "make that object in the method's constructor"
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


def _has_state(value) -> bool:
    pairs = (("checkpoint", "restore"), ("state_dict", "load_state_dict"))
    return not isinstance(value, type) and any(all(hasattr(value, name) for name in pair) for pair in pairs)


def _state_of(generator):
    if isinstance(generator, torch.Generator | np.random.RandomState):
        return generator.get_state()
    return generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.getstate()


def _set_state(generator, state) -> None:
    if isinstance(generator, torch.Generator | np.random.RandomState):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.setstate(state)


def random_state() -> dict:
    """The states of the generators that everybody shares: those of torch, numpy and ``random``."""
    where = _Where("random", {})
    shared = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "random": random.getstate()}
    if torch.cuda.is_available():
        shared["cuda"] = torch.cuda.get_rng_state_all()
    return freeze(shared, where)


def set_random_state(state: dict) -> None:
    """The counterpart of ``random_state``."""
    state = thaw(state, None, _Where("random", {}))
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])
    random.setstate(state["random"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])
