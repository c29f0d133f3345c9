"""`sweep.py best`: the best setting of each method by held-out tasks, and the command lines of the runs they are for.

    python scripts/sweep.py --model gem --lr 0.01 0.03 0.1 --seed 0..2 --n_tasks 3 --validation 5000 --out results/cv ...
    python scripts/sweep.py best results/cv > best.txt
    python scripts/sweep.py best.txt --seed 0..4 --out results/table

The rule, after A-GEM: a setting is scored by the mean final accuracy on the first tasks of the file, over seeds; the
runs it is for begin after them (--first_task), so that no task of the table took part. With --validation in the scored
runs not even those tasks' test sets were looked at: the score is on training examples held out. Only runs that stopped
after a few tasks are accepted, for each data file only runs on the same tasks by the same rule, and for each method only
settings with the same seeds.
"""

import argparse
import functools
import math
import shlex
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from data import DataError, files
from model import UsageError
from model.arguments import FLAGS, decides, of_role
from model.flags import Role
from results import RecordError, record

HELD_OUT = ("n_tasks", "first_task", "validation")  # what the runs of the table do not share with the scored ones


def found_in(folder: str, pattern: str):
    """The paths under ``folder`` that match, without hidden ones."""
    if not Path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder; give one that a sweep has written")
    for path in sorted(Path(folder).rglob(pattern)):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def entry(path: Path) -> tuple:
    """((model, data file, data hash), setting, seed, record); a setting is a tuple of (flag, value)."""
    run = record.read(path)
    try:
        args = run["args"]
        if args.get("first_task"):
            raise UsageError(f"{path}: begins with task {args['first_task']}; settings are chosen on the first tasks")
        setting = tuple((k, v) for k, v in sorted(args.items()) if decides(run["model"], k))
        key = (run["model"], args["data_file"], run["protocol"]["data_hash"])
        hash((key, setting, args["seed"], args["data_path"], run["status"], run["final"]))  # all are there, and plain
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: is no whole record of a run ({type(error).__name__}: {error})") from None
    return key, setting, args["seed"], run


def groups(folder: str) -> dict:
    """{(model, data file, data hash): {setting: {seed: record}}}."""
    found: dict = defaultdict(lambda: defaultdict(dict))
    places: dict = {}
    for path in found_in(folder, "*.json"):
        key, setting, seed, run = entry(path)
        n_tasks = run["args"].get("n_tasks")
        if not n_tasks or n_tasks == tasks_in_file(run["args"]["data_path"], *key[1:]):
            raise UsageError(
                f"{path}: is a run on all tasks, so that none would be left for the table; choose by runs of the first "
                "tasks: --n_tasks 3"
            )
        twin = places.setdefault((key, setting, seed), path)
        if twin is not path:
            raise UsageError(f"{path}: has the setting and the seed of {twin}; keep one of them in the folder")
        found[key][setting][seed] = run
    if not found:
        raise UsageError(f"{folder}: no record in it; run the sweep first")
    return found


@functools.cache
def tasks_in_file(data_path: str, data_file: str, data_hash: str) -> int | None:
    """How many tasks the data file has; None where it is not on this machine, or is another by now."""
    try:
        file = files.load(Path(data_path, data_file))
    except DataError:
        return None
    return len(file.train) if file.hash == data_hash else None


def check_rule(found: dict):
    """``UsageError`` unless all runs on one data file are on the same tasks, and tested on the same kind of examples."""
    for data in sorted({key[1:] for key in found}):
        settings = [dict(setting) for key in found if key[1:] == data for setting in found[key]]
        for name in HELD_OUT:
            given = {setting.get(name) or 0 for setting in settings}
            if len(given) > 1:
                values = " and ".join(sorted(map(str, given)))
                raise UsageError(
                    f"{data[0]}: runs with --{name} {values} in one folder; methods and settings are compared by one rule"
                )


def diverged(run: dict) -> bool:
    return run["status"] != "done" or not isinstance(run["final"], int | float) or not math.isfinite(run["final"])


def score(runs: dict) -> tuple[float, float]:
    """Mean and standard deviation of final accuracy over seeds; a setting of which a run diverged scores nothing."""
    if any(map(diverged, runs.values())):
        return float("-inf"), 0.0
    finals = [run["final"] for run in runs.values()]
    return statistics.mean(finals), statistics.stdev(finals) if len(finals) > 1 else 0.0


def ranked(settings: dict, key) -> list:
    """[(mean, sd, setting)], best first; ``UsageError`` unless all settings have the same seeds."""
    seeds = sorted({tuple(sorted(runs)) for runs in settings.values()})
    if len(seeds) > 1:
        raise UsageError(
            f"{key[0]} on {key[1]}: settings with different seeds ({'; '.join(' '.join(map(str, s)) for s in seeds)}) "
            "cannot be compared; finish the sweep"
        )
    order = [(*score(runs), setting) for setting, runs in settings.items()]
    return sorted(order, key=lambda entry: -entry[0])


def at_the_edge(name: str, value, order: list) -> str | None:
    """A comment that says so, if a flag's chosen value is the smallest or the largest of those tried.

    The smallest or largest that there can be has nothing beyond it, and is none.
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
    """Comments that tell the choice and how it was made, and the command line of the runs it is for."""
    model, data_file, _ = key
    order = ranked(settings, key)
    mean, _, chosen = order[0]
    if mean == float("-inf"):
        raise UsageError(f"{model} on {data_file}: every setting diverged; try smaller --lr")
    varied = [name for name, value in chosen if any(dict(other).get(name) != value for *_, other in order)]
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
        shown = " ".join(f"--{name} {dict(setting).get(name)}" for name in varied) or "(the only setting)"
        value = "diverged" if mean == float("-inf") else f"{mean:.4f}, sd {sd:.4f}"
        lines.append(f"#   {value}  {shown}{'  <- chosen' if setting is chosen else ''}")
    lines += [edge for name in varied if (edge := at_the_edge(name, dict(chosen)[name], order))]
    words = ["--model", model, "--data_file", data_file]
    args = next(iter(settings[chosen].values()))["args"]
    machine = [(name, args[name]) for name in of_role(Role.MACHINE) if name in args and name != "threads"]
    for name, value in [("data_path", args["data_path"]), *machine, *chosen]:
        default = FLAGS[name].default if name in FLAGS else None
        if name not in HELD_OUT and value != default:  # what is None is a default
            words += [f"--{name}", str(value) if not isinstance(value, bool) else "yes" if value else "no"]
    return [*lines, shlex.join([*words, "--first_task", str(first)])]


def main(argv: list[str]) -> int:
    """The command line after ``best``; the exit status."""
    p = argparse.ArgumentParser(
        prog="sweep.py best", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", metavar="DIR", help="records of runs on the first tasks only, such as --n_tasks 3")
    args = p.parse_args(argv)
    found = groups(args.folder)
    check_rule(found)
    text = [line for key, settings in found.items() for line in report(key, settings)]
    if n_failed := len(list(found_in(args.folder, "*.failed"))):
        print(f"note: failed jobs in {args.folder}: {n_failed} (*.failed); the choice is without them", file=sys.stderr)
    sys.stdout.write("\n".join(text) + "\n")
    return 0
