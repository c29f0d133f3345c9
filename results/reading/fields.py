"""The kinds of fields that a run may have. Every format passes this one gate, so that the tools can trust what they get."""

import itertools
import math
import reprlib
from collections.abc import Callable
from typing import NamedTuple

from metrics.metrics import REFERENCE_KEYS
from model.arguments import FLAGS
from results.reading import bounds


def _is_object(value):
    return isinstance(value, dict)


def _is_text(value):
    return isinstance(value, str)


def _is_name(value):
    return isinstance(value, str) and len(value) <= bounds.NAME


def _is_number(value):
    """Python and JSON have integers that no float can hold, and that cannot be printed."""
    return type(value) is float or (type(value) is int and abs(value) < 2**1023)


def _is_measured(value):
    """A number that sums and squares cannot overflow; nan and infinity stand for what could not be measured."""
    return _is_number(value) and not bounds.LARGEST < abs(value) < math.inf


def _is_finite(value):
    return _is_measured(value) and math.isfinite(value)


def _is_scalar(value):
    return isinstance(value, (str, bool)) or _is_number(value)


def _is_flat(value):
    return all(map(_is_scalar, value)) if isinstance(value, list) else _is_scalar(value)


def _is_order(value):
    if not isinstance(value, list) or set(map(type, value)) - {int}:
        return False
    return between(0, value, 2**63) and len(set(value)) == len(value)


def _is_evolution(value):
    """{"step": [..], "task": [..], "accuracy": [a row each]}."""
    parts = [value.get(key) for key in ("step", "task", "accuracy")] if isinstance(value, dict) else [None]
    if not all(isinstance(part, list) for part in parts) or len(set(map(len, parts))) != 1:
        return False
    step, task, rows = parts
    widths = {len(row) if isinstance(row, list) else 0 for row in rows} or {0}
    return (
        len(widths) == 1
        and between(0, step, 2**63)
        and between(0, task, max(widths) - 1)
        and set(map(type, task)) <= {int}
        and between(0, list(itertools.chain.from_iterable(rows)), 1)
    )


def _is_unmasked(value):
    """{"baseline": a row, "grid": rows, and numbers or null for the rest}."""
    if not isinstance(value, dict):
        return False
    grid, baseline = value.get("grid", []), value.get("baseline", [])
    rows = [*grid, baseline] if isinstance(grid, list) else [None]
    if not all(isinstance(row, list) for row in rows):
        return False
    numbers = [number for key, number in value.items() if key not in ("baseline", "grid") and number is not None]
    return between(0, list(itertools.chain.from_iterable(rows)), 1) and all(map(_is_finite, numbers))


def _is_unlearning(value):
    """{"attacked": [task ids], "before": [accuracies], "after": as many, ..}."""
    parts = [value.get(key) for key in ("attacked", "before", "after")] if isinstance(value, dict) else [None]
    if not all(isinstance(part, list) for part in parts):
        return False
    attacked, before, after = parts
    numbers = [v for key, v in value.items() if key in ("effect", "retention") and v is not None]
    return (
        len(before) == len(after)
        and set(map(type, attacked)) <= {int}
        and between(0, attacked, len(before) - 1)
        and between(0, before + after, 1)
        and all(map(_is_finite, numbers))
    )


def between(low, numbers, high):
    """True if every number lies in [low, high]. NaN is caught through the sum, since min and max can skip it."""
    try:
        return not numbers or (low <= min(numbers) and max(numbers) <= high and not math.isnan(sum(numbers)))
    except TypeError:
        return False


class Kind(NamedTuple):
    """A kind of field: its name in words, and the test that a value must pass."""

    name: str
    fits: Callable


OBJECT, TEXT, NUMBER = Kind("an object", _is_object), Kind("text", _is_text), Kind("a number", _is_measured)
NAME = Kind(f"text of at most {bounds.NAME:,} characters", _is_name)
FINITE, SCALAR = Kind("a finite number", _is_finite), Kind("text or a number", _is_scalar)
FLAT = Kind("text, a number or a list of these", _is_flat)
SHARED = {  # kinds of fields that a record, its protocol or its arguments may have: Run.fact()
    **dict.fromkeys(("model", "data_file", "data_hash", "status"), NAME),
    **dict.fromkeys(("memory", "n_memories"), NUMBER),
    "seed": Kind("text or a number", lambda value: _is_scalar(value) and len(str(value)) <= bounds.NAME),
    "task_order": Kind("a list of task ids", _is_order),
}
KINDS = {
    **SHARED,
    **dict.fromkeys(("args", "protocol", "versions", "counts", "metrics", "seconds"), OBJECT),
    **dict.fromkeys(("started", "command", "git", "device"), TEXT),
    **dict.fromkeys(REFERENCE_KEYS, NUMBER),
    "peak_memory_mb": FINITE,
    "evolution": Kind("steps with a task and a row of accuracies each", _is_evolution),
    "unmasked": Kind("a grid of accuracies and its numbers", _is_unmasked),
    "seen": Kind("accuracies", lambda value: isinstance(value, list) and between(0, value, 1)),
    "probes": OBJECT,
    "forgetting": Kind("what an unlearning phase did: attacked tasks, accuracies before and after", _is_unlearning),
}
NAMES = frozenset(  # of all that a record and its protocol may have
    {*KINDS, "format", "joint", "grid", "baseline", "perplexity", "evaluation", "learning_curve", "stopping",
     "finetuning", "threads", "net", "engine"}
)  # fmt: skip
INSIDE = {"args": FLAT, "protocol": FLAT, "versions": SCALAR, "counts": FLAT, "metrics": FINITE, "seconds": FINITE}


def is_other(flag):
    """Whether a flag, brought along by a method's module, is another thing than a record's field of its name."""
    return flag in NAMES and flag not in FLAGS


def of_record(content, path, problems):
    """The fields of a record (dict) that are null or of their kind; the others are added to ``problems``."""
    found = _fitting(content, KINDS, None, f"{path}: ", problems)
    for name in INSIDE:
        if found.get(name):
            found[name] = inside(name, found[name], f"{path}: ", problems)
    return found


def inside(name, fields, where, problems):
    """As of_record(), for one of INSIDE, such as the arguments of a run: a dict, or None if it is none."""
    if not isinstance(fields, dict):
        problems += [] if fields is None else [f"{where}{name!r} is {told(fields)}, not {OBJECT.name}"]
        return None
    kinds = {key: kind for key, kind in SHARED.items() if name != "args" or not is_other(key)}
    return _fitting(fields, kinds, INSIDE[name], f"{where}in {name!r} ", problems)


def _fitting(fields, kinds, kind, where, problems):
    """kinds: name -> Kind. kind: the Kind of fields that `kinds` does not name; None allows any."""
    kept = {}
    for name, value in fields.items():
        value = list(value) if isinstance(value, tuple) else value  # Python's texts and pickles have them, JSON has not
        wanted = kinds.get(name, kind) if isinstance(name, str) else SCALAR
        if not isinstance(name, str):
            problems.append(f"{where}the name {told(name)} is not text")
        elif value is None or wanted is None or wanted.fits(value):
            kept[name] = value
        else:
            problems.append(f"{where}{told(name)} is {told(value)}, not {wanted.name}")
    return kept


def told(value):
    """A value in few characters, for a sentence."""
    try:
        return f"{reprlib.repr(value):.60}"
    except ValueError:  # an integer in it has more digits than Python prints
        return f"a {type(value).__name__} with too many digits"
