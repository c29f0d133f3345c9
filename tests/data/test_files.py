"""The reader and writer of data files: every bad input, round trips, identity."""

import hashlib
import json
import os
import pickle
import resource
import struct
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data import DataError, files
from data.archive import Archive


def task(n=4, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, width, generator=generator)
    return ["a task", x, torch.randint(0, 5, (n,), generator=generator)]


def content(n_tasks=2):
    return [[task(seed=t) for t in range(n_tasks)], [task(2, seed=10 + t) for t in range(n_tasks)]]


def identity_file(path):
    return path.with_name(path.name + ".identity.json")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.pt"


# -- what is read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_torch_save_wrote(path, zipped):
    train, test = content()
    torch.save([train, test], path, _use_new_zipfile_serialization=zipped)
    read = files.load(path)
    for ours, theirs in ((read.train, train), (read.test, test)):
        for (name, x, y), (name_, x_, y_) in zip(ours, theirs, strict=True):
            assert name == name_
            assert torch.equal(x, x_) and torch.equal(y, y_)


def test_a_recompressed_file_is_read_right(path, tmp_path):
    # torch maps compressed entries as if they were plain: values would be garbage without a word.
    torch.save(content(), path)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert files.load(packed).hash == files.load(path).hash
    assert torch.equal(files.load(packed).train[0][1], content()[0][0][1])


def test_labels_become_a_row_of_int64_and_float64_stays(path):
    name, x, y = task()
    kept = [name, x.double(), y.to(torch.uint8)[:, None]]
    torch.save([[kept], [kept]], path)
    _, x_read, y_read = files.load(path).train[0]
    assert x_read.dtype == torch.float64
    assert y_read.dtype == torch.int64 and torch.equal(y_read, y)


@pytest.mark.parametrize("dtype", files.INTEGRAL, ids=str)
def test_labels_of_every_integral_type(path, dtype):
    name, x, y = task()
    torch.save([[[name, x, y.to(dtype)]], [task()]], path)
    assert torch.equal(files.load(path).train[0][2], y)


def test_tasks_of_iterators_are_examined_while_the_next_are_made(path, monkeypatch):
    """And the file is that of lists, which a reader finds to be what the writer said."""
    train, test = content(3)
    made, examined, threads = [], threading.Event(), torch.get_num_threads()
    add = files._Examination.add
    monkeypatch.setattr(files._Examination, "add", lambda *a: add(*a) or examined.set())

    def tasks(split):
        for t, each in enumerate(split):
            assert t == 0 or examined.wait(20)
            made.append(each)
            yield each

    known = files.save(path, tasks(train), tasks(test))
    assert made == [*train, *test] and torch.get_num_threads() == threads
    other = path.with_name("other.pt")
    assert files.save(other, train, test) == known == files.examine(path, verify=True).hash
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("wrong", [float("nan"), 1.5])
def test_an_iterator_of_bad_tasks_leaves_nothing(path, wrong):
    train, test = content()
    train[0][1][2, 1] = wrong
    with pytest.raises(DataError, match="training task 0: x"):
        files.save(path, iter(train), iter(test))
    with pytest.raises(DataError, match="2 training tasks but 1 test tasks"):
        files.save(path, iter(content()[0]), iter(test[:1]))
    with pytest.raises(ZeroDivisionError):
        files.save(path, (1 / 0 for _ in range(2)), iter(test))
    assert not list(path.parent.iterdir())


def test_views_and_strided_tensors_are_saved_alone(path):
    big = torch.rand(1000, 3)
    labels = torch.arange(2000).reshape(1000, 2)
    files.save(path, [["slice", big[:4], labels[:4, 1]]], [["turned", torch.rand(3, 4).t(), labels[:4, 0]]])
    assert path.stat().st_size < 5000
    read = files.load(path)
    assert torch.equal(read.train[0][1], big[:4]) and read.train[0][2].tolist() == [1, 3, 5, 7]


def test_what_is_read_belongs_to_the_reader(path):
    files.save(path, *content())
    files.load(path).train[0][1].zero_()
    assert torch.equal(files.load(path).train[0][1], content()[0][0][1])


def test_a_few_rows_of_a_small_task_are_read_without_a_large_buffer(path):
    """One of 4 MB for each of 20,000 tasks left holes between the tasks' tensors, and took 8 GB of addresses."""
    files.save(path, *content())
    stored = files.examine(path).train[0][1][torch.tensor([0, 2])]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        read = stored.read()
    assert torch.equal(read, content()[0][0][1][[0, 2]])
    assert read.nbytes <= max(event.cpu_memory_usage for event in profile.events()) < 10 * read.nbytes


# -- bad input -------------------------------------------------------------------------------------------


def with_x(x):
    return [[task(), ["bad", x, torch.zeros(len(x), dtype=torch.long)]], [task(), task()]]


def with_y(y):
    return [[task(), task()], [task(), ["bad", torch.rand(4, 3), y]]]


def spoiled(value):
    x = torch.rand(4, 3)
    x[2, 1] = value
    return x


BAD_CONTENT = {
    "not a list": ({"train": []}, "pair"),
    "three lists": ([[], [], []], "pair"),
    "tasks not in a list": ([{}, {}], "pair"),
    "no tasks": ([[], []], "no tasks"),
    "other number of test tasks": ([[task(), task()], [task()]], "2 training tasks but 1 test tasks"),
    "two entries": ([[["a task", torch.rand(4, 3)]], [task()]], "training task 0: is not"),
    "not a tensor": (with_y([1, 2, 3, 4]), "test task 1: y is not a dense tensor but list"),
    "sparse": (with_x(torch.eye(4, 3).to_sparse()), "training task 1: x is not a dense tensor"),
    "other width": (with_x(torch.rand(4, 5)), "training task 1: x is 5 wide"),
    "other dtype": (with_x(torch.rand(4, 3).double()), "training task 1: x is torch.float64"),
    "images not flattened": (with_x(torch.rand(4, 3, 1)), "flattened"),
    "bytes in one task": (with_x(torch.ones(4, 3, dtype=torch.uint8)), "training task 1: x is torch.uint8"),
    "floats in one task": (
        [[["", torch.ones(2, 3, dtype=torch.uint8), torch.arange(2)]], [task()]],
        "test task 0: x is torch.float32, training task 0's is torch.uint8; all tasks need the same dtype",
    ),
    "shorts": (with_x(torch.ones(4, 3, dtype=torch.int16)), "x is torch.int16; store it as float32"),
    "signed bytes": (with_x(torch.ones(4, 3, dtype=torch.int8)), "8-bit images as uint8"),
    "truth values": (with_x(torch.ones(4, 3, dtype=torch.bool)), "x is torch.bool; store it as float32"),
    "half precision": (with_x(torch.ones(4, 3).half()), "store it as float32"),
    "x and y of different lengths": (with_y(torch.arange(5)), "4 examples but y has 5 labels"),
    "empty task": (with_x(torch.rand(0, 3)), "training task 1: is empty"),
    "no pixels": ([[["a", torch.rand(2, 0), torch.arange(2)]], [task()]], "is empty"),
    "NaN": (with_x(spoiled(float("nan"))), "NaN or infinity (first in example 2)"),
    "infinity": (with_x(spoiled(float("inf"))), "NaN or infinity (first in example 2)"),
    "minus infinity": (with_x(spoiled(-float("inf"))), "NaN or infinity"),
    "0 to 255": (with_x(spoiled(255.0)), "255] instead of [0, 1]; scale it (divide 8-bit images by 255)"),
    "below 0": (with_x(spoiled(-0.5)), "[-0.5, "),
    "negative label": (with_y(torch.tensor([0, 1, -2, 3])), "label -2 is negative"),
    "float labels": (with_y(torch.rand(4)), "labels are torch.float32, not whole numbers"),
    "boolean labels": (with_y(torch.ones(4, dtype=torch.bool)), "not whole numbers"),
    "one-hot labels": (with_y(torch.eye(4, dtype=torch.long)), "y has shape (4, 4)"),
    "a single label": (with_y(torch.tensor(3)), "y has shape ()"),
}


@pytest.mark.parametrize("case", BAD_CONTENT)
def test_bad_content_is_one_sentence(path, case):
    bad, expected = BAD_CONTENT[case]
    torch.save(bad, path)
    with pytest.raises(DataError) as caught:
        files.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and expected in text and "\n" not in text
    assert not identity_file(path).exists()


@pytest.mark.parametrize("case", [case for case in BAD_CONTENT if isinstance(BAD_CONTENT[case][0], list)])
def test_bad_content_is_not_saved(path, case):
    bad = BAD_CONTENT[case][0]
    if len(bad) == 2:
        with pytest.raises(DataError):
            files.save(path, *bad)
        assert not list(path.parent.iterdir())


class Code:
    """Unpickled as code: leaves a file behind where it is executed."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "new pickle"])
def test_code_in_a_file_is_never_executed(path, tmp_path, form):
    mark = tmp_path / "executed"
    bad = [[["a task", Code(mark), task()[2]]], [task()]]
    if "pickle" in form:
        path.write_bytes(pickle.dumps(bad, protocol=2 if form == "pickle" else 5))
    else:
        torch.save(bad, path, _use_new_zipfile_serialization=form == "zip")
    said = r"holds pickled code \(.*\), which is never" if form in ("zip", "legacy") else "written by torch.save"
    with pytest.raises(DataError, match=said) as caught:
        files.load(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Code(mark)))
    assert mark.exists()  # it would have been


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_truncated(path, zipped, part):
    torch.save(content(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(DataError, match=r"some\.pt: is (truncated|not a data file)"):
        files.load(path)


@pytest.mark.parametrize(
    "junk",
    [b"", b"P", b"hello world\n" * 100, bytes(1000), b"PK\x03\x04" + bytes(500), b"\x80\x02" + bytes(99)],
)
def test_not_a_torch_file(path, junk):
    path.write_bytes(junk)
    with pytest.raises(DataError, match=r"written by torch\.save") as caught:
        files.load(path)
    assert "\n" not in str(caught.value)


def test_other_zip_and_numpy_files(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(DataError, match=r"not written by torch\.save"):
        files.load(path)
    np.savez(path.with_suffix(".npz"), x=np.ones(3))
    with pytest.raises(DataError, match=r"not written by torch\.save"):
        files.load(path.with_suffix(".npz"))


def test_folder_missing_and_device(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        files.load(tmp_path)
    with pytest.raises(DataError, match="is not a file"):
        files.load("/dev/null")
    with pytest.raises(DataError, match="does not exist"):
        files.load(tmp_path / "none.pt")
    with pytest.raises(DataError, match="cannot be read"):
        files.load(tmp_path / ("long" * 100))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(path):
    files.save(path, *content())
    path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        files.load(path)


# -- round trip and identity -----------------------------------------------------------------------------

SHAPES = st.integers(1, 4).flatmap(
    lambda t: st.tuples(st.lists(st.integers(1, 5), min_size=2 * t, max_size=2 * t), st.integers(1, 6))
)


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(0, 2**32), st.sampled_from([torch.float32, torch.float64]), st.text())
def test_round_trip(tmp_path_factory, shapes, seed, dtype, name):
    lengths, width = shapes
    generator = torch.Generator().manual_seed(seed)
    tasks = [(name, torch.rand(n, width, generator=generator, dtype=dtype), torch.arange(n)) for n in lengths]
    train, test = tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :]
    path = tmp_path_factory.mktemp("round") / "trip.pt"
    identity = files.save(path, train, test)
    remembered = files.load(path)
    identity_file(path).unlink()
    computed = files.load(path)
    assert identity == remembered.hash == computed.hash
    for read in (remembered, computed):
        for (name_, x, y), (_, x_, y_) in zip(read.train + read.test, tasks, strict=True):
            assert name_ == name and x.dtype == dtype and torch.equal(x, x_) and torch.equal(y, y_)


def test_identity_depends_on_content_alone(tmp_path):
    train, test = content()
    identity = files.save(tmp_path / "one.pt", train, test)
    assert files.save(tmp_path / "other_name.pt", train, test) == identity
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other_name.pt").read_bytes()
    renamed = [[("another description", x, y) for _, x, y in train], test]
    assert files.save(tmp_path / "described.pt", *renamed) == identity
    torch.save([[[d, x, y.int()[:, None]] for d, x, y in train], test], tmp_path / "foreign.pt")
    assert files.load(tmp_path / "foreign.pt").hash == identity


def changed_pixel(train, test):
    train[1][1][3, 2] = 1 - train[1][1][3, 2]


def changed_label(train, test):
    test[0][2][0] += 1


def changed_dtype(train, test):
    for t in (*train, *test):
        t[1] = t[1].double()


def changed_shape(train, test):
    for t in (*train, *test):
        t[1] = t[1].reshape(len(t[1]), 3)[:, :2].clone()


def changed_order(train, test):
    train.reverse()


def one_task_moved(train, test):
    train[0], test[0] = test[0], train[0]


@pytest.mark.parametrize(
    "change", [changed_pixel, changed_label, changed_dtype, changed_shape, changed_order, one_task_moved]
)
def test_identity_changes_with_the_content(tmp_path, change):
    identity = files.save(tmp_path / "one.pt", *content())
    other = content()
    change(*other)
    assert files.save(tmp_path / "other.pt", *other) != identity


def test_identity_is_the_same_everywhere(path):
    # The definition, byte by byte: it may not change without a new identity.FORMAT.
    x = torch.arange(6.0).reshape(2, 3) / 8
    values = struct.pack("<6f", *(i / 8 for i in range(6)))
    expected = hashlib.sha256(
        b"training torch.float32 (2, 3)\n" + values + struct.pack("<2q", 0, 1)
        + b"test torch.float32 (2, 3)\n" + values + struct.pack("<2q", 1, 0)
    ).hexdigest()  # fmt: skip
    assert files.save(path, [["", x, torch.tensor([0, 1])]], [["", x, torch.tensor([1, 0])]]) == expected


def test_bytes_are_identified_as_the_floats_that_they_stand_for(tmp_path):
    k = torch.arange(256, dtype=torch.uint8).reshape(64, 4)
    train, test = ([["", k.flip(i), torch.arange(64) % 3]] for i in (0, 1))
    floats = [[[name, x / 255.0, y] for name, x, y in tasks] for tasks in (train, test)]
    assert files.save(tmp_path / "bytes.pt", train, test) == files.save(tmp_path / "floats.pt", *floats)
    read = files.load(tmp_path / "bytes.pt")
    assert read.train[0][1].dtype == torch.uint8 and torch.equal(read.train[0][1], k.flip(0)) and read.bytes
    assert files.load(tmp_path / "floats.pt").bytes
    floats[0][0][1][3, 2] += 1e-7
    files.save(tmp_path / "other.pt", *floats)
    assert not files.load(tmp_path / "other.pt").bytes


def test_a_valid_identity_spares_the_scan(path, monkeypatch):
    files.save(path, *content())
    monkeypatch.setattr(files, "_examined", lambda *_: pytest.fail("scanned again"))
    files.load(path)


def test_a_stale_identity_is_computed_again(path):
    old = files.save(path, *content())
    other = content()
    changed_pixel(*other)
    torch.save(other, path)
    os.utime(path, ns=(0, 12345))
    new = files.load(path).hash
    assert new != old
    assert json.loads(identity_file(path).read_text())["hash"] == new
    spoil = content()
    spoil[0][0][1][0, 0] = float("nan")
    torch.save(spoil, path)
    os.utime(path, ns=(0, 54321))
    with pytest.raises(DataError, match="NaN"):
        files.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "\udcff"])
def test_a_damaged_identity_is_computed_again(path, text):
    identity = files.save(path, *content())
    identity_file(path).write_bytes(text.encode(errors="surrogateescape"))
    assert files.load(path).hash == identity
    for field, value in (("hash", 7), ("hash", "abc"), ("format", 0), ("size", 1)):
        known = json.loads(identity_file(path).read_text())
        identity_file(path).write_text(json.dumps({**known, field: value}))
        assert files.load(path).hash == identity


def test_a_folder_that_cannot_be_written_is_no_obstacle(path):
    identity = files.save(path, *content())
    identity_file(path).unlink()
    identity_file(path).mkdir()  # refuses the identity, for root too
    assert files.load(path).hash == identity
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, identity_file(path).name]


# -- writing ---------------------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    identity = files.save(path, *content())
    before = sorted(path.parent.iterdir())

    def fail(error):
        def finish(*_):
            raise error

        return finish

    for error, caught in (
        (OSError(28, "No space left on device"), DataError),
        (RuntimeError("writer failed\nwith details"), DataError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):
        monkeypatch.setattr(Archive, "finish", fail(error))  # the images are in the file by then
        with pytest.raises(caught):
            files.save(path, *content(3))
        assert sorted(path.parent.iterdir()) == before
    assert files.load(path).hash == identity


def test_a_full_disk_is_one_sentence(path):
    n = 1_000_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    tasks = [["big", torch.rand(n, 1), torch.zeros(n, dtype=torch.long)]]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
        with pytest.raises(DataError, match=r"could not be written \(File too large\)"):
            files.save(path, tasks, tasks)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(path.parent.iterdir())


def test_targets_are_checked_before_anything_is_built(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        files.check_target(tmp_path)
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(DataError, match="is there and is no regular file; give another name"):
        files.check_target(tmp_path / "pipe.pt")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="folder cannot be made"):
        files.check_target(tmp_path / "file" / "some.pt")
    with pytest.raises(DataError, match="make room"):
        files.check_target(tmp_path / "some.pt", 10**18)
    files.check_target(tmp_path / "new" / "folder" / "some.pt")
    assert (tmp_path / "new" / "folder").is_dir()


def test_permissions_follow_the_umask(path):
    files.save(path, *content())
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
