"""CIFAR-100 split by classes: task t of T holds the 100 / T classes from t * 100 / T on, labels unshifted."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import DataError, building, files, sources, streams


def build(out, n_tasks=10, seed=0, raw_path=None, n_train=None, n_test=None, dtype=None):
    """Write the data file `out`, each task described by its range of classes (first, end).

    x is (N, 3072), the pixels in the order channel, row, column. Nothing is drawn: `seed` is accepted for
    the reference's command lines. DataError if n_tasks does not divide 100 or the raw files are missing.
    """
    streams.check(n_tasks, seed)
    if 100 % n_tasks:
        raise DataError(f"n_tasks {n_tasks}: must divide the 100 classes")
    files.check_target(out)
    form, _ = building.pixel_form("cifar100", dtype)
    classes = 100 // n_tasks
    tasks = [[], []]
    splits = list(zip(tasks, sources.images("cifar100", raw_path), (n_train, n_test), strict=True))
    for first in building.progress(range(0, 100, classes), out):
        for split, (x, y), n in splits:
            rows = ((first <= y) & (y < first + classes)).nonzero().view(-1)
            rows = rows[: building.limit(n, len(rows))]
            split.append(((first, first + classes), form(x[rows]), y[rows]))
    files.save(out, *tasks)


if __name__ == "__main__":
    sys.exit(building.main(build, "cifar100.pt"))
