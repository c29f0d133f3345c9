"""Checks one logged run against ours: digit by digit, or whether it could be one more of our seeds."""

import math
from dataclasses import dataclass, field
from itertools import zip_longest

from results.comparing import cells, inference, matching
from results.comparing.measures import MEASURES, shown
from results.reading import training
from results.reading.run import decimals_of

METRICS = ("final", "backward", "forward")
COUNTS = ("steps", "violations", "qp_solves")


@dataclass
class Check:
    """The result of checking a Run `logged` against the Runs `ours`.

    exact: True if the digits agree, False if they do not; None if they need not (`obstacles` says why), or if there is
    no run with its seed or no number to compare. lines: findings for the reader. deviations: lists [what, logged, ours,
    by how much], empty if all is well. checked: whether anything was compared.
    """

    logged: object
    ours: list
    exact: bool | None = None
    obstacles: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    deviations: list = field(default_factory=list)
    checked: bool = False

    @property
    def causes(self):
        """Fields of the protocol or the settings that differ, as texts: the likely cause of a deviation."""
        found = matching.differing(self.logged, self.ours[0]) if self.ours else {}
        return [f"{name} {cells.short(a)} logged, {cells.short(b)} here" for name, (a, b) in found.items()]


def check(logged, groups, mode="auto", confidence=inference.CONFIDENCE):
    """The Check of a logged Run against ours (`matching.grouped`); mode: 'exact', 'statistical', or 'auto': exact if possible."""
    result = Check(logged, matching.counterparts(logged, groups))
    if not result.ours:
        result.lines.append(f"no run of {cells.method(logged)} to check it against")
        return result
    if mode != "statistical":
        _exact(result)
    if mode == "statistical" or (mode == "auto" and result.exact is None):
        _statistical(result, confidence)
    return result


def _exact(result):
    logged = result.logged
    same = [run for run in result.ours if run.fact("seed") == logged.fact("seed")]
    if not same:
        result.lines.append(f"exact: no run with seed {logged.fact('seed')}")
        return
    result.obstacles = matching.obstacles(logged, same[0])
    numbers = digits(logged, same[0])
    if not numbers:
        result.lines.append("exact: no number to compare")
        return
    wrong = [row for row in numbers if row[1] != row[2]]
    if result.obstacles:
        result.lines.append(
            f"exact: {len(numbers) - len(wrong)} of {len(numbers)} numbers agree; they need not: "
            + "; ".join(result.obstacles)
        )
        return
    result.lines.append(f"exact: {len(numbers) - len(wrong)} of {len(numbers)} numbers agree to all digits")
    endings = [_ending(logged), _ending(same[0])]
    if None not in endings and endings[0] != endings[1]:
        wrong.append(["status", *endings])
    result.exact, result.checked = not wrong, True
    result.deviations += [[*row, _distance(row)] for row in wrong]


def digits(logged, ours):
    """[what, logged text, our text] for all accuracies, the three numbers and the counts, with the digits logged."""
    found = [*_accuracies(logged, ours), *_summaries(logged, ours), *_counts(logged, ours)]
    found += [
        [what, _printed(float(text), n), _printed(here, n)] for what, text, n, (here,) in _trained(logged, [ours])
    ]
    return [row for row in found if row[1:] != ["X", "X"]]


def _accuracies(logged, ours):
    rows = [("baseline", logged.baseline, ours.baseline or [])] if logged.baseline else []
    if logged.grid:
        pairs = zip_longest(logged.grid, ours.grid, fillvalue=[])
        rows += [(f"row {i}", *pair) for i, pair in enumerate(pairs, start=1)]
    for name, theirs, here in rows:
        for j, pair in enumerate(zip_longest(theirs, here), start=1):
            yield [f"{name}, task {j}", *(_printed(value, logged.decimals) for value in pair)]


def _summaries(logged, ours):
    for name in METRICS:
        if name in logged.printed:
            mine = getattr(ours, name) if name in ours.printed else ours.recomputed[name]
            decimals = _decimals(logged, name)
            yield [name, _printed(getattr(logged, name), decimals), _printed(mine, decimals)]


def _counts(logged, ours):
    for name in COUNTS:
        value, mine = (((run.record or {}).get("counts") or {}).get(name) for run in (logged, ours))
        if value is not None:
            yield [name, str(value), str(mine)]


def _trained(logged, ours):
    """(what, logged text, its decimals or None if exact, our runs' values) for each measure of each task's end.

    Where the log does not say which task it is, as of tasks learned together, it is our last one.
    """
    ends = [training.at_the_end(run) for run in ours]
    for task, entry in training.at_the_end(logged).items():
        for name, text in entry.values.items():
            mine = [end.get(task if task in end or task else max(end, default=None)) for end in ends]
            values = [float(found.values[name]) if found and name in found.values else None for found in mine]
            decimals = None if logged.exact else decimals_of(text)
            yield training.MEASURES[name] + (f", task {task}" if task else ""), text, decimals, values


def _decimals(run, name):
    """How many digits after the point a printed number has; None if it is exact."""
    exact = "format" in (run.record or {}) or (run.grid and run.decimals is None)
    return None if exact else max(decimals_of(run.printed[name]), 0)


def _ending(run):
    """'done' or 'diverged'; None of a log that neither says it nor has a final accuracy."""
    return run.fact("status") or (None if MEASURES["final"].value(run) is None else "done")


def _printed(value, decimals):
    if value is None or math.isnan(value):
        return "X"
    return repr(float(value)) if decimals is None else shown(value, decimals)


def _distance(row):
    try:
        return f"{float(row[2]) - float(row[1]):+.4g}"
    except ValueError:
        return "X"


def _statistical(result, confidence):
    _endings(result)
    ours = [run for run in result.ours if run.fact("status") != "diverged"]
    if len(ours) < len(result.ours):
        result.lines.append(f"statistical: {len(result.ours) - len(ours)} of our {len(result.ours)} runs diverged")
    if len(ours) < 2:
        result.lines.append(f"statistical: {len(ours)} run of ours; two or more are needed")
        return
    for name in METRICS:
        if MEASURES[name].value(result.logged) is not None:
            _by_summary(result, ours, name, confidence)
    _by_cell(result, ours, confidence)
    _by_task(result, ours, confidence)


def _endings(result):
    """Note a deviation if none of our runs ended (done or diverged) as the logged run did."""
    logged = _ending(result.logged)
    ours = [ending for run in result.ours if (ending := _ending(run)) is not None]
    if logged is None or not ours:
        return
    n = len(result.ours)
    if logged not in ours:
        result.checked = True
        result.deviations.append(["status", logged, f"{len(ours)} of {n} {ours[0]}", ""])
    elif logged != "done":
        result.checked = True
        result.lines.append(f"status: {logged}, as {ours.count(logged)} of our {n} runs")


def _by_summary(result, ours, name, confidence):
    value = MEASURES[name].value(result.logged)
    values = [v for run in ours if (v := MEASURES[name].value(run)) is not None]
    head = f"{name:<9} logged {shown(value, 4)}"
    if len(values) < 2:
        result.lines.append(
            f"{head}, not checked: {len(values)} of our {len(ours)} runs have it, two or more are needed"
        )
        return
    result.checked = True
    low, high = inference.prediction(values, confidence)
    # The same as low <= value <= high, with an allowance for the log's rounding.
    inside = inference.surprise(value, values, _rounding(result.logged, name)) >= 1 - confidence
    spread, bounds = _spread(values), f"[{shown(low, 4)}, {shown(high, 4)}]"
    verdict = "inside" if inside else "OUTSIDE"
    result.lines.append(f"{head}, ours {spread}: {verdict} the {_percent(confidence)} prediction interval {bounds}")
    if not inside:
        distance = f"{shown(value - inference.mean(values), 4, sign=True)} from the mean"
        result.deviations.append([name, shown(value, 4), f"{spread} {bounds}", distance])


def _rounding(run, name):
    """The rounding error of a summary, in accuracy.

    It is half a unit of the last digit for a printed number or a mean of a rounded grid, and one unit for a difference.
    """
    if run.recomputed[name] is None:
        return _half(_decimals(run, name))
    return _half(run.decimals) * (1 if name == "final" else 2)


def _half(decimals):
    """Half a unit of the last digit; 0 for exact numbers (None)."""
    return 0.0 if decimals is None else 0.5 * 10.0**-decimals


def _spread(values):
    return f"{shown(inference.mean(values), 4)} ± {shown(inference.deviation(values), 4)} (n {len(values)})"


def _percent(confidence):
    return f"{100 * confidence:.10g}%"


def _by_cell(result, ours, confidence):
    places = []
    for i, row in enumerate(result.logged.grid):
        for j, value in enumerate(row):
            values = [run.grid[i][j] for run in ours if i < len(run.grid) and j < len(run.grid[i])]
            if math.isfinite(value):
                places.append((f"row {i + 1}, task {j + 1}", value, values, _half(result.logged.decimals)))
    _together(result, ours, "cells", places, confidence)


def _by_task(result, ours, confidence):
    """Losses, accuracies and sparsity at the end of each task, where the log has them."""
    places = []
    for what, text, decimals, values in _trained(result.logged, ours):
        if math.isfinite(float(text)):
            places.append((what, float(text), [value for value in values if value is not None], _half(decimals)))
    _together(result, ours, "measures of tasks", places, confidence)


def _together(result, ours, name, places, confidence):
    """Check many numbers at once. places: (what, logged value, our values, half a unit of the log's last digit)."""
    known = []
    for what, value, values, half in places:
        values = [v for v in values if math.isfinite(v)]
        if len(values) >= 2:
            known.append((what, value, values, inference.surprise(value, values, half)))
    adjusted = inference.holm([place[-1] for place in known])
    wrong = [(p, place) for p, place in zip(adjusted, known, strict=True) if p < 1 - confidence]
    if known:
        result.checked = True
        result.lines.append(
            f"{name}: {len(wrong)} of {len(known)} deviate (Holm's correction, {_percent(confidence)} for all together)"
        )
    if len(known) < len(places):
        unknown = len(places) - len(known)
        result.lines.append(f"{name}: {unknown} of {len(places)} not checked: fewer than two of our runs have them")
    for p, (what, value, values, _) in sorted(wrong, key=lambda entry: entry[0]):
        distance = f"{shown(value - inference.mean(values), 4, sign=True)}, adjusted p {p:.2g}"
        result.deviations.append([what, shown(value, 4), _spread(values), distance])
