"""A paper's numbers beside ours: "paper / ours, mean, sd, n / difference / protocol differences", as Markdown.

    python scripts/papers/table.py gem results/runs/paper_gem
    python scripts/papers/table.py gem results/runs/paper_gem --into docs/sweeps.md
    python scripts/papers/table.py gem results/runs/paper_gem --brief --into README.md

The paper's numbers, their source and their protocol are in targets.csv beside this file; targets.py says how the two
are compared. X: there is no run yet. diverged: all runs diverged. --brief: one line for each method that has been run.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from data import temporary
from results import RecordError, console
from results.comparing.measures import shown
from results.reading import logs
from results.table import render, unmarked
from scripts.papers import targets

SHOWN = {"final": "ACC", "backward": "BWT", "forward": "FWT", "forgetting": "forgetting",
         "first": "first task"}  # fmt: skip
HEADER = ("stream", "method", "metric", "paper", "ours, mean", "sd", "n", "difference", "at 95 %", "s a run")
NEEDED = ("model", "status", "args.parity", "protocol.data_hash", "baseline", *targets.METRICS[:3], "metrics",
          "seconds.total", "versions.torch", "device", "threads")  # fmt: skip


def published(c: targets.Comparison) -> str:
    return "-" if c.paper is None else f"{c.paper:g}" + (f" ± {c.spread:g}" if c.spread is not None else "")


def lines(row: dict, runs: list[dict], mark: str) -> list[tuple]:
    """The table's lines, one for each metric, for a target and one group of our runs; [] is no runs."""
    time, none = targets.seconds(runs), "diverged" if runs else "X"
    first = (row["stream"], f"`{row['method']}` {mark}".strip()), "" if time is None else f"{time:.0f}"
    found = []
    for c in targets.compare(row, runs):
        mean = none if c.mean is None else shown(c.mean, 3)
        sd = "" if c.mean is None else "-" if c.sd is None else shown(c.sd, 3)
        difference = shown(c.difference, 3, sign=True) if c.difference is not None else c.verdict
        name, total = (("", ""), "") if found else first
        found.append((*name, SHOWN[c.metric], published(c), mean, sd, str(c.n), difference, c.verdict, total))
    return found


def brief(row: dict, runs: list[dict], metrics: list[str]) -> tuple:
    """The brief table's line for a target and one group of our runs."""
    by_metric, n = {c.metric: c for c in targets.compare(row, runs)}, 0
    cells = []
    for metric in metrics:
        c = by_metric.get(metric)
        if c is None or c.mean is None:
            cells += ["", ""] if c is None else [published(c), "diverged"]
            continue
        n = c.n
        side = f", {c.verdict}" if c.verdict in ("higher", "lower") else ""
        cells += [published(c), shown(c.mean, 3) + (f" ± {shown(c.sd, 3)}" if c.sd is not None else "") + side]
    time = targets.seconds(runs)
    return (row["stream"], f"`{row['method']}`", *cells, str(n), "" if time is None else f"{time:.0f}")


def markdown(head: tuple, rows: list[tuple]) -> str:
    """The table as Markdown. Stream, method and, if there is such a column, metric are text; the rest is numbers."""
    return render(head, rows, "markdown", left=3 if head == HEADER else 2)


def machine(runs: list[dict]) -> str:
    """A sentence on the machine that made the runs."""
    kinds = sorted({f"torch {run['versions']['torch']}, {run['device']}, --threads {run['threads']}" for run in runs})
    hours = sum(run["seconds"]["total"] or 0 for run in runs) / 3600
    return unmarked(
        f"{len(runs)} run{'s' * (len(runs) != 1)}, {hours:.2f} hours of computing in all; {'; '.join(kinds)}."
    )


def read(folder: str) -> list[dict]:
    """The records of a folder; ``RecordError`` if there is none, or one that is damaged."""
    runs = logs.records(folder, *NEEDED)
    if not runs:
        raise RecordError(f"{folder}: no record in it; run the paper's script first")
    for run in runs:
        try:
            targets.facts(run.record)
        except (KeyError, IndexError, TypeError, ZeroDivisionError):
            raise RecordError(f"{run.source}: its protocol is not that of a run; move it away") from None
    return [run.record for run in runs]


def brief_table(paper: str, folder: str) -> str:
    """A line for each method, from the runs that follow the paper's protocol in every flag; others are left out."""
    runs, rows = read(folder), targets.read(paper)
    metrics = [m for m in targets.METRICS if any(row[m] for row in rows)] or list(targets.METRICS[:3])
    head = ("stream", "method", *(w for m in metrics for w in (f"{SHOWN[m]}, paper", "ours")), "n", "s a run")
    found = []
    for row in rows:
        for group in targets.matching(row, runs):
            if not any(difference.startswith("--") for difference in targets.differences(row, group)):
                found.append(brief(row, group, metrics))
    return "\n".join([markdown(head, found), "", machine(runs), ""])


def table(paper: str, folder: str) -> str:
    """The whole text: a line for each metric, then protocol differences and sources."""
    runs, wanted = read(folder), targets.read(paper)
    rows, notes = [], []
    for row in wanted:
        for group in targets.matching(row, runs) or [[]]:
            other = targets.differences(row, group) if group else []
            other += [row["note"]] * bool(row["note"])
            if other and other not in notes:
                notes.append(other)
            rows += lines(row, group, f"({notes.index(other) + 1})" if other else "")
    sources = dict.fromkeys((row["tag"], row["source"]) for row in wanted if row["source"])
    text = [markdown(HEADER, rows), "", "Protocol differences:", ""]
    text += [f"{i}. {unmarked('; '.join(note))}" for i, note in enumerate(notes, 1)]
    text += ["", "Sources of the paper's numbers:", ""]
    text += [f"- [{tag}] {source}" for tag, source in sources] or ["- none that was checked; none is printed"]
    return "\n".join([*text, "", machine(runs), ""])


def put_into(path: str, paper: str, text: str):
    """Replace the text between a document's two marks for ``paper``; ``RecordError`` if the marks are missing."""
    begin, end = f"<!-- table {paper} -->\n", f"<!-- end of table {paper} -->"
    temporary.require_replaceable(path)
    try:
        document = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise RecordError(f"{path}: cannot be read ({getattr(e, 'strerror', None) or e})") from None
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise RecordError(f"{path}: has no lines {begin.strip()!r} and {end!r}")
    temporary.write(path, f"{before}{begin}\n{text}\n{end}{after}".encode())


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paper", help="gem, agem, mer, ogd or doan")
    p.add_argument("folder", help="its records")
    p.add_argument("--brief", action="store_true", help="a line a method, without what was not run")
    p.add_argument("--into", metavar="FILE", help="a document with marks for the table, instead of the screen")
    args = p.parse_args(argv)
    return console.command("papers/table.py", lambda: _print(args))


def _print(args) -> int:
    text = (brief_table if args.brief else table)(args.paper, args.folder)
    if not args.into:
        sys.stdout.write(text)
        return 0
    with console.writing(f"--into {args.into}"):
        put_into(args.into, args.paper, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
