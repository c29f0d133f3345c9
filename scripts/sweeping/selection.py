"""`sweep.py best`: the best setting of each method by held-out tasks, and the command lines of the table's runs.

    python scripts/sweep.py --model gem --lr 0.01 0.03 0.1 --seed 0..2 --n_tasks 3 --validation 5000 --out results/cv ...
    python scripts/sweep.py best results/cv > best.txt
    python scripts/sweep.py best.txt --seed 0..4 --out results/table

The rule, after A-GEM: a setting's score is its mean final accuracy on the first tasks of the file, over seeds. The
table's runs begin after these tasks (--first_task), so that no task of the table decides a setting. With --validation
the scored runs do not look at the first tasks' test sets either: the score is on training examples held out. Only runs
that stopped after a few tasks are accepted. All runs on a data file must have the same tasks and the same kind of test
examples, and all settings of a method the same seeds. The other settings are shown with their difference to the chosen
one over the same seeds, and its 95 % interval. If the interval holds 0, the choice is one among equals.
"""

import argparse
import functools
import math
import shlex
import sys
from collections import defaultdict
from pathlib import Path

from data import DataError, files
from data.strangers import one_line
from model import UsageError
from model.arguments import FLAGS, decides, of_role
from model.flags import Role
from results import RecordError
from results.comparing import inference
from results.comparing.measures import shown
from results.reading import logs
from results.reading.fields import told
from results.reading.run import Run

NEEDED = ("model", "status", "final", "args.seed", "args.data_file", "args.data_path", "protocol.data_hash")
HELD_OUT = ("n_tasks", "first_task", "validation")  # flags that differ between the table's runs and the scored runs


def entry(run: Run) -> tuple:
    """((model, data file, data hash), setting, seed) of a run's whole record; a setting is a tuple of (flag, value)."""
    path, run = run.source, run.record
    args = run["args"]
    wrong = [
        k for k, kind in (("n_tasks", int), ("data_path", str), ("data_file", str)) if not isinstance(args.get(k), kind)
    ]
    if wrong and args.get(wrong[0]) is not None:
        raise RecordError(f"{path}: its {wrong[0]} is {told(args[wrong[0]])}, which no run has; move it away")
    if args.get("first_task"):
        raise UsageError(f"{path}: begins with task {args['first_task']}; settings are chosen on the first tasks")
    setting = tuple((k, v) for k, v in sorted(args.items()) if decides(run["model"], k))
    key = (run["model"], args["data_file"], run["protocol"]["data_hash"])
    try:
        hash((key, setting, args["seed"]))
    except TypeError:
        raise RecordError(f"{path}: has a list where a flag has one value; move it away") from None
    return key, setting, args["seed"]


def groups(folder: str) -> dict:
    """{(model, data file, data hash): {setting: {seed: record}}}."""
    if not Path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder; give one that a sweep has written")
    found: dict = defaultdict(lambda: defaultdict(dict))
    places: dict = {}
    for run in logs.records(folder, *NEEDED):
        key, setting, seed = entry(run)
        args = run.record["args"]
        if not args.get("n_tasks") or args["n_tasks"] == tasks_in_file(args["data_path"], *key[1:]):
            raise UsageError(
                f"{run.source}: is a run on all tasks, so that none would be left for the table; choose by runs of the "
                "first tasks: --n_tasks 3"
            )
        twin = places.setdefault((key, setting, seed), run.source)
        if twin != run.source:
            raise UsageError(f"{run.source}: has the setting and the seed of {twin}; keep one of them in the folder")
        found[key][setting][seed] = run.record
    if not found:
        raise UsageError(f"{folder}: no record in it; run the sweep first")
    return found


@functools.cache
def tasks_in_file(data_path: str, data_file: str, data_hash: str) -> int | None:
    """How many tasks the data file has; None if it is not on this machine, or its hash is not ``data_hash``."""
    try:
        file = files.examine(Path(data_path, data_file))
    except DataError:
        return None
    return len(file.train) if file.hash == data_hash else None


def check_rule(found: dict):
    """``UsageError`` unless all runs on one data file are on the same tasks, and tested on the same kind of examples."""
    for data in sorted({key[1:] for key in found}, key=str):
        settings = [dict(setting) for key in found if key[1:] == data for setting in found[key]]
        for name in HELD_OUT:
            given = {setting.get(name) or 0 for setting in settings}
            if len(given) > 1:
                values = " and ".join(sorted(map(str, given)))
                raise UsageError(
                    f"{data[0]}: runs with --{name} {values} in one folder; methods and settings are compared by one rule"
                )


def finals(runs: dict) -> dict | None:
    """seed -> final accuracy; None if a run of the setting diverged."""
    values = {seed: run["final"] for seed, run in runs.items() if run["status"] == "done"}
    whole = len(values) == len(runs) and all(value is not None and math.isfinite(value) for value in values.values())
    return values if whole else None


def score(runs: dict) -> tuple[float, float | None]:
    """Mean and standard deviation of final accuracy over seeds; -inf where a run diverged."""
    values = finals(runs)
    if values is None:
        return float("-inf"), None
    return inference.mean(list(values.values())), inference.deviation(list(values.values()))


def behind(runs: dict, chosen: dict) -> str:
    """How far a setting lies from the chosen one, over the same seeds, with its interval where there is one."""
    found = inference.difference(finals(runs), finals(chosen))
    ends = "" if found.low is None else f" [{shown(found.low, 4, True)}, {shown(found.high, 4, True)}]"
    return f", difference {shown(found.mean, 4, True)}{ends}"


def ranked(settings: dict, key) -> list:
    """[(mean, sd, setting)], best first; ``UsageError`` unless all settings have the same seeds."""
    seeds = sorted({tuple(sorted(runs, key=str)) for runs in settings.values()}, key=lambda them: list(map(str, them)))
    if len(seeds) > 1:
        raise UsageError(
            f"{key[0]} on {key[1]}: settings with different seeds ({'; '.join(' '.join(map(str, s)) for s in seeds)}) "
            "cannot be compared; finish the sweep"
        )
    order = [(*score(runs), setting) for setting, runs in settings.items()]
    return sorted(order, key=lambda entry: -entry[0])


def at_the_edge(name: str, value, order: list) -> str | None:
    """A comment if a flag's chosen value is the smallest or the largest of the values tried; else None.

    The bounds of the flag's range get no comment, since nothing lies beyond them.
    """
    tried = {dict(setting).get(name) for *_, setting in order}
    if not all(isinstance(other, int | float) and not isinstance(other, bool) for other in tried):
        return None
    flag = FLAGS.get(name)
    for side, end, limit in (("smallest", min(tried), flag and flag.low), ("largest", max(tried), flag and flag.high)):
        if value == end != limit:
            return f"#   --{name} {value} is the {side} of the {len(tried)} values tried: the best may lie beyond"
    return None


def report(key, settings: dict) -> list[str]:
    """Comments on the choice and how it was made, then the command line of the table's runs."""
    model, data_file, _ = key
    order = ranked(settings, key)
    mean, _, chosen = order[0]
    if mean == float("-inf"):
        raise UsageError(f"{model} on {data_file}: every setting diverged; try smaller --lr")
    flags_of = {setting: dict(setting) for *_, setting in order}
    varied = [name for name, value in chosen if any(flags.get(name) != value for flags in flags_of.values())]
    n, first = len(next(iter(settings.values()))), dict(chosen)["n_tasks"]
    validation = dict(chosen).get("validation")
    where = (
        f"{validation} training examples held out of each of tasks 0-{first - 1}: no test set was looked at"
        if validation
        else f"the test sets of tasks 0-{first - 1}, which --first_task {first} keeps out of the table (where tasks "
        "show the same images in other ways, as permutations do, the table's images are among them: --validation)"
    )
    lines = [f"# {model} on {data_file}: final accuracy, mean of {n} seeds, on {where}"]
    for mean, sd, setting in order:
        flags = " ".join(f"--{name} {flags_of[setting].get(name)}" for name in varied) or "(the only setting)"
        value = "diverged" if mean == float("-inf") else f"{shown(mean, 4)}, sd {shown(sd, 4)}"
        if mean > float("-inf") and setting is not chosen:
            value += behind(settings[setting], settings[chosen])
        lines.append(f"#   {value}  {flags}{'  <- chosen' if setting is chosen else ''}")
    lines += [edge for name in varied if (edge := at_the_edge(name, dict(chosen)[name], order))]
    words = ["--model", model, "--data_file", data_file]
    args = next(iter(settings[chosen].values()))["args"]
    machine = [(name, args[name]) for name in of_role(Role.MACHINE) if name in args and name != "threads"]
    for name, value in [("data_path", args["data_path"]), *machine, *chosen]:
        default = FLAGS[name].default if name in FLAGS else None
        if name not in HELD_OUT and value != default:  # a value of None is a default
            text = str(value) if not isinstance(value, bool) else "yes" if value else "no"
            words += [f"--{name}={text}"] if text.startswith("--") else [f"--{name}", text]  # a text is no further flag
    return [one_line(line) for line in (*lines, shlex.join([*words, "--first_task", str(first)]))]


def main(argv: list[str]) -> int:
    """Run the command line after ``best``; return the exit status."""
    p = argparse.ArgumentParser(
        prog="sweep.py best", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", metavar="DIR", help="records of runs on the first tasks only, such as --n_tasks 3")
    args = p.parse_args(argv)
    found = groups(args.folder)
    check_rule(found)
    text = [line for key, settings in found.items() for line in report(key, settings)]
    if n_failed := sum(not path.name.startswith(".") for path in Path(args.folder).rglob("*.failed")):
        print(f"note: failed jobs in {args.folder}: {n_failed} (*.failed); the choice is without them", file=sys.stderr)
    sys.stdout.write("\n".join(text) + "\n")
    return 0
