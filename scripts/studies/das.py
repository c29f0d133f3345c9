"""Tables and figures of soft-masking in a language model, from the records of `scripts/study.sh das`.

    python scripts/studies/das.py PATH... [--importance VARIANT] [--figures FOLDER]

The first table is of the runs that were measured on held-out training text. They choose the learning rate of `single`, the
strength of `ewc` and the weight of the contrast. The second has a row for each variant, at the chosen values: means over
seeds, and the differences to `single` over common seeds with their standard errors. LA is the mean accuracy on each domain
just after it was learned, F A-GEM's forgetting of the accuracy of masked tokens, PPL the perplexity, the mean over domains at
the end, and PPL growth the factor by which a domain's perplexity has grown since it was learned. The third has the importance
that was found in each type and layer, for general knowledge and for each domain, by the variant that --importance names as
the second table does. The last is of the runs with --finetune_epochs.
With --figures: the importance of every head, and of the other units by layer; and what is lost of the first domain while the
others are learned.
"""

import argparse
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from data import temporary
from data.text_domains import DOMAINS
from model.arguments import FLAGS
from results import console
from results.comparing import cells, comparable
from results.comparing.inference import deviation, mean
from results.comparing.measures import MEASURES, shown
from results.table import render

BASE = "single"
SHOWN = ("final", "learning_accuracy", "forgetting", "perplexity", "perplexity_growth")
TUNED = ("finetuned", "finetuned_f1")
FILES = ("text_domains.pt", "text_families.pt")  # whose domains have names
OWN = ("das_proxy", "das_proxy_data", "das_contrast", "das_initial", "das_masks")
CHOSEN = {"memory_strength": "strength", "das_contrast": "contrast"}  # on held-out text, beside the rate
TYPES = ("head", "intermediate", "output")
FIRST = (BASE, "joint", "ewc", "das")  # the order of the rows


def variants(found) -> dict:
    """{variant: {seed: run}}, such as 'das --das_masks no'. RecordError if runs of one variant differ in other settings."""
    by = ("model", *OWN)
    gathered = cells.gather(found, by, metrics=TUNED)
    names = {key: _name(dict(zip(by, key, strict=True))) for key in gathered}
    order = sorted(gathered, key=lambda key: (FIRST.index(key[0]) if key[0] in FIRST else len(FIRST), len(names[key])))
    return {names[key]: {seed: run for (seed, *_), run in cells.done(gathered[key]).items()} for key in order}


def _name(values: dict) -> str:
    words = [values["model"]]
    for name in OWN:
        value = values[name]
        if value not in (cells.UNUSED, FLAGS[name].default):
            words.append(f"--{name} {('no', 'yes')[value] if isinstance(value, bool) else cells.short(value)}")
    return " ".join(words)


def values_of(measure: str, cell: dict) -> dict:
    """{seed: value} of the runs that have one. What is measured between the tasks of `joint` means nothing."""
    measured = {seed: MEASURES[measure].value(run) for seed, run in cell.items()
                if measure in ("final", "perplexity") or not (run.record or {}).get("joint")}  # fmt: skip
    return {seed: value for seed, value in measured.items() if value is not None}


def compared(runs: dict, name: str, measures) -> list[str]:
    """Of each measure the mean of a variant, and the mean difference to `single` over common seeds with its standard error."""
    row = []
    for key in measures:
        digits = MEASURES[key].digits
        values, base = values_of(key, runs[name]), values_of(key, runs.get(BASE, {}))
        row.append(shown(mean(list(values.values())), digits) if values else "-")
        pairs = [value - base[seed] for seed, value in values.items() if seed in base]
        row.append("-" if name == BASE or not pairs else shown(mean(pairs), digits, sign=True))
        if row[-1] != "-" and len(pairs) > 1:
            row[-1] += f" ({shown(deviation(pairs) / math.sqrt(len(pairs)), digits)})"
    return row


def heads(measures) -> list[str]:
    return [text for key in measures for text in (MEASURES[key].label, f"- {BASE} (SE)")]


def comparison(runs: dict) -> str:
    """A row for each variant."""
    rows = []
    for name, cell in runs.items():
        rates = sorted({float(cells.field(run, "lr")) for run in cell.values()})
        rows.append([name, str(len(cell)), ", ".join(f"{rate:g}" for rate in rates), *compared(runs, name, SHOWN)])
    keyed = {(name,): cell for name, cell in runs.items()}
    notes = comparable.warnings(keyed, ("variant",))
    return render(["variant", "n", "lr", *heads(SHOWN)], rows, "markdown", notes=notes)


def classifiers(runs: dict) -> str:
    """A row for each variant whose runs fine-tuned classifiers: their means, and the accuracy in each domain."""
    domains = [name for name in places(next(iter(runs.values()))) if name != "general"]
    rows = []
    for name, cell in runs.items():
        each = zip(*(run.record["finetuning"]["accuracy"] for run in cell.values()), strict=True)
        rows.append(
            [name, str(len(cell)), *compared(runs, name, TUNED), *(f"{mean(list(values)):.3f}" for values in each)]
        )
    usual = next(iter(next(iter(runs.values())).values())).record["finetuning"]
    accuracy, f1 = (f"{mean(usual[key]):.4f}" for key in ("usual", "usual_f1"))
    rows.append(["most frequent label", "", accuracy, "", f1, "", *(f"{value:.3f}" for value in usual["usual"])])
    return render(["classifiers", "n", *heads(TUNED), *domains], rows, "markdown")


def choices(found) -> str:
    """A row for each rate and each strength of what was measured on held-out training text."""
    rows = []
    by = ("model", "lr", *CHOSEN)
    for (model, lr, *values), cell in cells.gather(found, by).items():
        done = cells.done(cell)
        more = [
            f", {CHOSEN[name]} {value:g}" for name, value in zip(CHOSEN, values, strict=True) if value != cells.UNUSED
        ]
        row = [f"{model}, lr {lr:g}{''.join(more)}", str(len(cell))]
        for key in SHOWN:
            values = values_of(key, done)
            whole = len(values) == len(cell)  # a mean without the runs that diverged would flatter
            row.append(shown(mean(list(values.values())), MEASURES[key].digits) if whole else "X")
        rows.append(row)
    return render(["held out", "n", *(MEASURES[key].label for key in SHOWN)], rows, "markdown")


# -- importance --------------------------------------------------------------------------------------------


def places(cell: dict) -> dict:
    """{what importance was found for: its name in the record's counts}: general knowledge, then the domains of the file."""
    tasks = sorted({task for run in cell.values() for task in run.record["protocol"]["task_order"]})
    known = all(run.record["protocol"]["data_file"] in FILES for run in cell.values())
    named = {DOMAINS[t] if known and t < len(DOMAINS) else f"domain {t}": f"task_{t}" for t in tasks}
    return {"general": "general", **named}


def found_for(cell: dict, what: str) -> list[list[float]] | None:
    """The means over seeds of the counts das_<what>_<place>: a row for each unit or layer, a column for each place."""
    columns = []
    for place in places(cell).values():
        lists = [run.record["counts"].get(f"das_{what}_{place}") for run in cell.values()]
        if not lists or None in lists:
            return None
        columns.append([mean(list(values)) for values in zip(*lists, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)]


def by_layer(cell: dict) -> dict:
    """{'head, layer 1': the mean importance for each place}."""
    return {f"{kind}, layer {layer}": row
            for kind in TYPES for layer, row in enumerate(found_for(cell, kind) or [], 1)}  # fmt: skip


def importances(cell: dict) -> str:
    rows = [[name, *(f"{value:.3f}" for value in values)] for name, values in by_layer(cell).items()]
    return render(["units", *places(cell)], rows, "markdown")


# -- figures -----------------------------------------------------------------------------------------------


def figures(runs: dict, of: str, folder: Path) -> None:
    """Two pictures in ``folder``: das_importance.png, where there is a run of the variant ``of``, and das_forgetting.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "das_importance": draw_importance(plt, runs.get(of, {})),
        "das_forgetting": draw_forgetting(plt, runs, of),
    }
    for name, picture in pictures.items():
        if picture is not None:
            with temporary.replacing(folder / f"{name}.png") as (file,):
                picture.savefig(file, format="png", dpi=120)
            plt.close(picture)


def draw_importance(plt, cell: dict):
    heads, layers = found_for(cell, "heads"), by_layer(cell)
    if not heads or not layers:
        return None
    each = len(heads) // (len(layers) // len(TYPES))
    rows = {f"layer {i // each + 1}, head {i % each + 1}": row for i, row in enumerate(heads)}
    picture, both = plt.subplots(1, 2, figsize=(10, 1.2 + 0.36 * max(len(rows), len(layers))), layout="constrained")
    for axes, drawn, title in (both[0], rows, "each head"), (both[1], layers, "mean of a layer's units"):
        image = axes.imshow(list(drawn.values()), vmin=0, vmax=1, aspect="auto", cmap="viridis")
        axes.set_title(title)
        axes.set_yticks(range(len(drawn)), drawn)
        axes.set_xticks(range(len(places(cell))), places(cell), rotation=30, ha="right")
        for y, row in enumerate(drawn.values()):
            for x, value in enumerate(row):
                axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize="small",
                          color="white" if value < 0.6 else "black")  # fmt: skip
    picture.colorbar(image, ax=both, label=f"importance, mean of {len(cell)} seeds")
    return picture


def draw_forgetting(plt, runs: dict, of: str):
    """The accuracy on the domain learned first, less that when it was learned; bars are standard errors."""
    picture, axes = plt.subplots(figsize=(9, 6.5), layout="constrained")
    for i, (name, cell) in enumerate(runs.items()):
        curves = [lost_of_the_first(run) for run in cell.values() if not run.record.get("joint")]
        if not curves:
            continue
        columns = list(zip(*curves, strict=True))
        errors = [(deviation(list(column)) or 0) / math.sqrt(len(curves)) for column in columns]
        style = {"linewidth": 2.5} if name in (BASE, of) else {"linewidth": 1, "linestyle": ("--", ":", "-.")[i % 3]}
        errors = errors if name in (BASE, of) else None  # those of all would hide the lines
        shift = 0.02 * (i - len(runs) / 2)  # so that bars do not hide one another
        at = [x + shift for x in range(1, len(columns) + 1)]
        axes.errorbar(
            at,
            [mean(list(c)) for c in columns],
            errors,
            label=f"{name}, n = {len(curves)}",
            marker="o",
            markersize=3,
            **style,
        )
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_xlabel("domains learned")
    axes.set_xticks(
        range(1, 1 + max((len(run.record["grid"]) for cell in runs.values() for run in cell.values()), default=1))
    )
    axes.set_ylabel("accuracy on the first domain,\nless that when it was learned")
    picture.legend(loc="outside lower center", fontsize="small", ncols=2)
    return picture


def lost_of_the_first(run) -> list[float]:
    first, grid = run.record["protocol"]["task_order"][0], run.record["grid"]
    return [row[first] - grid[0][first] for row in grid]


def _print(paths, of, folder) -> int:
    found, unread = cells.read(paths, "das")
    chosen = [run for run in found if cells.field(run, "validation")]
    if chosen:
        print(f"Rates and strengths, on held-out training text:\n\n{choices(chosen)}\n")
    rest = [run for run in found if not cells.field(run, "validation")]
    tuned = [run for run in rest if run.record.get("finetuning")]
    rest = [run for run in rest if not run.record.get("finetuning")]
    runs = variants(rest) if rest else {}
    print(f"Differences to {BASE} over common seeds:\n\n{comparison(runs)}\n")
    print(f"Mean importance by type and layer, {of}:\n\n{importances(runs.get(of, {}))}")
    if tuned:
        print(f"\nClassifiers of each domain's text, fine-tuned at the end:\n\n{classifiers(variants(tuned))}")
    if folder:
        with console.writing(f"--figures {folder}", "give a folder"):
            figures(runs, of, Path(folder))
    return 1 if unread else 0


def main(argv=None) -> int:
    """Run the command; return its exit status."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paths", nargs="+", metavar="PATH", help="records, or folders of them")
    p.add_argument(
        "--importance", metavar="VARIANT", default="das", help="whose importance is shown (default: %(default)s)"
    )
    p.add_argument("--figures", metavar="FOLDER", help="where the pictures go")
    args = p.parse_args(argv)
    return console.command("das", lambda: _print(args.paths, args.importance, args.figures))


if __name__ == "__main__":
    sys.exit(main())
