"""Does alignment predict forgetting? From the records of `scripts/study.sh alignment`.

    python scripts/studies/alignment.py PATH...

For each run and each task but the last: the mean cosine of the gradient of the task's memory with the gradients of later
batches (`before`), and with the steps made (`of_step`), over all evaluations after the task; and how much accuracy on the task
fell from its end to the end of the run. The table has Spearman's rank correlation of cosine and fall for each seed, mean and
95 % interval over seeds: over tasks within each method, over methods (means over tasks), and over all tasks of all methods.
A negative number says that what is better aligned falls less. The exit status is as in results.compare.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from scipy.stats import spearmanr

from results.comparing import cells, inference
from results.reading.probed import entry
from results.table import render
from scripts.studies.command import spread, tables

KINDS = ("before", "of_step")
HEADS = ("batches' gradients", "steps")


def points(run, kind: str) -> list[tuple[float, float]]:
    """(mean cosine, fall) of each task but the last learned."""
    found, grid = entry(run, "alignment"), run.grid
    order = run.order or list(range(len(grid)))
    every = []
    for place, task in enumerate(order[:-1]):
        cosines = [row[past.index(task)] for past, row in zip(found["past"], found[kind], strict=True) if task in past]
        cosines = [value for value in cosines if value is not None]
        if cosines:
            every.append((inference.mean(cosines), grid[place][task] - grid[-1][task]))
    return every


def rank(pairs) -> float | None:
    """Spearman's correlation of pairs; None if there are fewer than three, or one side is constant."""
    columns = list(zip(*pairs, strict=True))
    if len(pairs) < 3 or any(len(set(column)) < 2 for column in columns):
        return None
    return float(spearmanr(*columns).statistic)


def table(found) -> str:
    """The correlations of each method, of methods, and of all."""
    by_seed = {}
    for run in found:
        if entry(run, "alignment") and run.fact("status") != "diverged":
            by_seed.setdefault(run.fact("seed"), {})[cells.method(run)] = run
    methods = sorted({name for runs in by_seed.values() for name in runs})
    rows = {f"tasks of `{name}`": lambda at, name=name: at.get(name, []) for name in methods}
    rows["methods"] = lambda at: [tuple(map(inference.mean, zip(*pairs, strict=True))) for pairs in at.values()]
    rows["tasks of all methods"] = lambda at: [pair for pairs in at.values() for pair in pairs]
    body = []
    for name, chosen in rows.items():
        line = []
        for kind in KINDS:
            each = [{name: points(run, kind) for name, run in runs.items()} for runs in by_seed.values()]
            ranks = [value for at in each if (value := rank(chosen(at))) is not None]
            line += [spread(ranks, 2), str(len(ranks))]
        body.append([name, *line])
    return render(["over", HEADS[0], "n", HEADS[1], "n"], body, "markdown")


main = tables("alignment", __doc__, table)

if __name__ == "__main__":
    sys.exit(main())
