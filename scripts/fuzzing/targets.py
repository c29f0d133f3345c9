"""The table of what is fuzzed: one entry a parser or reader. Add a line to TARGETS, and seeds that it reads well."""

import contextlib
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile

import numpy as np
import torch

from data import DataError, arrays, files, identity, sources, stored, unpickled
from scripts.fuzzing import command_lines, readers, states
from scripts.fuzzing.target import Target


def _tasks(n=2, dtype=torch.float32):
    x = torch.arange(12).reshape(4, 3)
    x = x.to(dtype) if dtype == torch.uint8 else x.to(dtype) / 12
    return [[[f"task {t}", x if t else x.t().reshape(4, 3), torch.arange(4) % 3] for t in range(n)] for _ in range(2)]


def _saved(content, **how) -> bytes:
    torch.save(content, buffer := io.BytesIO(), **how)
    return buffer.getvalue()


def _data_files() -> list[bytes]:
    plain = _saved(_tasks(1))
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    return [plain, packed.getvalue(), _saved(_tasks(2, torch.uint8)), *_legacy_files()]


def _legacy_files() -> list[bytes]:
    return [_saved(_tasks(n), _use_new_zipfile_serialization=False) for n in (1, 2)]


def _examine(path):
    for tasks in (file := files.examine(path, verify=True)).train, file.test:
        for _, x, _ in files.in_memory(tasks):
            assert x.dim() == 2
    _ = [x[torch.arange(len(x) // 2)].read() for _, x, _ in file.train]


def _pickles() -> list[bytes]:
    contents = (
        _tasks(2),
        _tasks(1, torch.float64),
        [[["", torch.nn.Parameter(torch.ones(1, 1)), torch.ones(1).long()]]] * 2,
    )
    made = []
    for content in (*contents, {"a": (1, -2, 2**40, 0.5, None, True, "é" * 300)}, torch.eye(2).to_sparse()):
        for protocol in (2, 4):
            with zipfile.ZipFile(io.BytesIO(_saved(content, pickle_protocol=protocol))) as archive:
                made.append(archive.read("archive/data.pkl"))
    return made


def _in_an_archive(path):
    """The input as the pickle of an archive that is right in all else."""
    code = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        for key in range(6):
            archive.writestr(
                f"archive/data/{key}", struct.pack("<12f", *(i / 12 for i in range(12)))[: 48 - 16 * (key % 2)]
            )
    _examine(path)


def _recall(path):
    known = identity.recall(path.with_name("data.pt"), path.stat())
    assert known is None or len(known["hash"]) == 64


def _identities() -> list[bytes]:
    known = {"format": 3, "size": 1, "mtime_ns": 1, "ctime_ns": 1, "inode": 1, "hash": "0" * 64, "bytes": True}
    return [json.dumps(known).encode(), json.dumps({**known, "format": 2}).encode()]


def _idx(path):
    x = sources._idx(path.read_bytes(), path.name)
    assert x.numel() <= path.stat().st_size


def _idx_files() -> list[bytes]:
    return [
        struct.pack(f">HBB{len(s)}I", 0, 8, len(s), *s) + bytes(n) for s, n in (((2, 3), 6), ((5,), 5), ((2, 2, 2), 8))
    ]


def _decompress(path):
    content = sources._decompressed(path, sources.RAW_SETS["cifar100"], "train.bin")
    assert len(content) <= sources.LARGEST


def _tars() -> list[bytes]:
    made = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(fileobj=(out := io.BytesIO()), mode="w", format=form) as archive:
            for name, kind, link in (
                ("cifar-100-binary", tarfile.DIRTYPE, ""),
                ("é" * 40, tarfile.SYMTYPE, "../" * 30),
                ("cifar-100-binary/train.bin", tarfile.REGTYPE, ""),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size = kind, link, 5 if kind == tarfile.REGTYPE else 0
                archive.addfile(info, io.BytesIO(b"12345"))
        made.append(out.getvalue()[:4_096])
    return made


def _tar(path):
    """The input, which is packed with gzip first: else hardly any would get as far as the tar module."""
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    _decompress(path)


def _npz() -> list[bytes]:
    x, y = np.arange(12, dtype=np.uint8).reshape(4, 3), np.arange(4)
    made = []
    for save in (np.savez, np.savez_compressed):
        for contents in ({"x": x, "y": y}, {"x": x.reshape(4, 1, 3, 1) / 12, "y": y.astype(str), "task": y % 2}):
            save(buffer := io.BytesIO(), **contents)
            made.append(buffer.getvalue())
    return made


def _own_arrays(path):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        parts = arrays.read(path)
    assert said.getvalue().rstrip("\n").isprintable()
    for part in parts:
        assert part is None or len(part.x) == len(part.y)


OPCODES = tuple(
    bytes([op]) for op in b"qrjh(tKRXMJQ]eac}us\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x93\x94\x95bio0.N"
)
NAMES = (
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_tensor_v3\n", b"ctorch\nFloatStorage\n",
    b"ctorch.storage\nUntypedStorage\n", b"ccollections\nOrderedDict\n", b"ctorch\nuint16\n", b"cos\nsystem\n", b")R", b"\x85R",
    b"X\x01\x00\x00\x000", b"J\xff\xff\xff\xff", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
)  # fmt: skip
ZIP = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"data.pkl", b"byteorder", b"big")
HEADERS = (
    b"\x93NUMPY\x01\0",
    b"(4,)",
    b"(-1,)",
    b"(10000000000000,)",
    b"'|O'",
    b"'<f8'",
    b"'<U1'",
    b"{'descr': ",
    b"x.npy",
)
READERS = ("data.files", "data.serialized", "data.unpickled", "data.stored")
UNREADABLE = sources._UNREADABLE

TARGETS = {
    "data_file": Target(_examine, (DataError,), _data_files, READERS, ZIP + NAMES),
    "legacy_data_file": Target(_examine, (DataError,), _legacy_files, READERS, OPCODES + NAMES),
    "pickle": Target(
        lambda path: unpickled.value(path.read_bytes(), lambda key, n: stored.Storage(None, n)),
        (unpickled.Damaged, unpickled.Code), _pickles, ("data.unpickled",), OPCODES + NAMES,
    ),
    "pickle_in_a_data_file": Target(_in_an_archive, (DataError,), _pickles, READERS, OPCODES + NAMES),
    "identity": Target(
        _recall, (), _identities, ("data.identity", "json.decoder"),
        (b"[", b"{", b'"', b"1e999", b"NaN", b"\\ud800", b"9" * 5_000), "data.pt.identity.json",
    ),
    "idx": Target(_idx, (DataError,), _idx_files, ("data.sources",)),
    "own_arrays": Target(_own_arrays, (DataError,), _npz, ("data.arrays",), (*ZIP, *HEADERS), "x.npz"),
    "raw_gz": Target(
        _decompress, UNREADABLE, lambda: [gzip.compress(b"12345" * 9), gzip.compress(bytes(10**6))], ("data.sources", "gzip"),
        name="train.bin.gz",
    ),
    "raw_xz": Target(
        _decompress, UNREADABLE, lambda: [lzma.compress(b"12345" * 9), lzma.compress(bytes(10**6))], ("data.sources",),
        name="train.bin.xz",
    ),
    "raw_tar": Target(
        _tar, UNREADABLE, _tars, ("data.sources", "tarfile"),
        (b"\0" * 512, b"L", b"K", b"x", b"g", b"S", b"1", b"2", b"5", b"11 size=9\n", b"30 GNU.sparse.major=1\n", b"path="),
        "cifar-100-binary.tar.gz",
    ),
    **readers.TARGETS,
    **command_lines.TARGETS,
    **states.TARGETS,
}  # fmt: skip
