"""What decides each finding of the split-MNIST note, from the records of the study.

    python scripts/studies/split_mnist_findings.py PATH... [--figures FOLDER]

Six tables: what is left of the accuracy on old classes after some mini-batches, sizes and smoothness of updates, how sure
the networks are, drift of stored gradients, the last task while it trains, and differences between rows. Numbers are means
over seeds, with 95 % intervals; differences are taken in pairs over seeds. With --figures
some rows are drawn. The exit status is as in results.compare.
"""

import math
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from scipy.stats import spearmanr

from results.comparing import inference
from results.comparing.measures import shown, with_interval
from results.plot_results import save
from results.reading.probed import arrays, entry
from results.table import render
from scripts.studies import split_mnist
from scripts.studies.command import spread, tables

BATCHES = (1, 2, 4, 8, 16)
BN = "sequential, batch norm"
OGD = "OGD, batch norm, until .95"
DIFFERENCES = (  # of the accuracy over all classes at the end
    *(
        (label, "sequential")
        for label in (BN, "sequential, layer norm", "sequential, dropout 0.5", "sequential, L1 1.0")
    ),
    ("OGD, until .98", "sequential"),
    ("no OGD, batch norm, until .95", BN),
    (OGD, BN),
    (OGD, "no OGD, batch norm, until .95"),
    *((f"OGD, batch norm, {other}", OGD) for other in ("until .98", "until .90", "until .80")),
    *((f"OGD, batch norm, {other}, until .95", OGD) for other in ("L1 5.0", "dropout 0.2", "dropout 0.2, L1 5.0")),
    (split_mnist.EVALUATION, OGD),
    ("OGD, batch norm, Adam, gradient projected, until .95", OGD),
    (
        "OGD, batch norm, Adam, displacement projected, until .95",
        "OGD, batch norm, Adam, gradient projected, until .95",
    ),
    ("OGD gtl, 40 a task, batch norm, until .95", OGD),
)


def by_row(found) -> dict:
    """{label: {seed: run}} of the study's rows, in their order."""
    rows = {}
    for row in split_mnist.ROWS:
        runs = {run.fact("seed"): run for run in found if split_mnist.settled(run, row.line)}
        if runs:
            rows[row.label] = runs
    return rows


def over_seeds(runs: dict, value) -> dict:
    """{seed: value(run)} without the runs that have none."""
    return {seed: number for seed, run in runs.items() if (number := value(run)) is not None}


def mean_of(runs: dict, value, digits: int) -> str:
    """Mean and interval over the seeds."""
    return spread(over_seeds(runs, value).values(), digits, sign=False)


def mean_or_none(values) -> float | None:
    """The mean; None of nothing."""
    values = list(values)
    return inference.mean(values) if values else None


# ---------------------------------------------------------------- the forgetting curve


def left(run, k: int) -> float | None:
    """Accuracy on old classes after k mini-batches of a task, as a share of that before the task; mean over tasks 2 to 5."""
    found = entry(run, "curve")
    if not found or len(found["old"]) < 2:
        return None
    return inference.mean([old[min(k, len(old) - 1)] / old[0] for old in found["old"][1:]])


def roughness(run, kind: str) -> float | None:
    """Standard deviation of the change of a curve from one mini-batch to the next, mean over tasks 2 to 5."""
    found = entry(run, "curve")
    if not found or len(found[kind]) < 2:
        return None
    return inference.mean([inference.deviation(np.diff(curve).tolist()) for curve in found[kind][1:]])


def curves(rows: dict) -> str:
    body = [
        [label, *(mean_of(runs, lambda run, k=k: left(run, k), 2) for k in BATCHES)]
        for label, runs in rows.items()
        if any(entry(run, "curve") for run in runs.values())
    ]
    return render(["left of the accuracy on old classes after", *map(str, BATCHES)], body, "markdown")


# ---------------------------------------------------------------- updates


def linear(found: dict) -> list[int]:
    """The places of the layers that have weights, first to last."""
    return [i for i, kind in enumerate(found["kinds"]) if kind == "Linear"]


def early(run, first_task: bool) -> float | None:
    """Relative size of the first updates over that of the later ones, mean over layers, of task 1 or of tasks 2 to 5."""
    found = entry(run, "updates")
    if not found:
        return None
    tasks = slice(0, 1) if first_task else slice(1, None)
    pairs = zip(found["first_batches"][tasks], found["later"][tasks], strict=True)
    return mean_or_none(first[i] / later[i] for first, later in pairs if later for i in linear(found) if later[i])


def last_layer(run, part: str) -> float | None:
    """The last layer's relative update size over the mean of the others', in ``part`` of the updates of tasks 2 to 5."""
    found = entry(run, "updates")
    if not found:
        return None
    *others, last = linear(found)
    sizes = [(size[last], inference.mean([size[i] for i in others])) for size in found[part][1:] if size]
    return mean_or_none(of_last / of_others for of_last, of_others in sizes if of_others)


def unevenness(run) -> float | None:
    """Standard deviation of the logarithms of an update's size, mean over layers, in the later updates of tasks 2 to 5."""
    found, kept = entry(run, "updates"), arrays(run, "updates")
    if not found or "size" not in kept:
        return None
    spreads = []
    for task in found["task"][1:]:
        size = kept["size"][kept["task"] == task][run.fact("probe_batches") :, linear(found)]
        spreads += np.log(size[(size > 0).all(1)]).std(0).tolist() if len(size) > 1 else []
    return mean_or_none(spreads)


def updates(rows: dict) -> str:
    body = []
    for label, runs in rows.items():
        if any(entry(run, "updates") for run in runs.values()):
            first, later = (over_seeds(runs, lambda run, which=which: early(run, which)) for which in (True, False))
            apart = inference.difference(later, first)
            body.append(
                [
                    label,
                    shown(mean_or_none(first.values()), 2),
                    shown(mean_or_none(later.values()), 2),
                    with_interval(apart.mean, apart.low, apart.high, 2) if apart else "X",
                    mean_of(runs, lambda run: last_layer(run, "first_batches"), 2),
                    mean_of(runs, lambda run: last_layer(run, "later"), 2),
                    mean_of(runs, unevenness, 2),
                    mean_of(runs, lambda run: roughness(run, "old"), 3),
                    mean_of(runs, lambda run: roughness(run, "new"), 3),
                ]
            )
    head = ["row", "first over later updates, task 1", "tasks 2-5", "difference"]
    head += [
        "last layer over the others, first",
        "later",
        "sd of log size",
        "sd of a change, old classes",
        "new classes",
    ]
    return render(head, body, "markdown")


# ---------------------------------------------------------------- outputs


def at_the_end(probe: str, name: str):
    """A function of a run: the last entry of what a probe measured."""

    def value(run):
        found = entry(run, probe)
        return found[name][-1] if found and found[name] else None

    return value


def smallest(run) -> float | None:
    """log10 of the smallest probability that a true class is given at the end."""
    found = at_the_end("confidence", "smallest")(run)
    return None if found is None else math.log10(max(found, sys.float_info.min))


def sure(rows: dict) -> str:
    digits = {"loss": 2, "entropy": 3, "smallest": 1, "temperature": 1, "loss_at_temperature": 3}
    body = []
    for label, runs in rows.items():
        if any(entry(run, "confidence") for run in runs.values()):
            values = {name: at_the_end("confidence", name) for name in digits}
            values["smallest"] = smallest
            body.append([label, *(mean_of(runs, values[name], digits[name]) for name in digits)])
    head = ["after task 5", "loss", "entropy", "log10 of the smallest probability", "temperature", "loss at it"]
    return render(head, body, "markdown")


# ---------------------------------------------------------------- drift


def turned(run) -> float | None:
    """Spearman's correlation of the steps since a direction was stored and its cosine now, all directions together."""
    found, pairs, since = entry(run, "drift"), [], {}
    if not found:
        return None
    for step, row in zip(found["step"], found["mean"], strict=True):
        for place, value in enumerate(row):
            pairs.append((step - since.setdefault(place, step), value))
    columns = list(zip(*pairs, strict=True))
    if len(pairs) < 3 or any(len(set(column)) < 2 for column in columns):
        return None
    return float(spearmanr(*columns).statistic)


def drift(rows: dict) -> str:
    body = [
        [
            label,
            *(mean_of(runs, lambda run, t=t: split_mnist.cosine(run, t), 2) for t in (2, 3, 4, 5)),
            mean_of(runs, turned, 2),
        ]
        for label, runs in rows.items()
        if any(entry(run, "drift") for run in runs.values())
    ]
    head = ["cosine of task 1's stored gradient with that after task", "2", "3", "4", "5"]
    return render([*head, "rank correlation with steps"], body, "markdown")


# ---------------------------------------------------------------- stopping


def last_task(run) -> list[float] | None:
    """Accuracy over all classes after each epoch of the last task; None without that probe or with one epoch."""
    found = entry(run, "epochs")
    if not found or not found["task"]:
        return None
    last = [value for task, value in zip(found["task"], found["accuracy"], strict=True) if task == found["task"][-1]]
    return last if len(last) > 1 else None


def stopping(rows: dict) -> str:
    body = []
    for label, runs in rows.items():
        if "until" in label:
            curve = {seed: last_task(run) for seed, run in runs.items()}
            falls = {seed: values[-1] - max(values) for seed, values in curve.items() if values}
            epochs = over_seeds(runs, lambda run: sum(run.record["stopping"]["epochs"]))
            body.append(
                [
                    label,
                    mean_of(runs, final, 3),
                    spread(falls.values(), 3),
                    shown(mean_or_none(epochs.values()), 1),
                    mean_of(runs, lambda run: run.record["seconds"]["train"], 0),
                ]
            )
    head = ["row", "accuracy", "fall from its best epoch in task 5", "epochs", "seconds of training"]
    return render(head, body, "markdown")


# ---------------------------------------------------------------- differences


def final(run) -> float | None:
    """Accuracy over all classes at the end."""
    return split_mnist.ours_of(run)["accuracy"].get(split_mnist.LAST)


def zeros(run) -> float | None:
    """Population sparsity at the end."""
    return split_mnist.ours_of(run)["sparsity"].get(split_mnist.LAST)


def grown(run) -> float | None:
    """How much population sparsity grew from task 1 to task 5."""
    found = split_mnist.ours_of(run)["sparsity"]
    return found[split_mnist.LAST] - found[1] if {1, split_mnist.LAST} <= set(found) else None


def differences(rows: dict) -> str:
    body = []
    for label, base in DIFFERENCES:
        cells = []
        for value, digits in ((final, 4), (zeros, 3), (grown, 3)):
            pair = [over_seeds(rows.get(name, {}), value) for name in (label, base)]
            apart = inference.difference(*pair)
            cells.append("X" if apart is None else with_interval(apart.mean, apart.low, apart.high, digits))
        body.append([label, base, *cells])
    head = ["row", "less", "accuracy", "zeros", "growth of zeros, task 1 to 5"]
    return render(head, body, "markdown")


def text(found) -> str:
    """All tables."""
    rows = by_row([run for run in found if run.record])
    return "\n\n".join(make(rows) for make in (curves, updates, sure, drift, stopping, differences))


# ---------------------------------------------------------------- figures

COMPARED = ("sequential", BN, OGD)
FIGURES = {  # as in results.probe: the rows that it has
    "curve": COMPARED,
    "updates": ("sequential", BN),
    "confidence": COMPARED,
    "latents": COMPARED,
    "sparsity": ("sequential", BN, "sequential, dropout 0.5", "sequential, L1 1.0", f"{BN}, L1 1.0", OGD),
    "drift": ("OGD, until .98", OGD, "OGD, batch norm, until .98"),
}


def figures(found, folder: str) -> None:
    """Draw FIGURES, and the accuracy against the stopping threshold."""
    from matplotlib import rc_context

    from results.drawing import probes
    from results.drawing.figures import STYLE

    rows = by_row([run for run in found if run.record])
    with rc_context(STYLE):
        drawn = {
            name: getattr(probes, name)({label: list(rows[label].values()) for label in labels if label in rows})
            for name, labels in FIGURES.items()
        }
        stops = {}
        for label, runs in rows.items():
            if re.fullmatch(r"OGD, batch norm, until \.\d+", label):
                (at,) = {run.fact("stop_at_accuracy") for run in runs.values()}
                stops[at] = list(runs.values())
        drawn["threshold"] = probes.threshold({"OGD, batch norm": stops})
    save(drawn, folder, ("png",))


main = tables("split_mnist_findings", __doc__, text, figures)

if __name__ == "__main__":
    sys.exit(main())
