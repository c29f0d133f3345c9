"""Reading any log: records, the reference's files, console logs, documents, folders of all these."""

import itertools
import math
import os
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metrics.metrics import REFERENCE_KEYS
from results import RecordError, record
from results.parse_grid import note_values
from results.parse_logged import parse_logged
from results.parse_text import decoded, parse_text
from results.parse_torch import parse_torch
from results.run import Run

NAMED = re.compile(r"_\d{4}(_\d\d){5}_[0-9a-f]{32}$")  # record.name(): such a file should hold a run
OTHERS = (".log", ".out", ".err", ".pth")  # read in a folder besides record.SUFFIXES


def parse(path):
    """All runs of a file or folder: list of Run. What cannot be read is in their `problems`.

    Raises RecordError only if path does not exist.
    """
    return list(runs([path]))


def runs(paths):
    """The runs of all paths, one after the other: nothing is kept, so that any number can be read.

    Folders are searched with their subfolders. The three files of one run count once, the .json before the
    .pt before the .txt; the next is taken only if one cannot be read. So does a run named in several ways.
    """
    paths = [os.fspath(path) for path in paths]
    for path in paths:
        if not os.path.exists(path):
            raise RecordError(f"{path}: no such file or folder")
    yield from _each_once(paths)


def _each_once(paths):
    seen = set()
    for files in _grouped(path for path in paths if not os.path.isdir(path)):
        if not _again(files, seen):
            yield from _first_readable(files, strict=True)
    for folder in (path for path in paths if os.path.isdir(path)):
        found = False
        for files in _within(folder):
            again = _again(files, seen)
            for run in [] if again else _first_readable(files, strict=False):
                found = True
                yield run
            found |= again
        if not found:
            yield _unread(folder, f"{folder}: no run in it")


def _within(folder):
    """The groups of files of a folder and its subfolders that may hold runs; a pipe would be waited for."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
        names = sorted(n for n in names if not n.startswith(".") and _suffix(n))
        yield from _grouped(file for n in names if os.path.isfile(file := os.path.join(where, n)))


def _again(files, seen):
    """Whether this group is in `seen`, however it was named; it is from now on."""
    name = _group(os.path.realpath(files[0]))
    again = name in seen
    seen.add(name)
    return again


def _suffix(path):
    suffix = os.path.splitext(path)[1]
    return suffix if suffix in record.SUFFIXES + OTHERS else ""


def _group(file):
    """What the names of one run's files have in common."""
    base, suffix = os.path.splitext(file)
    return base if suffix in record.SUFFIXES else file


def _grouped(files):
    """Lists of files that are one run's, preferred first, in the order of their first appearance."""
    groups = {}
    for file in dict.fromkeys(files):
        groups.setdefault(_group(os.path.abspath(file)), []).append(file)
    for group in groups.values():
        yield sorted(group, key=lambda f: record.SUFFIXES.index(_suffix(f)) if len(group) > 1 else 0)


def _first_readable(files, strict):
    """Runs of the first file that can be read; the others' problems go with them.

    strict: the user named the file, so it must hold a run; in a folder, other files are passed over.
    """
    problems = []
    for file in files:
        found = list(_file(file, strict))
        if any(not run.empty for run in found):
            found[0].problems[:0] = problems
            yield from found
            return
        problems += [p for run in found for p in run.problems]
    if problems:
        yield _unread(files[0], *problems)


def _file(path, strict):
    suffix = os.path.splitext(path)[1]
    try:
        if suffix == ".json":
            yield from _json(path, strict)
        elif suffix in (".pt", ".pth"):
            run = parse_torch(path)
            if run is not None:
                run.label = _stem(path)
                yield run
            elif strict:
                raise RecordError(f"{path}: is not a run's .pt file: it holds no tuple of results")
        else:
            found = parse_text(decoded(Path(path).read_bytes()), str(path))
            if not found and (strict or NAMED.search(_stem(path))):
                raise RecordError(f"{path}: no grid, no one-line result in it")
            for run in found:
                run.label = run.label or _stem(path)
            yield from found
    except RecordError as e:
        yield _unread(path, str(e))
    except OSError as e:
        yield _unread(path, f"{path}: cannot be read ({e.strerror or e})")


def _json(path, strict):
    content = record.read_json(path)
    if isinstance(content, dict) and "logged" in content:
        yield from parse_logged(content, path)
    elif strict or (isinstance(content, dict) and "format" in content):
        yield from_record(record.checked(content, path), path)


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
}
INSIDE = {"args": FLAT, "protocol": FLAT, "versions": SCALAR, "counts": FLAT, "metrics": FINITE, "seconds": FINITE}


def from_record(content, path):
    """A record (dict) as a Run; what is not as it must be is left out of it and is in its problems."""
    run = Run(str(path), label=_stem(path), exact=True)
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


def _unread(path, *problems):
    return Run(str(path), label=_stem(path), problems=list(problems))


def _stem(path):
    return os.path.basename(os.path.splitext(path)[0])
