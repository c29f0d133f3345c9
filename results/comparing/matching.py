"""Which of our runs a logged run is to be checked against, and in what the two differ."""

import os

from model import UsageError
from model.arguments import FLAGS, of_role, uses
from model.flags import Role
from results.comparing import cells

# What may change the last digit of a run: versions and kernels, besides the data and the engine.
VERSIONS = ("torch", "numpy", "quadprog", "cpu_capability")


def facts(run):
    """The known fields of a run's protocol and settings, without the seed: dict field -> value.

    The data file's name stands in where there is no hash of the data.
    """
    args = run.flags
    protocol = (run.record or {}).get("protocol") or {}
    given = {name: args.get(name) for name in of_role(Role.PROTOCOL) if uses(cells.method(run), name)}
    given |= {"parity": run.fact("parity"), **cells.settings(run)}
    known = {name: _parsed(name, value) for name, value in given.items()}
    known |= {name: protocol.get(name) for name in ("data_hash", "head")}  # args may say `auto` for the head
    known["n_tasks"] = run.n_tasks or known.get("n_tasks")
    known["start_from"] = protocol.get("start_from") or known.get("start_from") or "nothing"  # known of every log
    known = {name: value for name, value in known.items() if value is not None}
    return known if "data_hash" in known else known | _data_file(run)


def _data_file(run):
    name = run.fact("data_file")
    return {} if name is None else {"data_file": os.path.basename(str(name))}


def _parsed(name, value):
    """A flag's value from a value or its text. The text of a flag that is not ours becomes a number if it can."""
    try:
        return value if value is None else FLAGS[name].parse(str(value)) if name in FLAGS else float(value)
    except (UsageError, TypeError, ValueError):
        return value


def differing(logged, ours):
    """dict field -> (logged value, ours), of the fields that both know and in which they differ."""
    return _differing(logged, facts(logged), ours, facts(ours))


def _differing(logged, theirs, ours, here):
    """As `differing`, of two runs and their facts."""
    if "data_file" in theirs or "data_file" in here:
        theirs, here = theirs | _data_file(logged), here | _data_file(ours)
    return {name: (theirs[name], here[name]) for name in theirs if name in here and theirs[name] != here[name]}


def obstacles(logged, ours):
    """The reasons why the digits of two runs need not agree: list of texts, empty if they must agree.

    They must agree under three conditions. Data hash, torch and CPU capability are known and equal. Seed, protocol,
    settings, engine, device and the other versions are equal where both runs know them. The threads are equal if the
    network is a ResNet18, which sums the gradients of its convolutions in one part for each thread.
    """
    found = [
        f"{name} {cells.short(a)} logged, {cells.short(b)} here" for name, (a, b) in differing(logged, ours).items()
    ]
    places = [("protocol", "data_hash"), ("protocol", "engine"), *(("versions", name) for name in VERSIONS)]
    for part, name in places:
        a, b = (((run.record or {}).get(part) or {}).get(name) for run in (logged, ours))
        if name == "data_hash" and a is not None and b is not None:
            continue  # told above
        if a is None and name in ("data_hash", "torch", "cpu_capability"):
            found.append(f"{name} not logged")
        elif a is not None and a != b:
            found.append(f"{name} {cells.short(a)} logged, {cells.short(b)} here")
    by_threads = ((ours.record or {}).get("protocol") or {}).get("net") == "ResNet18"
    for name in ("device", "threads")[: 2 if by_threads else 1]:
        a, b = ((run.record or {}).get(name) for run in (logged, ours))
        if a is not None and a != b:
            found.append(f"{name} {a} logged, {b} here")
    return found


def grouped(ours):
    """dict method -> [(facts, our runs with these facts, alike but for the seed)]."""
    groups = {}
    for run in ours:
        known = facts(run)
        of_method = groups.setdefault(cells.method(run), {})
        of_method.setdefault(repr(sorted(known.items())), (known, []))[1].append(run)
    return {method: list(of_method.values()) for method, of_method in groups.items()}


def counterparts(logged, groups):
    """Our runs, `grouped`, that are nearest to a logged one: of its method, and alike but for the seed. [] if there are none.

    They are the group that differs from it in the fewest fields; of several such groups the largest.
    """
    groups, theirs = groups.get(cells.method(logged)), facts(logged)
    if not groups:
        return []

    def distance(group):
        here, runs = group
        return len(_differing(logged, theirs, runs[0], here)), -len(runs)

    return list(cells.one_a_seed(min(groups, key=distance)[1]).values())
