"""scikit-learn's 8 x 8 digits as data/mnist_split.py splits MNIST: five tasks of two classes, without a download."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import building, split

build = split.builder(__name__, "digits")

if __name__ == "__main__":
    sys.exit(building.main(build, split.names("digits")))
