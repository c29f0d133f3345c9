"""A file of `torch.save`, written while its tensors are made: they need not all be in memory at once.

`torch.save` writes the value first and the tensors' contents after it, so that all have to be there at once. Readers look
entries up by name, and the other order is as good.
"""

import io
import pickle
import sys
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef

KINDS = {  # what a storage of each dtype is called in the file
    **{torch.uint8: torch.ByteStorage, torch.int8: torch.CharStorage, torch.int16: torch.ShortStorage},
    **{torch.int32: torch.IntStorage, torch.int64: torch.LongStorage},
    **{torch.float32: torch.FloatStorage, torch.float64: torch.DoubleStorage},
}


class Written(NamedTuple):
    """A tensor whose contents are in the archive: the storage's key and size, and how the tensor lies in it."""

    key: str
    dtype: torch.dtype
    n: int
    offset: int
    shape: torch.Size
    stride: tuple[int, ...]


class Archive:
    """Writes into an open binary file. A context; the file is whole after `finish`.

    Storages are written once, however many tensors share them.
    """

    def __init__(self, file):
        self._writer = torch._C.PyTorchFileWriter(file)
        # Of each storage; the weak reference keeps its number from being given again.
        self._keys: dict[tuple, tuple] = {}

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:  # without its end the archive would be ended by a destructor, which may abort the process
            self._writer.write_end_of_file()
        except (OSError, RuntimeError):
            if error is None:  # else it follows from that one
                raise

    def add(self, tensor: torch.Tensor) -> Written:
        """Write the storage of a tensor. In the file a storage has one dtype: what is seen as two is written twice."""
        storage = tensor.untyped_storage()
        place = storage._cdata, tensor.dtype
        if place not in self._keys:
            key = str(len(self._keys))
            self._keys[place] = key, StorageWeakRef(storage)
            self._writer.write_record(f"data/{key}", storage, storage.nbytes())
        key, _ = self._keys[place]
        n = storage.nbytes() // tensor.element_size()
        return Written(key, tensor.dtype, n, tensor.storage_offset(), tensor.shape, tensor.stride())

    def finish(self, value) -> None:
        """Write the value: lists and builtins, in which tensors may be tensors or `Written`."""
        content = io.BytesIO()
        _Pickler(content, self).dump(value)
        for name, record in (("data.pkl", content.getvalue()), ("byteorder", sys.byteorder.encode())):
            self._writer.write_record(name, record, len(record))


class _Storage(NamedTuple):
    """Stands for the storage of a `Written`."""

    of: Written


class _Pickler(pickle.Pickler):
    """Pickles tensors as `torch.save` does."""

    def __init__(self, file, archive: Archive):
        super().__init__(file, protocol=2)
        self.archive = archive

    def reducer_override(self, value):
        if isinstance(value, torch.Tensor):
            value = self.archive.add(value)
        if not isinstance(value, Written):
            return NotImplemented
        given = _Storage(value), value.offset, tuple(value.shape), value.stride, False, OrderedDict()
        return torch._utils._rebuild_tensor_v2, given

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        return "storage", KINDS[value.of.dtype], value.of.key, "cpu", value.of.n
