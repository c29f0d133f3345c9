"""One page that holds everything about runs: python -m results.report PATH... -o report.html

It shows the protocol, a table to sort, curves over training, grids as heat maps, and each run's command. The page is
one file and needs no network. Exit status 0; 1 if a log could not be read (the rest is on the page); 2 if the command
is wrong.
"""

import argparse
import os
import sys

if __package__ in (None, ""):  # cd results; python report.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from data import temporary
from results import RecordError, console
from results.comparing import cells
from results.drawing.webpage import page


def main(argv=None):
    parser = argparse.ArgumentParser(prog="results.report", description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="+", metavar="PATH", help="records, logs, or folders of them")
    parser.add_argument("-o", "--output", default="report.html", metavar="FILE")
    parser.add_argument("--title", default="Continual learning runs")
    parser.add_argument("--by", default="model", metavar="FIELD,..", help="what tells cells apart (default: model)")
    parser.add_argument("--allow", default="", metavar="FIELD,..", help="average although this field differs")
    args = parser.parse_args(argv)
    return console.command(parser.prog, lambda: _write(args))


def _write(args):
    by, allow = map(console.names, (args.by, args.allow))
    _may_replace(args.output)
    found, unread = cells.read(args.paths, "results.report", curves=True)
    text = page(found, by or ("model",), allow, args.title)
    with console.writing(f"--output {args.output}"):  # an older page stays until the new one is complete
        temporary.write(args.output, text.encode("utf-8", "replace"))
    print(args.output)
    return 1 if unread else 0


def _may_replace(path):
    """RecordError if the file exists and is not a page, such as a record that the shell put behind -o."""
    with console.writing(f"--output {path}"):
        temporary.require_replaceable(path)
    try:
        with open(path, "rb") as f:
            start = f.read(15)
    except OSError:
        return
    if start and start.lower() != b"<!doctype html>":
        raise RecordError(f"--output {path}: is there and is no page; give a name of its own, such as report.html")


if __name__ == "__main__":
    sys.exit(main())
