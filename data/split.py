"""Ten classes as five tasks of two, and which images of each task are held out: what the split builders share."""

import numpy as np
import torch

from data import DataError, building, files, sources, streams

PAIRS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 0))
SHARE = 6  # one image in six is held out: 10,000 of 60,000
HELDOUT = ("train", "test")


def names(name):
    """{value of --heldout: name of the data file} of "mnist", "fashion_mnist" or "digits"."""
    return {"train": f"{name}_split.pt", "test": f"{name}_split_test.pt"}


def builder(module, name):
    """The `build` of a builder's `module` (its name) for the raw set `name`."""

    def build_one(out, heldout="train", seed=42, raw_path=None, n_train=None, n_test=None, dtype=None):
        """Write the data file `out`; DataError if an argument is out of range or the raw files are missing."""
        build(out, name, heldout, seed, raw_path, n_train, n_test, dtype)

    build_one.__module__ = module  # whose docstring is the command's help
    return build_one


def build(out, name, heldout, seed, raw_path=None, n_train=None, n_test=None, dtype=None):
    """Write `out`: a task for each pair of classes in PAIRS, its second list being the images held out.

    With `heldout` "test" these are the test images. With "train" they are training images, and the test images stay
    unseen: of N images the first N // 6 in the order numpy.random.RandomState(seed).permutation(N), which is how
    scikit-learn's train_test_split(random_state=seed) holds out a sixth. Labels are unshifted, and images stand in the
    order of the raw files. n_train and n_test limit the images of each task.
    """
    streams.check(len(PAIRS), seed)
    if heldout not in HELDOUT:
        raise DataError(f"--heldout {heldout}: give one of {', '.join(HELDOUT)}")
    files.check_target(out)
    form, _ = building.pixel_form(name, dtype)
    parts = sources.images(name, raw_path)
    if heldout == "train":
        parts = _sixth(*parts[0], seed)
    tasks = [[], []]
    for pair in building.progress(PAIRS, out):
        for split, (x, y), n in zip(tasks, parts, (n_train, n_test), strict=True):
            rows = torch.isin(y, torch.tensor(pair)).nonzero().view(-1)
            rows = rows[: building.limit(n, len(rows))]
            split.append((pair, form(x[rows]), y[rows].clone()))
    files.save(out, *tasks)


def _sixth(x, y, seed):
    """((x, y) kept, (x, y) held out) of one set of images."""
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(y)))
    n = len(y) // SHARE
    held, kept = (rows.sort().values for rows in (order[:n], order[n:]))
    return (x[kept], y[kept]), (x[held], y[held])
