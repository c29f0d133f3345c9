"""The rows of a comparison: means and spreads of cells, and their differences to a baseline."""

from results.comparing import cells, choice, comparable, inference
from results.comparing.measures import DEFAULT, MEASURES

UNPAIRED = ("memory_mb",)  # a seed does not change it


def compare(found, by=("model",), metrics=DEFAULT, baseline=None, allow=(), confidence=inference.CONFIDENCE):
    """A list with a dict for each cell: "by", "n", "seeds", "diverged", "measures": {key: {"mean", "sd", "n"}}.

    With a baseline it also has "paired": {key: {"mean", "low", "high", "n"} or None}, which is None for the baseline
    itself. There n is the number of common seeds; with 0 the interval is Welch's.

    found: list of Run; by: fields that tell cells apart; metrics: keys of MEASURES; baseline: text as in
    choice.baseline(). RecordError as in cells.gather().
    """
    return rows(cells.gather(found, by, allow, metrics), by, metrics, baseline, allow, confidence)


def rows(gathered, by, metrics=DEFAULT, baseline=None, allow=(), confidence=inference.CONFIDENCE):
    """As compare(), of cells that are gathered already."""
    values = {key: {m: _values(cells.done(cell), m) for m in metrics} for key, cell in gathered.items()}
    bases = choice.baseline(gathered, by, baseline) if baseline is not None else {}
    found = []
    for key, cell in gathered.items():
        row = {
            "by": dict(zip(by, key, strict=True)),
            "n": len(cells.done(cell)),
            "seeds": [seed for seed, *_ in cells.done(cell)],
            "diverged": len(cell) - len(cells.done(cell)),
            "measures": {m: _spread(list(values[key][m].values())) for m in metrics},
        }
        if bases:
            base = bases[key]
            if base not in (None, key):
                comparable.same_stream(gathered, key, base, (*by, *allow), metrics)
            row["paired"] = None if base == key else {
                m: d and d._asdict()
                for m in metrics
                if m not in UNPAIRED
                for d in [inference.difference(_by_seed(values, key, m), _by_seed(values, base, m), confidence)]
            }  # fmt: skip
        found.append(row)
    return found


def _values(cell, metric):
    found = {seed: MEASURES[metric].value(run) for seed, run in cell.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _by_seed(values, key, metric):
    """seed -> the mean over its runs; {} if `key` is None. A seed has one run unless --allow lets several settings in.

    An unknown seed is never equal to another cell's.
    """
    found = {}
    for (seed, *_), value in values[key][metric].items() if key is not None else ():
        found.setdefault((key, seed) if str(seed).startswith("?") else seed, []).append(value)
    return {seed: inference.mean(each) for seed, each in found.items()}


def _spread(values):
    return {"mean": inference.mean(values) if values else None, "sd": inference.deviation(values), "n": len(values)}
