"""Raw files: found, verified, parsed; what happens where they are missing or damaged."""

import gzip
import hashlib
import io
import lzma
import struct
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data import DataError, sources, temporary

ROOT = Path(__file__).resolve().parents[2]
N_TRAIN, N_TEST = 30, 10


def idx(values):
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def mnist_files(seed=0):
    """The four files of a tiny MNIST: {name: content}."""
    random = np.random.RandomState(seed)
    contents = {}
    for part, n in (("train", N_TRAIN), ("t10k", N_TEST)):
        contents[f"{part}-images-idx3-ubyte"] = idx(random.randint(0, 256, (n, 28, 28)).astype(np.uint8))
        contents[f"{part}-labels-idx1-ubyte"] = idx(random.randint(0, 10, n).astype(np.uint8))
    return contents


def cifar_files():
    """Two records of each class in train.bin, one in test.bin; the pixels tell the record."""
    contents = {}
    for file, repeats in (("train.bin", 2), ("test.bin", 1)):
        records = np.zeros((100 * repeats, 3074), np.uint8)
        records[:, 1] = np.random.RandomState(repeats).permutation(100 * repeats) % 100
        records[:, 0] = records[:, 1] // 5
        records[:, 2:] = np.arange(3072) % 251 + np.arange(100 * repeats)[:, None] % 5
        contents[file] = records.tobytes()
    return contents


def trust(monkeypatch, name, contents):
    """Let `contents` be the original files of data set `name`."""
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    assert hashes.keys() == sources.RAW_SETS[name].files.keys()
    monkeypatch.setitem(sources.RAW_SETS, name, replace(sources.RAW_SETS[name], files=hashes))


def write(folder, contents, pack=bytes, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (folder / (file + suffix)).write_bytes(pack(content))


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path, request):
    """No raw files of this machine, no downloads: but for the tests on real data."""
    if "real" in request.node.name:
        return
    monkeypatch.delenv("CL_DATA_HOME", raising=False)
    monkeypatch.setattr(sources, "RAW", tmp_path / "data_raw")
    for name, raw_set in sources.RAW_SETS.items():
        monkeypatch.setitem(sources.RAW_SETS, name, replace(raw_set, installed=(), mirrors=()))


def test_omniglots_sets_and_cifar100s_coarse_labels(tmp_path, monkeypatch):
    paper = [np.random.RandomState(n).rand(n, 20, 105, 105) < 0.9 for n in (2, 1)]
    contents = {}
    for file, images in zip(sources.RAW_SETS["omniglot"].files, paper, strict=True):
        packed = io.BytesIO()
        np.savez_compressed(packed, images=images, labels=np.zeros((len(images), 20), int))
        contents[file] = packed.getvalue()
    trust(monkeypatch, "omniglot", contents)
    write(tmp_path / "omniglot", contents)
    assert all(map(np.array_equal, sources.omniglot(tmp_path), paper))
    contents = cifar_files()
    trust(monkeypatch, "cifar100", contents)
    write(tmp_path, contents)
    for _, fine, coarse in sources.cifar100(tmp_path):
        assert torch.equal(coarse, fine // 5) and len(fine.unique()) == 100


@pytest.mark.parametrize(("pack", "suffix"), [(bytes, ""), (gzip.compress, ".gz"), (lzma.compress, ".xz")])
@pytest.mark.parametrize("place", ["argument", "environment", "data/raw", "the folder itself"])
def test_found_in_every_place_and_form(tmp_path, monkeypatch, place, pack, suffix):
    contents = mnist_files()
    trust(monkeypatch, "mnist", contents)
    folder = {"data/raw": sources.RAW / "mnist", "the folder itself": tmp_path / "my"}
    write(folder.get(place, tmp_path / "my" / "mnist"), contents, pack, suffix)
    if place == "environment":
        monkeypatch.setenv("CL_DATA_HOME", str(tmp_path / "my"))
    named = tmp_path / "my" if place in ("argument", "the folder itself") else None
    (x_train, y_train), (x_test, y_test) = sources.images("mnist", named)
    assert x_train.dtype == torch.uint8 and y_train.dtype == torch.int64
    assert x_train.shape == (N_TRAIN, 784) and x_test.shape == (N_TEST, 784)
    assert x_train.numpy().tobytes() == contents["train-images-idx3-ubyte"][16:]
    assert y_test.tolist() == list(contents["t10k-labels-idx1-ubyte"][8:])
    assert len(y_train) == N_TRAIN


def test_the_sub_folder_tells_fashion_from_digits(tmp_path, monkeypatch):
    for name, seed in (("mnist", 0), ("fashion_mnist", 1)):
        trust(monkeypatch, name, mnist_files(seed))
        write(tmp_path / sources.RAW_SETS[name].folder, mnist_files(seed))
    one, other = (sources.images(name, tmp_path)[0][0] for name in ("mnist", "fashion_mnist"))
    assert not torch.equal(one, other)


def test_a_wrong_or_damaged_file_is_passed_over_with_a_word(tmp_path, monkeypatch, capsys):
    trust(monkeypatch, "mnist", mnist_files())
    write(tmp_path / "one" / "mnist", mnist_files(seed=1))
    write(tmp_path / "one", mnist_files(), lambda content: gzip.compress(content)[:-20], ".gz")
    write(sources.RAW / "mnist", mnist_files())
    sources.images("mnist", tmp_path / "one")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 8
    assert sum("skipped, not the original MNIST file" in line for line in said) == 4
    assert sum("skipped, cannot be read" in line for line in said) == 4


@pytest.mark.parametrize("packed", [False, True])
def test_cifar100_binary_release(tmp_path, monkeypatch, packed):
    contents = cifar_files()
    trust(monkeypatch, "cifar100", contents)
    write(tmp_path / "cifar-100-binary", contents)
    if packed:  # as it is downloaded
        with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "cifar-100-binary", "cifar-100-binary")
        for file in contents:
            (tmp_path / "cifar-100-binary" / file).unlink()
    (x_train, y_train), (x_test, y_test) = sources.images("cifar100", tmp_path)
    assert x_train.shape == (200, 3072) and x_test.shape == (100, 3072)
    assert y_train.bincount().tolist() == [2] * 100 and y_test.bincount().tolist() == [1] * 100
    assert x_train[7, :3].tolist() == [2, 3, 4]


def test_missing_files_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CL_DATA_HOME", str(tmp_path / "home"))
    contents = mnist_files()
    trust(monkeypatch, "mnist", contents)
    write(tmp_path / "home", {"train-images-idx3-ubyte": contents["train-images-idx3-ubyte"]})
    with pytest.raises(DataError) as caught:
        sources.images("mnist", tmp_path / "named")
    text = str(caught.value)
    assert "\n" not in text
    assert "MNIST's raw files train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1" in text
    for place in (tmp_path / "named" / "mnist", tmp_path / "named", tmp_path / "home", sources.RAW):
        assert str(place) in text
    assert "--data_file digits_permutations.pt" in text


def serve(monkeypatch, pages):
    """Let pooch's downloader find `pages` {url: content}, all other addresses failing."""
    import pooch

    class Downloader:
        def __init__(self, **_):
            pass

        def __call__(self, url, file, _):
            if url not in pages:
                raise ConnectionError(url)
            file.write(pages[url])

    monkeypatch.setattr(pooch, "HTTPDownloader", Downloader)


def test_download_falls_back_on_the_next_mirror(monkeypatch, capsys):
    contents = mnist_files()
    trust(monkeypatch, "mnist", contents)
    mirrors = ("http://down/", "http://wrong/", "http://good/")
    monkeypatch.setitem(sources.RAW_SETS, "mnist", replace(sources.RAW_SETS["mnist"], mirrors=mirrors))
    wrong = {f"http://wrong/{file}.gz": gzip.compress(c) for file, c in mnist_files(seed=1).items()}
    good = {f"http://good/{file}.gz": gzip.compress(c) for file, c in contents.items()}
    serve(monkeypatch, wrong)
    with pytest.raises(DataError, match="down: ConnectionError; wrong: ValueError; good: ConnectionError"):
        sources.images("mnist")
    assert not list((sources.RAW / "mnist").iterdir())  # nothing unverified is kept
    serve(monkeypatch, wrong | good)
    x = sources.images("mnist")[0][0]
    serve(monkeypatch, {})
    assert torch.equal(sources.images("mnist")[0][0], x)  # kept: no second download
    assert capsys.readouterr().err == ""
    assert sorted(p.name for p in (sources.RAW / "mnist").iterdir()) == sorted(f"{f}.gz" for f in contents)


def test_cifar100_is_downloaded_as_one_archive(tmp_path, monkeypatch):
    contents = cifar_files()
    trust(monkeypatch, "cifar100", contents)
    write(tmp_path / "cifar-100-binary", contents)
    dead = subprocess.Popen(["true"])
    dead.wait()
    folder = sources.RAW / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / f".cifar-100-binary.tar.gz.{dead.pid}-{temporary.HOST}-0123abcd.tmp").touch()
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-100-binary", "cifar-100-binary")
    served = {"http://good/cifar-100-binary.tar.gz": (tmp_path / "packed.tar.gz").read_bytes()}
    new = replace(sources.RAW_SETS["cifar100"], mirrors=("http://good/",))
    monkeypatch.setitem(sources.RAW_SETS, "cifar100", new)
    serve(monkeypatch, served)
    x = sources.images("cifar100")[0][0]
    serve(monkeypatch, {})
    assert torch.equal(sources.images("cifar100")[0][0], x)
    assert [p.name for p in folder.iterdir()] == ["cifar-100-binary.tar.gz"]  # nothing else, nor what a killed run left


def test_without_pooch_there_is_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match="pooch is not installed"):
        sources.images("cifar100")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an IDX file"),
        (b"\x1f\x8b\x08\x00", "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "not an IDX file"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "has 5 values"),
        (idx(np.zeros((2, 3), np.uint8)) + b"\0", "has 7 values"),
        (b"\0\0\x0d\x01" + bytes(8), "not an IDX file of bytes"),
    ],
)
def test_idx_magic_and_sizes(content, said):
    with pytest.raises(DataError, match=said):
        sources._idx(content, "some-file")


def test_cifar_records_are_whole():
    for content in (b"", bytes(3073), bytes(3075)):
        with pytest.raises(DataError, match="no whole number"):
            sources._cifar100(content, "train.bin")


def test_digits_are_split_once_for_all():
    (x_train, y_train), (x_test, y_test) = sources.images("digits")
    assert x_train.shape == (1297, 64) and x_test.shape == (500, 64)
    assert x_train.dtype == torch.uint8 and int(x_train.max()) == sources.WHITE["digits"]
    assert y_train.dtype == torch.int64 and len(y_train) == 1297 and set(y_test.tolist()) == set(range(10))


@pytest.mark.parametrize(
    ("name", "shapes", "first_labels"),
    [
        ("mnist", ((60_000, 784), (10_000, 784)), ([5, 0, 4, 1, 9], [7, 2, 1, 0, 4])),
        ("fashion_mnist", ((60_000, 784), (10_000, 784)), ([9, 0, 0, 3, 0], [9, 2, 1, 1, 6])),
        ("cifar100", ((50_000, 3072), (10_000, 3072)), ([19, 29, 0, 11, 1], [49, 33, 72, 51, 71])),
    ],
)
def test_real_data(name, shapes, first_labels, monkeypatch):
    monkeypatch.setitem(sources.RAW_SETS, name, replace(sources.RAW_SETS[name], mirrors=()))
    try:
        splits = sources.images(name)
    except DataError:
        folders = ", ".join(map(str, sources.search_path(sources.RAW_SETS[name])))
        pytest.skip(f"no raw {name}: looked for in {folders}")
    assert tuple(tuple(x.shape) for x, _ in splits) == shapes
    for x, y in splits:
        assert len(set(y.bincount().tolist())) == 1 or name == "mnist"
        assert int(x.max()) == 255 and int(y.min()) == 0
    assert tuple(y[:5].tolist() for _, y in splits) == first_labels


def run_raw(folder, script, *names, env=None):
    return subprocess.run(
        [sys.executable, script, *names], cwd=folder, capture_output=True, text=True, env=env, timeout=60
    )


def test_raw_py_names_what_it_knows():
    for folder, script in ((ROOT / "data" / "raw", "raw.py"), (ROOT, "data/raw/raw.py")):
        run = run_raw(folder, script, "mnits")
        assert run.returncode == 2
        assert run.stderr == "mnits: no such data set; there are mnist, fashion_mnist, cifar100, omniglot\n"
