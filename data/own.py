"""Your own images as a data file: python -m data.own SOURCE [--split HOW] -o FILE.pt

SOURCE is an .npz file with arrays x and y (and x_test, y_test, task, task_test), or a folder of images with a subfolder for
each class (or for each task, with one for each class), which may lie in its subfolders train and test.

--split says what a task is: `classes` deals the classes out, `tasks` takes the tasks that SOURCE names, and `permutations`
and `rotations` show all images in each task, with the pixels in another order or the images turned by another angle. Without
a test set of SOURCE, a share of each class is held out. Classes are numbered in the order of their labels or names.
"""

import sys
from pathlib import Path

if not __package__:  # run from its own folder, as the reference's builders are
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import math
import os

import numpy as np
import torch

from data import DataError, arrays, building, examples, files, folders, streams

FLAGS = {  # name: (type, default, help)
    "classes_per_task": (int, 2, "of --split classes"),
    "n_tasks": (int, 10, "of --split permutations and rotations"),
    "seed": (int, 0, "of what is drawn: permutations, angles, test examples"),
    "min_rot": (float, 0.0, "smallest angle in degrees"),
    "max_rot": (float, 180.0, "largest angle in degrees"),
    "test_share": (float, 0.2, "share of each class that is held out, if SOURCE has no test set"),
    "size": (int, None, "resize the images of a folder to SIZE x SIZE pixels"),
}
SPLITS = ("classes", "tasks", "permutations", "rotations")


def build(
    out,
    source,
    split=None,
    classes_per_task=2,
    n_tasks=10,
    seed=0,
    min_rot=0.0,
    max_rot=180.0,
    test_share=0.2,
    size=None,
):
    """Write the data file `out`; returns what it holds in a line. DataError in one sentence, and `out` is left alone.

    The default `split` is "tasks" where the source names tasks, else "classes". `n_tasks`, `min_rot` and `max_rot` are of
    permutations and rotations, `test_share` of a source without a test set, and `size` of folders.
    """
    out, source = Path(out), Path(source)
    if out.suffix != ".pt":
        raise DataError(f"-o {out}: a data file's name ends in .pt; give such a name")
    if not 0 < test_share < 1:
        raise DataError(f"--test_share {test_share:g}: must lie between 0 and 1")
    if size is not None and not 1 <= size <= 4096:
        raise DataError(f"--size {size}: must be from 1 to 4096 pixels")
    if classes_per_task < 1:
        raise DataError(f"--classes_per_task {classes_per_task}: must be 1 or more")
    streams.check(n_tasks, seed)
    if not source.exists():
        raise DataError(f"{source}: does not exist; give an .npz file, or a folder of images")
    files.check_target(out)
    if size is not None and not source.is_dir():
        raise DataError(f"--size {size}: only images of a folder are resized; leave it out")
    train, test = folders.read(source, size) if source.is_dir() else arrays.read(source)
    if test is None:
        train, test = examples.held_out(train, test_share, seed, source)
    split = split or ("classes" if train.task is None else "tasks")
    classes = np.unique(train.y)
    for name, known, given in (("class", train.y, test.y), ("task", train.task, test.task)):
        unknown = np.setdiff1d(given, known) if known is not None else []
        if len(unknown):
            raise DataError(f"{source}: {name} {unknown[0]} has test examples and none for training")
    pair = [
        (torch.from_numpy(part.x), torch.from_numpy(np.searchsorted(classes, part.y)), part.task)
        for part in (train, test)
    ]
    if split == "classes":
        tasks = by_classes(pair, [str(name) for name in classes.tolist()], classes_per_task, source)
    elif split == "tasks":
        tasks = by_tasks(pair, source)
    elif split == "permutations":
        tasks = moved(pair, streams.permutations(train.x.shape[1], n_tasks, seed), out)
    else:
        tasks = moved(pair, turned(train, n_tasks, seed, min_rot, max_rot, source), out)
    files.save(out, *tasks)
    n_train, n_test = (sum(len(y) for *_, y in part) for part in tasks)
    return (
        f"{out}: {len(tasks[0])} tasks, {train.x.shape[1]} inputs, {len(classes)} classes, {n_train:,} training and "
        f"{n_test:,} test examples, {building.size(os.path.getsize(out))}"
    )


def by_classes(pair, names, k, source):
    """Tasks of k classes each, in the order of their numbers; a task's description is the classes' names."""
    if len(names) % k:
        divisors = ", ".join(str(d) for d in range(1, len(names) + 1) if len(names) % d == 0)
        raise DataError(
            f"--classes_per_task {k}: {source} has {len(names)} classes, which do not make whole tasks; give {divisors}"
        )
    tasks = []
    for x, y, _ in pair:
        rows = examples.rows_of((y // k).numpy(), len(names) // k)
        tasks.append([(names[k * t : k * (t + 1)], x[r], y[r]) for t, r in enumerate(rows)])
    return tasks


def by_tasks(pair, source):
    """The tasks that the source names, in the order of their numbers or names, which are the descriptions."""
    if pair[0][2] is None:
        raise DataError(f"{source}: names no tasks; give --split classes, permutations or rotations")
    names = np.unique(pair[0][2])
    tasks = []
    for x, y, task in pair:
        rows = examples.rows_of(np.searchsorted(names, task), len(names))
        tasks.append([(str(name), x[r], y[r]) for name, r in zip(names.tolist(), rows, strict=True)])
    return [part if all(len(y) for *_, y in part) else _missing(part, source) for part in tasks]


def _missing(part, source):
    (name, *_) = next(task for task in part if not len(task[2]))
    raise DataError(f"{source}: task {name} has training examples and none for the test; add some")


def moved(pair, stream, out):
    """All images in each task, seen through a pixel index as of `data.streams`; what lies outside is black."""
    n_bytes = sum(x.element_size() * len(x) * len(index) for x, *_ in pair for _, index in stream)
    files.check_target(out, n_bytes)
    padded = [(torch.nn.functional.pad(x, (0, 1)), y) for x, y, _ in pair]
    return [[(name, x[:, index], y) for name, index in building.progress(stream, out)] for x, y in padded]


def turned(train, n_tasks, seed, min_rot, max_rot, source):
    """(angle, pixel index) of each task, for square images of one channel or more."""
    n = train.x.shape[1]
    side = math.isqrt(n)
    channels, rows, columns = train.shape or (1, side, n // max(side, 1))
    if rows != columns or channels * rows * columns != n:
        what = f"{rows} x {columns} pixels" if train.shape else f"rows of {n} inputs"
        raise DataError(
            f"{source}: its images are {what}, and only square ones can be rotated; give --split permutations"
        )
    area = rows * columns
    stream = []
    for angle, index in streams.rotations(rows, n_tasks, seed, min_rot, max_rot):
        of_channels = [torch.where(index == area, n, index + c * area) for c in range(channels)]
        stream.append((angle, torch.cat(of_channels)))
    return stream


def main(argv=None):
    """Command line; exit status 2 and one sentence if the source or an argument is wrong."""
    parser = building.Parser(prog="python -m data.own", description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("source", metavar="SOURCE", help="an .npz file, or a folder of images")
    parser.add_argument("-o", "--o", metavar="FILE.pt", required=True, help="the data file to write")
    parser.add_argument(
        "--split", choices=SPLITS, help="what a task is (default: tasks where SOURCE names them, else classes)"
    )
    for name, (kind, default, text) in FLAGS.items():
        shown = "" if default is None else f" (default: {default})"
        parser.add_argument(f"--{name}", type=kind, default=default, help=text + shown)

    def act():
        given = vars(parser.parse_args(argv))
        return build(given.pop("o"), **given)

    return building.status(act)


if __name__ == "__main__":
    sys.exit(main())
