"""Fashion-MNIST rotations: all images of a task rotated by the task's angle, which is its description."""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import building, rotated

build = rotated.builder(__name__, "fashion_mnist", 28)

if __name__ == "__main__":
    sys.exit(building.main(build, "fashion_mnist_rotations.pt"))
