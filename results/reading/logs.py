"""Reading any log: records, the reference's files, console logs, documents, folders of all these."""

import os
import re
from pathlib import Path

from results import RecordError, record
from results.reading.logged import parse_logged
from results.reading.records import checked, from_record, read_json
from results.reading.reference import parse_torch
from results.reading.run import Run
from results.reading.text import decoded, parse_text

NAMED = re.compile(r"_\d{4}(_\d\d){5}_[0-9a-f]{32}$")  # record.name(): such a file should hold a run
OTHERS = (".log", ".out", ".err", ".pth")  # read in a folder besides record.SUFFIXES
ASIDE = ".logged"  # a folder with a file of this name holds what others have logged: it is read if it is named


def parse(path):
    """All runs of a file or folder: list of Run. What cannot be read is in their `problems`.

    Raises RecordError only if path does not exist.
    """
    return list(runs([path]))


def runs(paths):
    """The runs of all paths, one after the other: nothing is kept, so that any number can be read.

    Folders are searched with their subfolders, but for those of logged numbers (`ASIDE`). The three files of one run
    count once, the .json before the .pt before the .txt; the next is taken only if one cannot be read. So does a run
    named in several ways.
    """
    paths = [os.fspath(path) for path in paths]
    for path in paths:
        if not os.path.exists(path):
            raise RecordError(f"{path}: no such file or folder")
    yield from _each_once(paths)


def records(folder, *needed):
    """The runs of a folder that have a record, [] if there is none. RecordError if a file is damaged or lacks an entry.

    needed: entries that each record must have, such as 'protocol.data_hash'; null will do.
    """
    if not os.path.isdir(folder):
        raise RecordError(f"{folder}: no such folder")
    found = []
    for run in (run for files in _within(folder) for run in _first_readable(files, strict=False)):
        content = run.record if run.record and "format" in run.record else None
        lacking = [f"{run.source}: has no {place!r}" for place in needed if content and not _has(content, place)]
        for wrong in (run.problems + lacking)[:1]:
            raise RecordError(f"{wrong}; it is not a whole record of a run: move it away")
        found += [run] if content else []
    return found


def _has(content, place):
    """Whether a record has an entry, 'status' or 'args.seed'."""
    for name in place.split("."):
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True


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
            _, inside, _ = next(os.walk(folder), (folder, [], []))
            passed = [os.path.join(folder, name) for name in sorted(inside) if _aside(folder, name)]
            remedy = f"; {passed[0]} is read if it is named" if passed else ""
            yield _unread(folder, f"{folder}: no run in it{remedy}")


def _aside(folder, name):
    """Whether a folder's subfolder holds logged numbers, which do not stand among the runs of whoever reads the folder."""
    return os.path.exists(os.path.join(folder, name, ASIDE))


def _within(folder):
    """The groups of files of a folder and its subfolders that may hold runs; a pipe would be waited for."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")) and not _aside(where, f))
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
    content = read_json(path)
    if isinstance(content, dict) and "logged" in content:
        yield from parse_logged(content, path)
    elif strict or (isinstance(content, dict) and "format" in content):
        yield from_record(checked(content, path), path)


def _unread(path, *problems):
    return Run(str(path), label=_stem(path), problems=list(problems))


def _stem(path):
    return os.path.basename(os.path.splitext(path)[0])
