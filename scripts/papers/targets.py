"""The papers' numbers (scripts/papers/targets.csv), the runs of ours that belong to each, and how the two compare.

Column `tag` of the file: C, read in the authors' code or its output; T, read in a transcription of the paper's table;
M, not checked against any source, in which case the file holds no number. In `protocol` a ? is a value that is not
recorded.

The comparison is two-sided, at 95 %. If the paper's number is one run, it "agrees" if it lies in the prediction
interval of our runs. If the paper gives mean and deviation, the two agree if 0 lies in Welch's interval of the
difference. Rounding of the printed number is allowed for. Otherwise our mean is "higher" or "lower" than the paper's
number. With fewer than two runs of ours there is no interval.
"""

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from model.arguments import FLAGS, decides, of_role, uses
from model.flags import Role
from results import RecordError
from results.comparing import cells, inference
from results.reading.run import Run, decimals_of

FILE = Path(__file__).with_name("targets.csv")
METRICS = ("final", "backward", "forward", "forgetting", "first")  # the last: of the first task, at the end


class Comparison(NamedTuple):
    """One metric of a target beside ours. ``paper``, ``spread``, ``mean``, ``sd``, ``difference``: None where unknown."""

    metric: str
    paper: float | None
    spread: float | None
    mean: float | None
    sd: float | None
    n: int
    difference: float | None
    verdict: str


def read(paper: str) -> list[dict]:
    """The rows of one paper; ``RecordError`` names the papers there are."""
    with open(FILE, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    found = [row for row in rows if row["paper"] == paper]
    if not found:
        papers = ", ".join(dict.fromkeys(row["paper"] for row in rows))
        raise RecordError(f"{paper}: no target of that name; there are {papers}")
    return found


def pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


def facts(run: dict) -> dict:
    """The arguments of a run, with the number of tasks and of examples that it really saw, and the head that it had."""
    protocol, args = run["protocol"], dict(run["args"])
    args["n_tasks"], args["head"] = len(run["baseline"]), protocol.get("head")
    args["samples_per_task"] = protocol["samples_per_task"][0] // protocol["n_epochs"]
    return args


def same(ours, theirs: str) -> bool:
    try:
        return float(ours) == float(theirs)
    except (TypeError, ValueError):
        return str(ours) == theirs


def matching(row: dict, runs: list[dict]) -> list[list[dict]]:
    """Groups of runs of a target's method and data, one run per seed. A group has equal data and settings, so that it
    may be averaged."""
    wanted, groups = pairs(row["select"]), defaultdict(list)
    for run in runs:
        args = facts(run)
        if run["model"] == row["method"] and all(same(args.get(k), v) for k, v in wanted.items()):
            stream = [args.get(name) for name in of_role(Role.PROTOCOL) if uses(run["model"], name)]
            group = [run["protocol"]["data_hash"], *stream, *sorted(settings(run).items())]
            groups[repr(group)].append(Run("", record=run))
    return [[run.record for run in cells.one_a_seed(group).values()] for group in groups.values()]


def settings(run: dict) -> dict:
    """The flags that a run's method uses and that decide its numbers."""
    return cells.settings(Run("", record=run))


def differences(row: dict, runs: list[dict]) -> list[str]:
    """The differences between our runs' protocol and the paper's, as texts."""
    args = facts(runs[0])
    wanted = pairs(row["protocol"])
    found = [f"--{k} {args.get(k)} (paper: {v})" for k, v in wanted.items() if v != "?" and not same(args.get(k), v)]
    given, named = runs[0]["args"], {**wanted, **pairs(row["select"])}
    others = {k: v for k, v in given.items() if decides(runs[0]["model"], k) and k not in named}
    found += [f"--{k} {v}" for k, v in others.items() if k not in FLAGS or v != FLAGS[k].default]
    broken = sum(run["status"] != "done" for run in runs)
    if broken:
        found.append(f"{broken} of {len(runs)} runs diverged and are left out of the means")
    return found


def number(text: str) -> tuple[float | None, float | None]:
    """'0.8912±0.0015' as (0.8912, 0.0015)."""
    value, _, spread = text.partition("±")
    return float(value) if value else None, float(spread) if spread else None


def verdict(values: list[float], paper: float, spread: float | None, n_paper: int, rounding: float = 0.0) -> str:
    """'agrees', or 'higher' / 'lower' if ours is above / below the paper's, two-sided at 95 %; '-' without an interval.

    rounding: the rounding error of the paper's printed number, which is allowed for.
    """
    ours = inference.sample(values)
    if ours.sd is None:
        return "-"
    paper += max(-rounding, min(rounding, ours.mean - paper))
    if spread is not None and n_paper > 1:
        low, high = inference.welch(ours, inference.Sample(paper, spread, n_paper))
        agrees = low <= 0 <= high
    else:
        low, high = inference.prediction(values)
        agrees = low <= paper <= high
    return "agrees" if agrees else "higher" if ours.mean > paper else "lower"


def measured(run: dict, metric: str) -> float | None:
    """One of ``METRICS`` of a record; None if it does not have it."""
    if metric == "first":
        return run["grid"][-1][run["protocol"]["task_order"][0]]
    return run[metric] if metric in run else (run["metrics"] or {}).get(metric)


def compare(row: dict, runs: list[dict]) -> list[Comparison]:
    """Compare the runs that did not diverge, in the metrics of the paper, or in ACC, BWT and FWT if it gives none."""
    given = [metric for metric in METRICS if row[metric]]
    kept, found = [run for run in runs if run["status"] == "done"], []
    for metric in given or METRICS[:3]:
        paper, spread = number(row[metric])
        values = [value for run in kept if (value := measured(run, metric)) is not None]
        if not values or paper is None:
            difference, side = None, "-" if values else ""
        else:
            difference = inference.mean(values) - paper
            rounding = 0.5 * 10.0 ** -decimals_of(row[metric].partition("±")[0])
            side = verdict(values, paper, spread, int(row["runs"] or 1), rounding)
        mean, sd = (inference.mean(values), inference.deviation(values)) if values else (None, None)
        found.append(Comparison(metric, paper, spread, mean, sd, len(values), difference, side))
    return found


def seconds(runs: list[dict]) -> float | None:
    """Mean wall time, in seconds, of the runs that did not diverge."""
    kept = [run["seconds"]["total"] for run in runs if run["status"] == "done" and run["seconds"]["total"] is not None]
    return inference.mean(kept) if kept else None
