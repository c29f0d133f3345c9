"""SPG, NCL, OGD and EWC with a head for each task: command lines, the choice of their settings, and what they gain.

    python scripts/studies/split_heads.py settings        candidates, on the first tasks of each file and on other seeds
    python scripts/studies/split_heads.py choice PATH...  the best of each variant on each file, as a table for CHOSEN
    python scripts/studies/split_heads.py lines           the runs of the table, on the tasks after those
    python scripts/studies/split_heads.py table PATH...   final accuracies, and the differences to `single`

A setting's score is its mean final accuracy on training examples held out of the first tasks, as in `sweep.py best`. A
difference counts if it is above two standard errors, in pairs over seeds. Exit statuses are those of results.compare.
"""

import math
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from model.arguments import FLAGS
from results.comparing import inference
from results.comparing.measures import MEASURES, shown
from results.table import render
from scripts.studies.command import parsed, spread, tables

COMMON = "--net mlp --n_layers 2 --n_hiddens 100 --batch_size 64 --n_epochs 5 --log_every 1000000"
SEEDS, OTHER_SEEDS = "0..4", "100..101"
RATES = ("0.01", "0.03", "0.1", "0.3")


class File(NamedTuple):
    """A stream: the number of its first tasks that serve the choice, and of examples held out of each of them."""

    first: int
    validation: int


class Variant(NamedTuple):
    """A method with its flags, and another flag of which some values are tried."""

    flags: str
    tried: str = ""
    values: tuple = ()


FILES = {
    "mnist_split.pt": File(2, 2000),
    "fashion_mnist_split.pt": File(2, 2000),
    "cifar100.pt": File(3, 500),
}
BASE = "single"
VARIANTS = {
    BASE: Variant("--model single"),
    "EWC": Variant("--model ewc --n_memories 200", "memory_strength", ("10", "100", "1000")),
    "SPG": Variant("--model spg"),
    "SPG without CHI": Variant("--model spg --spg_chi no"),
    "SPG, CHI in the loss": Variant("--model spg --spg_chi_loss yes"),
    "NCL": Variant("--model ncl"),
    "NCL with a radius": Variant("--model ncl", "ncl_radius", ("0.03", "0.1", "0.3")),
    "OGD": Variant("--model ogd"),
}
LEFT_OUT = {("NCL with a radius", "cifar100.pt")}  # a step's length takes longer to measure than the step to make
# What `choice` has chosen, by variant, for the files in their order. With CHI in the loss every candidate diverged.
CHOSEN = {
    BASE: ("--lr 0.01", "--lr 0.1", "--lr 0.01"),
    "EWC": ("--lr 0.01 --memory_strength 1000", "--lr 0.1 --memory_strength 1000", "--lr 0.03 --memory_strength 10"),
    "SPG": ("--lr 0.1", "--lr 0.1", "--lr 0.1"),
    "SPG without CHI": ("--lr 0.1", "--lr 0.1", "--lr 0.1"),
    "SPG, CHI in the loss": ("--lr 0.01", "--lr 0.01", "--lr 0.01"),
    "NCL": ("--lr 0.1", "--lr 0.1", "--lr 0.1"),
    "NCL with a radius": ("--lr 0.1 --ncl_radius 0.3", "--lr 0.1 --ncl_radius 0.3"),
    "OGD": ("--lr 0.1", "--lr 0.1", "--lr 0.1"),
}


def candidates(variant: Variant) -> str:
    """The flags of all settings of a variant, for the sweep."""
    tried = f" --{variant.tried} {' '.join(variant.values)}" if variant.tried else ""
    return f"{variant.flags} --lr {' '.join(RATES)}{tried} {COMMON}"


def settings() -> str:
    """The command lines of the choice."""
    return "\n".join(
        f"{candidates(variant)} --data_file {name} --n_tasks {file.first} --validation {file.validation} --seed {OTHER_SEEDS}"
        for label, variant in VARIANTS.items()
        for name, file in FILES.items()
        if (label, name) not in LEFT_OUT
    )


def lines() -> str:
    """The command lines of the table."""
    return "\n".join(
        f"{VARIANTS[variant].flags} {flags} {COMMON} --data_file {name} --first_task {FILES[name].first} --seed {SEEDS}"
        for variant, chosen in CHOSEN.items()
        for name, flags in zip(FILES, chosen, strict=False)  # CIFAR-100, the last, may be left out
    )


def variant_of(run) -> str | None:
    """Which variant a run is of; None if of none."""
    for name, variant in VARIANTS.items():
        wanted = {key: FLAGS[key].default for key in ("spg_chi", "spg_chi_loss")} | parsed(variant.flags)
        limited = run.fact("ncl_radius") is not None
        if limited == (variant.tried == "ncl_radius") and all(run.fact(key) == value for key, value in wanted.items()):
            return name
    return None


def by_variant(found) -> dict:
    """{(file, variant): runs}, in the order of FILES and VARIANTS."""
    grouped = {}
    for run in found:
        if name := variant_of(run):
            grouped.setdefault((run.fact("data_file"), name), []).append(run)
    order = [(file, name) for file in FILES for name in VARIANTS]
    return {key: grouped[key] for key in order if key in grouped}


def flags_of(run, variant: Variant) -> str:
    """The flags of a run that were tried."""
    tried = f" --{variant.tried} {run.fact(variant.tried):g}" if variant.tried else ""
    return f"--lr {run.fact('lr'):g}{tried}"


def finals(runs) -> dict:
    """{seed: final accuracy}; without the runs that diverged."""
    known = [run for run in runs if run.fact("status") != "diverged"]
    return {run.fact("seed"): MEASURES["final"].value(run) for run in known}


def choice(found) -> str:
    """A row for each variant on each file: its best setting, with its score and the next best one's."""
    body = []
    for (file, name), runs in by_variant(found).items():
        each = {}
        for run in runs:
            each.setdefault(flags_of(run, VARIANTS[name]), []).append(run)
        scores = {
            flags: inference.mean(list(values.values()))
            for flags, group in each.items()
            if len(values := finals(group)) == len(group)
        }
        best, *others = sorted(scores, key=scores.get, reverse=True) or ["X"]
        score = shown(scores.get(best), 4)
        body.append([file, name, best, score, f"{others[0]} ({shown(scores[others[0]], 4)})" if others else "-"])
    return render(["file", "variant", "chosen", "score", "next"], body, "markdown")


def table(found) -> str:
    """A row for each variant on each file."""
    body, groups = [], by_variant(found)
    for (file, name), runs in groups.items():
        ours = finals(runs)
        mean, sd, n = inference.sample(list(ours.values())) if ours else (None, None, 0)
        base = finals(groups.get((file, BASE), [])) if name != BASE else {}
        apart = [value - base[seed] for seed, value in ours.items() if seed in base]
        error = inference.deviation(apart) / math.sqrt(len(apart)) if len(apart) > 1 else 0
        line = [file, name, flags_of(runs[0], VARIANTS[name]), str(n), f"{shown(mean, 4)} ± {shown(sd, 4)}"]
        ratio = shown(inference.mean(apart) / error, 1, sign=True) if error else "-"
        body.append([*line, spread(apart, 4) if len(apart) > 1 else "-", ratio])
    return render(
        ["file", "variant", "setting", "n", "final accuracy", f"above {BASE}", "in standard errors"], body, "markdown"
    )


def main(argv: list | None = None) -> int:
    """Run the command; return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv in (["settings"], ["lines"]):
        print(settings() if argv == ["settings"] else lines())
        return 0
    text = choice if argv[:1] == ["choice"] else table
    return tables("split_heads", __doc__, text)(argv[1:] if argv[:1] in (["choice"], ["table"]) else argv)


if __name__ == "__main__":
    sys.exit(main())
