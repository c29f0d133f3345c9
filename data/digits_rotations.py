"""Rotations of scikit-learn's 8 x 8 digits: needs no download."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import building, rotated

build = rotated.builder(__name__, "digits", 8)

if __name__ == "__main__":
    sys.exit(building.main(build, "digits_rotations.pt"))
