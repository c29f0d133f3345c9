"""scikit-learn's 8 x 8 digits as data/mnist_split.py splits MNIST: five tasks of two classes, without a download."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import building, split


def build(out, heldout="train", seed=42, raw_path=None, n_train=None, n_test=None, dtype=None):
    """Write the data file `out`; DataError if an argument is out of range or the raw files are missing."""
    split.build(out, "digits", heldout, seed, raw_path, n_train, n_test, dtype)


if __name__ == "__main__":
    sys.exit(building.main(build, split.names("digits")))
