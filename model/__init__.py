"""The methods, by name. Nothing is imported until a method is asked for.

A method is a module of this folder with a class ``Net(n_inputs, n_outputs, n_tasks, args)``. The table below gives each
of ours its line in ``--help``; any other module dropped into the folder is a method too if it has a ``Net``.
"""

import difflib
import importlib
import importlib.util
import keyword
import pkgutil
import re

METHODS = {
    "single": "one network trained task after task by plain SGD; keeps nothing (the lower baseline)",
    "ewc": "elastic weight consolidation as in GEM's code, in O(p) form (Kirkpatrick et al. 2017)",
    "gem": "gradient episodic memory: one constraint per past task, a QP (Lopez-Paz & Ranzato 2017)",
    "agem": "A-GEM from summed losses: r = sum of the tasks' gradients, 1-D QP with margin (seed 004, 1)",
    "agem_closed": "A-GEM, closed form on the mean of the tasks' gradients, no margin (seed 004, 2; alias gdp)",
    "agem_meanqp": "A-GEM, 1-D QP with margin on the mean of the tasks' gradients (seed 004, 3)",
    "agem_sampled": "A-GEM as published: a fresh random batch of all past memories (Chaudhry et al. 2019)",
    "ogd": "orthogonal gradient descent: steps orthogonal to stored output gradients (Farajtabar et al. 2020)",
    "spg": "soft-masking of parameter-level gradient flow by accumulated importance (Konishi et al. 2023)",
    "ncl": "natural continual learning: Kronecker-factored precision as trust region and prior (Kao et al. 2021)",
    "gem_group": "GEM in blocks of parameters, margins from tasks' relatedness (a withdrawn paper: docs/groups.md)",
    "agem_group": "A-GEM on a mean of gradients weighted by relatedness, block by block; O(p) memory",
    "ewc_group": "EWC with tasks weighted by relatedness, block by block",
}
ALIASES = {"gdp": "agem_closed", "online": "single"}  # online: MER's name


class UsageError(Exception):
    """A user's mistake; its text is one sentence: what is wrong, the value, the remedy."""


def names() -> list[str]:
    """Every method that can be asked for: the table's, then foreign modules with a ``Net``."""
    foreign = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in METHODS and _foreign(m.name))
    return [*METHODS, *foreign]


def describe() -> str:
    """One line for each name."""
    width = max(map(len, METHODS))
    lines = [f"  {name:{width}}  {METHODS.get(name, 'a module in model/')}" for name in names()]
    return "\n".join(lines)


def resolve(name: str) -> str:
    """The canonical name of a method: without regard to case, aliases followed.

    Raises ``UsageError`` with the nearest name where there is none such.
    """
    if name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_"):
        lowered = ALIASES.get(name.lower(), name.lower())
        if lowered in METHODS:
            return lowered
        for candidate in (name, lowered):
            if importlib.util.find_spec(f"{__name__}.{candidate}") is not None:
                return candidate
    elif any(sign in name for sign in "/\\."):
        raise UsageError(
            f"--model {name!r}: a method's name, not a path; put the file into model/ and give its name without .py"
        )
    near = difflib.get_close_matches(name.lower(), [*METHODS, *ALIASES], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"--model {name!r}: no such method; {hint}The names are:\n{describe()}")


def load(name: str):
    """The module of the method ``name`` (as ``resolve`` returns it).

    ``UsageError`` if it has no ``Net``, or if a module that is not ours cannot be imported.
    """
    from model import foreign

    with foreign.told(name, "cannot be imported"):
        module = importlib.import_module(f"{__name__}.{name}")
    if not hasattr(module, "Net"):
        raise UsageError(
            f"--model {name!r}: model/{name}.py has no class Net, so it is a helper, not a method; "
            f"the names are: {', '.join(names())}"
        )
    return module


def _foreign(name: str) -> bool:
    """Whether a module defines a ``Net``, by its text: a broken one must not take the list of names with it."""
    origin = importlib.util.find_spec(f"{__name__}.{name}").origin
    with open(origin, encoding="utf-8", errors="replace") as f:
        return any(re.match(r"class Net\b|Net\s*=|from .* import (.*\W)?Net\b", line) for line in f)
