"""A run's record (.json) as a Run: every field is what it must be, or is left out and named, so that no tool doubts it."""

import itertools
import json
import math
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metrics.metrics import REFERENCE_KEYS
from results import RecordError, record
from results.reading.grid import note_values
from results.reading.run import Run


def _is_object(value):
    return isinstance(value, dict)


def _is_text(value):
    return isinstance(value, str)


def _is_number(value):
    """JSON has integers that no float can hold."""
    return type(value) is float or (type(value) is int and abs(value) < 2**1023)


def _is_finite(value):
    return _is_number(value) and math.isfinite(value)


def _is_scalar(value):
    return isinstance(value, (str, bool)) or _is_number(value)


def _is_flat(value):
    return all(map(_is_scalar, value)) if isinstance(value, list) else _is_scalar(value)


def _is_order(value):
    return isinstance(value, list) and all(type(t) is int for t in value) and len(set(value)) == len(value)


def _is_evolution(value):
    """{"step": [..], "task": [..], "accuracy": [a row each]}."""
    parts = [value.get(key) for key in ("step", "task", "accuracy")] if isinstance(value, dict) else [None]
    if not all(isinstance(part, list) for part in parts) or len(set(map(len, parts))) != 1:
        return False
    step, task, rows = parts
    widths = {len(row) if isinstance(row, list) else 0 for row in rows} or {0}
    return (
        len(widths) == 1
        and _between(0, step, 2**63)
        and _between(0, task, max(widths) - 1)
        and set(map(type, task)) <= {int}
        and _between(0, list(itertools.chain.from_iterable(rows)), 1)
    )


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
        and _between(0, attacked, len(before) - 1)
        and _between(0, before + after, 1)
        and all(map(_is_finite, numbers))
    )


def _between(low, numbers, high):
    """Whether all are; nan is found by its sum, as min and max may pass over it."""
    try:
        return not numbers or (low <= min(numbers) and max(numbers) <= high and not math.isnan(sum(numbers)))
    except TypeError:
        return False


class Kind(NamedTuple):
    """What a field of a record must be, so that no tool has to doubt it."""

    name: str
    fits: Callable


OBJECT, TEXT, NUMBER = Kind("an object", _is_object), Kind("text", _is_text), Kind("a number", _is_number)
FINITE, SCALAR = Kind("a finite number", _is_finite), Kind("text or a number", _is_scalar)
FLAT = Kind("text, a number or a list of these", _is_flat)
SHARED = {  # of fields that a record, its protocol or its arguments may have: Run.fact()
    **dict.fromkeys(("model", "data_file", "data_hash", "status"), TEXT),
    **dict.fromkeys(("memory", "n_memories"), NUMBER),
    "seed": SCALAR,
    "task_order": Kind("a list of task ids", _is_order),
}
KINDS = {
    **SHARED,
    **dict.fromkeys(("args", "protocol", "versions", "counts", "metrics", "seconds"), OBJECT),
    **dict.fromkeys(("started", "command", "git", "device"), TEXT),
    **dict.fromkeys(REFERENCE_KEYS, NUMBER),
    "peak_memory_mb": FINITE,
    "evolution": Kind("steps with a task and a row of accuracies each", _is_evolution),
    "forgetting": Kind("what an unlearning phase did: attacked tasks, accuracies before and after", _is_unlearning),
}
INSIDE = {"args": FLAT, "protocol": FLAT, "versions": SCALAR, "counts": FLAT, "metrics": FINITE, "seconds": FINITE}


def read(path):
    """The record of a run, given any of its three files: the .json's content, without guessing.

    A .txt or .pt with no .json beside it (the reference's) is not a record: logs.parse reads those.
    """
    path = Path(path)
    beside = path.with_name(path.name[: -len(path.suffix)] + ".json") if path.suffix in record.SUFFIXES else path
    return checked(read_json(beside), beside)


def read_json(path):
    """A JSON file's content; RecordError says what is wrong, and in which line."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as e:
        raise RecordError(f"{path}: cannot be read ({e.strerror or e})") from None
    except json.JSONDecodeError as e:
        raise RecordError(f"{path}:{e.lineno}: is not JSON ({e.msg})") from None
    except (ValueError, RecursionError) as e:  # not text, a number too long, nested too deep
        raise RecordError(f"{path}: is not JSON ({e})") from None


def checked(content, path):
    """content, if it is one that this program can read."""
    if not isinstance(content, dict) or "format" not in content:
        raise RecordError(f"{path}: is not a run's record (it has no 'format')")
    if content["format"] != record.FORMAT:
        raise RecordError(f"{path}: has format {content['format']!r}; this program reads format {record.FORMAT}")
    return content


def from_record(content, path):
    """A record (dict) as a Run; what is not as it must be is left out of it and is in its problems."""
    run = Run(str(path), label=Path(path).stem, exact=True)
    found = _fitting(content, KINDS, None, f"{path}: ", run.problems)
    for name, kind in INSIDE.items():
        if found.get(name):
            found[name] = _fitting(found[name], SHARED, kind, f"{path}: in {name!r} ", run.problems)
    _fill(run, content)
    run.printed = {key: repr(float(v)) for key in REFERENCE_KEYS if (v := found.get(key)) is not None}
    if not (run.grid or run.baseline or run.printed):
        run.problems.append(f"{path}: has no grid and no numbers")
        return run
    run.record, run.args = found, found.get("args")
    order = (found.get("protocol") or {}).get("task_order") or []
    run.order = order if order != sorted(order) else None
    run.seconds = (found.get("seconds") or {}).get("total")
    return run


def _fitting(fields, kinds, kind, where, problems):
    """Those of the fields that are of their kind, or null; kind: of those that kinds does not name, None for any."""
    kept = {}
    for name, value in fields.items():
        wanted = kinds.get(name, kind)
        if value is None or wanted is None or wanted.fits(value):
            kept[name] = value
        else:
            problems.append(f"{where}{name!r} is {reprlib.repr(value):.60}, not {wanted.name}")
    return kept


def _fill(run, content):
    """Set the run's baseline and grid from a record's."""
    baseline, grid = content.get("baseline"), content.get("grid")
    try:
        run.grid = [_accuracies(row) for row in grid or []]
        run.baseline = None if baseline is None else _accuracies(baseline)
        widths = {len(row) for row in run.grid} | ({len(run.baseline)} if run.baseline is not None else set())
        if len(widths) > 1:
            raise ValueError(f"rows of {' and '.join(map(str, sorted(widths)))} numbers")
    except (TypeError, ValueError) as e:
        run.grid, run.baseline = [], None
        run.problems.append(f"{run.source}: grid or baseline is not rows of numbers ({e})")
    note_values(run)


def _accuracies(row):
    if not isinstance(row, list):
        raise TypeError(f"{reprlib.repr(row)} is not a row")
    if not all(v is None or _is_number(v) for v in row):
        raise TypeError(f"{reprlib.repr(row)} are not all numbers")
    return [math.nan if v is None else float(v) for v in row]
