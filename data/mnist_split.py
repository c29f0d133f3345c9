"""Split MNIST: five tasks of two classes, 1 2, 3 4, 5 6, 7 8, 9 0; the split-MNIST note's held-out images by default."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import building, split

build = split.builder(__name__, "mnist")

if __name__ == "__main__":
    sys.exit(building.main(build, split.names("mnist")))
