"""Check runs against logged ones: python -m results.regress --against results/logged/seed_004.json PATH...

Each logged run is compared with the nearest of our runs. If data, versions, engine and CPU capability are the same, the
digits must agree. If not, the differences are named, and the logged run must lie inside the prediction interval of our
seeds, in its three numbers and cell by cell. Exit status 0; 1 with a table of what deviates, by how much and the likely
cause, or if a logged run was not checked or a log could not be read; 2 if nothing could be checked or the command is
wrong.
"""

import argparse
import os
import sys

if __package__ in (None, ""):  # cd results; python regress.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from data.strangers import one_line
from results import RecordError, console
from results.comparing import cells, inference, matching
from results.comparing.deviations import check
from results.table import render

MANY = 12  # the most deviating numbers of one run that are listed


def text(checks):
    """All findings, then the table of deviations if there are any."""
    blocks = []
    for result in checks:
        blocks.append("\n".join(map(one_line, [_heading(result), *(f"  {line}" for line in result.lines)])))
    rows = []
    for result in checks:
        for row in result.deviations[:MANY]:
            rows.append([_name(result), *row])
        if len(result.deviations) > MANY:
            rows.append([_name(result), f"{len(result.deviations) - MANY} more", "", "", ""])
    if rows:
        blocks.append(render(["deviates", "what", "logged", "here", "by"], rows, "text"))
        causes = [f"{_name(r)}: {'; '.join(r.causes) or _guess(r)}" for r in checks if r.deviations]
        blocks.append("\n".join(["Likely cause", *(f"  {one_line(cause)}" for cause in causes)]))
    blocks.append(_verdict(checks))
    return "\n\n".join(blocks)


def _heading(result):
    seeds = " ".join(cells.short(run.fact("seed")) for run in result.ours)
    return f"{_name(result)} ({result.logged.place})" + (f" against seeds {seeds}" if seeds else "")


def _name(result):
    method, label = cells.method(result.logged), result.logged.label
    return f"{method} seed {cells.short(result.logged.fact('seed'))}" + (f" {label}" if len(label) < 30 else "")


def _guess(result):
    """The likely cause of a deviation if no known field differs, as text."""
    if result.exact is False:
        return "no field of the protocol differs: the code has changed (git " + _revisions(result) + ")"
    return "no field that both know differs; not logged: " + ("; ".join(result.obstacles) or "nothing")


def _revisions(result):
    logged, ours = (str((run.record or {}).get("git") or "unknown")[:12] for run in (result.logged, result.ours[0]))
    return f"{logged} logged, {ours} here"


def _verdict(checks):
    checked = [result for result in checks if result.checked]
    wrong = [result for result in checked if result.deviations]
    words = f"{len(checked)} of {len(checks)} logged runs checked, "
    words += f"{sum(r.exact is not None for r in checked)} of them digit by digit"
    words += f", {len(checks) - len(checked)} not checked; " if len(checked) < len(checks) else "; "
    return words + (f"{len(wrong)} deviate{'s' * (len(wrong) == 1)}" if wrong else "none deviates")


def main(argv=None):
    parser = argparse.ArgumentParser(prog="results.regress", description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="+", metavar="PATH", help="our records, or folders of them")
    parser.add_argument(
        "--against", required=True, action="append", metavar="LOGGED", help="logged runs; may be repeated"
    )
    parser.add_argument("--mode", choices=("auto", "exact", "statistical"), default="auto")
    parser.add_argument("--confidence", type=float, default=inference.CONFIDENCE, help="of the prediction intervals")
    args = parser.parse_args(argv)
    return console.command(parser.prog, lambda: _checked(args, parser.prog))


def _checked(args, program):
    if not 0 < args.confidence < 1:
        raise RecordError(f"--confidence {args.confidence:g}: give a number between 0 and 1")
    logged, unread_logged = cells.read(args.against, program)
    found, unread = cells.read(args.paths, program)
    groups = matching.grouped(found)
    checks = [check(run, groups, args.mode, args.confidence) for run in logged]
    _say(text(checks))
    if not any(result.checked for result in checks):
        raise RecordError("nothing could be checked: no run of ours fits a logged one (see above)")
    wrong = any(result.deviations or not result.checked for result in checks)
    return 1 if wrong or unread_logged or unread else 0


def _say(words):
    """Print. A reader that stops early must not change the exit status; console.command would turn it into 0."""
    try:
        print(words, flush=True)
    except BrokenPipeError:
        console.leave()


if __name__ == "__main__":
    sys.exit(main())
