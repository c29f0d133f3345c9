"""One logged run against ours: digit by digit, or whether it could be one more of our seeds."""

import math
from dataclasses import dataclass, field

from results import cells, inference, matching
from results.measures import MEASURES, shown

METRICS = ("final", "backward", "forward")
COUNTS = ("steps", "violations", "qp_solves")


@dataclass
class Check:
    """logged: Run; ours: the Runs it was checked against. exact: True the digits agree, False they do not, None they
    need not (obstacles says why) or there is no run with its seed. lines: findings for the reader. deviations: lists
    [what, logged, ours, by how much], empty if all is well."""

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


def check(logged, found, mode="auto", confidence=inference.CONFIDENCE):
    """The Check of a logged Run against our Runs; mode: 'exact', 'statistical', or 'auto': exact where possible."""
    result = Check(logged, matching.counterparts(logged, found))
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
    wrong = [row for row in numbers if row[1] != row[2]]
    if result.obstacles:
        result.lines.append(
            f"exact: {len(numbers) - len(wrong)} of {len(numbers)} numbers agree; they need not: "
            + "; ".join(result.obstacles)
        )
        return
    result.exact, result.checked = not wrong, True
    result.lines.append(f"exact: {len(numbers) - len(wrong)} of {len(numbers)} numbers agree to all digits")
    result.deviations += [[*row, _distance(row)] for row in wrong]


def digits(logged, ours):
    """[what, logged text, our text] for the baseline, the grid and the counts, with the digits that were logged."""
    rows = [("baseline", logged.baseline, ours.baseline)] if logged.baseline else []
    for i, row in enumerate(logged.grid):
        rows.append((f"row {i + 1}", row, ours.grid[i] if i < len(ours.grid) else []))
    found = []
    for name, theirs, here in rows:
        for j, value in enumerate(theirs):
            mine = here[j] if here and j < len(here) else None
            found.append([f"{name}, task {j + 1}", _printed(value, logged.decimals), _printed(mine, logged.decimals)])
    for name in COUNTS:
        value, mine = (((run.record or {}).get("counts") or {}).get(name) for run in (logged, ours))
        if value is not None:
            found.append([name, str(value), str(mine)])
    return found


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
    ours = [run for run in result.ours if run.fact("status") != "diverged"]
    if len(ours) < len(result.ours):
        result.lines.append(f"statistical: {len(result.ours) - len(ours)} of our {len(result.ours)} runs diverged")
    if len(ours) < 2:
        result.lines.append(f"statistical: {len(ours)} run of ours; two or more are needed")
        return
    result.checked = True
    logged, decimals = result.logged, result.logged.decimals
    rounding = 0.0 if decimals is None else 0.5 * 10.0**-decimals
    for name in METRICS:
        value = MEASURES[name].value(logged)
        values = [v for run in ours if (v := MEASURES[name].value(run)) is not None]
        if value is None or len(values) < 2:
            continue
        low, high = inference.prediction(values, confidence)
        # The same as low <= value <= high, but that the log's rounding is allowed for.
        inside = inference.surprise(value, values, rounding) >= 1 - confidence
        spread = f"{shown(inference.mean(values), 4)} ± {shown(inference.deviation(values), 4)} (n {len(values)})"
        bounds = f"[{shown(low, 4)}, {shown(high, 4)}]"
        verdict = "inside" if inside else "OUTSIDE"
        result.lines.append(
            f"{name:<9} logged {shown(value, 4)}, ours {spread}: {verdict} the {confidence:.0%} prediction "
            f"interval {bounds}"
        )
        if not inside:
            distance = f"{shown(value - inference.mean(values), 4, sign=True)} from the mean"
            result.deviations.append([name, shown(value, 4), f"{spread} {bounds}", distance])
    _by_cell(result, ours, rounding, confidence)


def _by_cell(result, ours, rounding, confidence):
    places = []
    for i, row in enumerate(result.logged.grid):
        for j, value in enumerate(row):
            values = [run.grid[i][j] for run in ours if i < len(run.grid) and j < len(run.grid[i])]
            values = [v for v in values if math.isfinite(v)]
            if math.isfinite(value) and len(values) > 1:
                places.append((i, j, value, values, inference.surprise(value, values, rounding)))
    adjusted = inference.holm([place[-1] for place in places])
    wrong = [(p, place) for p, place in zip(adjusted, places, strict=True) if p < 1 - confidence]
    if places:
        result.lines.append(
            f"cells: {len(wrong)} of {len(places)} deviate (Holm's correction, {confidence:.0%} for all together)"
        )
    for p, (i, j, value, values, _) in sorted(wrong, key=lambda entry: entry[0]):
        spread = f"{shown(inference.mean(values), 4)} ± {shown(inference.deviation(values), 4)} (n {len(values)})"
        distance = f"{shown(value - inference.mean(values), 4, sign=True)}, adjusted p {p:.2g}"
        result.deviations.append([f"row {i + 1}, task {j + 1}", shown(value, 4), spread, distance])
