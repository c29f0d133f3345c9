"""Raw files from strangers: bombs are not unpacked, archives write nothing, nothing in them is executed."""

import contextlib
import gzip
import io
import lzma
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from data import DataError, sources
from tests.data.test_files import Code
from tests.data.test_sources import cifar_files, mnist_files, nothing_installed, trust, write  # noqa: F401

MB = 2**20


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(sources, "LARGEST", MB)


def refused(folder, name, words, capsys, most=12 * MB):
    """Asserts that the raw files in `folder` are passed over with these words, within `most` bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"raw files .* are missing"):
            sources.images(name, folder)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    said = capsys.readouterr().err.splitlines()
    assert said and all(words in line and "skipped" in line for line in said), said


@pytest.mark.parametrize(("pack", "suffix"), [(bytes, ""), (gzip.compress, ".gz"), (lzma.compress, ".xz")])
def test_bombs_are_not_unpacked(tmp_path, capsys, pack, suffix):
    write(tmp_path / "mnist", dict.fromkeys(mnist_files(), bytes(5 * MB)), pack, suffix)
    refused(tmp_path, "mnist", "larger than the original", capsys)


def test_a_large_dictionary_is_not_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sources, "DICTIONARY", 40 * MB)
    huge = lzma.compress(b"12345", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**26}])
    write(tmp_path / "mnist", dict.fromkeys(mnist_files(), huge), bytes, ".xz")
    refused(tmp_path, "mnist", "cannot be read (Memory usage limit exceeded)", capsys, most=48 * MB)


def archive(path, members):
    """A tar.gz at `path` of (TarInfo, content)."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as out:
        for info, held in members:
            info.size = len(held)
            out.addfile(info, io.BytesIO(held))


def member(name, held=b"", kind=tarfile.REGTYPE, link="", **more):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, link, more
    return info, held


TRAIN, FOLDER = "cifar-100-binary/train.bin", "cifar-100-binary"
ARCHIVES = {
    "a bomb": [member(TRAIN, bytes(5 * MB))],
    "a bomb before it": [member("zeros", bytes(5 * MB)), member(TRAIN, b"x")],
    "a header that is a bomb": [member(TRAIN, b"x", comment="x" * 5 * MB)],
    "links to itself": [member(TRAIN, kind=tarfile.SYMTYPE, link="train.bin")],
    "a link to the outside": [member(TRAIN, kind=tarfile.SYMTYPE, link="/etc/passwd")],
    "a hard link": [member(TRAIN, kind=tarfile.LNKTYPE, link="../../secret")],
    "a folder": [member(TRAIN, kind=tarfile.DIRTYPE)],
    "a device": [member(TRAIN, kind=tarfile.CHRTYPE)],
    "a pipe": [member(TRAIN, kind=tarfile.FIFOTYPE)],
    "paths to the outside": [member("../../outside", b"x"), member("/tmp/outside_of_the_folder", b"x")],
    "nothing": [],
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_are_read_in_memory_and_write_nothing(tmp_path, capsys, case):
    folder = tmp_path / "raw"
    folder.mkdir()
    archive(folder / "cifar-100-binary.tar.gz", ARCHIVES[case])
    refused(folder, "cifar100", "cannot be read", capsys, most=24 * MB)
    assert [place.name for place in tmp_path.rglob("*")] == ["raw", "cifar-100-binary.tar.gz"]
    assert not Path("/tmp/outside_of_the_folder").exists()


def test_an_archive_with_more_in_it_is_read_right(tmp_path, monkeypatch):
    contents = cifar_files()
    trust(monkeypatch, "cifar100", contents)
    inside = [member(FOLDER, kind=tarfile.DIRTYPE), member("../out", b"x")]
    archive(tmp_path / "cifar-100-binary.tar.gz", [*inside, *(member(f"{FOLDER}/{f}", c) for f, c in contents.items())])
    assert sources.images("cifar100", tmp_path)[0][0].shape == (200, 3072)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("name", ["mnist", "cifar100"])
def test_planted_code_is_not_executed(tmp_path, name, suffix, capsys):
    """The CIFAR-100 release for Python is pickles; ours is the binary one, and no pickle is ever opened."""
    mark = tmp_path / "executed"
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    planted = pickle.dumps(Code(mark))
    write(tmp_path / "raw", dict.fromkeys(sources.RAW_SETS[name].files, planted), pack, suffix)
    archive(tmp_path / "raw" / "cifar-100-binary.tar.gz", [member(TRAIN, planted)])
    with pytest.raises(DataError, match="are missing"):
        sources.images(name, tmp_path / "raw")
    assert not mark.exists() and "not the original" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00" + b"\xff" * 50, b"\xfd7zXZ\x00" + bytes(40)])
@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_damaged_compression(tmp_path, damage, suffix, capsys):
    write(tmp_path, dict.fromkeys(mnist_files(), damage), bytes, suffix)
    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(damage)
    for name in ("mnist", "cifar100"):
        with pytest.raises(DataError, match="are missing"):
            sources.images(name, tmp_path)
        assert "skipped" in capsys.readouterr().err


def test_pipes_and_folders_as_raw_files(tmp_path):
    for file in mnist_files():
        os.mkfifo(tmp_path / file)
        (tmp_path / f"{file}.gz").mkdir()
    with pytest.raises(DataError, match="are missing"):
        sources.images("mnist", tmp_path)


@pytest.mark.parametrize("place", ["a" * 303, "nul\0", "x/" * 3000])
def test_impossible_folders(tmp_path, place, monkeypatch):
    with contextlib.suppress(ValueError):
        monkeypatch.setenv("CL_DATA_HOME", place)
    with pytest.raises(DataError, match="are missing"):
        sources.images("mnist", tmp_path / place)


def test_sizes_in_headers_are_not_believed():
    with pytest.raises(DataError, match="its header announces"):
        sources._idx(b"\0\0\x08\x03" + b"\xff" * 8 + bytes(4), "some-file")
    for shape in (b"\xff" * 12, b"\x7f\xff\xff\xff" * 3, b"\0\0\0\0" * 3):
        with pytest.raises(DataError, match=r"its header announces|is not an IDX file"):
            sources._idx(b"\0\0\x08\x03" + shape + b"12345", "some-file")
    with pytest.raises(DataError, match=r"is not an IDX file|its header announces"):
        sources._idx(b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"1", "some-file")
