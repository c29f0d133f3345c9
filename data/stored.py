"""Tensors whose contents stay in their file until they are asked for.

Nothing is mapped into memory: a file that is overwritten or cut short later can neither change a tensor that has been
read nor end the process.
"""

import os
import time
import zlib
from pathlib import Path

import torch

from data import DataError, pixels
from model.room import available_memory

BLOCK = 2**22  # bytes read at once
APART = 2**13  # rows further apart than so many bytes are read one by one
TICK = 0.02  # seconds; file systems count times in steps no longer than that
LARGE = 2**24  # bytes; whoever reads more asks first whether there is so much memory


class File:
    """A file that stays open while a tensor may be read from it, and knows whether it has been written to since."""

    def __init__(self, path):
        self.path = Path(path)
        self.raw = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with the last tensor that needs it
        self.stat = os.fstat(self.raw.fileno())

    def __del__(self):
        if hasattr(self, "raw"):
            self.raw.close()

    def settle(self) -> None:
        """Wait until the file's times tell every later change from the last one."""
        age = time.time() - self.stat.st_ctime
        if 0 <= age < TICK:
            time.sleep(TICK - age)
            self.stat = os.fstat(self.raw.fileno())

    def read_into(self, view, at: int) -> None:
        """Fill the bytes ``view`` from place ``at`` on. DataError if they are not there."""
        self.raw.seek(at)
        done = 0
        while done < len(view):
            n = self.raw.readinto(view[done : done + 2**30])
            if not n:
                raise self.damaged()
            done += n

    def read(self, at: int, n: int) -> bytes:
        """Up to ``n`` bytes from place ``at`` on, fewer where the file ends."""
        self.raw.seek(at)
        return self.raw.read(max(0, min(n, self.stat.st_size - at)))

    def check_unchanged(self) -> None:
        """DataError if the file has been written to since it was opened."""
        now = os.fstat(self.raw.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.stat.st_size, self.stat.st_mtime_ns):
            raise DataError(f"{self.path}: was written to while it was read; start again")

    def damaged(self, how="is truncated, damaged or not written by torch.save") -> DataError:
        self.check_unchanged()
        return DataError(f"{self.path}: {how}; build or copy it again")


class Storage:
    """``n_bytes`` bytes of a file, from ``start`` on. ``crc`` is their checksum, if the file has one."""

    def __init__(self, file: File, n_bytes: int, start: int | None = None, crc: int | None = None):
        self.file, self.n_bytes, self.start, self.crc = file, n_bytes, start, crc

    def read_into(self, view, at: int) -> None:
        self.file.read_into(view, self.start + at)

    def check(self) -> None:
        """DataError if the bytes do not have their checksum."""
        if self.crc is None:
            return
        found, buffer = 0, memoryview(bytearray(min(BLOCK, self.n_bytes)))
        for at in range(0, self.n_bytes, BLOCK):
            view = buffer[: self.n_bytes - at]
            self.read_into(view, at)
            found = zlib.crc32(view, found)
        if found != self.crc:
            raise self.file.damaged("is damaged: the content does not have the checksum that the file gives for it")


class Packed(Storage):
    """Bytes that are compressed in the file: ``unpack()`` opens a stream of them, which checks their checksum."""

    def __init__(self, file: File, n_bytes: int, unpack):
        super().__init__(file, n_bytes)
        self.unpack, self.stream = unpack, None

    def read_into(self, view, at: int) -> None:
        try:
            if self.stream is None or self.stream.tell() > at:
                self.stream = self.unpack()
            self.stream.seek(at)
            if self.stream.readinto(view) != len(view):
                raise self.file.damaged()
            if at + len(view) == self.n_bytes:
                self.stream = None
        except DataError:
            raise
        except Exception as error:  # what the decompressors make of damage
            raise self.file.damaged() from error


class Stored:
    """A tensor in a file: element [i, j, ...] is element ``offset + i * strides[0] + j * strides[1] ...`` of a storage.

    ``rows``, ascending, are those that it has of its first dimension; None: all.
    """

    def __init__(self, storage: Storage, dtype, offset: int, shape: tuple, strides: tuple, rows=None):
        self.storage, self.dtype, self.offset, self.strides, self.rows = storage, dtype, offset, strides, rows
        self.whole = shape
        self.shape = shape if rows is None else (len(rows), *shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        n = self.dtype.itemsize
        for size in self.shape:
            n *= size
        return n

    @property
    def place(self) -> tuple:
        """Stored tensors of the same place have the same contents."""
        return id(self.storage), self.dtype, self.offset, self.whole, self.strides

    def __getitem__(self, rows: torch.Tensor) -> "Stored":
        """The tensor of these ``rows``, whose numbers ascend."""
        rows = rows if self.rows is None else self.rows[rows]
        every = None if len(rows) == self.whole[0] else rows
        return Stored(self.storage, self.dtype, self.offset, self.whole, self.strides, every)

    def read(self) -> torch.Tensor:
        """The contents, in memory of their own. DataError if there is too little of it, or the file is damaged."""
        if not self._contiguous():
            return self._gathered()
        out = self._room(self.nbytes)
        view, begin = memoryview(out.numpy()), self.offset * self.dtype.itemsize
        if self.rows is None:
            self.storage.read_into(view, begin)
        else:
            self._read_rows(view, begin, self.nbytes // max(1, len(self)))
        return out.view(self.dtype).view(self.shape)

    def blocks(self):
        """The contents, some rows at a time."""
        if not self._contiguous() or self.rows is not None:
            yield from self.read().split(pixels.ROWS)
            return
        row = self.nbytes // max(1, len(self))
        for first in range(0, len(self), pixels.ROWS):
            shape = (min(pixels.ROWS, len(self) - first), *self.shape[1:])
            offset = self.offset + first * (row // self.dtype.itemsize)
            yield Stored(self.storage, self.dtype, offset, shape, self.strides).read()

    def _room(self, n_bytes: int) -> torch.Tensor:
        """Memory that is free; DataError if there is too little."""
        left = available_memory() if n_bytes >= LARGE else n_bytes
        try:
            if n_bytes <= left:
                return torch.empty(n_bytes, dtype=torch.uint8)
        except RuntimeError:  # a limit of the process's own
            left = 0
        raise DataError(
            f"{self.storage.file.path}: {n_bytes / 1e6:,.0f} MB of it do not fit into memory, which has {left / 1e6:,.0f} MB "
            f"left; give fewer --n_tasks or --samples_per_task, or build it with --dtype uint8"
        )

    def _contiguous(self) -> bool:
        expected = 1
        for size, stride in zip(reversed(self.whole), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True

    def _gathered(self) -> torch.Tensor:
        every = self._room(self.storage.n_bytes)
        self.storage.read_into(memoryview(every.numpy()), 0)
        every = every[: len(every) // self.dtype.itemsize * self.dtype.itemsize].view(self.dtype)
        tensor = every.as_strided(self.whole, self.strides, self.offset)
        return tensor.clone(memory_format=torch.contiguous_format) if self.rows is None else tensor[self.rows]

    def _read_rows(self, view, begin: int, row: int) -> None:
        """Rows that lie apart one by one, others out of blocks that hold them."""
        per_block = max(1, min(BLOCK // row, self.whole[0]))
        apart = not isinstance(self.storage, Packed) and len(self.rows) * APART < self.whole[0] * row
        if apart:
            for i, k in enumerate(self.rows.tolist()):
                self.storage.read_into(view[i * row : (i + 1) * row], begin + k * row)
            return
        into = torch.frombuffer(view, dtype=torch.uint8).view(-1, row) if len(view) else torch.empty(0, row)
        block = torch.empty(per_block, row, dtype=torch.uint8)
        first, end = 0, len(self.rows)
        while first < end:
            start = int(self.rows[first])
            n = min(per_block, self.whole[0] - start)
            until = int(torch.searchsorted(self.rows, start + n))
            n = int(self.rows[until - 1]) + 1 - start
            self.storage.read_into(memoryview(block.view(-1).numpy())[: n * row], begin + start * row)
            torch.index_select(block, 0, self.rows[first:until] - start, out=into[first:until])
            first = until
