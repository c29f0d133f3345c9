"""A paper's numbers beside ours: "paper / ours, mean, sd, n / difference / protocol differences", as Markdown.

    python scripts/paper_table.py gem results/runs/paper_gem
    python scripts/paper_table.py gem results/runs/paper_gem --into docs/sweeps.md

The paper's numbers, their source and the protocol they were made under are scripts/targets.csv. Column `tag` there: C,
read in the authors' code or its output; T, read in a transcription of the paper's table; M, not checked against any
source: the file holds no number then, and none is printed. X: no run yet.

The comparison is two-sided, at 95 %: "agrees" if the paper's number lies in the prediction interval of our runs (where
it is one run), or if the means' difference is within Welch's interval (where the paper gives mean and deviation); else
"higher" or "lower" says on which side we are. With fewer than two runs of ours there is no interval.
"""

import argparse
import csv
import math
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from results import RecordError, inference, record

TARGETS = ROOT / "scripts" / "targets.csv"
METRICS = ("final", "backward", "forward", "forgetting")
SHOWN = {"final": "ACC", "backward": "BWT", "forward": "FWT", "forgetting": "forgetting"}
HEADER = ("stream", "method", "metric", "paper", "ours, mean", "sd", "n", "difference", "at 95 %", "s a run")


def targets(paper: str) -> list[dict]:
    """The rows of one paper; ``RecordError`` names the papers there are."""
    with open(TARGETS, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    found = [row for row in rows if row["paper"] == paper]
    if not found:
        papers = ", ".join(dict.fromkeys(row["paper"] for row in rows))
        raise RecordError(f"{paper}: no target of that name; there are {papers}")
    return found


def pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


def facts(run: dict) -> dict:
    """The arguments of a run, with the number of tasks and of examples that it really saw."""
    protocol, args = run["protocol"], dict(run["args"])
    args["n_tasks"] = len(run["baseline"])
    args["samples_per_task"] = protocol["samples_per_task"][0] // protocol["n_epochs"]
    return args


def same(ours, theirs: str) -> bool:
    try:
        return float(ours) == float(theirs)
    except (TypeError, ValueError):
        return str(ours) == theirs


def matching(row: dict, runs: list[dict]) -> list[list[dict]]:
    """The runs of a target's method and data, grouped by their protocol: runs that differ in it are never averaged."""
    wanted, protocol = pairs(row["select"]), pairs(row["protocol"])
    groups = defaultdict(list)
    for run in runs:
        args = facts(run)
        if run["model"] == row["method"] and all(same(args.get(k), v) for k, v in wanted.items()):
            key = (run["protocol"]["data_hash"], args["first_task"], args["validation"], args["parity"])
            groups[(*key, *(args.get(k) for k in protocol))].append(run)
    return list(groups.values())


def differences(row: dict, runs: list[dict]) -> list[str]:
    """What our runs did otherwise than the paper."""
    args = facts(runs[0])
    wanted = {"first_task": "0", "validation": "0", **pairs(row["protocol"])}
    found = [f"--{k} {args.get(k)} (paper: {v})" for k, v in wanted.items() if not same(args.get(k), v)]
    broken = sum(run["status"] != "done" for run in runs)
    if broken:
        found.append(f"{broken} of {len(runs)} runs diverged and are left out of the means")
    return found


def number(text: str) -> tuple[float | None, float | None]:
    """'0.8912±0.0015' as (0.8912, 0.0015)."""
    value, _, spread = text.partition("±")
    return float(value) if value else None, float(spread) if spread else None


def verdict(values: list[float], paper: float, spread: float | None, n_paper: int) -> str:
    """'agrees', 'higher' or 'lower': we against the paper, two-sided at 95 %; '-' where there is no interval."""
    n, sd = len(values), inference.deviation(values)
    if sd is None:
        return "-"
    difference = inference.mean(values) - paper
    if spread is not None and n_paper > 1:
        a, b = sd**2 / n, spread**2 / n_paper
        freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (n_paper - 1))
        width = inference.quantile(0.975, freedom) * math.sqrt(a + b)
    else:
        width = inference.quantile(0.975, n - 1) * sd * math.sqrt(1 + 1 / n)
    return "agrees" if abs(difference) <= width else "higher" if difference > 0 else "lower"


def lines(row: dict, runs: list[dict], mark: str) -> list[tuple]:
    """The table's lines for one target and those of our runs that belong together ([]: none)."""
    kept = [run for run in runs if run["status"] == "done"]
    seconds = f"{inference.mean([run['seconds']['total'] for run in kept]):.0f}" if kept else ""
    found = []
    for metric in METRICS:
        paper, spread = number(row[metric])
        numbers = [run[metric] if metric in run else run["metrics"][metric] for run in kept]
        numbers = [value for value in numbers if value is not None]
        if paper is None and (metric == "forgetting" or any(row[m] for m in METRICS)):
            continue
        shown = "-" if paper is None else f"{paper:g}" + (f" ± {spread:g}" if spread is not None else "")
        name = (row["stream"], f"`{row['method']}` {mark}".strip()) if not found else ("", "")
        if not numbers:
            found.append((*name, SHOWN[metric], shown, "X", "", "0", "", "", ""))
            continue
        mean, sd = inference.mean(numbers), inference.deviation(numbers)
        against = ("-", "-") if paper is None else (f"{mean - paper:+.3f}", verdict(numbers, paper, spread, n_of(row)))
        deviation = "-" if sd is None else f"{sd:.3f}"
        time = seconds if not found else ""
        found.append((*name, SHOWN[metric], shown, f"{mean:.3f}", deviation, str(len(numbers)), *against, time))
    return found


def n_of(row: dict) -> int:
    return int(row["runs"] or 1)


def machine(runs: list[dict]) -> str:
    """Where the runs were made, in a sentence."""
    kinds = sorted({f"torch {run['versions']['torch']}, {run['device']}, --threads {run['threads']}" for run in runs})
    hours = sum(run["seconds"]["total"] for run in runs) / 3600
    return f"{len(runs)} runs, {hours:.2f} hours of computing in all; {'; '.join(kinds)}."


def table(paper: str, folder: str) -> str:
    """The whole text."""
    if not Path(folder).is_dir():
        raise RecordError(f"{folder}: no such folder; run the paper's script first")
    runs = [record.read(p) for p in sorted(Path(folder).rglob("*.json")) if not p.parent.name.startswith(".")]
    rows, notes = [], []
    for row in targets(paper):
        for group in matching(row, runs) or [[]]:
            other = differences(row, group) if group else []
            other += [row["note"]] * bool(row["note"])
            if other and other not in notes:
                notes.append(other)
            rows += lines(row, group, f"({notes.index(other) + 1})" if other else "")
    sources = dict.fromkeys((row["tag"], row["source"]) for row in targets(paper) if row["source"])
    text = ["| " + " | ".join(line) + " |" for line in (HEADER, ["---"] * len(HEADER), *rows)]
    text += ["", "Protocol differences:", ""]
    text += [f"{i}. {'; '.join(note)}" for i, note in enumerate(notes, 1)]
    text += ["", "Sources of the paper's numbers:", ""]
    text += [f"- [{tag}] {source}" for tag, source in sources] or ["- none that was checked; none is printed"]
    return "\n".join([*text, "", machine(runs), ""])


def put_into(path: str, paper: str, text: str):
    """Replace what stands between a document's two marks for ``paper``; ``RecordError`` if they are not there."""
    begin, end = f"<!-- table {paper} -->\n", f"<!-- end of table {paper} -->"
    document = Path(path).read_text(encoding="utf-8")
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise RecordError(f"{path}: has no lines {begin.strip()!r} and {end!r}")
    Path(path).write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paper", help="gem, agem, mer or ogd")
    p.add_argument("folder", help="its records")
    p.add_argument("--into", metavar="FILE", help="a document with marks for the table, instead of the screen")
    args = p.parse_args(argv)
    try:
        text = table(args.paper, args.folder)
        if args.into:
            put_into(args.into, args.paper, text)
        else:
            sys.stdout.write(text)
    except (RecordError, OSError) as error:
        print(f"paper_table.py: {error}", file=sys.stderr)
        return 2
    except (KeyError, IndexError, TypeError) as error:
        print(f"paper_table.py: {args.folder}: holds a record without {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
