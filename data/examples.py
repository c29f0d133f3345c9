"""What an .npz file or a folder of images holds, whichever it is: images, labels, and tasks if they are named."""

from typing import NamedTuple

import numpy as np

from data import DataError


class Examples(NamedTuple):
    """x (N, n_inputs) uint8 or float32; y (N,) and task (N,), or None, numbers or text; shape (channels, rows, columns) of
    an image, or None where it is not known."""

    x: np.ndarray
    y: np.ndarray
    task: np.ndarray | None
    shape: tuple | None


def held_out(examples, share, seed, where):
    """(training, test) examples: of every class, and of every task where there are any, a `share` is for the test.

    At least one of each is in either. DataError if a class has one example only.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    groups = [examples.y] if examples.task is None else [examples.y, examples.task]
    numbers = [np.unique(names, return_inverse=True)[1] for names in groups]
    test = np.zeros(len(examples.y), dtype=bool)
    found, number = np.unique(np.stack(numbers, 1), axis=0, return_inverse=True)
    for rows in rows_of(number.reshape(-1), len(found)):
        if len(rows) < 2:
            task = "" if examples.task is None else f" of task {examples.task[rows[0]]}"
            raise DataError(
                f"{where}: class {examples.y[rows[0]]}{task} has one example, and training and test need one each; "
                "add some, leave the class out, or give a test set"
            )
        n = min(max(1, round(share * len(rows))), len(rows) - 1)
        test[generator.permutation(rows)[:n]] = True
    return of(examples, ~test), of(examples, test)


def rows_of(numbers, n):
    """For each of the groups 0 to n - 1 the rows (indices, ascending) whose number in `numbers` (N,) it is."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.searchsorted(numbers[order], np.arange(1, n)))


def of(examples, chosen):
    """The `chosen` examples, a mask (N,) or indices."""
    task = None if examples.task is None else examples.task[chosen]
    return examples._replace(x=examples.x[chosen], y=examples.y[chosen], task=task)
