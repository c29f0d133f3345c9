"""The table of standard files: building what is missing, once, completely or not at all."""

import inspect
import multiprocessing
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data import DataError, files, sources, standard

ROOT = Path(__file__).resolve().parents[2]
N_IMAGES = {"mnist": (60_000, 10_000), "fashion_mnist": (60_000, 10_000), "digits": (1297, 500)}
WHOLE = {"cifar100": 60_000 * 3072, "cifar100_superclasses": 60_000 * 3072, "omniglot_alphabets": 32_460 * 784}


@pytest.mark.parametrize("name", standard.STANDARD)
def test_table_names_builders_arguments_and_sizes(name):
    module, arguments, n_bytes = standard.STANDARD[name]
    builder = __import__(f"data.{module}", fromlist=["build"]).build
    inspect.signature(builder).bind("out", raw_path=None, **{"seed": standard.SEED, **arguments})
    if module == "text_domains":  # two bytes a token, some sequences for testing dropped
        n_train, n_test = arguments.get("n_train", 4_000), arguments.get("n_test", 500)
        assert n_bytes == 2 * 64 * (20_000 + 5 * (n_train + 2 * n_test))
        return
    if module in WHOLE:
        assert n_bytes == WHOLE[module]
        return
    source = module.rsplit("_", 1)[0]
    n_train, n_test = N_IMAGES[source]
    n_train = arguments.get("n_train", 200 if "many" in module else n_train)
    if arguments.get("heldout") == "train":
        n_test = 0  # the images held out are training images
    assert n_bytes == arguments.get("n_tasks", 1) * (n_train + n_test) * (4 * 64 if source == "digits" else 784)


@pytest.mark.parametrize("name", ["digits_permutations.pt", "digits_rotations.pt"])
def test_builds_what_is_missing_and_nothing_else(tmp_path, capsys, name):
    path = tmp_path / "new" / "folder" / name
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert standard.ensure(path)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1] and random.getstate() == states[2]
    assert f"{name} does not exist; building it, about 9.2 MB" in capsys.readouterr().err
    assert path.stat().st_size == pytest.approx(standard.STANDARD[name][2], rel=0.01)
    read = files.load(path)
    assert len(read.train) == len(read.test) == 20
    assert read.train[0][1].shape == (1297, 64) and read.test[0][1].shape == (500, 64)
    written = path.stat()
    assert not standard.ensure(str(path))
    assert path.stat() == written
    assert {p.name for p in path.parent.iterdir()} == {name, f"{name}.identity.json"}


def test_unknown_names_are_one_sentence_with_the_nearest(tmp_path):
    with pytest.raises(DataError, match=r"did you mean mnist_permutations\.pt\? \(standard files: ") as caught:
        standard.ensure(tmp_path / "mnist_permutation.pt")
    assert all(name in str(caught.value) for name in standard.STANDARD)
    with pytest.raises(DataError, match="not a standard file"):
        standard.ensure(tmp_path / "###")
    assert not list(tmp_path.iterdir())
    (tmp_path / "my_own.pt").touch()
    assert not standard.ensure(tmp_path / "my_own.pt")


def test_impossible_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="folder cannot be made"):
        standard.ensure(tmp_path / "file" / "digits_rotations.pt")


def test_missing_raw_files_leave_nothing_behind(tmp_path, monkeypatch):
    def missing(*_):
        raise DataError("MNIST's raw files are missing")

    monkeypatch.setattr(sources, "images", missing)
    with pytest.raises(DataError, match="missing"):
        standard.ensure(tmp_path / "mnist_rotations.pt")
    assert not list(tmp_path.iterdir())


def _ensure(path, results):
    results.put(standard.ensure(path))


def test_of_several_processes_one_builds(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    path = tmp_path / "digits_rotations.pt"
    processes = [context.Process(target=_ensure, args=(path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    built = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert built == [False, False, True]
    assert len(files.load(path).train) == 20
    assert {p.name for p in tmp_path.iterdir()} == {path.name, f"{path.name}.identity.json"}


def test_who_waits_says_so_and_takes_what_the_other_has_built(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "digits_rotations.pt"
    with open(f"{path}.tmp.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [sys.executable, "-c", "import sys; from data import standard; print(standard.ensure(sys.argv[1]))", path],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert waiting.stderr.readline() == f"{path}: waiting for the process that is building it\n"
        path.touch()
    assert waiting.communicate(timeout=60) == ("False\n", "")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_without_locks_all_go_on(tmp_path, monkeypatch):
    import filelock

    def refused(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    path = tmp_path / "digits_rotations.pt"
    assert standard.ensure(path) and len(files.load(path).train) == 20


KILLED_HALFWAY = """
import os, signal, sys
from data import standard
from data.archive import Archive

Archive.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
standard.ensure(sys.argv[1])
"""


def test_killed_while_writing_leaves_no_file_under_the_name(tmp_path):
    path = tmp_path / "digits_rotations.pt"
    run = subprocess.run([sys.executable, "-c", KILLED_HALFWAY, path], cwd=ROOT, timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert not path.exists() and any(".tmp" in left.name for left in tmp_path.iterdir())
    assert standard.ensure(path)  # nor does what it left stand in the way
    files.load(path)
    assert {left.name for left in tmp_path.iterdir()} == {path.name, f"{path.name}.identity.json"}
