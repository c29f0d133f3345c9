"""CIFAR-100 by superclasses: task t has the five classes of the t-th coarse label, such as beaver to whale of aquatic mammals.

The label of a class is 5 t plus its place among the five, in the order of the fine labels, so that task t has the outputs
5 t to 5 t + 4.
"""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import DataError, building, files, sources, streams

SUPERCLASSES, CLASSES = 20, 5


def build(out, n_tasks=20, seed=0, raw_path=None, n_train=None, n_test=None, dtype=None):
    """Write the data file `out`, each task described by (coarse label, its fine labels).

    x is (N, 3072), the pixels in the order channel, row, column. Nothing is drawn: `seed` is accepted as by all
    builders. DataError if n_tasks is not from 1 to 20 or the raw files are missing.
    """
    streams.check(n_tasks, seed)
    if n_tasks > SUPERCLASSES:
        raise DataError(f"n_tasks {n_tasks}: CIFAR-100 has {SUPERCLASSES} superclasses")
    files.check_target(out)
    form, _ = building.pixel_form("cifar100", dtype)
    tasks = [[], []]
    splits = list(zip(tasks, sources.cifar100(raw_path), (n_train, n_test), strict=True))
    for t in building.progress(range(n_tasks), out):
        for split, (x, fine, coarse), n in splits:
            rows = (coarse == t).nonzero().view(-1)
            classes, places = fine[rows].unique(return_inverse=True)
            if len(classes) != CLASSES:
                raise DataError(f"superclass {t} has {len(classes)} classes instead of {CLASSES}")
            n = building.limit(n, len(rows))
            split.append(((t, classes.tolist()), form(x[rows[:n]]), CLASSES * t + places[:n]))
    files.save(out, *tasks)


if __name__ == "__main__":
    sys.exit(building.main(build, "cifar100_superclasses.pt"))
