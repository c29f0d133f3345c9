"""Files that are whole or not there, for data, records and checkpoints alike; and what killed processes left of them."""

import os
import stat
import subprocess
import time

import pytest
import torch

from data import temporary

FULL = OSError(28, "No space left on device")


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def name(target, process, host=temporary.HOST):
    return f".{target}.{process}-{host}-0123abcd.tmp"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_appear_together_and_in_order(tmp_path, monkeypatch):
    (tmp_path / "b").write_bytes(b"old")
    renamed, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (renamed.append(new.name), replace(old, new)))
    with temporary.replacing(tmp_path / "b", tmp_path / "a") as (b, a):
        b.write(b"new")
        a.write(b"also")
        assert (tmp_path / "b").read_bytes() == b"old" and not (tmp_path / "a").exists()
        assert all(temporary.NAME.fullmatch(os.path.basename(file.name)) for file in (a, b))
    assert contents(tmp_path) == {"a": b"also", "b": b"new"} and renamed == ["b", "a"]


@pytest.mark.parametrize("failing", ["fsync", "replace", "the block"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, failing):
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_):
        raise FULL

    if failing != "the block":
        monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space"), temporary.replacing(tmp_path / "a", tmp_path / "b") as (a, _):
        a.write(b"new")
        if failing == "the block":
            fail()
    assert contents(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("kind", ["a pipe", "a link to a pipe", "a folder"])
def test_only_a_file_is_replaced(tmp_path, kind):
    """A rename would put a file in the place of a pipe or a device, such as /dev/null; the others stay as they were too."""
    place = tmp_path / "place"
    if kind == "a folder":
        place.mkdir()
    else:
        os.mkfifo(pipe := tmp_path / ("pipe" if kind == "a link to a pipe" else "place"))
        if pipe != place:
            place.symlink_to(pipe)
    before = {path: path.lstat() for path in tmp_path.iterdir()}
    said = "is a folder, not a file" if kind == "a folder" else "is there and is no regular file"
    with pytest.raises(OSError, match=said), temporary.replacing(tmp_path / "a", place):
        pass
    assert {path: path.lstat() for path in tmp_path.iterdir()} == before


def test_a_link_whose_file_is_gone_is_no_obstacle(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "gone")
    with temporary.replacing(tmp_path / "a") as (file,):
        file.write(b"new")
    assert contents(tmp_path) == {"a": b"new"}


def test_all_is_on_the_disk_before_anything_has_its_name_and_then_the_folder(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "replace", lambda *_: calls.append("rename"))
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder"}
    monkeypatch.setattr(os, "fsync", lambda d: calls.append(kinds[stat.S_IFMT(os.fstat(d).st_mode)]))
    with temporary.replacing(tmp_path / "a", tmp_path / "b"):
        pass
    assert calls == ["file", "file", "rename", "rename", "folder"]


@pytest.mark.parametrize("first", [FULL, KeyboardInterrupt()])
def test_what_torch_makes_a_runtime_error_of_stays_what_it_was(tmp_path, first):
    """torch.save goes on to close its archive, and reports that it cannot."""

    class Failing:
        def write(self, data):
            raise first

        def flush(self):
            pass

    with pytest.raises(type(first)), temporary.replacing(tmp_path / "a"):
        torch.save(torch.zeros(3), Failing())
    with pytest.raises(RuntimeError, match="another"), temporary.replacing(tmp_path / "a"):
        raise RuntimeError("another")
    assert contents(tmp_path) == {}


def test_names_as_long_as_a_folder_takes_them(tmp_path):
    for longest in ("a" * 255, "é" * 127, "漢" * 85):
        with temporary.replacing(tmp_path / longest) as (file,):
            assert len(os.fsencode(os.path.basename(file.name))) < 250
        assert (tmp_path / longest).exists()


def test_no_link_is_followed(tmp_path, monkeypatch):
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / name("trial", os.getpid())).symlink_to(tmp_path / "theirs")
    monkeypatch.setattr(temporary.secrets, "token_hex", lambda _: "0123abcd")
    with pytest.raises(FileExistsError):
        temporary.try_out(tmp_path)
    assert (tmp_path / "theirs").read_text() == "kept"


def test_trying_out_a_folder_leaves_nothing(tmp_path):
    temporary.try_out(tmp_path)
    assert contents(tmp_path) == {}
    with pytest.raises(FileNotFoundError):
        temporary.try_out(tmp_path / "absent")


def test_what_dead_processes_of_this_machine_left_goes_at_once(tmp_path, dead):
    left = [name(target, dead) for target in ("some.pt", "a\nb.json", "x" * 40)]
    left.append(name("of one that had our number.pt", os.getpid()))
    kept = [
        name("of a living process.pt", os.getppid()),
        name("x" * 41, dead),
        name("some.pt", 2**70),
        name("some.pt", dead)[1:],
        f".some.pt.{dead}.tmp",
        f".notes.{dead}-draft.tmp",
    ]
    for each in (*left, *kept):
        (tmp_path / each).touch()
    (tmp_path / name("folder", dead)).mkdir()
    (tmp_path / name("link", dead)).symlink_to(tmp_path / kept[0])
    temporary.remove_left_over(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, name("folder", dead), name("link", dead)])
    temporary.remove_left_over(tmp_path / "absent")


def test_what_another_machine_wrote_goes_after_an_hour(tmp_path, dead):
    for target, age in (("old", 3700), ("young", 3500)):
        file = tmp_path / name(target, dead, host="0" * 8)
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    temporary.remove_left_over(tmp_path)
    assert os.listdir(tmp_path) == [name("young", dead, host="0" * 8)]


def test_what_is_being_written_stays_whoever_writes(tmp_path, dead):
    """Containers that share a folder may give the same numbers to their processes, and the same name to their machines."""
    fcntl = pytest.importorskip("fcntl")
    with temporary.replacing(tmp_path / "a") as (ours,), open(tmp_path / name("theirs", dead), "xb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        temporary.remove_left_over(tmp_path)
        assert os.path.exists(ours.name) and os.path.exists(theirs.name)
    temporary.remove_left_over(tmp_path)
    assert os.listdir(tmp_path) == ["a"]


def test_without_locks_the_process_alone_tells(tmp_path, dead, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refused(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with temporary.replacing(tmp_path / "a") as (file,):
        file.write(b"new")
    (tmp_path / name("some.pt", dead)).touch()
    (tmp_path / name("some.pt", os.getppid())).touch()
    temporary.remove_left_over(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([name("some.pt", os.getppid()), "a"])
