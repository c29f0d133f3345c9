"""From what a user types after ``--model`` to the name of a module in this folder. Nothing is imported on the way."""

import difflib
import importlib.util
import keyword
import pkgutil
import re

import model


def names() -> list[str]:
    """The names of all methods: those of the table, then foreign modules with a ``Net``."""
    others = sorted(m.name for m in pkgutil.iter_modules(model.__path__) if m.name not in model.METHODS)
    net = re.compile(r"^(class Net\b|Net\s*=|from .* import (.*\W)?Net\b)", re.MULTILINE)
    return [*model.METHODS, *(name for name in others if net.search(source(name)))]


def source(name: str) -> str:
    """The text of a module of this folder. It is not imported, so that a broken module does no harm."""
    with open(importlib.util.find_spec(f"model.{name}").origin, encoding="utf-8", errors="replace") as f:
        return f.read()


def describe() -> str:
    """The methods for ``--help``: one line for each name."""
    width = max(map(len, model.METHODS))
    dropped_in = model.Method("a module in model/")
    return "\n".join(f"  {name:{width}}  {model.METHODS.get(name, dropped_in).text}" for name in names())


def canonical(name: str) -> str | None:
    """The canonical name of a method, None if there is none. Case does not count, and aliases are followed."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        return None
    lowered = model.ALIASES.get(name.lower(), name.lower())
    if lowered in model.METHODS:
        return lowered
    for candidate in (name, lowered):
        if importlib.util.find_spec(f"model.{candidate}") is not None:
            return candidate
    return None


def resolve(name: str) -> str:
    """As ``canonical``; ``UsageError`` names the nearest method where there is none of this name."""
    found = canonical(name)
    if found is not None:
        return found
    if any(sign in name for sign in "/\\."):
        raise model.UsageError(
            f"--model {model.shown(name)!r}: a method's name, not a path; put the file into model/ and give its name without .py"
        )
    near = difflib.get_close_matches(name.lower(), [*model.METHODS, *model.ALIASES], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise model.UsageError(f"--model {model.shown(name)!r}: no such method; {hint}The names are:\n{describe()}")
