"""Tables and figures of soft-masking in a language model, from the records of `scripts/study.sh das`.

    python scripts/studies/das.py PATH... [--figures FOLDER]

First the learning rates of `single`, measured on held-out training text. Then a row for each variant at the rate of the
study: means over seeds, and the differences to `single` over common seeds with their standard errors. F is A-GEM's
forgetting of the accuracy of masked tokens, PPL the perplexity, mean over domains at the end, and PPL growth the factor by
which a domain's perplexity has grown since it was learned. With --figures: the importance of layers and heads over domains,
and the accuracy on the first domain while the others are learned.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from model.arguments import FLAGS
from results import console
from results.comparing import cells
from results.comparing.measures import MEASURES, shown
from results.table import render

BASE = "single"
SHOWN = ("final", "forgetting", "perplexity", "perplexity_growth")
OWN = ("das_proxy", "das_proxy_data", "das_contrast", "das_initial", "das_masks")
TYPES = ("head", "intermediate", "output")


def variant(run) -> str:
    """'das --das_masks no': the method, and its flags that are not defaults."""
    words = [cells.method(run)]
    for name in OWN if words == ["das"] else ():
        value = cells.field(run, name)
        if value != FLAGS[name].default:
            words.append(f"--{name} {('no', 'yes')[value] if isinstance(value, bool) else cells.short(value)}")
    return " ".join(words)


def by_variant(found) -> dict:
    """{variant: {seed: run}}; of several runs of one seed the one begun last."""
    groups = {}
    for run in found:
        groups.setdefault(variant(run), []).append(run)
    return {
        name: {seed: run for (seed,), run in cells.done(cells.one_a_seed(group)).items()}
        for name, group in groups.items()
    }


def spread(values) -> float | None:
    """The standard error of a mean; None of fewer than two values."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def comparison(runs: dict) -> str:
    """A row for each variant."""
    rows = []
    for name, cell in runs.items():
        row = [name, str(len(cell))]
        for key in SHOWN:
            measure = MEASURES[key]
            values = {seed: value for seed, run in cell.items() if (value := measure.value(run)) is not None}
            row.append(shown(statistics.fmean(values.values()), measure.digits) if values else "-")
            base = {seed: measure.value(run) for seed, run in runs.get(BASE, {}).items()}
            pairs = [values[seed] - base[seed] for seed in values if base.get(seed) is not None]
            error = spread(pairs)
            known = pairs and name != BASE
            row.append(shown(statistics.fmean(pairs), measure.digits, sign=True) if known else "-")
            row[-1] += f" ({shown(error, measure.digits)})" if known and error is not None else ""
        rows.append(row)
    heads = [text for key in SHOWN for text in (MEASURES[key].label, f"- {BASE} (SE)")]
    return render(["variant", "n", *heads], rows, "markdown")


def rates(found) -> str:
    """Final accuracy and forgetting on held-out training text by learning rate."""
    groups = {}
    for run in found:
        groups.setdefault(float(cells.field(run, "lr")), []).append(run)
    rows = []
    for lr, group in sorted(groups.items()):
        row = [f"{lr:g}", str(len(group))]
        for key in SHOWN:
            values = [value for run in group if (value := MEASURES[key].value(run)) is not None]
            row.append(shown(statistics.fmean(values), MEASURES[key].digits) if len(values) == len(group) else "X")
        rows.append(row)
    return render(["lr", "n", *(MEASURES[key].label for key in SHOWN)], rows, "markdown")


def importances(runs: dict) -> str:
    """The mean importance of each type and layer that was found for general knowledge and for each domain, default DAS."""
    rows = []
    cell = runs.get("das", {})
    for kind in TYPES:
        parts = {}
        for run in cell.values():
            order = run.record["protocol"]["task_order"]
            counts = run.record["counts"]
            for place, name in enumerate(["general", *(f"task_{task}" for task in order)]):
                for layer, value in enumerate(counts.get(f"das_{kind}_{name}", [])):
                    parts.setdefault((layer, place), []).append(value)
        for layer in sorted({layer for layer, _ in parts}):
            places = sorted(place for at, place in parts if at == layer)
            rows.append(
                [f"{kind}, layer {layer}", *(f"{statistics.fmean(parts[layer, place]):.3f}" for place in places)]
            )
    width = max((len(row) for row in rows), default=1)
    heads = ["units", "general", *(f"domain {place}" for place in range(1, width - 1))][:width]
    return render(heads, [row for row in rows if len(row) == width], "markdown")


def figures(runs: dict, folder: Path) -> None:
    """Two pictures in ``folder``: das_importance.png and das_forgetting.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    cell = runs.get("das", {})
    if cell:
        run = next(iter(cell.values()))
        counts, order = run.record["counts"], run.record["protocol"]["task_order"]
        names = [name for name in ("general", *(f"task_{task}" for task in order)) if f"das_heads_{name}" in counts]
        picture, axes = plt.subplots(1, 1, figsize=(6, 3), layout="constrained")
        image = axes.imshow(
            [counts[f"das_heads_{name}"] for name in names], vmin=0, vmax=1, aspect="auto", cmap="viridis"
        )
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("head, layer after layer")
        picture.colorbar(image, label="importance")
        picture.savefig(folder / "das_importance.png", dpi=120)
        plt.close(picture)
    picture, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, group in runs.items():
        if name == "joint" or not group:
            continue
        curves = [
            [row[run.record["protocol"]["task_order"][0]] for row in run.record["grid"]] for run in group.values()
        ]
        axes.plot(
            range(1, len(curves[0]) + 1), [statistics.fmean(column) for column in zip(*curves, strict=True)], label=name
        )
    axes.set_xlabel("domains learned")
    axes.set_ylabel("accuracy of masked tokens, first domain")
    axes.legend(fontsize="x-small")
    picture.savefig(folder / "das_forgetting.png", dpi=120)
    plt.close(picture)


def _print(paths, folder) -> int:
    found, unread = cells.read(paths, "das")
    chosen = [run for run in found if cells.field(run, "validation")]
    if chosen:
        print(f"Learning rates of {BASE}, on held-out training text:\n\n{rates(chosen)}\n")
    runs = by_variant([run for run in found if not cells.field(run, "validation")])
    print(f"Differences to {BASE} over common seeds:\n\n{comparison(runs)}\n")
    print(f"Mean importance by type and layer, DAS with its defaults:\n\n{importances(runs)}")
    if folder:
        figures(runs, Path(folder))
    return 1 if unread else 0


def main(argv=None) -> int:
    """Run the command; return its exit status."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paths", nargs="+", metavar="PATH", help="records, or folders of them")
    p.add_argument("--figures", metavar="FOLDER", help="where the pictures go")
    args = p.parse_args(argv)
    return console.command("das", lambda: _print(args.paths, args.figures))


if __name__ == "__main__":
    sys.exit(main())
