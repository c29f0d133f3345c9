"""One page that holds everything about runs: python -m results.report PATH... -o report.html

Protocol, a table to sort, curves over training, grids as heat maps, and each run's command. The page is one file and
needs no network. Exit status 0; 1 if a log could not be read (the rest is on the page); 2 if the command is wrong.
"""

import argparse
import json
import math
import os
import sys
from html import escape
from pathlib import Path
from string import Template

if __package__ in (None, ""):  # cd results; python report.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from results import RecordError, console
from results.compare import compare
from results.comparing import cells
from results.comparing.measures import DEFAULT, MEASURES, shown
from results.comparing.tables import fewer
from results.drawing import curves

SHOWN = ("lr", "n_layers", "n_hiddens", "net", "memory_strength")
PAGE = Path(__file__).resolve().parent / "drawing" / "page"
COLOURS = ("#0072B2", "#B87700", "#007A57", "#C04F00", "#A8487F", "#2E86B8", "#5F6670", "#8A7D00")  # dark on white


def page(found, by=("model",), allow=(), title="Continual learning runs"):
    """The HTML of a list of Run; by, allow as for results.compare. RecordError as cells.gather()."""
    gathered = cells.gather(found, by, allow)
    rows = compare(found, by, DEFAULT, allow=allow)
    counted = [run for cell in gathered.values() for run in cell.values()]
    names = cells.labels(gathered)
    drawn = {names[key]: list(cells.done(cell).values()) for key, cell in gathered.items()}
    lines, changes = curves.lines(drawn)
    data = json.dumps({"colours": COLOURS, "curves": lines, "changes": changes}, allow_nan=False)
    diverged = sum(row["diverged"] for row in rows)
    return Template((PAGE / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=f"{len(counted)} runs, {len(rows)} in comparison" + (f", {diverged} diverged" if diverged else ""),
        style=(PAGE / "page.css").read_text(encoding="utf-8").strip(),
        script=(PAGE / "page.js").read_text(encoding="utf-8").strip(),
        protocol=_protocol(counted),
        comparison_note="Mean ± standard deviation over n runs with different seeds; diverged runs are counted, not "
        "averaged. A button in the head sorts.",
        comparison=_comparison(rows, by),
        grids="\n".join(_grid(label, runs) for label, runs in drawn.items()),
        runs="\n".join(_run(run) for run in counted),
        data=data.replace("<", "\\u003c"),
    )


def _protocol(found):
    """What all runs share as a list of terms; where they differ, all values."""
    names = ("data_file", *cells.PROTOCOL, "engine", "device", "threads")
    terms = []
    for name in names:
        values = []
        for run in found:
            value = cells.field(run, name)
            values += [value] if value not in values and value != cells.UNUSED else []
        if all(isinstance(value, int | float) for value in values):
            values.sort()
        if values and values != [None]:
            terms.append((name.replace("_", " "), ", ".join(map(cells.short, values))))
    settings = [cells.settings(run) for run in found]
    shared = {k: v for k, v in settings[0].items() if all(other.get(k, v) == v for other in settings) and k in SHOWN}
    terms += [("settings of all", ", ".join(f"{k} {cells.short(v)}" for k, v in shared.items()))] if shared else []
    versions = [(run.record or {}).get("versions") for run in found]
    each = {", ".join(f"{k} {v}" for k, v in known.items()) for known in versions if isinstance(known, dict)}
    terms += [("versions", "; ".join(sorted(each)))] if each else []
    return "<dl>\n" + "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in terms) + "\n</dl>"


def _comparison(rows, by):
    values = {name: [row["by"][name] for row in rows] for name in by}
    kinds = {name: "number" if all(map(_numeric, found)) else "text" for name, found in values.items()}
    heads = [(name, kinds[name], 0, name) for name in by] + [("n", "number", 1, "number of runs averaged")]
    heads += [(MEASURES[m].label, "number", MEASURES[m].better, MEASURES[m].help) for m in DEFAULT]
    head = "".join(
        f'<th scope="col" data-kind="{kind}" data-better="{better}"><button type="button" title="{escape(text)}">'
        f"{escape(name)}</button></th>"
        for name, kind, better, text in heads
    )
    body = []
    for row in rows:
        line = []
        for name, value in row["by"].items():
            tag = "td" if line else 'th scope="row"'
            sorts = f' data-value="{value if _known(value) else ""}"' if kinds[name] == "number" else ""
            line.append(f"<{tag}{sorts}>{escape(cells.short(value))}</{tag[:2]}>")
        more = f" <small>+ {row['diverged']} diverged</small>" if row["diverged"] else ""
        line.append(f'<td data-value="{row["n"]}">{row["n"]}{more}</td>')
        for m in DEFAULT:
            mean, sd, n = row["measures"][m].values()
            text = shown(mean, MEASURES[m].digits)
            few = "" if mean is None else fewer(n, row["n"])
            spread = "" if sd is None and not few else f" <small>± {shown(sd, MEASURES[m].digits)}{few}</small>"
            line.append(f'<td data-value="{"" if mean is None else mean}">{text}{spread}</td>')
        body.append(f"<tr>{''.join(line)}</tr>")
    body = "\n".join(body)
    return f'<table class="comparison">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def _known(value):
    return value is not None and value != cells.UNUSED


def _numeric(value):
    """Whether a column with this value in it can be sorted by number."""
    return not _known(value) or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _grid(label, runs):
    """The mean grid of the runs as a table whose cells are coloured, in cividis's dark blue to yellow."""
    mean = curves.mean_grid(runs)
    if mean is None:
        return f"<div><h3>{escape(label)}</h3><p>X: no complete grid</p></div>"
    head = "".join(f'<th scope="col">{j + 1}</th>' for j in range(len(mean[0])))
    body = []
    for i, row in enumerate(mean):
        line = f'<th scope="row">{i + 1}</th>'
        for j, v in enumerate(row):
            ink, ground = ("#fff" if v < 0.58 else "#000"), curves.colour(v)
            known = not math.isnan(v)
            told = f"{label}: after task {i + 1}, on task {j + 1}: {f'{v:.4f}' if known else 'not known'}"
            text = f"{100 * v:.0f}" if known else "X"
            line += f'<td style="background:{ground};color:{ink}" title="{escape(told)}">{text}</td>'
        body.append(f"<tr>{line}</tr>")
    head = f'<tr><td aria-hidden="true"></td>{head}</tr>'.replace("<td", "<th").replace("</td", "</th")
    table = f'<table class="grid" aria-label="Accuracy grid of {escape(label)}"><thead>{head}</thead>'
    return f"<div><h3>{escape(label)} (n {len(runs)})</h3>{table}<tbody>{''.join(body)}</tbody></table></div>"


def _run(run):
    """One run: what it is, its three numbers, and its command to copy."""
    numbers = ", ".join(f"{MEASURES[m].label} {shown(MEASURES[m].value(run), 4)}" for m in DEFAULT[:3])
    status = f", {run.fact('status')}" if run.fact("status") == "diverged" else ""
    what = f"{cells.method(run)}, seed {run.fact('seed')}{status}: {numbers}"
    command = run.fact("command")
    code = "" if command is None else (
        f'<div class="command"><code>{escape(str(command))}</code>'
        f'<button type="button" aria-label="Copy the command of {escape(what.split(":")[0])}">Copy</button></div>'
    )  # fmt: skip
    return f"<li>{escape(what)}{code}</li>"


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
    found, unread = cells.read(args.paths, "results.report")
    text = page(found, by or ("model",), allow, args.title)
    partial = Path(f"{args.output}.{os.getpid()}.partial")  # a page that is there stays until the new one is complete
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(args.output)
    except OSError as e:
        remedy = "give a file in a folder that exists"
        raise RecordError(f"--output {args.output}: cannot be written ({e.strerror or e}); {remedy}") from None
    finally:
        partial.unlink(missing_ok=True)
    print(args.output)
    return 1 if unread else 0


def _may_replace(path):
    """RecordError if the file is there and is no page: a record, say, that the shell put behind -o."""
    try:
        with open(path, "rb") as f:
            start = f.read(15)
    except OSError:
        return
    if start and start.lower() != b"<!doctype html>":
        raise RecordError(f"--output {path}: is there and is no page; give a name of its own, such as report.html")


if __name__ == "__main__":
    sys.exit(main())
