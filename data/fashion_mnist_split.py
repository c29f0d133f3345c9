"""Split Fashion-MNIST: five tasks of two classes, 1 2, 3 4, 5 6, 7 8, 9 0, as data/mnist_split.py has them."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import building, split

build = split.builder(__name__, "fashion_mnist")

if __name__ == "__main__":
    sys.exit(building.main(build, split.names("fashion_mnist")))
