"""Files of `torch.save`, of today's form (a zip archive) and of that before torch 1.6, read without executing them."""

import gc
import struct
import zipfile

from data import DataError, unpickled
from data.stored import File, Packed, Storage

PICKLE = 2**24  # bytes of pickle at most, enough for 30,000 tasks
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read(file: File) -> tuple:
    """(value, {key: storage}) of an open file; tensors in the value are `Stored`.

    DataError if it is no such file, or wants code to be executed; OSError if it cannot be read.
    """
    head = file.read(0, len(LEGACY))
    collecting = gc.isenabled()
    gc.disable()  # it would look through the new objects again and again, and find nothing
    try:
        if head.startswith(b"PK\x03\x04"):
            return _zipped(file)
        if head and LEGACY.startswith(head):
            return _legacy(file)
    except DataError:
        raise
    except unpickled.Code as error:
        raise DataError(
            f"{file.path}: holds pickled code ({str(error)[:200]!r}), which is never executed; "
            f"save tensors, numbers and strings only"
        ) from error
    except OSError as error:
        if error.errno is None:
            raise file.damaged() from error
        raise
    except Exception as error:  # zipfile and struct stumble over damage in many ways
        raise file.damaged() from error
    finally:
        if collecting:
            gc.enable()
    raise DataError(f"{file.path}: is not a data file written by torch.save")


def _zipped(file):
    archive = zipfile.ZipFile(file.raw)
    entries = {entry.filename: entry for entry in archive.infolist()}
    (pickled,) = (name for name in entries if name.endswith("/data.pkl"))
    root = pickled.removesuffix("data.pkl")
    code = _small(archive, entries[pickled])
    if f"{root}byteorder" in entries and _small(archive, entries[f"{root}byteorder"]) != b"little":
        raise DataError(f"{file.path}: was written by a machine of the other byte order; build it on this one")
    storages = {}

    def storage(key, n_bytes):
        if key not in storages:
            storages[key] = _entry(file, archive, entries[f"{root}data/{key}"])
        if storages[key].n_bytes != n_bytes:
            raise unpickled.Damaged
        return storages[key]

    return unpickled.value(code, storage)[0], storages


def _small(archive, entry) -> bytes:
    """The content of an entry that should be small; its checksum is checked."""
    if entry.file_size > PICKLE or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unpickled.Damaged
    with archive.open(entry) as stream:
        return stream.read(PICKLE)


def _entry(file, archive, entry) -> Storage:
    encrypted = entry.flag_bits & 1
    if encrypted or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unpickled.Damaged
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        return Packed(file, entry.file_size, lambda: archive.open(entry))
    local = file.read(entry.header_offset, 30)
    if not local.startswith(b"PK\x03\x04"):
        raise unpickled.Damaged
    start = entry.header_offset + 30 + sum(struct.unpack_from("<2H", local, 26))
    if entry.file_size != entry.compress_size or start + entry.file_size > file.stat.st_size:
        raise unpickled.Damaged
    return Storage(file, entry.file_size, start, entry.CRC)


def _legacy(file):
    """Pickles of a magic number, a version, the system, the value and the keys; each storage after its length."""
    code = file.read(0, PICKLE)
    storages = {}

    def storage(key, n_bytes):
        found = storages.setdefault(key, Storage(file, n_bytes))
        if found.n_bytes != n_bytes:
            raise unpickled.Damaged
        return found

    values, at = [], 0
    for _ in range(5):
        value, at = unpickled.value(code, storage, at)
        values.append(value)
    _, version, system, value, keys = values
    if version != 1001 or not system["little_endian"] or sorted(keys) != sorted(storages):
        raise unpickled.Damaged
    for key in keys:
        found = storages[key]
        (n,) = struct.unpack("<q", file.read(at, 8))
        found.start, at = at + 8, at + 8 + found.n_bytes
        if not 0 <= n <= found.n_bytes or at > file.stat.st_size:
            raise unpickled.Damaged
    return value, storages
