"""The rows of results.compare as text, Markdown, LaTeX, CSV or JSON."""

import json

from results.comparing import cells
from results.comparing.measures import MEASURES, shown
from results.comparing.rows import UNPAIRED
from results.record import plain
from results.table import render


def tables(rows, metrics, baseline, form, confidence, title="", notes=()):
    """The rows as one table, and a second table of differences if there is a baseline.

    title, notes: sentences above and below the tables; JSON and CSV have none.
    """
    if form == "json":
        return json.dumps(plain(rows), indent=1)
    by = list(rows[0]["by"])
    if form == "csv":
        return render(*_flat(rows, by, metrics, baseline), form)
    head = [*by, "n", *(MEASURES[m].label for m in metrics)]
    body = []
    for row in rows:
        n = f"{row['n']}" + (f" ({row['diverged']} diverged)" if row["diverged"] else "")
        means = (_cell(row["measures"][m], m, row["n"]) for m in metrics)
        body.append([*map(cells.short, row["by"].values()), n, *means])
    judged = [m for m in metrics if MEASURES[m].better and m not in UNPAIRED]
    if baseline is None or not judged:
        return render(head, body, form, title, notes)
    return f"{render(head, body, form, title)}\n\n{_differences(rows, by, judged, baseline, form, confidence, notes)}"


def _differences(rows, by, judged, baseline, form, confidence, notes):
    head = [*by, "n", *(f"{MEASURES[m].label} - {baseline}'s" for m in judged)]
    body = []
    for row in rows:
        if row["paired"] is not None:
            n = _common(row, judged)
            differences = (_pair(row["paired"][m], m, n) for m in judged)
            body.append([*map(cells.short, row["by"].values()), str(n), *differences])
    title = f"Mean difference to {baseline} over common seeds [{100 * confidence:g}% interval]"
    if any(row["paired"] and 0 in _pairs(row, judged) for row in rows):
        notes = ["n 0: no seed is common; difference of the two means, with Welch's interval", *notes]
    return render(head, body, form, title, notes)


def _cell(measure, key, n):
    digits = MEASURES[key].digits
    if measure["mean"] is None:
        return "X"
    return f"{shown(measure['mean'], digits)} ± {shown(measure['sd'], digits)}" + fewer(measure["n"], n)


def fewer(n, all_):
    """' (n 2)' where a number comes from fewer runs than its row; else ''."""
    return "" if n == all_ else f" (n {n})"


def _pair(pair, key, n):
    if pair is None:
        return "X"
    digits = MEASURES[key].digits
    low, high = (shown(pair[end], digits, sign=True) for end in ("low", "high"))
    return f"{shown(pair['mean'], digits, sign=True)} [{low}, {high}]" + fewer(pair["n"], n)


def _pairs(row, judged):
    """The numbers of common seeds that the row's differences are taken over: a set."""
    return {row["paired"][m]["n"] for m in judged if row["paired"][m]}


def _common(row, judged):
    return max(_pairs(row, judged), default=0)


def _flat(rows, by, metrics, baseline):
    """Head and rows for CSV: all digits, one number a column."""
    head = [*by, "n", "diverged"]
    for m in metrics:
        head += [f"{m}_mean", f"{m}_sd", f"{m}_n"]
    paired = [m for m in metrics if m not in UNPAIRED] if baseline is not None else []
    for m in paired:
        head += [f"{m}_difference", f"{m}_low", f"{m}_high", f"{m}_pairs"]
    body = []
    for row in rows:
        line = [*row["by"].values(), row["n"], row["diverged"]]
        for m in metrics:
            line += row["measures"][m].values()
        for m in paired:
            line += ((row["paired"] or {}).get(m) or dict.fromkeys(range(4))).values()
        body.append(["X" if v is None else cells.short(v) if isinstance(v, list) else str(v) for v in line])
    return head, body
