"""MER's many permutations: 100 pixel permutations of MNIST with 200 training images each, drawn anew for every task.

MER's own file holds all 60,000 training images in each task, and its commands take 200 of them (`--samples_per_task 200`).
Here each task holds the 200 that its seed draws, besides all 10,000 test images.
"""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from data import building, files, sources, streams


def build(out, n_tasks=100, seed=0, raw_path=None, n_train=200, n_test=None, dtype=None):
    """Write the data file `out`; DataError if an argument is out of range or the raw files are missing.

    The permutations are those of `mnist_permutations` with the same seed. Another generator of that seed draws each
    task's n_train training images; the test images are the first n_test, or all.
    """
    stream = streams.permutations(784, n_tasks, seed)
    form, n_bytes_each = building.pixel_form("mnist", dtype)
    (x, y), (x_test, y_test) = sources.images("mnist", raw_path)
    n_train, n_test = building.limit(n_train, len(x)), building.limit(n_test, len(x_test))
    files.check_target(out, n_tasks * (n_train + n_test) * 784 * n_bytes_each)
    generator = torch.Generator().manual_seed(seed)
    y_test = y_test[:n_test].clone()
    train, test = [], []
    for description, index in building.progress(stream, out):
        rows = torch.randperm(len(x), generator=generator)[:n_train]
        train.append((description, form(x[rows][:, index]), y[rows]))
        test.append((description, form(x_test[:n_test, index]), y_test))
    files.save(out, train, test)


if __name__ == "__main__":
    sys.exit(building.main(build, "mnist_manypermutations.pt"))
