"""Reading any log: records, the reference's files, console logs, documents, folders of all these."""

import os
import re
import stat

from results import RecordError, record
from results.reading.logged import parse_logged
from results.reading.records import checked, from_record, read_json
from results.reading.reference import parse_torch
from results.reading.run import Run
from results.reading.text import parse_file

NAMED = re.compile(r"_\d{4}(_\d\d){5}_[0-9a-f]{32}$")  # record.name(): such a file should hold a run
OTHERS = (".log", ".out", ".err", ".pth")  # read in a folder besides record.SUFFIXES
ASIDE = ".logged"  # a folder with a file of this name holds logs of others, and is read only if the user names it


def parse(path):
    """All runs of a file or folder: list of Run. Whatever cannot be read is named in their `problems`.

    Raises RecordError only if path does not exist.
    """
    return list(runs([path]))


def runs(paths):
    """Yield the runs of all paths, one after the other. Nothing is kept, so that any number can be read.

    Folders are searched with their subfolders, except those of logged numbers (`ASIDE`). The three files of one run
    count once: the .json is read; the .pt only if the .json cannot be read, and the .txt last. A run that is named in
    several ways counts once too.
    """
    paths = [os.fspath(path) for path in paths]
    for path in paths:
        try:
            os.stat(path)
        except (OSError, ValueError) as e:  # ValueError: a null byte
            told = "no such file or folder" if isinstance(e, FileNotFoundError) else f"cannot be read ({_reason(e)})"
            raise RecordError(f"{path}: {told}") from None
    yield from _each_once(paths)


def records(folder, *needed):
    """The runs of a folder that have a record; [] if there is none. RecordError if a file is damaged or lacks an entry.

    They are without their curves over training.
    needed: entries that each record must have, such as 'protocol.data_hash'; they may be null.
    """
    if not os.path.isdir(folder):
        raise RecordError(f"{folder}: no such folder")
    found, passed = [], []
    for run in (run for files in _within(folder, passed) for run in _first_readable(files, strict=False)):
        content = run.record if run.record and "format" in run.record else None
        lacking = [f"{run.source}: has no {place!r}" for place in needed if content and not _has(content, place)]
        for wrong in (run.problems + lacking)[:1]:
            raise RecordError(f"{wrong}; it is not a whole record of a run: move it away")
        found += [without_curves(run)] if content else []
    for sentence in passed[:1]:
        raise RecordError(sentence)
    return found


def without_curves(run):
    """``run`` without its accuracies over training, of which a record may have two million."""
    for name in ("evolution", "learning_curve"):
        (run.record or {}).pop(name, None)
    return run


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
        found, passed = False, []
        for files in _within(folder, passed):
            again = _again(files, seen)
            for run in [] if again else _first_readable(files, strict=False):
                found = True
                yield run
            found |= again
        if passed:
            yield _unread(folder, *passed)
        elif not found:
            logged = [os.path.join(folder, name) for name in _inside(folder) if _aside(folder, name)]
            remedy = f"; {logged[0]} is read if it is named" if logged else ""
            yield _unread(folder, f"{folder}: no run in it{remedy}")


def _inside(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError:  # told already
        return []


def _aside(folder, name):
    """Whether the subfolder `name` holds logged numbers, which do not belong to the runs of the folder."""
    return os.path.exists(os.path.join(folder, name, ASIDE))


def _within(folder, passed):
    """Yield the groups of files in a folder and its subfolders that may hold runs. Pipes, which block, are left out.

    What may hold runs and cannot be read, or is a link that leads out of the folder, is named in ``passed``.
    """

    def unreadable(e):
        passed.append(f"{e.filename}: cannot be read ({_reason(e)})")

    for where, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")) and not _aside(where, f))
        links = [link for f in folders if os.path.islink(link := os.path.join(where, f))]
        passed += [
            f"{link}: is a link to another folder; name it to read it" for link in links if _leaves(folder, link)
        ]
        names = sorted(n for n in names if not n.startswith(".") and _suffix(n))
        yield from _grouped(file for n in names if _is_file(file := os.path.join(where, n), passed))


def _leaves(folder, link):
    """Whether a link leads to a place that is not below ``folder``, where it would be read anyway."""
    inside, real = os.path.realpath(folder), os.path.realpath(link)
    return os.path.commonpath([inside, real]) != inside


def _is_file(path, passed):
    """Whether there is a file; if that cannot be known, a sentence is added to ``passed``."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError as e:
        if os.path.islink(path):
            passed.append(f"{path}: cannot be read ({_reason(e)})")
        return False  # a run that goes on has renamed it
    except OSError as e:
        passed.append(f"{path}: cannot be read ({_reason(e)})")
        return False


def _reason(e):
    return getattr(e, "strerror", None) or e


def _again(files, seen):
    """Whether this group is in `seen`, however it was named. Adds it."""
    name = _group(os.path.realpath(files[0]))
    again = name in seen
    seen.add(name)
    return again


def _suffix(path):
    suffix = os.path.splitext(path)[1]
    return suffix if suffix in record.SUFFIXES + OTHERS else ""


def _group(file):
    """The part that the names of one run's files have in common."""
    base, suffix = os.path.splitext(file)
    return base if suffix in record.SUFFIXES else file


def _grouped(files):
    """Yield the files of each run as a list, preferred file first. Runs come in the order of their first file."""
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
            found = parse_file(path)
            if not found and (strict or NAMED.search(_stem(path))):
                raise RecordError(f"{path}: no grid, no one-line result in it")
            for run in found:
                run.label = run.label or _stem(path)
            yield from found
    except RecordError as e:
        yield _unread(path, str(e))
    except OSError as e:
        yield _unread(path, f"{path}: cannot be read ({_reason(e)})")


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
