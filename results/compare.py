"""Put methods side by side: python -m results.compare PATH... [--by model,memory_strength] [--baseline single]

Mean, standard deviation (divisor n - 1) and number of runs for each cell; with --baseline the mean difference to
it over common seeds, with its confidence interval (Student's t). Diverged runs are counted, not averaged. 'X' is a
number that is missing. Exit status 0; 1 if a log could not be read (the rest is compared); 2 if the runs must not be
averaged or the command is wrong.
"""

import argparse
import os
import sys

if __package__ in (None, ""):  # cd results; python compare.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from results import RecordError, console
from results.comparing import cells, inference
from results.comparing.measures import DEFAULT, MEASURES
from results.comparing.tables import UNPAIRED, tables
from results.table import FORMATS


def compare(found, by=("model",), metrics=DEFAULT, baseline=None, allow=(), confidence=inference.CONFIDENCE):
    """list of dicts, one a cell: "by", "n", "seeds", "diverged", "measures": {key: {"mean", "sd", "n"}} and, with a
    baseline, "paired": {key: {"mean", "low", "high", "n"} or None}, None for the baseline itself.

    found: list of Run; by: fields that tell cells apart; metrics: keys of MEASURES. RecordError as cells.gather().
    """
    gathered = cells.gather(found, by, allow)
    values = {key: {m: _values(cells.done(cell), m) for m in metrics} for key, cell in gathered.items()}
    rows = []
    for key, cell in gathered.items():
        row = {
            "by": dict(zip(by, key, strict=True)),
            "n": len(cells.done(cell)),
            "seeds": [seed for seed, *_ in cells.done(cell)],
            "diverged": len(cell) - len(cells.done(cell)),
            "measures": {m: _spread(list(values[key][m].values())) for m in metrics},
        }
        if baseline is not None:
            base = _baseline(gathered, by, key, baseline)
            if base != key:
                _same_protocol(gathered, key, base, (*by, *allow))
            row["paired"] = None if base == key else {
                m: p and p._asdict()
                for m in metrics
                if m not in UNPAIRED
                for p in [inference.paired(_by_seed(values[key][m]), _by_seed(values[base][m]), confidence)]
            }  # fmt: skip
        rows.append(row)
    return rows


def _values(cell, metric):
    found = {seed: MEASURES[metric].value(run) for seed, run in cell.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _by_seed(values):
    """seed -> the mean over its runs: one, unless --allow lets several settings into a cell."""
    found = {}
    for (seed, *_), value in values.items():
        found.setdefault(seed, []).append(value)
    return {seed: inference.mean(each) for seed, each in found.items()}


def _spread(values):
    return {"mean": inference.mean(values) if values else None, "sd": inference.deviation(values), "n": len(values)}


def _baseline(gathered, by, key, name):
    """The cell that `key` is compared with: of those of the method `name`, the one that agrees with it best."""
    if "model" not in by:
        raise RecordError(f"--baseline {name}: is a method, so --by must name model")
    place = by.index("model")
    found = [other for other in gathered if other[place] == name]
    if not found:
        raise RecordError(
            f"--baseline {name}: no run of it; the methods are {', '.join({str(k[place]) for k in gathered})}"
        )
    return max(found, key=lambda other: sum(a == b for a, b in zip(other, key, strict=True)))


def _same_protocol(gathered, key, base, free):
    """RecordError if two cells were not measured on the same stream; the memory may differ."""
    both = [*gathered[key].values(), *gathered[base].values()]
    wrong = cells.differing(both, [f for f in cells.PROTOCOL if f not in (*free, "memory")])
    for name, values in wrong.items():
        raise RecordError(
            f"{cells.label(key)} and {cells.label(base)} differ in {name}: {', '.join(map(cells.short, values))}; "
            f"no difference is taken (--allow {name} takes it all the same)"
        )


def main(argv=None):
    parser = argparse.ArgumentParser(prog="results.compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="+", metavar="PATH", help="records, logs, or folders of them")
    parser.add_argument("--by", default="model", metavar="FIELD,..", help="what tells cells apart (default: model)")
    parser.add_argument("--metric", default=",".join(DEFAULT), metavar="NAME,..", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--baseline", metavar="METHOD", help="take paired differences to this method")
    parser.add_argument("--allow", default="", metavar="FIELD,..", help="average although this field differs")
    parser.add_argument("--confidence", type=float, default=inference.CONFIDENCE)
    args = parser.parse_args(argv)
    return console.command(parser.prog, lambda: _print(args))


def _print(args):
    by, metrics, allow = map(console.names, (args.by, args.metric, args.allow))
    unknown = [m for m in metrics if m not in MEASURES]
    if unknown or not metrics:
        raise RecordError(f"--metric {args.metric}: the metrics are {', '.join(MEASURES)}")
    if not 0 < args.confidence < 1:
        raise RecordError(f"--confidence {args.confidence:g}: give a number between 0 and 1")
    baseline = args.baseline and cells.resolved(args.baseline)
    found, unread = cells.read(args.paths, "results.compare")
    rows = compare(found, by or ("model",), metrics, baseline, allow, args.confidence)
    print(tables(rows, metrics, baseline, args.format, args.confidence))
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
