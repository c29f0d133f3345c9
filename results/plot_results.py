"""Draw runs: python -m results.plot_results [PATH...] [--by model,memory_strength] [--output FOLDER]

bars: ACC, BWT, FWT with their spread. evolution: accuracy on the first task, and on all, over training. grids: heat
maps side by side. memory: accuracy against stored examples. time: accuracy against training time. Each figure is saved
as PNG and PDF. Without PATH, the records directly in results/ are drawn. Exit status 0; 1 if a log could not be read
(the rest is drawn); 2 if the command is wrong or matplotlib is missing.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):  # cd results; python plot_results.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from data import temporary
from results import RecordError, console
from results.comparing import cells, comparable

FOLDER = Path(__file__).resolve().parent
FIGURES = ("bars", "evolution", "grids", "memory", "time")
ROWS = 60  # the most rows of a figure
ABSENT = {
    "grids": "no run has a complete grid",
    "evolution": "no record has accuracies over training",
    "memory": "no two memory sizes are known",
    "time": "no record has its training time",
}


def labelled(gathered):
    """label -> runs that did not diverge; RecordError if there is none."""
    names = cells.labels(gathered)
    found = {names[key]: list(cells.done(cell).values()) for key, cell in gathered.items()}
    found = {label: group for label, group in found.items() if group}
    if not found:
        raise RecordError("all runs diverged: there is nothing to draw")
    if len(found) > ROWS:
        raise RecordError(
            f"{len(found)} rows are more than the {ROWS} that a figure shows; give fewer runs, or another --by"
        )
    return found


def draw(found, by=("model",), allow=(), wanted=FIGURES):
    """figure name -> matplotlib Figure, or None where the runs have nothing for it. found: list of Run."""
    try:
        from matplotlib import rc_context
    except ImportError:
        raise RecordError("figures need matplotlib: pip install -r requirements-results.txt") from None
    from results.drawing import figures, trade

    drawn = {}
    with rc_context(figures.STYLE):
        plain = labelled(cells.gather(found, by, allow)) if set(wanted) - {"memory"} else {}
        for name in wanted:
            if name == "memory":
                drawn[name] = trade.memory(by_value(found, "memory", _plain(by), allow))
            else:
                drawn[name] = getattr(trade if name == "time" else figures, name)(plain)
            if drawn[name] is not None:
                figures.warn(drawn[name], differences(found, by, allow, name))
    return drawn


def differences(found, by, allow, name):
    """What makes the runs of a figure not comparable: list of sentences."""
    if name == "memory":
        gathered, names = _apart(found, "memory", _plain(by), allow)
        return comparable.warnings(gathered, (*_plain(by), "memory"), names)
    return comparable.warnings(cells.gather(found, by, allow), by)


def _plain(by):
    """``by`` without what tells memory sizes apart."""
    return tuple(name for name in by if name not in ("memory", "n_memories"))


def _apart(found, field, by, allow):
    """Cells with the value of ``field`` as the last part of their keys, and key -> label without that value."""
    gathered = cells.gather(found, (*by, field), allow)
    names = cells.labels(dict.fromkeys(key[:-1] for key in gathered))
    return gathered, {key: names[key[:-1]] for key in gathered}


def by_value(found, field, by, allow=()):
    """label -> {value of ``field``: runs that did not diverge}, for a figure along it; {} if no run has one."""
    if all(cells.field(run, field) is None for run in found):
        return {}
    nested, (gathered, names) = {}, _apart(found, field, by, allow)
    for key, cell in gathered.items():
        nested.setdefault(names[key], {})[key[-1]] = list(cells.done(cell).values())
    return nested


def save(drawn, folder, forms=("png", "pdf")):
    """Write the figures; returns the paths. RecordError if the folder cannot be written.

    What matplotlib warns of, such as a character that its font lacks, is told in a sentence each.
    """
    from matplotlib import rc_context

    from results.drawing import figures

    paths = []
    with rc_context(figures.STYLE), warnings.catch_warnings(record=True) as noted:
        try:
            temporary.make_folder(folder)
            for name, figure in drawn.items():
                for form in forms if figure is not None else ():
                    paths.append(Path(folder) / f"{name}.{form}")
                    with temporary.replacing(paths[-1]) as (file,):
                        figure.savefig(file, format=form, dpi=160)
        except (OSError, ValueError) as e:  # ValueError: a null byte in the name
            reason = getattr(e, "strerror", None) or e
            reason = f"{paths[-1].name} {reason}" if paths and e.filename == str(paths[-1]) else reason
            raise RecordError(f"--output {folder}: cannot be written ({reason}); give a folder") from None
    for sentence in dict.fromkeys(str(warning.message) for warning in noted):
        console.tell("results.plot_results", sentence)
    return paths


def main(argv=None):
    parser = argparse.ArgumentParser(prog="results.plot_results", description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="*", metavar="PATH", help="records, or folders of them")
    parser.add_argument("--by", default="model", metavar="FIELD,..", help="what tells cells apart (default: model)")
    parser.add_argument("--allow", default="", metavar="FIELD,..", help="average although this field differs")
    parser.add_argument("--only", default=",".join(FIGURES), metavar="FIGURE,..", help=f"of {', '.join(FIGURES)}")
    parser.add_argument("--output", default=str(FOLDER), metavar="FOLDER", help="of the figures (default: results/)")
    args = parser.parse_args(argv)
    return console.command(parser.prog, lambda: _plot(args))


def _plot(args):
    by, allow, wanted = map(console.names, (args.by, args.allow, args.only))
    if not wanted or set(wanted) - set(FIGURES):
        raise RecordError(f"--only {args.only}: the figures are {', '.join(FIGURES)}")
    paths = args.paths or sorted(map(str, FOLDER.glob("*.json")))
    if not paths:
        raise RecordError(f"{FOLDER}: no record in it; give the folder of the records")
    found, unread = cells.read(paths, "results.plot_results", curves="evolution" in wanted)
    by = by or ("model",)
    drawn = draw(found, by, allow, wanted)
    for path in save(drawn, args.output):
        print(path)
    shown = [name for name, figure in drawn.items() if figure is not None]
    for sentence in dict.fromkeys(said for name in shown for said in differences(found, by, allow, name)):
        console.tell("results.plot_results", sentence)
    for name in (name for name, figure in drawn.items() if figure is None):
        console.tell("results.plot_results", f"{name}: not drawn, {ABSENT[name]}")
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
