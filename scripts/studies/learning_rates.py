"""Final accuracy by learning rate, from the records of `scripts/study.sh learning_rates`.

    python scripts/studies/learning_rates.py PATH...

Each row is a variant: a method with its settings that are not defaults. Its best rate is chosen by the printed
accuracies. The last column is the mean difference, at the best rate, to `single` at single's best rate, over common
seeds, with the 95 % interval. X: a run at that rate diverged. Rows that are not comparable are named under the table.
The exit status is as in results.compare.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from model import METHODS
from model.arguments import FLAGS
from results import RecordError
from results.comparing import cells, comparable
from results.comparing.measures import shown, with_interval
from results.comparing.rows import compare
from results.comparing.rows import rows as rows_of
from results.reading.fields import FINITE
from results.table import render
from scripts.studies.command import tables

BASE = "single"


def table(found) -> str:
    """The table of a list of Run, as Markdown, with a note on what is not comparable.

    RecordError if runs at one rate cannot be averaged, or a run has no rate.
    """
    for run in found:
        if not FINITE.fits(cells.field(run, "lr")):
            raise RecordError(f"{run.place}: its lr is {cells.short(cells.field(run, 'lr'))}, no number; leave it out")
    flags = sorted({name for run in found for name, value in _settings(run).items() if not _default(name, value)})
    by = ("model", *flags, "lr")
    gathered = cells.gather(found, by)
    rows = rows_of(gathered, by, ("final",))
    names = {key: f"{_label(row['by'])} at lr {row['by']['lr']:g}" for key, row in zip(gathered, rows, strict=True)}
    notes = comparable.warnings(gathered, by, names) + comparable.repeated(found, gathered)
    order = {name: place for place, name in enumerate(METHODS)}
    rows.sort(key=lambda row: (order.get(row["by"]["model"], len(order)), _label(row["by"]), row["by"]["lr"]))
    variants = {}
    for row in rows:
        variants.setdefault(_label(row["by"]), {})[row["by"]["lr"]] = row
    best = {label: _best(by_rate) for label, by_rate in variants.items()}
    chosen = {tuple(row["by"].values()) for row in best.values() if row}
    above = _above([run for run in found if tuple(cells.field(run, name) for name in by) in chosen], by)
    rates = sorted({row["by"]["lr"] for row in rows})
    body = []
    for label, by_rate in variants.items():
        row = best[label]
        means = [shown(_mean(by_rate[rate]), 3) if rate in by_rate else "" for rate in rates]
        body.append([label, *means, _spread(row), above.get(label, "-") if row else "X"])
    head = ["method", *(f"lr {rate:g}" for rate in rates), "best (sd), n", f"above {BASE} [95 %]"]
    return render(head, body, "markdown", notes=notes)


def _settings(run):
    """The flags that tell variants apart: the method's settings without the rate, and its memory."""
    memory = {"n_memories": run.fact("n_memories")} if cells.uses(cells.method(run), "n_memories") else {}
    return {**{name: v for name, v in cells.settings(run).items() if name != "lr"}, **memory}


def _label(by):
    """'ncl --ncl_diag yes': the method, with those of its flags that are not defaults."""
    words = [by["model"]]
    for name, value in by.items():
        if name not in ("model", "lr") and value != cells.UNUSED and not _default(name, value):
            words.append(f"--{name} {('no', 'yes')[value] if isinstance(value, bool) else cells.short(value)}")
    return " ".join(words)


def _default(name, value):
    return value is None or (name in FLAGS and value == FLAGS[name].default)


def _mean(row):
    """Mean final accuracy at a rate; None if one of its runs diverged."""
    return None if row["diverged"] else row["measures"]["final"]["mean"]


def _best(by_rate):
    known = [row for row in by_rate.values() if _mean(row) is not None]
    return max(known, key=_mean, default=None)


def _spread(row):
    if row is None:
        return "X"
    final = row["measures"]["final"]
    return f"{shown(final['mean'], 3)} ({shown(final['sd'], 3)}), {final['n']}"


def _above(chosen, by):
    """label -> difference to `single` as text, each at its best rate."""
    if not any(cells.method(run) == BASE for run in chosen):
        return {}
    found = {}
    for row in compare(chosen, by, ("final",), BASE):
        pair = (row["paired"] or {}).get("final")
        if pair:
            found[_label(row["by"])] = with_interval(pair["mean"], pair["low"], pair["high"], 3)
    return found


main = tables("learning_rates", __doc__, table)

if __name__ == "__main__":
    sys.exit(main())
