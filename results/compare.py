"""Put methods side by side: python -m results.compare PATH... [--by model,memory_strength] [--baseline single]

Each cell shows mean, standard deviation (divisor n - 1) and number of runs. --baseline adds the mean difference to the
baseline over common seeds, with its confidence interval (Student's t), or Welch's interval where no seed is common.
Diverged runs are counted, not averaged. 'X' is a missing number. Rows that are not comparable are named under the
table. Exit status 0; 1 if a log could not be read (the rest is compared); 2 if the runs must not be averaged or the
command is wrong.
"""

import argparse
import os
import sys

if __package__ in (None, ""):  # cd results; python compare.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from results import RecordError, console
from results.comparing import cells, choice, comparable, frames, inference, protocol
from results.comparing.measures import DEFAULT, MEASURES
from results.comparing.rows import compare, rows
from results.comparing.tables import tables
from results.table import FORMATS, SILENT

__all__ = ["compare", "main"]
NUMBERS = ("json", "long")  # forms made from numbers and not from a table: json is all of compare(), long a line a run


def main(argv=None):
    parser = argparse.ArgumentParser(prog="results.compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="+", metavar="PATH", help="records, logs, or folders of them")
    parser.add_argument("--by", default="model", metavar="FIELD,..", help="what tells cells apart (default: model)")
    parser.add_argument(
        "--metric", "--metrics", default=",".join(DEFAULT), metavar="NAME,..", help=f"of {', '.join(MEASURES)}"
    )
    parser.add_argument("--format", choices=(*FORMATS, *NUMBERS), default="text")
    parser.add_argument(
        "--baseline", metavar="CELL", help="take differences to this method, or to the cells with FIELD=VALUE,.."
    )
    parser.add_argument("--allow", default="", metavar="FIELD,..", help="average although this field differs")
    parser.add_argument("--confidence", type=float, default=inference.CONFIDENCE)
    parser.add_argument(
        "--label", nargs=2, action="append", default=[], metavar=("CELL", "NAME"),
        help="call the row of this cell so (a method, or FIELD=VALUE,..); may be repeated, rows come in this order",
    )  # fmt: skip
    parser.add_argument("--title", default="", help="a line above the table")
    parser.add_argument("--protocol", action="store_true", help="say under the table on what and with what it was made")
    args = parser.parse_args(argv)
    return console.command(parser.prog, lambda: _print(args, parser.prog))


def _print(args, program):
    by, metrics, allow = map(console.names, (args.by, args.metric, args.allow))
    by = by or ("model",)
    unknown = [m for m in metrics if m not in MEASURES]
    if unknown or not metrics:
        raise RecordError(f"--metric {args.metric}: the metrics are {', '.join(MEASURES)}")
    if not 0 < args.confidence < 1:
        raise RecordError(f"--confidence {args.confidence:g}: give a number between 0 and 1")
    baseline = args.baseline and cells.resolved(args.baseline)
    found, unread = cells.read(args.paths, program)
    if args.format == "long":
        if baseline or args.label:
            raise RecordError(
                "--format long: has a line for each run, so that neither --baseline nor --label can be given"
            )
        print(frames.long(found, by, metrics))
        return 1 if unread else 0
    gathered = cells.gather(found, by, allow, metrics)
    names = choice.named(gathered, by, args.label) if args.label else None
    table = rows(gathered, by, metrics, baseline, allow, args.confidence)
    if names:
        by_key = dict(zip(gathered, table, strict=True))
        table = [{**by_key[key], "by": {"row": name}} for key, name in names.items()]
    notes = [protocol.sentence([run for cell in gathered.values() for run in cell.values()])] if args.protocol else []
    shown = () if names else by  # a label stands for the fields
    notes += comparable.warnings(gathered, shown, names, metrics) + comparable.repeated(found, gathered)
    if args.format in (*SILENT, *NUMBERS):
        for note in notes:
            console.tell(program, note)
    print(tables(table, metrics, baseline, args.format, args.confidence, args.title, notes))
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
