"""Runs gathered into the cells of a comparison; what a run is comes from its record, never from a file's name."""

import functools
from pathlib import PurePath

from data.strangers import one_line
from model.arguments import FLAGS, decides, of_role, uses
from model.flags import Role
from model.lookup import canonical
from results import RecordError
from results.comparing.measures import MEASURES, concerned, deciding
from results.console import tell
from results.reading.fields import is_other
from results.reading.logs import runs, without_curves

# What must agree before runs are averaged: field -> the names it has in a record, the first that is known counts.
PROTOCOL = {
    "data_hash": ("data_hash", "data_file"),  # the file's name where a log has no hash
    **{"memory" if name == "n_memories" else name: (name,) for name in of_role(Role.PROTOCOL)},
}
PROTOCOL["memory"] = ("memory", "n_memories")
ARGS = "args."  # before a flag that a method's module brings along, where its name is that of another field
UNUSED = "-"
SOURCE = "source"  # the file of a run, where a table has a line for each
SEVERAL = 6  # the most values of a field that a sentence names
DIGITS = 20  # a seed of fewer digits is a number, also where it is written as text


def read(paths, program, curves=False):
    """(usable runs, how many logs could not be read in full); problems are told on stderr.

    The runs have their accuracies over training only if ``curves`` asks for them.
    A run is usable if its model is known and it has numbers. A console log does not count if the record of the same run
    was read. RecordError if a path does not exist or no run is left.
    """
    usable, unread = [], 0
    found = [run if curves else without_curves(run) for run in runs(paths)]
    recorded = {PurePath(run.source).stem for run in found if run.record}
    for run in found:
        unread += bool(run.problems)
        for problem in run.problems:
            tell(program, problem)
        for sentence in run.disagreements():
            tell(program, f"{sentence}, which counts")
        if run.empty or (not run.record and PurePath(run.label).name in recorded):
            continue
        if method(run) is None:
            tell(program, f"{run.place}: does not say which method it is; left out")
        else:
            usable.append(run)
    if not usable:
        raise RecordError(f"{', '.join(map(str, paths))}: no run in it that says which method it is")
    return usable, unread


def method(run):
    """Canonical name of a run's method; None if the log does not say it."""
    name = run.fact("model")
    return None if name is None else resolved(str(name))


@functools.lru_cache(1024)  # every field of every run asks for it, and a module that is not here is looked for on disk
def resolved(name):
    """A method's canonical name; ``name`` unchanged if the method is not among ours."""
    return canonical(name) or name


def field(run, name):
    """A field of a run: model, seed, one of PROTOCOL or a flag. '-' if its method does not use it, None if unknown.

    'args.NAME' is the flag of this name, also where a record has another field of that name.
    """
    if name == "model":
        return method(run)
    if name.startswith(ARGS):
        flag = name.removeprefix(ARGS)
        return run.flags.get(flag) if uses(method(run), flag) else UNUSED
    if name == "n_tasks" and run.n_tasks:
        return run.n_tasks
    if not uses(method(run), "n_memories" if name == "memory" else name):
        return UNUSED
    return next((v for key in PROTOCOL.get(name, (name,)) if (v := run.fact(key)) is not None), None)


def settings(run):
    """The settings of a run's method, its own flags included, but not the protocol: dict field -> value.

    They come from the record alone, so that the method's module need not be here.
    """
    protocol = of_role(Role.PROTOCOL)
    return {_called(k): v for k, v in run.flags.items() if k not in protocol and decides(method(run), k)}


def _called(flag):
    """The field that a flag is."""
    return ARGS + flag if is_other(flag) or flag in MEASURES or flag == SOURCE else flag


def differing(group, fields):
    """field -> its distinct values among the runs, for those of `fields` in which they differ."""
    found = {}
    for name in fields:
        values = distinct(field(run, name) for run in concerned(group, name))
        if len(values) > 1:
            found[name] = values
    return found


def distinct(values):
    """The distinct ones of some fields' values, each where it came first."""
    found = {}
    for value in values:
        try:
            found.setdefault(_hashable(value), value)
        except TypeError:  # an object, or a list of lists
            found.setdefault((repr(value),), value)
    return list(found.values())


def gather(found, by=("model",), allow=(), metrics=()):
    """dict key -> {(seed, ...): Run}: a cell for each combination of the fields `by`, with one run for each seed.

    Diverged runs are included. Of several runs with the same seed, and the same values of the fields in `allow`, the
    one begun last counts. RecordError if a cell would average runs whose protocol or settings differ in fields that are
    not in `allow`; it names all of them with their values. Flags that decide one of `metrics` are settings too.
    RecordError also if no run has a field of `by` or `allow`.
    """
    for flag, name in [*(("by", name) for name in by), *(("allow", name) for name in allow)]:
        values = [field(run, name) for run in found]
        if all(value is None for value in values) and not (flag == "allow" and (name in PROTOCOL or name in FLAGS)):
            raise RecordError(
                f"--{flag} {name}: no run has this field; give model, seed, a flag or one of {', '.join(PROTOCOL)}"
            )
        if any(isinstance(value, dict) or (isinstance(value, list) and not _plain(value)) for value in values):
            raise RecordError(f"--{flag} {name}: is not one value a run; give a field such as {', '.join(PROTOCOL)}")
    cells = {}
    owners = {name: _owners(found, name) for name in by}
    for run in found:
        key = (UNUSED if method(run) not in owners[name] else _hashable(field(run, name)) for name in by)
        cells.setdefault(tuple(key), []).append(run)
    # In order, so that the first refusal does not depend on the files' names.
    cells = dict(sorted(cells.items(), key=lambda item: [_order(part) for part in item[0]]))
    for key, group in cells.items():
        both = set.intersection(*(set(settings(run)) for run in group))
        differ = differing(group, [f for f in (*PROTOCOL, *deciding(metrics), *sorted(both)) if f not in by])
        wrong = {name: values for name, values in differ.items() if name not in covered(allow)}
        if wrong:
            files = differing(group, ("data_file",)).get("data_file", [])
            if "data_hash" in wrong and len(files) == len(
                wrong["data_hash"]
            ):  # file names say the same as hashes, in words
                wrong = {"data_file": files, **{name: wrong[name] for name in wrong if name != "data_hash"}}
            fields = ",".join(wrong)
            raise RecordError(
                f"runs of {label(key)} differ in {listed(wrong)}; they are not averaged "
                f"(--by {','.join((*by, fields))} keeps them apart, --allow {fields} averages them all the same)"
            )
        cells[key] = one_a_seed(group, tuple(differ))
    return cells


def covered(allow):
    """The fields `allow` as a set. The name of a data file stands for its hash too, since a user cannot type a hash."""
    return {*allow, "data_hash"} if "data_file" in allow else set(allow)


def listed(differ):
    """'lr: 0.01, 0.1; batch_size: 1, 10' of {field: values}; of many values the first few."""
    told = []
    for name, values in differ.items():
        texts = [short(value) for value in sorted(values, key=_order)]
        rest = f" and {len(texts) - SEVERAL} more" if len(texts) > SEVERAL else ""
        told.append(f"{name}: {', '.join(texts[:SEVERAL])}{rest}")
    return "; ".join(told)


def _owners(found, name):
    """The methods that may have a field: those of all runs; for a flag not in our table, those whose runs have it."""
    own = {method(run) for run in found if name not in FLAGS and name in settings(run)}
    return own or {method(run) for run in found}


def done(cell):
    """The cell's runs that did not diverge: dict (seed, ...) -> Run."""
    return {seed: run for seed, run in cell.items() if run.fact("status") != "diverged"}


def label(key):
    return " ".join(short(part) for part in key)


def labels(keys):
    """key -> its label, numbered where several keys have the same."""
    found, taken, last = {}, set(), {}  # last: the number that a label had last
    for key in keys:
        own = text = label(key)
        n = last.get(own, 1)
        while text in taken:
            n += 1
            text = f"{own} #{n}"
        found[key], last[own] = text, n
        taken.add(text)
    return found


def short(value):
    """A field's value as text. Hashes are cut, a list of n equal values v becomes 'n x v', and None is 'unknown'."""
    if isinstance(value, (list, tuple)) and value and value.count(value[0]) == len(value):
        return f"{len(value)} x {value[0]}"
    if isinstance(value, float):
        return f"{value:g}"
    text = "unknown" if value is None else str(value)
    return one_line(text[:12] if len(text) == 64 else text[:60])


def one_a_seed(group, besides=()):
    """(seed, value of each field `besides`) -> Run, of several the one begun last. Unknown seeds become '?0', '?1'."""
    cell = {}
    for i, run in enumerate(sorted(group, key=lambda run: str((run.record or {}).get("started") or ""))):
        seed = run.fact("seed")
        seed = f"?{i}" if seed is None else int(seed) if str(seed).isdecimal() and len(str(seed)) < DIGITS else seed
        cell[seed, *(_hashable(field(run, name)) for name in besides)] = run
    return dict(sorted(cell.items(), key=lambda item: [_order(part) for part in item[0]]))


def _plain(values):
    return not any(isinstance(value, (list, dict)) for value in values)


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


def _order(part):
    return (1, part, "") if isinstance(part, (int, float)) else (0 if part == UNUSED else 2, 0, str(part))
