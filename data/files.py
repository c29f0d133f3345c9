"""Data files: `torch.save([tasks_tr, tasks_te])`, a task being `[description, x, y]`.

x is (N, n_inputs): uint8, a byte k standing for k / 255, or float32 in [0, 1] (or float64, which is kept); y is (N,)
or (N, 1) of an integral dtype, from 0 to LABELS - 1. A third entry of the list declares that x is text (data/tokens.py).
`examine` checks everything before anybody trains on it; the images stay in the file until a run asks for those that it
needs. `load` reads them all.
"""

import hashlib
import math
import os
import shutil
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data import DataError, identity, pixels, serialized, temporary, tokens
from data.archive import Archive
from data.stored import File, Packed, Stored

SPLITS = ("training", "test")
INTEGRAL = (
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)
# A network has an output for every label up to the largest.
LABELS = 2**15
# Interpolated or float32-rounded images may leave [0, 1] by the last digit.
ROUNDING = 1e-6
# What compressed files, and tensors that repeat what is stored, may take: so many times the file's size in memory, and
# so many times its size to read, where tasks share tensors.
MEMORY, READING = 100, 1_000
AHEAD = 2  # tasks that are written before they are examined, at most


@dataclass(frozen=True)
class DataFile:
    """A checked data file: `train` and `test` are lists of (description, x (N, n_inputs), y (N,) int64),
    one entry a task, x as it is stored; `hash` is the file's identity (SHA-256, hexadecimal); `bytes` says whether
    every pixel is one that a byte stands for, however it is stored; `text` is what a file of text declares, None for
    images. x is a `Stored`, or a tensor once it was read."""

    path: Path
    train: list
    test: list
    hash: str
    bytes: bool
    found: dict  # the file's size, times and inode when it was opened
    text: tokens.Text | None = None

    def changes(self) -> list[str]:
        """A sentence if there are other data under the file's name by now; else none."""
        try:
            if identity.key(self.path.stat()) == self.found:
                return []
            now = examine(self.path)
        except (OSError, DataError) as error:
            reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{self.path}: ")
            now = f"now: {reason}"
        else:
            if now.hash == self.hash:
                return []
            now = f"now: sha256 {now.hash[:12]}"
        return [
            f"{self.path} was changed during the run ({now}); the run used what it had read at its start, "
            f"sha256 {self.hash[:12]}"
        ]


def load(path) -> DataFile:
    """Read, check and identify the data file at `path`; DataError in one sentence."""
    file = examine(path)
    return replace(
        file, train=in_memory(file.train), test=in_memory(file.test), text=file.text and file.text.read(contents)
    )


def examine(path, verify=False) -> DataFile:
    """As `load`, but every x is a `Stored`, whose contents are read when they are asked for.

    What was found earlier about the same file is believed, unless it is to `verify` it.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is not a file; name a data file (see data/standard.py for those known)")
        file = File(path)
        known = None if verify else identity.recall(path, file.stat)
        if known is None:
            file.settle()
        content, storages = serialized.read(file)
        content, declared = tokens.declared(content, path)
        tasks = _normalised(content, path, declared, file.stat.st_size)
        if known is None:
            for storage in storages.values():
                storage.check()
            known = _examined(tasks, path, declared)
            file.check_unchanged()
            identity.remember(path, file.stat, known)
    except FileNotFoundError as error:
        raise DataError(f"{path}: does not exist; build it with one of the scripts in data/") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); give another"
        ) from error
    temporary.remove_left_over(path.parent)
    return DataFile(path, *tasks, **known, found=identity.key(file.stat), text=declared)


def in_memory(tasks) -> list:
    """The tasks with their x read; DataError if the file has been written to meanwhile.

    Tasks that share a stored x share the tensor.
    """
    whole, read = {}, []
    for name, x, y in tasks:
        if isinstance(x, Stored):
            content = whole.get(x.place) if x.rows is None else None
            content = x.read() if content is None else content
            if x.rows is None:
                whole[x.place] = content
            read.append((name, content, y))
        else:
            read.append((name, x, y))
    for file in {x.storage.file for _, x, _ in tasks if isinstance(x, Stored)}:
        file.check_unchanged()
    return read


def contents(x) -> torch.Tensor:
    """What a `Stored` or a tensor holds. DataError if the file has been written to meanwhile."""
    if not isinstance(x, Stored):
        return x
    read = x.read()
    x.storage.file.check_unchanged()
    return read


def save(path, train, test, declared=None):
    """Check the tasks and write them to `path`: under a temporary name first, renamed at the end.

    `train` and `test` are lists, or iterators, whose tasks are examined and written while they make the next. `declared` is the
    `tokens.Text` of tasks that hold text. A tensor must not be changed once it was given. Nothing is left behind on failure.
    Returns the file's identity.
    """
    path = Path(path)
    made = _Made(path, train, test, declared)
    check_target(path, made.n_bytes)
    examination, tasks, examined = _Examination(path, declared), ([], []), deque()
    descriptor = None
    try:
        # A file object, not a name: torch writes a name into the file, and equal files should be equal bytes.
        with temporary.replacing(path) as (file,):
            with made.told(file) as out, Archive(out) as archive, ThreadPoolExecutor(1) as beside:
                for split, t, (name, x, y) in made:
                    examined.append(beside.submit(_on_one_thread, examination.add, SPLITS[split], t, x, y))
                    tasks[split].append((name, archive.add(x), archive.add(y)))
                    if len(examined) > AHEAD:
                        examined.popleft().result()
                made.check_all(tasks)
                while examined:
                    examined.popleft().result()
                entries = [declared.as_entry()] if declared else []
                archive.finish([[list(task) for task in split] for split in tasks] + entries)
                known = examination.found()
            descriptor = os.dup(file.fileno())
        # Of the file that was written, and not of one that has taken its place meanwhile.
        identity.remember(path, os.fstat(descriptor), known)
    except (OSError, RuntimeError, ValueError) as error:
        if made.error is not None:
            raise made.error from None
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"{path}: could not be written ({reason})") from error
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return known["hash"]


class _Made:
    """Checked tasks (split, t, (name, x, y)) as somebody makes them; ``error`` is what that ended with, if it failed."""

    def __init__(self, path, train, test, declared):
        self.path, self.declared, self.error = path, declared, None
        self.check = _TaskCheck(None, declared or Images())
        self.tasks = self._checked((train, test))
        self.n_bytes = 0
        if all(isinstance(split, list | tuple) for split in (train, test)):
            self.tasks = list(self.tasks)
            tensors = [tensor for *_, (_, x, y) in self.tasks for tensor in (x, y)]
            tensors += declared.tensors() if declared else []
            # Storages shared between tasks (labels, mostly) are written once.
            self.n_bytes = sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())

    def _checked(self, splits):
        for split, given in enumerate(splits):
            for t, task in enumerate(given):
                name, x, y = self.check(task, f"{self.path}: {SPLITS[split]} task {t}")
                yield split, t, (name, _unshared(x), _unshared(y))

    def __iter__(self):
        try:
            yield from self.tasks
        except Exception as error:
            self.error = error
            raise

    def check_all(self, tasks) -> None:
        """DataError unless the tasks fit one another."""
        _check_numbers(tasks, self.path)
        _check_alike(tasks, self.path)
        _check_declared(self.declared, tasks[1], self.path, self.check)

    def told(self, file):
        """The file, with a bar of what is written to it unless the maker of the tasks has one."""
        from tqdm import tqdm

        hidden = not self.n_bytes or not sys.stderr.isatty()
        return tqdm.wrapattr(
            file, "write", total=self.n_bytes, desc=f"writing {self.path.name}", disable=hidden, leave=False
        )


def _on_one_thread(function, *args):
    """The other threads have work of their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*args)
    finally:
        torch.set_num_threads(before)


def check_target(path, n_bytes=0):
    """Make the folder of `path`; DataError if a file of `n_bytes` bytes cannot be written there."""
    path = Path(path)
    try:
        temporary.require_replaceable(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}; give another name") from error
    try:
        temporary.make_folder(path.parent)
        temporary.remove_left_over(path.parent)
        free = shutil.disk_usage(path.parent).free
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: its folder cannot be made or used ({reason})") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DataError(f"{path}: no permission to write into the folder {path.parent}")
    if n_bytes > free:
        raise DataError(
            f"{path}: needs {n_bytes / 1e6:,.0f} MB, but {path.parent} has {free / 1e6:,.0f} MB left; "
            f"make room or choose another folder"
        )


# -- checking --------------------------------------------------------------------------------------------


class Images:
    """How x is checked and hashed where nothing else is declared; the counterpart of tokens.Text."""

    stored = pixels.STORED
    wanted = "store it as float32 in [0, 1], or 8-bit images as uint8"
    called, bounds = staticmethod(pixels.dtype), staticmethod(lambda where: _Bounds(where))

    def __init__(self):
        self._floats = None

    def plain(self, rows):
        """`pixels.floats(rows)`, in the same memory every time: new memory takes longer than the conversion."""
        if rows.dtype != torch.uint8:
            return rows
        if self._floats is None or self._floats.shape[1:] != rows.shape[1:]:
            self._floats = torch.empty(pixels.ROWS, *rows.shape[1:])
        return pixels.floats(rows, self._floats[: len(rows)])


def _normalised(content, path, declared=None, file_size=None):
    """[training tasks, test tasks] as tuples (description, x, y (N,) int64), shapes and labels checked.

    `declared` is the `tokens.Text` of text. `file_size` bounds how much memory the tensors may ask for.
    """
    pair = isinstance(content, list | tuple) and len(content) == 2
    if not pair or not all(isinstance(tasks, list | tuple) for tasks in content):
        raise DataError(f"{path}: does not hold a pair [training tasks, test tasks]")
    _check_numbers(content, path)
    check = _TaskCheck(file_size, declared or Images())
    splits = [
        [check(task, f"{path}: {split} task {t}") for t, task in enumerate(tasks)]
        for split, tasks in zip(SPLITS, content, strict=True)
    ]
    _check_alike(splits, path)
    _check_declared(declared, splits[1], path, check)
    return splits


def _check_numbers(splits, path):
    """DataError unless there are as many training as test tasks, and some."""
    if not splits[0] and not splits[1]:
        raise DataError(f"{path}: holds no tasks")
    if len(splits[0]) != len(splits[1]):
        raise DataError(f"{path}: holds {len(splits[0])} training tasks but {len(splits[1])} test tasks")


def _check_alike(splits, path):
    """DataError unless all tasks have x of the same width and dtype."""
    _, first, _ = splits[0][0]
    for split, tasks in zip(SPLITS, splits, strict=True):
        for t, (_, x, _) in enumerate(tasks):
            if x.shape[1] != first.shape[1]:
                raise DataError(
                    f"{path}: {split} task {t}: x is {x.shape[1]} wide, training task 0's is "
                    f"{first.shape[1]}; all tasks need the same width"
                )
            if x.dtype != first.dtype:
                raise DataError(
                    f"{path}: {split} task {t}: x is {x.dtype}, training task 0's is {first.dtype}; "
                    f"all tasks need the same dtype"
                )


def _check_declared(declared, test, path, check):
    """DataError unless what is declared, if anything is, fits the test tasks."""
    if declared:
        tokens.check_shapes(declared, test, path, lambda x: isinstance(x, Stored) or _dense(x))
        for x in declared.tensors():
            check.check_size(x, path)


class _TaskCheck:
    """Checks and normalises one task after another; labels that tasks share are read once."""

    def __init__(self, file_size, form):
        self.file_size = math.inf if file_size is None else file_size
        self.form = form
        self.labels, self.held = {}, set()
        self.memory = self.reading = 0

    def __call__(self, task, where):
        if not isinstance(task, list | tuple) or len(task) != 3:
            raise DataError(f"{where}: is not [description, x, y]")
        description, x, y = task
        for name, tensor in (("x", x), ("y", y)):
            if not isinstance(tensor, Stored) and not _dense(tensor):
                raise DataError(f"{where}: {name} is not a dense tensor but {type(tensor).__name__}")
        if x.dtype not in self.form.stored:
            raise DataError(f"{where}: x is {x.dtype}; {self.form.wanted}")
        if len(x.shape) != 2:
            raise DataError(f"{where}: x has shape {tuple(x.shape)}; it must be (N, n_inputs), images flattened")
        if y.dtype not in INTEGRAL:
            raise DataError(f"{where}: the labels are {y.dtype}, not whole numbers; store y as int64")
        if len(y.shape) != 1 and not (len(y.shape) == 2 and y.shape[1] == 1):
            raise DataError(f"{where}: y has shape {tuple(y.shape)}; it must be (N,) or (N, 1)")
        if len(x) != len(y):
            raise DataError(f"{where}: x has {len(x)} examples but y has {len(y)} labels")
        if 0 in x.shape:
            raise DataError(f"{where}: is empty (x has shape {tuple(x.shape)})")
        for tensor in (x, y):
            self.check_size(tensor, where)
        if not isinstance(x, Stored):
            x = x.detach().contiguous()
        return description, x, self._labels(y, where)

    def check_size(self, tensor, where):
        """DataError if the tensors so far, this one too, come to more than a file of this size can mean."""
        self.reading += tensor.nbytes
        if isinstance(tensor, Stored):
            self._hold(tensor.place, tensor.nbytes)
            self._hold(tensor.storage, tensor.storage.n_bytes if isinstance(tensor.storage, Packed) else 0)
        for n_bytes, most in ((self.memory, MEMORY), (self.reading, READING)):
            if n_bytes > most * self.file_size:
                raise DataError(
                    f"{where}: a tensor has shape {tuple(tensor.shape)}, and those up to it come to {n_bytes / 1e6:,.0f} MB, "
                    f"more than {most:,} times the file; if that is meant, store tensors that repeat nothing (x.clone())"
                )

    def _hold(self, what, n_bytes):
        if what not in self.held:
            self.held.add(what)
            self.memory += n_bytes

    def _labels(self, y, where):
        stored = isinstance(y, Stored)
        if stored and y.place in self.labels:
            return self.labels[y.place]
        values = y.read() if stored else y.detach()
        low, high = int(values.numpy().min()), int(values.numpy().max())
        if low < 0:
            raise DataError(f"{where}: label {low} is negative; labels count from 0")
        if high >= LABELS:
            raise DataError(
                f"{where}: label {high} is beyond {LABELS - 1:,}, the largest that is taken, since a network has an "
                f"output for every label up to its largest; number the classes from 0"
            )
        values = values.long().reshape(-1).contiguous()
        if stored:
            self.labels[y.place] = values
        return values


def _dense(value) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta


def _examined(tasks, path, declared=None):
    """What a `DataFile` says of its tasks; DataError for values that nobody can train on. Reads all contents."""
    examination = _Examination(path, declared)
    for split, split_tasks in zip(SPLITS, tasks, strict=True):
        for t, (_, x, y) in enumerate(split_tasks):
            examination.add(split, t, x, y)
    return examination.found()


class _Examination:
    """As `_examined`, of one task after another, the training tasks first."""

    def __init__(self, path, declared=None):
        self.path, self.declared, self.form = path, declared, declared or Images()
        self._digest, self._bytes = hashlib.sha256(), declared is None

    def add(self, split, t, x, y):
        # Over dtypes, shapes, contents and labels: not over names, descriptions or the file's bytes. Bytes count as
        # the floats that they stand for: the same images are the same data, however they are stored.
        self._digest.update(f"{split} {self.form.called(x)} {tuple(x.shape)}\n".encode())
        self._add(x, self.form.bounds(f"{self.path}: {split} task {t}"))
        self._digest.update(y.numpy())

    def _add(self, x, bounds):
        for rows in x.blocks() if isinstance(x, Stored) else x.split(pixels.ROWS):
            bounds.add(rows)
            self._bytes = self._bytes and pixels.are_bytes(rows)
            self._digest.update(self.form.plain(rows).numpy())
        bounds.check()

    def found(self):
        """What a `DataFile` says, once all tasks were added."""
        if self.declared:
            self._digest.update(self.declared.declaration())
            self._add(self.declared.general, self.declared.bounds(f"{self.path}: general"))
            for t, x in enumerate(self.declared.shown):
                self._add(x, tokens.Bounds(f"{self.path}: shown {t}", len(self.declared.vocabulary), tokens.KEPT))
        return {"hash": self._digest.hexdigest(), "bytes": self._bytes}


class _Bounds:
    """The range of the pixels of a task, given some rows after another."""

    def __init__(self, where):
        self.where, self.n, self.low, self.high = where, 0, 0.0, 0.0

    def add(self, rows):
        """DataError for rows that are not finite."""
        if rows.dtype != torch.uint8:
            low, high = (float(bound) for bound in torch.aminmax(rows))  # NaN if any value is
            if not -float("inf") < low <= high < float("inf"):
                row = self.n + int((~rows.isfinite()).any(1).nonzero()[0])
                raise DataError(f"{self.where}: x holds NaN or infinity (first in example {row}); remove it")
            self.low, self.high = (min(low, self.low), max(high, self.high)) if self.n else (low, high)
        self.n += len(rows)

    def check(self):
        """DataError unless all lie in [0, 1]."""
        if self.low < -ROUNDING or self.high > 1 + ROUNDING:
            raise DataError(
                f"{self.where}: x ranges over [{self.low:g}, {self.high:g}] instead of [0, 1]; "
                f"scale it (divide 8-bit images by 255)"
            )


def _unshared(tensor):
    """The tensor, or a copy where it is a part of something larger, which would be written whole."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
