"""Values as tensors and builtins, which ``torch.load(weights_only=True)`` reads, and back.

Held are

* numbers, text, None and members of an enum; lists, tuples, sets, dicts, deques, and Python's kinds of dicts and tuples;
* tensors, arrays of numpy, and generators of torch, of numpy and of ``random``;
* objects with ``checkpoint()`` and ``restore(state)``, or with ``state_dict()`` and ``load_state_dict(state)``;
* modules of torch, arguments, and any other object of a class written in Python, by their attributes;
* functions, classes and the like by their names, since the program makes them.

What is one object in two places is one object again, and tensors that share memory share it again. Parameters and modules
are named, and not held a second time. Generators, objects and tensors that gradients flow into are not made anew: a fresh
one is in their place, and takes on the state. Anything else is refused, so that nothing is lost silently.
"""

import argparse
import collections
import copy
import enum
import functools
import random
import sys
import types

import numpy as np
import torch
from torch import nn

from model import UsageError
from model.shared_memory import Copies

KIND = "kind of object"  # the key that marks a dict as something that was none
PLAIN = (bool, int, float, complex, str, type(None))
DICTS = {kind.__name__: kind for kind in (dict, collections.OrderedDict, collections.Counter)}
GROUPS = {kind.__name__: kind for kind in (tuple, set, frozenset, torch.Size)}
FACTORIES = {kind.__name__: kind for kind in (list, dict, set, int, float, str, bool)}
GENERATORS = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
# Made by the program, and without a state of their own.
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type, functools.partial,
             torch.device, torch.dtype, torch.layout, torch.memory_format)  # fmt: skip
UNCHANGED = {argparse.Namespace: ("text",)}  # what main.py hands to a method, and no method changes


def parts(model: nn.Module | None) -> dict:
    """The parameters, buffers and modules of ``model``, each by its key; those of two kinds never have the same one."""
    if model is None:
        return {}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {**tensors, **{f"module {place}": module for place, module in model.named_modules()}}


class Freezer:
    """``freeze`` gives the frozen form of one value after another; its tensors are empty until ``finish`` is called.

    ``model`` has the values as attributes. A view of one of its parameters is refused, because it would be one no more.
    ``lenient`` is for comparing, not for thawing: what cannot be held is described.
    """

    def __init__(self, model: nn.Module | None = None, lenient: bool = False):
        found = parts(model)
        self.lenient = lenient
        self.keys = {id(part): key for key, part in found.items()}
        self.parameters = {_place(p) for p in found.values() if isinstance(p, nn.Parameter)} - {None}
        self.known: dict[int, tuple] = {}  # id: the value, which must not leave its id to another, and its frozen form
        self.copies = Copies()
        self.name = ""
        self.told = 0  # how deep inside what an object tells of itself, which may be views of parameters

    def freeze(self, value, name: str | None = None):
        """``name`` is what the user calls it. ``UsageError`` if it cannot be held."""
        self.name = name or self.name
        if type(value) in PLAIN:
            return value
        if id(value) not in self.known:
            self._note(value, None)
            try:
                self._freeze(value)
            except Exception:
                if not self.lenient:
                    del self.known[id(value)]  # whoever goes on without it must not find half of it
                    raise
                self._note(value, {KIND: "other", "of": _path(type(value)), "is": [id(value), _told_of(value)]})
        if self.known[id(value)][1] is None:  # a tuple in itself
            self._refuse(value)
        return self.known[id(value)][1]

    def finish(self) -> None:
        """Copy the tensors' memory."""
        self.copies.fill()

    def _note(self, value, frozen):
        self.known[id(value)] = value, frozen
        return frozen

    def _freeze(self, value) -> None:
        kind = type(value)
        if kind is bytes:
            self._note(value, {KIND: "bytes", "text": value.decode("latin-1")})
        elif kind is list:
            frozen = self._note(value, [])
            frozen += (self.freeze(item) for item in value)
        elif kind is tuple:
            self._note(value, tuple(self.freeze(item) for item in value))
        elif isinstance(value, tuple) and hasattr(kind, "_fields"):
            self._items(value, "named tuple", {"of": _path(kind)})
        elif isinstance(value, enum.Enum):
            self._note(value, {KIND: "member", "of": _path(kind), "name": value.name})
        elif kind in (set, frozenset, torch.Size):
            self._items(value, kind.__name__, {})
        elif kind in DICTS.values():
            self._dict(value, kind.__name__, {})
        elif kind is collections.defaultdict and value.default_factory in (None, *FACTORIES.values()):
            self._dict(value, kind.__name__, {"factory": value.default_factory and value.default_factory.__name__})
        elif kind is collections.deque:
            self._items(value, kind.__name__, {"maxlen": value.maxlen})
        elif id(value) in self.keys:
            self._note(value, {KIND: "part", "key": self.keys[id(value)]})
        elif isinstance(value, torch.Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray | np.generic):
            self._array(value)
        elif isinstance(value, FUNCTIONS):
            self._note(value, {KIND: "made", "of": _name(value)})["given"] = self._given(value)
        elif isinstance(value, GENERATORS):
            if isinstance(value, np.random.Generator) and getattr(
                value.bit_generator.seed_seq, "n_children_spawned", 0
            ):
                self._refuse(value)  # numpy has no way of setting how many it has spawned
            self._note(value, {KIND: "generator"})["state"] = self.freeze(_state_of(value))
        elif has_state(value) and not isinstance(value, nn.Module):
            self._object(value)
        elif _of_python(value):
            frozen = self._note(value, {KIND: "attributes", "of": kind.__qualname__, "values": {}})
            for name, part in vars(value).items():
                if name not in UNCHANGED.get(kind, ()):
                    frozen["values"][name] = self.freeze(part)
        elif callable(value) and not isinstance(value, dict | list | set | tuple):
            self._note(value, {KIND: "made", "of": _name(value), "given": None})
        else:
            self._refuse(value)

    def _object(self, value) -> None:
        """By its own state; an optimizer's names its parameters by numbers, and nothing of what a subclass adds."""
        frozen = self._note(value, {KIND: "object", "of": _stepped(value, self.keys), "more": {}})
        self.told += 1
        frozen["state"] = self.freeze(value.checkpoint() if hasattr(value, "checkpoint") else value.state_dict())
        self.told -= 1
        for name, part in vars(value).items() if isinstance(value, torch.optim.Optimizer) else ():
            if not name.startswith("_") and name not in ("defaults", "state", "param_groups"):
                frozen["more"][name] = self.freeze(part)

    def _given(self, value):
        """What a partial function was given; the numbers and texts that a function has from where it was made."""
        if isinstance(value, functools.partial):
            return self.freeze([*value.args, value.keywords])
        inside = [cell.cell_contents for cell in getattr(value, "__closure__", None) or () if cell != types.CellType()]
        return [part if type(part) in PLAIN else _path(type(part)) for part in inside] or None

    def _items(self, value, kind: str, more: dict) -> None:
        frozen = self._note(value, {KIND: kind, **more, "items": []})
        frozen["items"] += (self.freeze(item) for item in value)

    def _dict(self, value: dict, kind: str, more: dict) -> None:
        """Plain keys of a plain dict stay keys; others become a list, as an array of numpy is frozen as a dict."""
        if any(type(key) is int and key in self.keys for key in value):
            self._refuse(value)  # by id() of parameters, which are others in another process
        if kind == "dict" and all(map(_is_key, value)) and KIND not in value:
            frozen = self._note(value, {})
            frozen.update((key, self.freeze(item)) for key, item in value.items())
            return
        frozen = self._note(value, {KIND: kind, **more, "keys": [], "items": []})
        for key, item in value.items():
            frozen["keys"].append(self.freeze(key))
            frozen["items"].append(self.freeze(item))

    def _tensor(self, value: torch.Tensor) -> None:
        if value.layout is not torch.strided or value.is_quantized or (vars(value) and not self.told):
            self._refuse(value)
        if not self.told and self.is_a_view(value):
            self.refuse_view(self.name)
        if value.grad_fn is not None and not self.told:
            raise UsageError(
                f"a checkpoint cannot hold the attribute {self.name}, a tensor with the graph of its gradient; keep a "
                "detach()"
            )
        empty = self.copies.of(value)
        if self.told or not _is_variable(value):
            self._note(value, empty)
            return
        frozen = self._note(value, {KIND: "variable", "values": empty, "requires_grad": value.requires_grad})
        frozen["grad"] = self.freeze(value.grad)

    def _array(self, value) -> None:
        scalar = isinstance(value, np.generic)
        seen_backwards = not scalar and value.base is not None and min(value.strides, default=0) < 0
        if not scalar and (type(value) is not np.ndarray or seen_backwards):  # a mask; memory shared in another order
            self._refuse(value)
        alone = scalar or not value.flags.writeable or min(value.strides, default=0) < 0
        try:
            values = torch.from_numpy(np.array(value) if alone else value)
        except (TypeError, ValueError):  # of text, of objects, of bytes in another order
            self._refuse(value)
        self._note(value, {KIND: "array", "values": self.freeze(values), "scalar": scalar})

    def is_a_view(self, value: torch.Tensor) -> bool:
        """Whether it shares memory with a parameter."""
        return _place(value) in self.parameters

    def refuse_view(self, name: str):
        raise UsageError(
            f"a checkpoint cannot hold the attribute {name}, which is a view of the parameters; keep a clone()"
        )

    def _refuse(self, value):
        raise UsageError(
            f"a checkpoint cannot hold the attribute {self.name}, a {type(value).__name__}; give it checkpoint() and "
            "restore(), or name it in CACHES if the method can make it anew"
        )


class Thawer:
    """``thaw`` gives the values of frozen forms; objects that stand in a fresh method take on their states."""

    def __init__(self, model: nn.Module | None = None):
        self.parts = parts(model)
        self.keys = {id(part): key for key, part in self.parts.items()}
        self.known: dict[int, tuple] = {}  # id of a frozen form: that form, its value
        self.memory: dict = {}  # of copy.deepcopy: tensors that shared memory do so in their copies
        self.name = ""

    def thaw(self, frozen, current, name: str | None = None):
        """``current`` is what the fresh method has in its place. ``UsageError`` if it lacks what cannot be made anew."""
        self.name = name or self.name
        if type(frozen) in (*PLAIN, bytes):
            return frozen
        if id(frozen) not in self.known:
            self._thaw(frozen, current)
        return self.known[id(frozen)][1]

    def _note(self, frozen, value):
        self.known[id(frozen)] = frozen, value
        return value

    def _thaw(self, frozen, current) -> None:
        if isinstance(frozen, torch.Tensor):
            self._note(frozen, copy.deepcopy(frozen, self.memory))
        elif isinstance(frozen, list):
            self._note(frozen, []).extend(self._each(frozen, current))
        elif isinstance(frozen, tuple):
            self._note(frozen, tuple(self._each(frozen, current)))
        elif isinstance(frozen, set):  # of a state as it was frozen before
            self._note(frozen, set(frozen))
        elif KIND not in frozen:
            has = current if isinstance(current, dict) else {}
            value = self._note(frozen, {})
            value.update((key, self.thaw(item, has.get(key))) for key, item in frozen.items())
        else:
            self._thaw_kind(frozen[KIND], frozen, current)

    def _thaw_kind(self, kind: str, frozen: dict, current) -> None:
        match kind:
            case "bytes":
                self._note(frozen, frozen["text"].encode("latin-1"))
            case "array":
                values = self.thaw(frozen["values"], None).numpy()
                self._note(frozen, values[()] if frozen.get("scalar", True) else values)
            case "made" if current is not None:
                self._note(frozen, current)
            case "part" if frozen["key"] in self.parts:
                self._note(frozen, self.parts[frozen["key"]])
            case "named tuple" if hasattr(_found(frozen["of"], tuple), "_fields"):
                self._note(frozen, tuple.__new__(_found(frozen["of"], tuple), self._each(frozen["items"], current)))
            case "member" if frozen["name"] in getattr(_found(frozen["of"], enum.Enum), "__members__", {}):
                self._note(frozen, _found(frozen["of"], enum.Enum)[frozen["name"]])
            case "deque":
                value = self._note(frozen, collections.deque(maxlen=frozen["maxlen"]))
                value.extend(self._each(frozen["items"], None))
            case "set":
                value = self._note(frozen, set())
                value.update(self._each(frozen["items"], None))
            case _ if kind in GROUPS:
                self._note(frozen, GROUPS[kind](self._each(frozen["items"], None)))
            case "defaultdict":
                self._fill(frozen, current, collections.defaultdict(FACTORIES.get(frozen["factory"])))
            case _ if kind in DICTS:
                self._fill(frozen, current, DICTS[kind]())
            case "generator" if isinstance(current, GENERATORS):
                _set_state(self._note(frozen, current), self.thaw(frozen["state"], None))
            case "variable" if _takes(current, frozen["values"]):
                with torch.no_grad():
                    self._note(frozen, current).copy_(frozen["values"])
                current.requires_grad_(frozen["requires_grad"]).grad = self.thaw(frozen["grad"], None)
            case "object" if has_state(current) and frozen.get("of", []) == _stepped(current, self.keys):
                own = self.thaw(frozen["state"], None)
                (current.restore if hasattr(current, "restore") else current.load_state_dict)(own)
                self._note(frozen, current)
                mine = vars(current) if frozen.get("more") else {}
                mine.update({name: self.thaw(part, mine.get(name)) for name, part in frozen.get("more", {}).items()})
            case "attributes" if _of_python(current) and type(current).__qualname__ == frozen["of"]:
                mine = vars(self._note(frozen, current))
                mine.update({name: self.thaw(part, mine.get(name)) for name, part in frozen["values"].items()})
            case _:
                raise UsageError(
                    f"a checkpoint has the state of the attribute {self.name}, which a fresh method does not have; "
                    "make that object in the method's constructor"
                )

    def _each(self, frozen, current):
        """The values of a list's items; ``current``'s items stand in their places if there are as many."""
        has = current if isinstance(current, list | tuple) and len(current) == len(frozen) else [None] * len(frozen)
        return [self.thaw(item, each) for item, each in zip(frozen, has, strict=True)]

    def _fill(self, frozen: dict, current, value: dict) -> None:
        self._note(frozen, value)
        has = current if isinstance(current, dict) else {}
        for key, item in zip(self._each(frozen["keys"], None), frozen["items"], strict=True):
            value[key] = self.thaw(item, has.get(key))


def same(one, two, met=None) -> bool:
    """Whether two frozen forms are equal, tensors bit for bit."""
    met = set() if met is None else met
    if (id(one), id(two)) in met:
        return True
    met.add((id(one), id(two)))
    if isinstance(one, torch.Tensor):
        return (
            isinstance(two, torch.Tensor)
            and (one.dtype, one.shape, one.device) == (two.dtype, two.shape, two.device)
            and _bytes(one) == _bytes(two)
        )
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key], met) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(same(a, b, met) for a, b in zip(one, two, strict=True))
    return one == two or (one != one and two != two)


def _stepped(value, keys: dict[int, str]) -> list:
    """Which parameters an optimizer steps, by their keys; its own state has only their number."""
    groups = value.param_groups if isinstance(value, torch.optim.Optimizer) else []
    return [[keys.get(id(p)) for p in group["params"]] for group in groups]


def has_state(value) -> bool:
    """Whether an object can tell its state and take one on."""
    pairs = (("checkpoint", "restore"), ("state_dict", "load_state_dict"))
    kind = type(value)
    return kind is not type and any(all(callable(getattr(kind, name, None)) for name in pair) for pair in pairs)


def _of_python(value) -> bool:
    """Whether all that an object holds is in its attributes, as of classes written in Python and without slots."""
    plain = type(value).__basicsize__ == _Empty.__basicsize__ and hasattr(value, "__dict__")
    return plain and not isinstance(value, FUNCTIONS)


class _Empty:
    pass


def _path(kind: type) -> list[str]:
    return [kind.__module__, kind.__qualname__]


def _found(path: list[str], base: type):
    """The class with this path, if a module that is loaded has it and it is a kind of ``base``; nothing is imported."""
    found = sys.modules.get(path[0])
    for name in path[1].split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, base) else None


def _is_key(key) -> bool:
    return type(key) in PLAIN or (type(key) is tuple and all(map(_is_key, key)))


def _is_variable(value) -> bool:
    """Whether it is one that an optimizer may step, or that was fixed: the tensor itself matters, not only its values."""
    return isinstance(value, torch.Tensor) and (value.requires_grad or isinstance(value, nn.Parameter))


def _takes(current, values) -> bool:
    return _is_variable(current) and current.shape == values.shape


def _name(value) -> list[str]:
    """What tells a function, a class or a type of numbers from another; functions without a name by their line."""
    if isinstance(value, functools.partial):
        return ["partial", *_name(value.func)]
    if isinstance(value, torch.device | torch.dtype | torch.layout | torch.memory_format):
        return [str(value)]
    code = getattr(value, "__code__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or type(value).__qualname__
    return [str(getattr(value, "__module__", None)), str(name), *([str(code.co_firstlineno)] if code else [])]


def _told_of(value) -> str:
    """What an object that cannot be held says of itself."""
    try:
        return repr(value)[:200]
    except Exception:
        return ""


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _place(tensor: torch.Tensor) -> int | None:
    """Where its memory begins; None of a tensor without any, as a sparse one or one that waits for its shape."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (NotImplementedError, RuntimeError, ValueError):
        return None


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
