"""Print the grid and the numbers of any log: python -m results.show PATH...

It shows for each run what was run, the T x T grid under its baseline row, and whatever does not fit. The numbers final,
backward and forward are shown as printed, as the run's own grid gives them, and by the papers' definitions. Exit status
0; 1 if something could not be read (the rest is still shown); 2 if a path does not exist or the output cannot be
written.
"""

import argparse
import os
import sys

if __package__ in (None, ""):  # cd results; python show.py
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from data.strangers import one_line
from metrics.metrics import grid_text, learned_text, unmasked_text
from results.comparing.cells import short
from results.comparing.measures import MEASURES
from results.console import command, tell
from results.reading import training
from results.reading.logs import runs
from results.reading.run import PRINTED


def format_grid(baseline, grid):
    """The grid as in the reference's text file: baseline row and '|' (if there is one), one row per task."""
    return grid_text(baseline, grid)


def format_run(run):
    """Everything about a results.reading.run.Run as text; results.reading.logs can read its grid and numbers again."""
    blocks = [_heading(run)]
    if run.grid or run.baseline:
        blocks.append(format_grid(run.baseline, run.grid))
    if run.printed or any(value is not None for value in run.recomputed.values()):
        blocks.append(_numbers(run))
    if run.trained:
        blocks.append("\n".join(map(_epoch, run.trained)))
    wrong = run.problems + run.disagreements() + run.slips
    if wrong:
        blocks.append("\n".join(f"! {one_line(sentence)}" for sentence in wrong))
    return "\n\n".join(blocks)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="results.show", description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a record, a log, a document, or a folder")
    args = parser.parse_args(argv)
    return command(parser.prog, lambda: _show(args.paths))


def _show(paths):
    unread = shown = 0
    for run in runs(paths):
        unread += bool(run.problems)
        if run.empty:
            sys.stdout.flush()
            for problem in run.problems:
                tell("results.show", problem)
        else:
            print(("\n\n" if shown else "") + format_run(run))
            shown += 1
    sys.stdout.flush()
    if unread and shown:
        print(f"results.show: {unread} could not be read in full, {shown} shown", file=sys.stderr)
    return 1 if unread else 0


def _heading(run):
    """Two lines of known facts: what was run, and which file says so."""
    words = [str(run.fact("model") or run.label or "run")]
    if run.fact("data_file"):
        words[0] += f" on {run.fact('data_file')}"
    if run.fact("seed") is not None:
        words.append(f"seed {short(run.fact('seed'))}")
    if run.fact("status"):
        words.append(str(run.fact("status")))
    if run.n_tasks:
        words.append(f"{run.n_tasks} task{'s' * (run.n_tasks != 1)}")
    samples = run.fact("samples_per_task")
    if isinstance(samples, list) and samples and samples.count(samples[0]) == len(samples):
        samples = samples[0]
    if isinstance(samples, int):
        words.append("all samples" if samples < 0 else f"{samples} samples per task")
    elif samples is not None:
        words.append(f"samples per task {samples}")
    label = f" ({run.label})" if run.fact("model") and run.label not in run.source else ""
    return one_line(", ".join(words)) + "\n" + one_line(f"from {run.place}{label}")


def _numbers(run):
    """One line for each number: as printed, as the grid gives it, and by the papers' definition."""
    lines = []
    for key, name in PRINTED.items():
        ours, text = run.recomputed.get(key), run.printed.get(key)
        if key == "learning_accuracy" and text is None:
            continue
        head = f"{name}: {_shown(run, text)}"
        notes = [] if ours is None else [f"its grid gives {_number(ours)}"]
        paper = run.recomputed.get(f"{key}_paper")
        if paper is not None:
            notes.append(f"over T - 1, as in the papers, {_number(paper)}")
        lines.append(f"{head:<24}" + ("  " + "; ".join(notes) if notes else ""))
    lines += learned_text(run.order or [], run.joint)
    others = {"learning accuracy": "learning_accuracy", "forgetting": "forgetting", "LCA": "lca"}
    values = {name: MEASURES[key].value(run) for name, key in others.items()}
    known = [f"{name} {_number(value)}" for name, value in values.items() if value is not None]
    if known:
        lines.append("; ".join(known))
    if (run.record or {}).get("unmasked"):
        lines.append(unmasked_text(run.record["unmasked"]))
    mean = run.baseline_mean()
    if mean is not None:
        lines.append(f"no baseline row; by the forward number its mean is {mean:.4f} over all tasks but the first")
    return "\n".join(line.rstrip() for line in lines)


def _epoch(entry):
    """What a log says of a task at the end of an epoch, in one line, which `training.Reader` reads again."""
    head = [f"task {entry.task}:"] if entry.task is not None else []
    words = [f"{entry.epoch}"] if entry.epoch is not None else []
    words += [f"{name} {entry.values[key]}" for key, name in training.MEASURES.items() if key in entry.values]
    if entry.stored is not None:
        words.append(f"{entry.stored} gradient{'s' * (entry.stored != 1)} stored")
    return " ".join([*head, ", ".join(words)])


def _number(value):
    return "X" if value is None else f"{value:.4f}"


def _shown(run, text):
    """A printed number with the digits it was printed with; a record's exact number with four; X if there is none."""
    return _number(float(text)) if run.exact and text is not None else text or "X"


if __name__ == "__main__":
    sys.exit(main())
