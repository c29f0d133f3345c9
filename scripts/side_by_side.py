"""The A-GEM note's three ways beside its logged numbers: python scripts/side_by_side.py [PATH...]

Each logged run stands beside the newest record in PATH (results/ by default) that the same command made; only the data
file may differ. A record is recognised by its JSON, never by its name.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from model import UsageError, arguments, resolve
from results import RecordError
from results.comparing.measures import MEASURES, shown
from results.reading.logs import runs
from results.table import render

LOGGED = ROOT / "results" / "logged" / "seed_004.json"
COLUMNS = ("final", "backward", "forward")
COSTS = ("seconds", "memory_mb")


def same_command(logged, run):
    """Whether the record ``run`` has the logged run's method, seed, and all other flags that decide its numbers."""
    try:
        wanted = {name: arguments.FLAGS[name].parse(str(value)) for name, value in logged.args.items()}
        model = resolve(wanted["model"])
    except (UsageError, KeyError) as error:
        raise RecordError(f"{logged.place}: not a command of this program ({error})") from None
    ours = run.record.get("args", {})
    decisive = {name for name in wanted if arguments.decides(model, name)} | {"seed"} & set(wanted)
    return run.fact("model") == model and all(ours.get(name, wanted) == wanted[name] for name in decisive)


def newest(logged, found):
    """Of the records in ``found`` that the logged command made, the one begun last; None if there is none."""
    same = [run for run in found if same_command(logged, run)]
    return max(same, key=lambda run: run.record.get("started") or "", default=None)


def table(pairs, title, sentences):
    """One row for each (logged run, our run or None): logged and ours, number by number."""
    heads = [f"{MEASURES[key].label} {whose}" for key in COLUMNS for whose in ("logged", "here")]
    rows = []
    for logged, ours in pairs:
        row = [f"{logged.label.split()[0]} {resolve(logged.args['model'])}"]
        for key in COLUMNS:
            row += [logged.printed.get(key, "X"), shown(getattr(ours, key, None), MEASURES[key].digits)]
        row += [shown(ours and MEASURES[key].value(ours), MEASURES[key].digits) for key in COSTS]
        rows.append(row)
    return render(["", *heads, *(MEASURES[key].label for key in COSTS)], rows, "text", title, sentences)


def notes(pairs, data_file):
    """The sentences that a reader of the table needs, one a line."""
    lines = []
    for logged, ours in pairs:
        name = resolve(logged.args["model"])
        if ours is None:
            lines.append(f"{name}: no record here of this command on {data_file}")
            continue
        if ours.fact("status") != "done":
            done = f"{len(ours.grid)} of {ours.n_tasks} tasks"
            lines.append(f"{name} {ours.fact('status')} at step {ours.record['counts']['steps']}, after {done}")
    lines += [sentence.replace(str(ROOT) + "/", "") for logged, _ in pairs for sentence in logged.disagreements()]
    if data_file == pairs[0][0].args["data_file"]:
        lines.append(
            "The same benchmark, but not the same permutations and images, which the note does not have: "
            "one draw beside another, so equal digits are not to be expected."
        )
    else:
        lines.append(
            f"{data_file} is another benchmark than the note's: the numbers cannot be held against each other."
        )
    return lines


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="*", metavar="PATH", help="records, or folders of them (default results/)")
    parser.add_argument("--data_file", help="of our runs (default: the logged command's)")
    parser.add_argument("--since", default="", metavar="TIME", help="runs begun at this time or later, as in a record")
    args = parser.parse_args(argv)
    try:
        logged = list(runs([LOGGED]))
        data_file = args.data_file or logged[0].args["data_file"]
        found = [
            run
            for run in runs(args.paths or [ROOT / "results"])
            if run.record and run.fact("data_file") == data_file and run.record.get("started", "") >= args.since
        ]
        pairs = [(run, newest(run, found)) for run in logged]
    except RecordError as mistake:
        print(f"side_by_side.py: {mistake}", file=sys.stderr)
        return 2
    title = f"The A-GEM note's command: logged (one run each) and here (one run each, {data_file})"
    print(table(pairs, title, notes(pairs, data_file)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
