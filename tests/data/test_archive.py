"""Archives are files of torch.save, and hold in memory only what is being written."""

import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data import DataError, files, serialized, stored
from data.archive import KINDS, Archive
from data.files import AHEAD

ROOT = Path(__file__).parents[2]


def written(path, value, first=()):
    """``value`` as an archive; the tensors ``first`` are added before."""
    with open(path, "w+b") as file, Archive(file) as archive:
        for tensor in first:
            archive.add(tensor)
        archive.finish(value)


@given(
    dtypes=st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5),
    form=st.sampled_from(["whole", "rows", "turned"]),
    first=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_what_torch_load_reads(tmp_path_factory, dtypes, form, first, seed):
    """Tensors that are written before the value or with it, that share a storage, or lie in it with gaps."""
    path = tmp_path_factory.mktemp("a") / "a.pt"
    draw = torch.Generator().manual_seed(seed)
    tensors = [(torch.rand(6, 4, generator=draw) * 100).to(dtype) for dtype in dtypes]
    tensors = [{"whole": x, "rows": x[1:4], "turned": x.t()}[form] for x in tensors]
    tensors += [tensors[0][2:], tensors[0]]
    value = [[["task", x, None] for x in tensors], {"n": len(tensors)}]
    written(path, value, tensors[:first])
    read = torch.load(path, weights_only=True)
    assert read[1] == value[1] and [task[0] for task in read[0]] == ["task"] * len(tensors)
    for (_, x, _), y in zip(read[0], tensors, strict=True):
        assert x.dtype == y.dtype and x.stride() == y.stride() and torch.equal(x, y)
    assert read[0][-1][1].untyped_storage().data_ptr() == read[0][0][1].untyped_storage().data_ptr()
    ours, storages = serialized.read(stored.File(path))
    assert len(storages) == len(dtypes)
    assert all(torch.equal(task[1].read(), y) for task, y in zip(ours[0], tensors, strict=True))


def test_tensors_go_as_soon_as_they_are_written(tmp_path):
    alive, most = weakref.WeakSet(), 0

    def tasks():
        nonlocal most
        for t in range(12):
            x = torch.rand(50, 3)
            alive.add(x)
            most = max(most, len(alive))
            yield f"task {t}", x, torch.zeros(50, dtype=torch.long)

    files.save(tmp_path / "a.pt", tasks(), tasks())
    assert AHEAD <= most <= 2 * AHEAD + 3
    assert len({tuple(x[0].tolist()) for _, x, _ in files.load(tmp_path / "a.pt").train}) == 12


def test_an_error_of_writing_is_raised(tmp_path):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises((OSError, RuntimeError)), Archive(Full()) as archive:
        for _ in range(2):
            archive.add(torch.rand(2**16))


def test_a_storage_that_is_seen_as_two_dtypes_is_written_twice(tmp_path):
    """A reader takes the dtype of a storage from the first tensor in it."""
    y = torch.arange(5)
    x = y.view(torch.uint8).reshape(5, 8)
    files.save(tmp_path / "a.pt", [("a", x, y)], [("a", x, y)])
    for split in torch.load(tmp_path / "a.pt", weights_only=True):
        assert torch.equal(split[0][1], x) and split[0][1].dtype == torch.uint8
        assert torch.equal(split[0][2], y) and split[0][2].dtype == torch.int64
    read = files.load(tmp_path / "a.pt").train[0]
    assert torch.equal(read[1], x) and torch.equal(read[2], y)


INTERRUPTED = """
import os, signal, sys, threading, time, torch
from data import building, digits_rotations
from data.archive import Archive

class Slow:
    def __init__(self, file):
        self.file = file
    def write(self, data):
        time.sleep(0.5 * (len(data) > 10_000))
        return self.file.write(data)

made = Archive.__init__
def slow(self, file):
    made(self, Slow(file))
    for after in map(float, sys.argv[2:]):
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGTERM)).start()
Archive.__init__ = slow
sys.exit(building.main(digits_rotations.build, sys.argv[1], []))
"""


def test_terminated_while_tensors_are_written(tmp_path):
    out = tmp_path / "my_rotations.pt"
    command = [sys.executable, "-c", INTERRUPTED, out, "0.7"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (143, "terminated, nothing written\n")
    assert not list(tmp_path.iterdir())


def test_errors_of_whoever_makes_the_tasks_are_theirs(tmp_path):
    def tasks():
        try:
            (tmp_path / "raw").read_bytes()
        except OSError as error:
            raise RuntimeError("the raw file is damaged") from error
        yield

    with pytest.raises(RuntimeError, match=r"^the raw file is damaged$"):
        files.save(tmp_path / "a.pt", tasks(), tasks())
    assert not list(tmp_path.iterdir())


def test_a_failure_at_the_end_leaves_no_open_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.identity, "remember", fail)
    before = len(os.listdir("/proc/self/fd"))
    tasks = [("a", torch.rand(3, 2), torch.zeros(3, dtype=torch.long))]
    for _ in range(3):
        with pytest.raises(DataError, match="could not be written"):
            files.save(tmp_path / "a.pt", tasks, tasks)
    assert len(os.listdir("/proc/self/fd")) == before
