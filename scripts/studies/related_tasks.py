"""What relatedness follows and what it gains on rotations, from the records of `scripts/study.sh related_tasks`.

    python scripts/studies/related_tasks.py PATH...

The first table has, for each setting, Spearman's rank correlation of the divergence from a past task with the distance of
the two angles: for each task with three or more past tasks at its end, averaged over these tasks, then over seeds. Beside it
is the correlation with the past task's age, since a divergence may grow with time alone; where angles only grow, the two are
the same. The largest weight is that of the past task that is protected most, in units of 1/t: with equal weights it is 1.
Where angles come twice, another column says how often the task with the same angle has the smallest divergence, and how often
it would by chance. The other tables have final accuracies, and their differences to the same method without relatedness, with
as many groups where that was run, over common seeds. All intervals are 95 %. The exit status is as in results.compare.
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
NONE, FEWER = "no relatedness", "5 groups"
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
    return ", ".join(named) or "relatedness"


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


def followed(found) -> str:
    """The first table."""
    rows = {}
    for run in found:
        measured = ((run.record or {}).get("probes") or {}).get("relatedness") or {}
        if measured.get("task"):
            rows.setdefault((run.fact("data_file"), cells.method(run), variant(run)), []).append(measured)
    body = []
    for (file, model, name), each in sorted(rows.items()):
        ranks = [
            spread([inference.mean(values) for one in each if (values := correlations(one, of))], 2)
            for of in ("angles", "age")
        ]
        pairs = [pair for one in each for pair in twins(one)]
        weight = inference.mean([inference.mean(largest(one)) for one in each if largest(one)])
        nearest = "-"
        if pairs:
            hit, chance = (inference.mean(column) for column in zip(*pairs, strict=True))
            nearest = f"{shown(hit, 2)} (chance {shown(chance, 2)})"
        body.append([file, f"`{model}`", name, str(len(each)), *ranks, shown(weight, 2), nearest])
    head = [
        "file",
        "method",
        "estimate",
        "n",
        "correlation with angles",
        "with age",
        "largest weight",
        "same angle nearest",
    ]
    return render(head, body, "markdown")


def gained(found, file: str) -> str:
    """Final accuracies on one file, and the differences to the same method without relatedness."""
    body = []
    for model in sorted({cells.method(run) for run in found}):
        named = {}
        for run in found:
            if cells.method(run) == model and run.fact("data_file") == file and run.fact("status") != "diverged":
                named.setdefault(variant(run), {})[run.fact("seed")] = MEASURES["final"].value(run)
        for name, finals in named.items():
            mean, sd, n = inference.sample(list(finals.values()))
            line = [f"`{model}`", name, str(n), f"{shown(mean, 3)} ± {shown(sd, 3)}"]
            base = named.get(f"{NONE}, {FEWER}" if FEWER in name else NONE, {})
            against = None if NONE in name else inference.difference(finals, base)
            if against is None or against.low is None:
                body.append([*line, "-"])
            else:
                body.append([*line, with_interval(against.mean, against.low, against.high, 3)])
    head = ["method", "setting", "n", "final accuracy", "above no relatedness"]
    return render(head, body, "markdown", title=file)


def table(found) -> str:
    """All tables of the study."""
    files = sorted({run.fact("data_file") for run in found})
    return "\n\n".join([followed(found), *(gained(found, file) for file in files)])


main = tables("related_tasks", __doc__, table)

if __name__ == "__main__":
    sys.exit(main())
