"""One page that holds everything about runs: python -m results.report PATH... -o report.html

Protocol, a table to sort, curves over training, grids as heat maps, and each run's command. The page is one file and
needs no network. Exit status 0; 1 if a log could not be read (the rest is on the page); 2 if the command is wrong.
"""

import argparse
import json
import os
import sys
from html import escape
from pathlib import Path
from string import Template

if __package__ in (None, ""):  # cd results; python report.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from results import RecordError, cells, curves
from results.compare import compare
from results.measures import DEFAULT, MEASURES, shown

SHOWN = ("lr", "n_layers", "n_hiddens", "net", "memory_strength")
PAGE = Path(__file__).resolve().parent / "page"
COLOURS = ("#0072B2", "#B87700", "#007A57", "#C04F00", "#A8487F", "#2E86B8", "#5F6670", "#8A7D00")  # dark on white


def page(found, by=("model",), allow=(), title="Continual learning runs"):
    """The HTML of a list of Run; by, allow as for results.compare. RecordError as cells.gather()."""
    gathered = cells.gather(found, by, allow)
    rows = compare(found, by, DEFAULT, allow=allow)
    counted = [run for cell in gathered.values() for run in cell.values()]
    drawn = {cells.label(key): list(cells.done(cell).values()) for key, cell in gathered.items()}
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
    names = ("data_file", *cells.PROTOCOL, "n_tasks", "engine", "device", "threads")
    terms = []
    for name in names:
        values = []
        for run in found:
            value = run.n_tasks if name == "n_tasks" else cells.field(run, name)
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
    heads = [(name, "text", 0, name) for name in by] + [("n", "number", 1, "number of runs averaged")]
    heads += [(MEASURES[m].label, "number", MEASURES[m].better, MEASURES[m].help) for m in DEFAULT]
    head = "".join(
        f'<th scope="col" data-kind="{kind}" data-better="{better}"><button type="button" title="{escape(text)}">'
        f"{escape(name)}</button></th>"
        for name, kind, better, text in heads
    )
    body = []
    for row in rows:
        texts = [escape(cells.short(value)) for value in row["by"].values()]
        line = [f'<th scope="row">{texts[0]}</th>', *(f"<td>{text}</td>" for text in texts[1:])]
        more = f" <small>+ {row['diverged']} diverged</small>" if row["diverged"] else ""
        line.append(f'<td data-value="{row["n"]}">{row["n"]}{more}</td>')
        for m in DEFAULT:
            mean, sd, _ = row["measures"][m].values()
            text = shown(mean, MEASURES[m].digits)
            spread = "" if sd is None else f" <small>± {shown(sd, MEASURES[m].digits)}</small>"
            line.append(f'<td data-value="{"" if mean is None else mean}">{text}{spread}</td>')
        body.append(f"<tr>{''.join(line)}</tr>")
    body = "\n".join(body)
    return f'<table class="comparison">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


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
            told = f"{label}: after task {i + 1}, on task {j + 1}: {v:.4f}"
            line += f'<td style="background:{ground};color:{ink}" title="{escape(told)}">{100 * v:.0f}</td>'
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
    by, allow = (tuple(filter(None, text.split(","))) for text in (args.by, args.allow))
    try:
        found, unread = cells.read(args.paths, parser.prog)
        text = page(found, by or ("model",), allow, args.title)
        Path(args.output).write_text(text, encoding="utf-8")
    except RecordError as mistake:
        print(f"results.report: {mistake}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"results.report: --output {args.output}: cannot be written ({e.strerror or e})", file=sys.stderr)
        return 2
    print(args.output)
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
