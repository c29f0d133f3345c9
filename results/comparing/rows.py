"""The rows of a comparison: means and spreads of cells, and their differences to a baseline."""

from results.comparing import cells, choice, comparable, inference
from results.comparing.measures import DEFAULT, MEASURES

UNPAIRED = ("memory_mb",)  # a seed does not change it


def compare(found, by=("model",), metrics=DEFAULT, baseline=None, allow=(), confidence=inference.CONFIDENCE):
    """list of dicts, one a cell: "by", "n", "seeds", "diverged", "measures": {key: {"mean", "sd", "n"}} and, with a
    baseline, "paired": {key: {"mean", "low", "high", "n"} or None}, None for the baseline itself. There n is the number
    of common seeds; 0: there is none, and the interval is Welch's.

    found: list of Run; by: fields that tell cells apart; metrics: keys of MEASURES; baseline: as choice.baseline() has it.
    RecordError as cells.gather().
    """
    return rows(cells.gather(found, by, allow), by, metrics, baseline, allow, confidence)


def rows(gathered, by, metrics=DEFAULT, baseline=None, allow=(), confidence=inference.CONFIDENCE):
    """What compare() returns, of cells that are gathered already."""
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
                comparable.same_stream(gathered, key, base, (*by, *allow))
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
    """seed -> the mean over its runs: one, unless --allow lets several settings into a cell. None: no cell, no runs.

    A seed that no log told is nobody else's.
    """
    found = {}
    for (seed, *_), value in values[key][metric].items() if key is not None else ():
        found.setdefault((key, seed) if str(seed).startswith("?") else seed, []).append(value)
    return {seed: inference.mean(each) for seed, each in found.items()}


def _spread(values):
    return {"mean": inference.mean(values) if values else None, "sd": inference.deviation(values), "n": len(values)}
