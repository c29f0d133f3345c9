"""What relatedness follows and what it gains on rotations, from the records of `scripts/study.sh related_tasks`.

    python scripts/studies/related_tasks.py PATH...

There is a table for each data file, with final accuracies and their differences to the same method without relatedness, with
as many groups where that was run, over common seeds. Then comes what the estimates follow: Spearman's rank correlation of the
divergence from a past task with the distance of the two angles, for each task with three or more past tasks at its end,
averaged over these tasks, then over seeds. Beside it is the correlation with the past task's age, since a divergence may grow
with time alone; where angles only grow, the two are the same. The largest weight is that of the past task that is protected
most, in units of 1/t: with equal weights it is 1. Where angles come twice, the last column says how often the task with the
same angle has the smallest divergence, and how often it would by chance. All intervals are 95 %. The exit status is as in
results.compare.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from scipy.stats import spearmanr

from results.comparing import cells, inference
from results.comparing.measures import MEASURES, shown, with_interval
from results.table import render
from scripts.studies.command import spread, tables

LEAST = 3  # past tasks; of two ranks the correlation is 1 or -1
OFF = 1_000_000  # --cov_recompute_every of the runs that never estimate
NONE, PLAIN, FEWER = "no relatedness", "relatedness", "5 groups"
VARIANTS = {  # flag: (value, what the row is called)
    "gem_ignore_relatedness": (True, NONE),
    "cov_recompute_every": (OFF, NONE),
    "divergence": ("LogDet", "LogDet"),
    "gem_reverse": (True, "reversed"),
    "ewc_reverse": (True, "reversed"),
    "create_random_groups": (True, "random groups"),
    "create_group_per_unit": (True, "a group per unit"),
}


def variant(run) -> str:
    """What tells a run from the plain one."""
    named = [name for flag, (value, name) in VARIANTS.items() if run.fact(flag) == value]
    if run.fact("num_groups") == 5:
        named.append(FEWER)
    if run.fact("cov_recompute_every") == 100:
        named.append("every 100 batches")
    return ", ".join(named) or PLAIN


def correlations(found: dict, of: str) -> list[float]:
    """Spearman's correlation of divergence and distance, ``of`` angles or of age, for each task with enough past ones."""
    places = (
        found["descriptions"] if of == "angles" else range(len(found["descriptions"]))
    )  # tasks are learned in order
    every = []
    for task, past, divergence in zip(found["task"], found["past"], found["divergence"], strict=True):
        distance = [abs(places[task] - places[s]) for s in past]
        if len(past) >= LEAST and len(set(distance)) > 1 and len(set(divergence)) > 1:
            every.append(float(spearmanr(divergence, distance).statistic))
    return every


def largest(found: dict) -> list[float]:
    """The largest weight rho of a past task, times their number t, for each task with enough past ones."""
    return [len(rho) * max(rho) for rho in found["rho"] if len(rho) >= LEAST]


def twins(found: dict) -> list[tuple[float, float]]:
    """For each task whose angle came before: whether that task has the smallest divergence (0 or 1), and by chance."""
    angles, every = found["descriptions"], []
    for task, past, divergence in zip(found["task"], found["past"], found["divergence"], strict=True):
        same = [i for i, s in enumerate(past) if angles[s] == angles[task]]
        if same:
            every.append((float(divergence.index(min(divergence)) in same), len(same) / len(past)))
    return every


def gain(named: dict, name: str) -> list[str]:
    """Final accuracy of the variant ``name``, and its difference to the one without relatedness; {variant: {seed: final}}."""
    mean, sd, n = inference.sample(list(named[name].values()))
    base = named.get(f"{NONE}, {FEWER}" if FEWER in name else NONE, {})
    against = None if NONE in name else inference.difference(named[name], base)
    known = against is not None and against.low is not None
    above = with_interval(against.mean, against.low, against.high, 3) if known else "-"
    return [str(n), f"{shown(mean, 3)} ± {shown(sd, 3)}", above]


def estimate(measured: list[dict]) -> list[str]:
    """What the estimates of some seeds follow, and how unequal the weights are."""
    if not measured:
        return ["-"] * 4
    ranks = [
        spread([inference.mean(values) for one in measured if (values := correlations(one, of))], 2)
        for of in ("angles", "age")
    ]
    weights = [inference.mean(values) for one in measured if (values := largest(one))]
    pairs = [pair for one in measured for pair in twins(one)]
    nearest = "-"
    if pairs:
        hit, chance = (inference.mean(column) for column in zip(*pairs, strict=True))
        nearest = f"{shown(hit, 2)} (chance {shown(chance, 2)})"
    return [*ranks, shown(inference.mean(weights), 2) if weights else "X", nearest]


def table(found) -> str:
    """A table for each data file."""
    finals, estimates = {}, {}
    for run in found:
        at = run.fact("data_file"), cells.method(run)
        measured = ((run.record or {}).get("probes") or {}).get("relatedness") or {}
        if measured.get("task"):
            estimates.setdefault((*at, variant(run)), []).append(measured)
        if run.fact("status") != "diverged":
            finals.setdefault(at, {}).setdefault(variant(run), {})[run.fact("seed")] = MEASURES["final"].value(run)
    tables = {}
    for (file, model), named in sorted(finals.items()):
        for name in sorted(named, key=lambda name: (NONE not in name, name != PLAIN, name)):
            cell = [*gain(named, name), *estimate(estimates.get((file, model, name), []))]
            tables.setdefault(file, []).append([f"`{model}`", name, *cell])
    head = ["method", "setting", "n", "final accuracy", "above no relatedness",
            "correlation with angles", "with age", "largest weight", "same angle nearest"]  # fmt: skip
    return "\n\n".join(render(head, body, "markdown", title=file, left=2) for file, body in tables.items())


main = tables("related_tasks", __doc__, table)

if __name__ == "__main__":
    sys.exit(main())
