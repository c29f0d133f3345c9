"""Data files: `torch.save([tasks_tr, tasks_te])`, a task being `[description, x, y]`.

x is (N, n_inputs): uint8, a byte k standing for k / 255, or float32 in [0, 1] (or float64, which is kept); y is (N,)
or (N, 1) of an integral dtype, at least 0. `load` maps the file into memory instead of reading it, and checks
everything before anybody trains on it. What has been checked and hashed once is remembered in
`<file>.identity.json`, so that the next load of the same file reads next to nothing.
"""

import contextlib
import hashlib
import json
import os
import pickle
import re
import secrets
import shutil
import sys
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from data import DataError, pixels

# To be raised when the checks or the hash change: a remembered verdict of another number is ignored.
IDENTITY_FORMAT = 2
SPLITS = ("training", "test")
INTEGRAL = (
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)
# Interpolated or float32-rounded images may leave [0, 1] by the last digit.
ROUNDING = 1e-6


@dataclass(frozen=True)
class DataFile:
    """A checked data file: `train` and `test` are lists of (description, x (N, n_inputs), y (N,) int64),
    one entry a task, x as it is stored; `hash` is the file's identity (SHA-256, hexadecimal); `bytes` says whether
    every pixel is one that a byte stands for, however it is stored."""

    train: list
    test: list
    hash: str
    bytes: bool


def load(path):
    """Read, check and identify the data file at `path`; a `DataFile`, or DataError in one sentence."""
    path = Path(path)
    try:
        before = path.stat()
        tasks = _normalised(_unpickled(path), path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: does not exist; build it with one of the scripts in data/") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    known = _remembered(path, before)
    if known is None:
        known = _examined(tasks, path)
        _remember(path, before, known)
    return DataFile(*tasks, **known)


def save(path, train, test):
    """Check the two task lists and write them to `path`: under a temporary name first, renamed at the end.

    Nothing is left behind on failure. Returns the file's identity.
    """
    from tqdm import tqdm

    path = Path(path)
    tasks = _normalised([train, test], path)
    tasks = [[(name, _unshared(x), _unshared(y)) for name, x, y in split] for split in tasks]
    known = _examined(tasks, path)
    # Storages shared between tasks (labels, mostly) are written once.
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in _tensors(tasks)}
    n_bytes = sum(storages.values())
    check_target(path, n_bytes)
    temporary = path.with_name(f"{path.name}.tmp{os.getpid()}-{secrets.token_hex(4)}")
    bar = {
        "total": n_bytes,
        "desc": f"writing {path.name}",
        "disable": not sys.stderr.isatty(),
        "leave": False,
    }
    try:
        # A file object, not a name: torch writes a name into the file, and equal files should be equal bytes.
        with open(temporary, "xb") as file, tqdm.wrapattr(file, "write", **bar) as out:
            torch.save([[list(task) for task in split] for split in tasks], out)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # Closing the archive fails too, with an error of torch's own; the disk's came first.
        first = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(first, "strerror", None) or str(first).splitlines()[0]
        raise DataError(f"{path}: could not be written ({reason})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    _remember(path, path.stat(), known)
    return known["hash"]


def check_target(path, n_bytes=0):
    """Make the folder of `path`; DataError if a file of `n_bytes` bytes cannot be written there."""
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder, not a file; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise DataError(f"{path}: its folder cannot be made or used ({error.strerror})") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DataError(f"{path}: no permission to write into the folder {path.parent}")
    if n_bytes > free:
        raise DataError(
            f"{path}: needs {n_bytes / 1e6:,.0f} MB, but {path.parent} has {free / 1e6:,.0f} MB left; "
            f"make room or choose another folder"
        )


# -- reading ---------------------------------------------------------------------------------------------


def _unpickled(path):
    """The file's content, its tensors mapped into memory where the file allows it; no code is executed."""
    if not path.is_file():
        raise DataError(f"{path}: is not a file; name a data file (see data/standard.py for those known)")
    damaged = f"{path}: is truncated, damaged or not written by torch.save; build or copy it again"
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    mapped = False
    if zipped:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except zipfile.BadZipFile as error:
            raise DataError(damaged) from error
        # Mapping a file that was compressed afterwards gives garbage without a word.
        mapped = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what does not load is reported below
            if mapped and _is_unicode(path):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with open(path, "rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if found is None:
            raise DataError(damaged) from error
        raise DataError(
            f"{path}: holds pickled code ({found[1]}), which is never executed; save tensors, numbers and strings only"
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever torch makes of bytes that are no torch file
        if zipped or "unexpected EOF" in str(error):
            raise DataError(damaged) from error
        raise DataError(f"{path}: is not a data file written by torch.save") from error


def _is_unicode(path):
    """Whether torch can open the file by its name: where the locale is ASCII, names hold other bytes as surrogates."""
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


def _normalised(content, path):
    """[training tasks, test tasks] as tuples (description, x, y (N,) int64), shapes and labels checked."""
    pair = isinstance(content, list | tuple) and len(content) == 2
    if not pair or not all(isinstance(tasks, list | tuple) for tasks in content):
        raise DataError(f"{path}: does not hold a pair [training tasks, test tasks]")
    if not content[0] and not content[1]:
        raise DataError(f"{path}: holds no tasks")
    if len(content[0]) != len(content[1]):
        raise DataError(f"{path}: holds {len(content[0])} training tasks but {len(content[1])} test tasks")
    splits = [
        [_normalised_task(task, f"{path}: {split} task {t}") for t, task in enumerate(tasks)]
        for split, tasks in zip(SPLITS, content, strict=True)
    ]
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
    return splits


def _normalised_task(task, where):
    if not isinstance(task, list | tuple) or len(task) != 3:
        raise DataError(f"{where}: is not [description, x, y]")
    description, x, y = task
    for name, tensor in (("x", x), ("y", y)):
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_meta:
            raise DataError(f"{where}: {name} is not a dense tensor but {type(tensor).__name__}")
    x, y = x.detach(), y.detach()
    if x.dtype not in pixels.STORED:
        raise DataError(f"{where}: x is {x.dtype}; store it as float32 in [0, 1], or 8-bit images as uint8")
    if x.dim() != 2:
        raise DataError(f"{where}: x has shape {tuple(x.shape)}; it must be (N, n_inputs), images flattened")
    if y.dtype not in INTEGRAL:
        raise DataError(f"{where}: the labels are {y.dtype}, not whole numbers; store y as int64")
    if y.dim() != 1 and not (y.dim() == 2 and y.shape[1] == 1):
        raise DataError(f"{where}: y has shape {tuple(y.shape)}; it must be (N,) or (N, 1)")
    if len(x) != len(y):
        raise DataError(f"{where}: x has {len(x)} examples but y has {len(y)} labels")
    if x.numel() == 0:
        raise DataError(f"{where}: is empty (x has shape {tuple(x.shape)})")
    y = y.long().reshape(-1).contiguous()
    if y.min() < 0:
        raise DataError(f"{where}: label {int(y.min())} is negative; labels count from 0")
    return description, x.contiguous(), y


def _examined(tasks, path):
    """What a `DataFile` says of its tasks; DataError for values that nobody can train on. Reads the whole file."""
    _check_values(tasks, path)
    return {"hash": _hash(tasks), "bytes": all(pixels.are_bytes(x) for split in tasks for _, x, _ in split)}


def _check_values(tasks, path):
    """DataError unless every x is finite and in [0, 1]."""
    for split, split_tasks in zip(SPLITS, tasks, strict=True):
        for t, (_, x, _) in enumerate(split_tasks):
            if x.dtype == torch.uint8:
                continue
            low, high = (float(bound) for bound in torch.aminmax(x))  # NaN if any value is
            if not -float("inf") < low <= high < float("inf"):
                row = int((~x.isfinite()).any(1).nonzero()[0])
                raise DataError(
                    f"{path}: {split} task {t}: x holds NaN or infinity (first in example {row}); remove it"
                )
            if low < -ROUNDING or high > 1 + ROUNDING:
                raise DataError(
                    f"{path}: {split} task {t}: x ranges over [{low:g}, {high:g}] instead of [0, 1]; "
                    f"scale it (divide 8-bit images by 255)"
                )


# -- identity --------------------------------------------------------------------------------------------


def _unshared(tensor):
    """The tensor, or a copy where it is a part of something larger, which torch.save would write whole."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _tensors(tasks):
    return [tensor for split in tasks for _, x, y in split for tensor in (x, y)]


def _hash(tasks):
    """SHA-256 over dtypes, shapes, contents and labels: not over names, descriptions or the file's bytes.

    Bytes count as the floats that they stand for: the same images are the same data, however they are stored.
    """
    digest = hashlib.sha256()
    for split, split_tasks in zip(SPLITS, tasks, strict=True):
        for _, x, y in split_tasks:
            digest.update(f"{split} {pixels.dtype(x)} {tuple(x.shape)}\n".encode())
            for rows in x.split(pixels.ROWS):
                digest.update(pixels.floats(rows).numpy())
            digest.update(y.numpy())
    return digest.hexdigest()


def _identity_path(path):
    return path.with_name(path.name + ".identity.json")


def _remembered(path, stat):
    """What was found earlier, if the file is still of the same size and modification time; else None."""
    try:
        known = json.loads(_identity_path(path).read_text())
        same = (known["format"], known["size"], known["mtime_ns"]) == (
            IDENTITY_FORMAT,
            stat.st_size,
            stat.st_mtime_ns,
        )
        whole = re.fullmatch("[0-9a-f]{64}", known["hash"]) and isinstance(known["bytes"], bool)
        return {"hash": known["hash"], "bytes": known["bytes"]} if same and whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path, stat, known):
    """Write what was found beside the file; where the folder cannot be written, it is found anew every time."""
    known = {"format": IDENTITY_FORMAT, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, **known}
    target = _identity_path(path)
    temporary = target.with_name(f"{target.name}.tmp{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temporary.write_text(json.dumps(known) + "\n")
        os.replace(temporary, target)
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
