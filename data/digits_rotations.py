"""Rotations of scikit-learn's 8 x 8 digits: needs no download."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import building, streams


def build(
    out,
    n_tasks=20,
    seed=0,
    min_rot=0.0,
    max_rot=90.0,
    step=None,
    rounds=1,
    raw_path=None,
    n_train=None,
    n_test=None,
    dtype=None,
):
    """Write the data file `out`; DataError if an argument is out of range or the raw files are missing."""
    stream = streams.rotations(8, n_tasks, seed, min_rot, max_rot, step, rounds)
    building.build_indexed(out, "digits", stream, raw_path, n_train, n_test, dtype)


if __name__ == "__main__":
    sys.exit(building.main(build, "digits_rotations.pt"))
