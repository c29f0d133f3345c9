"""The part of a data file that a run sees: which tasks, and whether their test sets or held-out training examples."""

import torch

from data import DataError


def cut(train, test, name, first_task=0, n_tasks=None, validation=0):
    """(train, test): tasks ``first_task`` and on, ``n_tasks`` of them or all, out of the data file called ``name``.

    With ``validation`` that many training examples of each task are not trained on. They replace the task's test set,
    which stays unseen. A generator of its own with a fixed seed draws them, so that tasks which show the same images
    hold out the same ones. DataError if there are too few tasks or examples.
    """
    left = len(train) - first_task
    if left < 1:
        raise DataError(f"--first_task {first_task}: {name} has only {len(train)} tasks; give {len(train) - 1} or less")
    n_tasks = n_tasks or left
    if n_tasks > left:
        after = f" from task {first_task} on" if first_task else ""
        raise DataError(f"--n_tasks {n_tasks}: {name} has only {left} tasks{after}; give {left} or fewer")
    train, test = (tasks[first_task : first_task + n_tasks] for tasks in (train, test))
    if validation:
        train, test = zip(*(_held_out(task, validation, name) for task in train), strict=True)
    return list(train), list(test)


def _held_out(task, n, name):
    description, x, y = task
    if n >= len(y):
        raise DataError(f"--validation {n}: a task of {name} has {len(y)} training examples; give {len(y) - 1} or less")
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    kept, held = order[n:].sort().values, order[:n].sort().values
    return [description, x[kept], y[kept]], [description, x[held], y[held]]
