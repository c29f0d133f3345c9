"""Reading any log: records, the reference's files, console logs, documents, folders of all these."""

import math
import os
import re
from pathlib import Path

from results import RecordError, record
from results.parse_logged import parse_logged
from results.parse_text import parse_text
from results.parse_torch import parse_torch
from results.run import Run

NAMED = re.compile(r"_\d{4}(_\d\d){5}_[0-9a-f]{32}$")  # record.name(): such a file should hold a run
TEXTS = (".log", ".out", ".err")  # read in a folder besides record.SUFFIXES


def parse(path):
    """All runs of a file or folder: list of Run. What cannot be read is in their `problems`.

    Raises RecordError only if path does not exist.
    """
    return list(runs([path]))


def runs(paths):
    """The runs of all paths, one after the other: nothing is kept, so that any number can be read.

    Folders are searched with their subfolders. The three files of one run count once, the .json before the
    .pt before the .txt; the next is taken only if one cannot be read.
    """
    paths = [os.fspath(path) for path in paths]
    for path in paths:
        if not os.path.exists(path):
            raise RecordError(f"{path}: no such file or folder")
    yield from _each_once(paths)


def _each_once(paths):
    named = [path for path in paths if not os.path.isdir(path)]
    for files in _grouped(named):
        yield from _first_readable(files, strict=True)
    for folder in (path for path in paths if os.path.isdir(path)):
        found = False
        for where, folders, names in os.walk(folder):
            folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
            names = sorted(n for n in names if not n.startswith(".") and _suffix(n))
            for files in _grouped([os.path.join(where, n) for n in names]):
                for run in _first_readable(files, strict=False):
                    found = True
                    yield run
        if not found:
            yield _unread(folder, f"{folder}: no run in it")


def _suffix(path):
    suffix = os.path.splitext(path)[1]
    return suffix if suffix in record.SUFFIXES + TEXTS else ""


def _grouped(files):
    """Lists of files that are one run's, preferred first, in the order of their first appearance."""
    groups = {}
    for file in dict.fromkeys(files):
        base, suffix = os.path.splitext(file)
        groups.setdefault(base if suffix in record.SUFFIXES else file, []).append(file)
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
            text = Path(path).read_bytes().decode("utf-8", errors="replace")
            found = parse_text(text, str(path))
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


def from_record(content, path):
    """A record (dict) as a Run."""
    run = Run(str(path), label=_stem(path), record=content)
    baseline, grid = content.get("baseline"), content.get("grid")
    try:
        run.grid = [_accuracies(row) for row in grid or []]
        run.baseline = None if baseline is None else _accuracies(baseline)
        widths = {len(row) for row in run.grid} | ({len(run.baseline)} if run.baseline is not None else set())
        if len(widths) > 1:
            raise ValueError(f"rows of {' and '.join(map(str, sorted(widths)))} numbers")
    except (TypeError, ValueError) as e:
        run.grid, run.baseline = [], None
        run.problems.append(f"{path}: grid or baseline is not rows of numbers ({e})")
    for key in ("final", "backward", "forward"):
        value = content.get(key)
        if isinstance(value, (int, float)):
            run.printed[key] = repr(float(value))
        elif value is not None:
            run.problems.append(f"{path}: {key!r} is {value!r:.40}, not a number")
    protocol = content.get("protocol")
    order = protocol.get("task_order") if isinstance(protocol, dict) else None
    if isinstance(order, list) and all(type(t) is int for t in order) and order != sorted(order):
        run.order = order
    args = content.get("args")
    run.args = args if isinstance(args, dict) else None
    seconds = content.get("seconds")
    total = seconds.get("total") if isinstance(seconds, dict) else None
    run.seconds = total if isinstance(total, (int, float)) else None
    return run


def _accuracies(row):
    if not isinstance(row, list):
        raise TypeError(f"{row!r:.40} is not a row")
    if not all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in row):
        raise TypeError(f"{row!r:.40} are not all numbers")
    return [math.nan if v is None else float(v) for v in row]


def _unread(path, *problems):
    return Run(str(path), label=_stem(path), problems=list(problems))


def _stem(path):
    return os.path.basename(os.path.splitext(path)[0])
