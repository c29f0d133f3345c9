"""Permutations of scikit-learn's 8 x 8 digits: the benchmark that needs no download."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import building, streams


def build(out, n_tasks=20, seed=0, raw_path=None, n_train=None, n_test=None, dtype=None):
    """Write the data file `out`; DataError if an argument is out of range or the raw files are missing."""
    stream = streams.digit_permutations(n_tasks, seed)
    building.build_indexed(out, "digits", stream, raw_path, n_train, n_test, dtype)


if __name__ == "__main__":
    sys.exit(building.main(build, "digits_permutations.pt"))
