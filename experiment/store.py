"""Exact states on disk: files that are whole or not there, and one run's checkpoint in a folder of its own, under a lock.

A file has three parts: a line with the SHA-256 (hexadecimal) of all that follows it; a line of JSON, the header; and the
state as ``torch.save`` writes it. It is read with ``weights_only=True``, so that nothing in it is executed.
"""

import hashlib
import io
import json
import os
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import torch

from data import temporary

PLACE = (
    ".checkpoints"  # the folder of all checkpoints below --save_path; hidden, so that no tool looks for records in it
)
HEXADECIMAL = 64  # digits of a SHA-256
HEADER = 2**24  # bytes: more than the longest header, which lists each task's examples and outputs


class Damaged(Exception):
    """A file that cannot be read; its text says why."""


def remove_left_behind(save_path) -> None:
    """Remove the folders below ``save_path`` in which dead processes left no checkpoint, only what belongs to one.

    A process that has just begun makes its folder before it has the lock. So only folders that nobody has written to for
    an hour count as left behind.
    """
    for folder in (Path(save_path) / PLACE).glob("*"):
        with suppress(OSError):  # another process may remove it too
            if time.time() - folder.stat().st_mtime > temporary.STALE:
                left = Store(save_path, folder.name)
                if not left.exists() and left.lock():
                    left.remove()
    with suppress(OSError):  # there are checkpoints, or none ever were
        (Path(save_path) / PLACE).rmdir()


def write(file: Path, header: dict, state: dict) -> None:
    """Write ``file`` under another name, flush it to the disk, then rename it. ``OSError`` if that fails."""
    try:
        with temporary.replacing(file) as (opened,):
            opened.write(b" " * HEXADECIMAL + b"\n")
            hashed = _Hashed(opened)
            hashed.write(json.dumps(header).encode() + b"\n")
            torch.save(state, hashed)
            opened.seek(0)
            opened.write(hashed.sum.hexdigest().encode())
    except RuntimeError as error:
        raise OSError(str(error)) from None


def read(file: Path) -> tuple[dict, dict]:
    """Header and state of a file that ``write`` made. ``Damaged`` if they are not what was written.

    Nothing of a file whose checksum is wrong is kept in memory, however long it is.
    """
    try:
        with open(file, "rb") as opened:
            digest = opened.readline(HEXADECIMAL + 1).decode("ascii", "replace").strip()
            begin = opened.tell()
            if hashlib.file_digest(opened, "sha256").hexdigest() != digest:
                raise Damaged("its checksum is wrong")
            opened.seek(begin)
            header = opened.readline(HEADER)
            return _parts(header, _Tail(opened), os.fstat(opened.fileno()).st_size - begin - len(header))
    except OSError as error:
        raise Damaged(error.strerror or str(error)) from None


def _parts(header: bytes, state: "_Tail", n: int) -> tuple[dict, dict]:
    """Header and state of a file with the right checksum, which a stranger can compute too; the state has n bytes."""
    try:
        with zipfile.ZipFile(state) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        state.seek(0)
        found = None if unpacked > n else (json.loads(header), torch.load(state, weights_only=True))
    except Exception as error:  # readers stumble over what nobody wrote with almost any exception
        raise Damaged(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from None
    if found is None or _size(found[1]) > 2 * n:
        raise Damaged("it unpacks to more than it holds")
    if not all(isinstance(part, dict) for part in found):
        raise Damaged("its header or its state is no dictionary")
    return found


def _size(state) -> int:
    """The bytes of all tensors in ``state``, of each once."""
    found, left, met = {}, [state], set()
    while left:
        value = left.pop()
        if id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, torch.Tensor):
            found[id(value)] = value.nbytes
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
    return sum(found.values())


class _Tail(io.RawIOBase):
    """What follows in an open file, as a file of its own."""

    def __init__(self, file):
        self.file, self.begin = file, file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self.file.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset + self.begin if whence == os.SEEK_SET else offset, whence) - self.begin


class Store:
    """The checkpoint with the name ``key`` below the folder ``save_path``. Nothing is made before the first ``write``."""

    def __init__(self, save_path, key: str):
        self.folder = Path(save_path) / PLACE / key
        self.file = self.folder / "checkpoint"
        self._lock = None

    def exists(self) -> bool:
        """Whether there is a checkpoint, whole or damaged."""
        return self.file.is_file()

    def lock(self) -> bool:
        """Keep all others away until this process ends; False if another one has come first.

        What a process that died while writing has left is removed. ``OSError`` if the folder cannot be made or written.
        """
        import filelock

        if self._lock is not None and not self._stands():  # somebody has removed the folder
            self._lock.release()
            self._lock = None
        if self._lock is None:
            temporary.make_folder(self.folder)
            lock = filelock.FileLock(self.folder / "lock", thread_local=False)
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                return False
            self._lock, self._locked = lock, os.stat(lock.lock_file)
            for left in self.folder.glob(temporary.PATTERN):
                left.unlink(missing_ok=True)
        return True

    def _stands(self) -> bool:
        """Whether the file that this process has locked is still the one that others would lock."""
        with suppress(OSError):
            return os.path.samestat(os.stat(self._lock.lock_file), self._locked)
        return False

    def write(self, header: dict, state: dict) -> None:
        """Replace the checkpoint; the previous one stays until the new one is on the disk. ``OSError`` if that fails."""
        write(self.file, header, state)

    def read(self) -> tuple[dict, dict]:
        """Header and state. ``Damaged`` if they are not what was written."""
        return read(self.file)

    def remove(self) -> None:
        """Remove the checkpoint and what belongs to it, if this process has the lock; and folders that are then empty."""
        if self._lock is None:
            return
        try:
            self.file.unlink(missing_ok=True)
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None
            self.folder.rmdir()
            self.folder.parent.rmdir()
        except OSError:
            pass  # another run has a checkpoint there, or has just begun to write one


class _Hashed:
    """A file to write to, and the hash of what was written."""

    def __init__(self, file):
        self.file, self.sum = file, hashlib.sha256()

    def write(self, data) -> int:
        self.sum.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()
