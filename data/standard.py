"""The standard files: which builder makes each, with which arguments; `ensure` builds one that is missing.

20 tasks, seed 0, rotations over 0 to 180 degrees, unless an entry says otherwise. The reduced Fashion-MNIST files
have 10 tasks, each with the same first 2,000 training images and all test images; the one called twice has five
angles, and each of them twice. The split files have five tasks of two classes; with `_test` in the name the test
images are held out, without it a sixth of the training images.
"""

import contextlib
import difflib
import importlib
import inspect
import os
import sys
from pathlib import Path

from data import DataError

# file name: (builder in data/, its arguments, bytes of x in the file)
STANDARD = {
    "mnist_permutations.pt": ("mnist_permutations", {"n_tasks": 20}, 20 * 70_000 * 784),
    "mnist_rotations.pt": (
        "mnist_rotations",
        {"n_tasks": 20, "min_rot": 0.0, "max_rot": 180.0},
        20 * 70_000 * 784,
    ),
    "mnist_manypermutations.pt": ("mnist_manypermutations", {"n_tasks": 100}, 100 * 10_200 * 784),
    "cifar100.pt": ("cifar100", {"n_tasks": 20}, 60_000 * 3072),
    "cifar100_superclasses.pt": ("cifar100_superclasses", {"n_tasks": 20}, 60_000 * 3072),
    "omniglot_alphabets.pt": ("omniglot_alphabets", {"n_tasks": 50}, 20 * 1_623 * 784),
    "fashion_mnist_permutations.pt": ("fashion_mnist_permutations", {"n_tasks": 20}, 20 * 70_000 * 784),
    "fashion_mnist_permutations_reduced.pt": (
        "fashion_mnist_permutations",
        {"n_tasks": 10, "n_train": 2000},
        10 * 12_000 * 784,
    ),
    "fashion_mnist_rotations.pt": (
        "fashion_mnist_rotations",
        {"n_tasks": 20, "min_rot": 0.0, "max_rot": 180.0},
        20 * 70_000 * 784,
    ),
    "fashion_mnist_rotations_reduced.pt": (
        "fashion_mnist_rotations",
        {"n_tasks": 10, "min_rot": 0.0, "max_rot": 180.0, "n_train": 2000},
        10 * 12_000 * 784,
    ),
    "fashion_mnist_rotations_twice.pt": (
        "fashion_mnist_rotations",
        {"n_tasks": 10, "rounds": 2, "min_rot": 0.0, "max_rot": 180.0, "n_train": 2000},
        10 * 12_000 * 784,
    ),
    "digits_permutations.pt": ("digits_permutations", {"n_tasks": 20}, 4 * 20 * 1797 * 64),
    "digits_rotations.pt": (
        "digits_rotations",
        {"n_tasks": 20, "min_rot": 0.0, "max_rot": 180.0},
        4 * 20 * 1797 * 64,
    ),
    "text_domains.pt": ("text_domains", {}, 2 * 64 * (20_000 + 5 * (4_000 + 2 * 500))),
    "text_families.pt": (  # test text of many files, as classifiers of families of files need it
        "text_domains",
        {"n_train": 2000, "n_test": 400, "test_files": 40},
        2 * 64 * (20_000 + 5 * (2_000 + 2 * 400)),
    ),
    "mnist_split.pt": ("mnist_split", {"heldout": "train", "seed": 42}, 60_000 * 784),
    "mnist_split_test.pt": ("mnist_split", {"heldout": "test"}, 70_000 * 784),
    "fashion_mnist_split.pt": ("fashion_mnist_split", {"heldout": "train", "seed": 42}, 60_000 * 784),
    "fashion_mnist_split_test.pt": ("fashion_mnist_split", {"heldout": "test"}, 70_000 * 784),
    "digits_split.pt": ("digits_split", {"heldout": "train", "seed": 42}, 4 * 1297 * 64),
    "digits_split_test.pt": ("digits_split", {"heldout": "test"}, 4 * 1797 * 64),
}
SEED = 0  # where the arguments give none


def ensure(path, raw_path=None):
    """Build the data file at `path` if it is missing and its name is a standard one; True if built now.

    `raw_path` is the folder where raw files are looked for first. Of several processes one builds, the
    others wait for it. DataError if the file is missing and no builder knows its name.
    """
    path = Path(path)
    if _stands(path):
        return False
    if path.name not in STANDARD:
        near = difflib.get_close_matches(path.name, STANDARD, n=1, cutoff=0.0)[0]
        raise DataError(
            f"{path}: does not exist and is not a standard file that could be built; "
            f"did you mean {near}? (standard files: {', '.join(STANDARD)})"
        )
    from data import building, files

    builder, arguments, n_bytes = STANDARD[path.name]
    files.check_target(path, n_bytes)
    with one_at_a_time(path):
        if path.exists():  # another process has built it meanwhile
            return False
        print(f"{path} does not exist; building it, about {building.size(n_bytes)}", file=sys.stderr)
        build = importlib.import_module(f"data.{builder}").build
        build(path, raw_path=raw_path, **{"seed": SEED, **arguments})
    return True


def unlike(name, build, given):
    """A sentence if `given`, all arguments of the builder `build`, make another file than the standard one of this name;
    None if they make that one, or the name is no standard one."""
    if name not in STANDARD:
        return None
    defaults = {key: parameter.default for key, parameter in inspect.signature(build).parameters.items()}
    wanted = {**defaults, "seed": SEED, **STANDARD[name][1]}
    differ = [key for key, value in given.items() if key not in ("raw_path", "dtype") and value != wanted[key]]
    if not differ:
        return None
    flags = " ".join(f"--{key} {'all' if wanted[key] is None else wanted[key]}" for key in differ)
    return f"main.py and the scripts take this for the standard file of that name, which is built with {flags}"


def _stands(path):
    """Whether there is something under this name; DataError if nobody may know or the name is impossible."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); give another"
        ) from error
    return True


@contextlib.contextmanager
def one_at_a_time(path):
    """One process at a time makes the file `path`. Where the file system has no locks all go on: each builds under a
    temporary name of its own, and the last one stays."""
    from filelock import FileLock, Timeout  # most runs find their file and need no lock

    lock = FileLock(f"{path}.tmp.lock")
    with contextlib.suppress(OSError):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"{path}: waiting for the process that is building it", file=sys.stderr)
            lock.acquire()
    try:
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)  # while it is held; those who wait for it see that it has gone
            lock.release()
