"""Means over runs for pictures: curves over training, grids, and the colour of an accuracy. No library needed."""

import math

from results.comparing import inference
from results.thinned import every

POINTS = 2_000  # of a curve on the page, about as many as a screen has

# The colours of cividis (dark blue to yellow, even in grey, safe for the colour-blind) at 0, 1/8 .. 1.
_CIVIDIS = ("00224e", "083370", "35456c", "4f576c", "666970", "7d7c78", "a49d78", "cdbd67", "fee838")


def curve(cell):
    """Mean and deviation over runs (list of Run) of accuracy on the first task learned, and on all, over training.

    Returns {"n": number of runs, "step": [..], "changes": steps at which the task changes, "first": [(mean, deviation
    or 0)], "mean": likewise}; None if no run recorded a curve. Runs evaluated at other steps than the first run are
    left out.
    """
    found = [e for run in cell if (e := (run.record or {}).get("evolution")) and e.get("step")]
    found = [e for e in found if e["step"] == found[0]["step"]]
    if not found:
        return None
    step, task = found[0]["step"], found[0]["task"]
    first = [[row[e["task"][0]] for row in e["accuracy"]] for e in found]
    every = [[inference.mean(row) for row in e["accuracy"]] for e in found]
    changes = [step[i - 1] for i in range(1, len(task)) if task[i] != task[i - 1]]
    spreads = ([centred(values) for values in zip(*of, strict=True)] for of in (first, every))
    return {"n": len(found), "step": step, "changes": changes, **dict(zip(("first", "mean"), spreads, strict=True))}


def centred(values):
    """(mean, standard deviation, 0 for a single value)."""
    return inference.mean(values), inference.deviation(values) or 0.0


def lines(drawn):
    """A dict {"label", "step", "first", "mean"} of plain lists for each curve, and the first curve's "changes"."""
    found = {label: c for label, cell in drawn.items() if (c := curve(cell))}
    out = []
    for label, c in found.items():
        means = {key: [round(mean, 4) for mean, _ in thinned(c[key], POINTS)] for key in ("first", "mean")}
        out.append({"label": named(label, c, drawn[label]), "step": thinned(c["step"], POINTS), **means})
    return out, next((c["changes"] for c in found.values()), [])


def thinned(values, most):
    """A list of the ``values``; of more than ``most`` every k-th, and the last."""
    return every(max(1, -(-len(values) // most)), values)


def named(label, curve, cell):
    """The label of a curve; it has the curve's n if that is less than the cell's."""
    return label if curve["n"] == len(cell) else f"{label} (n {curve['n']})"


def mean_grid(cell):
    """The runs' mean grid as rows of accuracies, over grids with the shape of the first; None if no run has a grid."""
    found = [run.grid for run in cell if run.grid]
    found = [grid for grid in found if list(map(len, grid)) == list(map(len, found[0]))]
    if not found:
        return None
    return [[inference.mean(v) for v in zip(*rows, strict=True)] for rows in zip(*found, strict=True)]


def colour(accuracy):
    """'#rrggbb' of an accuracy in [0, 1]; grey if it is unknown (nan)."""
    if math.isnan(accuracy):
        return "#d9d9d9"
    place = min(max(accuracy, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    low = min(int(place), len(_CIVIDIS) - 2)
    ends = [[int(_CIVIDIS[i][k : k + 2], 16) for k in (0, 2, 4)] for i in (low, low + 1)]
    return "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in zip(*ends, strict=True))
