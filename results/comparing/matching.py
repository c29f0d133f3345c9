"""Which of our runs a logged run is to be checked against, and in what the two differ."""

import os

from model import UsageError
from model.arguments import FLAGS, of_role, uses
from model.flags import Role
from results.comparing import cells

# What may change the last digit of a run: versions and kernels, besides the data and the engine.
VERSIONS = ("torch", "numpy", "quadprog", "cpu_capability")


def facts(run):
    """What is known of a run's protocol and settings, the seed apart: dict field -> value, unknown ones absent.

    The data file's name counts where there is no hash of the data.
    """
    args = (run.record or {}).get("args") or run.args or {}
    protocol = (run.record or {}).get("protocol") or {}
    given = {name: args.get(name) for name in of_role(Role.PROTOCOL) if uses(cells.method(run), name)}
    given |= {"parity": run.fact("parity"), **cells.settings(run)}
    known = {name: _parsed(name, value) for name, value in given.items()}
    known |= {name: protocol.get(name) for name in ("data_hash", "head")}  # a head as it was, where args say `auto`
    known["n_tasks"] = run.n_tasks or known.get("n_tasks")
    known = {name: value for name, value in known.items() if value is not None}
    return known if "data_hash" in known else known | _data_file(run)


def _data_file(run):
    name = run.fact("data_file")
    return {} if name is None else {"data_file": os.path.basename(str(name))}


def _parsed(name, value):
    """The value of a flag, of which a log may have only the text; of a flag that is not ours at least its number."""
    try:
        return value if value is None else FLAGS[name].parse(str(value)) if name in FLAGS else float(value)
    except (UsageError, TypeError, ValueError):
        return value


def differing(logged, ours):
    """dict field -> (logged value, ours), of the fields that both know and in which they differ."""
    theirs, here = facts(logged), facts(ours)
    if "data_file" in theirs or "data_file" in here:
        theirs, here = theirs | _data_file(logged), here | _data_file(ours)
    return {name: (theirs[name], here[name]) for name in theirs if name in here and theirs[name] != here[name]}


def obstacles(logged, ours):
    """Why the digits of two runs need not agree: list of texts, empty if they must.

    They must if seed, protocol and settings agree as far as both know them, data hash, torch and CPU capability are
    known and equal, and so are the engine, the device and the other versions where both know them; and the threads
    where the network is a ResNet18, which sums the gradients of its convolutions in one part a thread.
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


def counterparts(logged, ours):
    """Our runs that come nearest to a logged one: of its method, all alike but for the seed; [] if there is none.

    The nearest are those that differ from it in the fewest fields; of several such groups the largest.
    """
    groups = {}
    for run in ours:
        if cells.method(run) == cells.method(logged):
            groups.setdefault(repr(sorted(facts(run).items())), []).append(run)
    if not groups:
        return []
    nearest = min(groups.values(), key=lambda group: (len(differing(logged, group[0])), -len(group)))
    return list(cells.one_a_seed(nearest).values())
