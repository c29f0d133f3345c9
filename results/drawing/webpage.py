"""The contents of results.report's page, made from runs; page/page.html is the layout."""

import math
from pathlib import Path
from typing import NamedTuple

from data.strangers import one_line
from results.comparing import cells, comparable, protocol
from results.comparing.measures import DEFAULT, MEASURES, shown
from results.comparing.rows import rows
from results.comparing.tables import fewer
from results.drawing import curves

PAGE = Path(__file__).with_name("page")
SIDE = 100  # the most rows and columns of a grid on the page
COLOURS = ("#0072B2", "#B87700", "#007A57", "#C04F00", "#A8487F", "#2E86B8", "#5F6670", "#8A7D00")  # dark on white


class Head(NamedTuple):
    """A column: how it is sorted ('number' or 'text'), and whether more is better (+1), worse (-1) or neither (0)."""

    name: str
    kind: str
    better: int
    help: str


class Cell(NamedTuple):
    """A cell of the comparison: its text, the value it is sorted by (None: the text), and what is printed smaller."""

    text: str
    sort: object = None
    small: str = ""


def page(found, by=("model",), allow=(), title="Continual learning runs"):
    """The HTML of a list of Run; by, allow as for results.compare. RecordError as cells.gather()."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    gathered = cells.gather(found, by, allow)
    table = rows(gathered, by)
    counted = [run for cell in gathered.values() for run in cell.values()]
    names, numbers = cells.labels(gathered), _numbers(table, by)
    drawn = {names[key]: list(cells.done(cell).values()) for key, cell in gathered.items()}
    lines, changes = curves.lines(drawn)
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment.get_template("page.html").render(
        title=title,
        style=(PAGE / "page.css").read_text(encoding="utf-8").strip(),
        script=(PAGE / "page.js").read_text(encoding="utf-8").strip(),
        subtitle=_subtitle(table, by, len(counted)),
        protocol=protocol.terms(counted),
        warnings=[*comparable.warnings(gathered, by), *comparable.repeated(found, gathered)],
        heads=_heads(by, numbers),
        rows=[_row(row, numbers) for row in table],
        grids=[_grid(label, runs) for label, runs in drawn.items()],
        runs=[_run(run) for run in counted],
        data={"colours": COLOURS, "curves": lines, "changes": changes},
    )


def _subtitle(table, by, n):
    """'9 runs of 3 methods, 1 diverged', or '9 runs in 6 rows by model and lr'."""
    methods = tuple(by) == ("model",)
    rows = f"of {_many(len(table), 'method')}" if methods else f"in {_many(len(table), 'row')} by {' and '.join(by)}"
    diverged = sum(row["diverged"] for row in table)
    return f"{_many(n, 'run')} {rows}" + (f", {diverged} diverged" if diverged else "")


def _many(n, what):
    return f"{n} {what}{'s' * (n != 1)}"


def _numbers(table, by):
    """The fields of `by` that are sorted as numbers, since all their known values are numbers."""
    return {name for name in by if all(_numeric(row["by"][name]) for row in table)}


def _heads(by, numbers):
    heads = [Head(name, "number" if name in numbers else "text", 0, name) for name in by]
    heads += [Head("n", "number", 1, "number of runs averaged")]
    return heads + [Head(MEASURES[m].label, "number", MEASURES[m].better, MEASURES[m].help) for m in DEFAULT]


def _row(row, numbers):
    line = []
    for name, value in row["by"].items():
        line.append(Cell(cells.short(value), (value if _known(value) else "") if name in numbers else None))
    line.append(Cell(str(row["n"]), row["n"], f"+ {row['diverged']} diverged" if row["diverged"] else ""))
    for m in DEFAULT:
        mean, sd, n = row["measures"][m].values()
        few = "" if mean is None else fewer(n, row["n"])
        spread = "" if sd is None and not few else f"± {shown(sd, MEASURES[m].digits)}{few}"
        line.append(Cell(_signed(mean, m), "" if mean is None else mean, spread))
    return line


def _signed(value, measure):
    """A measure's number, with a minus and not a hyphen."""
    return shown(value, MEASURES[measure].digits).replace("-", "\u2212")


def _known(value):
    return value is not None and value != cells.UNUSED


def _numeric(value):
    """Whether a column with this value in it can be sorted by number."""
    return not _known(value) or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _grid(label, runs):
    """The mean grid of the runs, its cells coloured in cividis's dark blue to yellow; no rows if there is none.

    Of more than SIDE tasks it shows every k-th, and the last.
    """
    mean, body = curves.mean_grid(runs) or [], []
    columns = curves.thinned(range(1, len(mean[0]) + 1 if mean else 1), SIDE)
    for i in curves.thinned(range(1, len(mean) + 1), SIDE):
        line = []
        for j in columns:
            v = mean[i - 1][j - 1]
            known = not math.isnan(v)
            told = f"{label}: after task {i}, on task {j}: {f'{v:.4f}' if known else 'not known'}"
            ink, text = ("#fff" if v < 0.58 else "#000"), f"{100 * v:.0f}" if known else "X"
            line.append({"ground": curves.colour(v), "ink": ink, "told": told, "text": text})
        body.append({"task": i, "cells": line})
    part = f", {len(columns)} of {len(mean[0])} tasks" if mean and len(columns) < len(mean[0]) else ""
    return {"label": label, "n": f"{len(runs)}{part}", "columns": columns, "rows": body}


def _run(run):
    """One run: what it is, its three numbers, and its command to copy."""
    command = run.fact("command")
    status = f", {run.fact('status')}" if run.fact("status") == "diverged" else ""
    return {
        "what": f"{cells.short(cells.method(run))}, seed {cells.short(run.fact('seed'))}{status}",
        "numbers": ", ".join(f"{MEASURES[m].label} {_signed(MEASURES[m].value(run), m)}" for m in DEFAULT[:3]),
        "command": command and one_line(command),
    }
