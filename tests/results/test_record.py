"""The record's three files: what is in them, and that no failure leaves half of one."""

import argparse
import datetime
import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data import temporary
from metrics import metrics
from results import RecordError, record
from results.reading import records

ROOT = Path(__file__).parents[2]
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)
RESULT_T = torch.tensor([0.0, 0, 1])
RESULT_A = torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.8, 0.7]])


def make(**more):
    baseline, grid, order = metrics.split(RESULT_T, RESULT_A)
    numbers = metrics.summary(baseline, grid)
    return {
        "format": 1,
        "status": "done",
        "model": "gem",
        "args": {"model": "gem", "lr": 0.1, "seed": 3, "cuda": False, "data_file": "d.pt"},
        "protocol": {"data_file": "d.pt", "samples_per_task": [10, 10], "task_order": order},
        "grid": grid,
        "baseline": baseline,
        **{key: numbers.pop(key) for key in ("final", "backward", "forward")},
        "metrics": numbers,
        **more,
    }


def write(folder, content=None, **more):
    content = make() if content is None else content
    state = torch.nn.Linear(2, 2).state_dict()
    name = record.name("gem", "d.pt", "0" * 32, WHEN)
    return record.write(folder, name, content, RESULT_T, RESULT_A, state, "one line", **more)


def test_name():
    assert record.name("gem", "a/b/d.pt", "f00", WHEN) == "gem_d.pt_2026_01_02_03_04_05_f00"
    assert len(record.name("gem", "d" * 250, "0" * 32, WHEN)) < 240


@pytest.mark.parametrize("letter", ["d", "é", "漢", "😀", "\udce9"])
def test_a_name_fits_into_what_file_systems_allow(tmp_path, letter):
    name = record.name(letter * 100, letter * 200, "0" * 32, WHEN)
    assert len(os.fsencode(f"{name}.json")) <= 255 and name.endswith(f"{letter}_2026_01_02_03_04_05_{'0' * 32}")
    base = record.write(tmp_path, name, make(), RESULT_T, RESULT_A, {}, "")
    assert len(os.listdir(tmp_path)) == 3 and os.path.basename(base) == name


def test_a_name_is_one_line_of_text():
    assert record.name("gem", "a\nb\x1b[2J\u202ec\ud800.pt", "f", WHEN).startswith("gem_a_b_[2J_c_.pt_2026")


def test_write_and_read(tmp_path):
    base = write(tmp_path / "new" / "folder")
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == [
        os.path.basename(base) + suffix for suffix in (".json", ".pt", ".txt")
    ]
    for suffix in (".json", ".pt", ".txt"):
        assert records.read(base + suffix) == json.loads(record.to_json(make()))
    assert records.read(base + ".json")["grid"] == RESULT_A[1:].tolist()  # exact, not rounded
    with open(base + ".txt") as f:
        assert f.read().startswith("0.1000 0.2000\n|\n0.9000 0.3000\n0.8000 0.7000\n\nFinal Accuracy: 0.7500\n")


def test_pt_is_the_references_tuple_of_builtins(tmp_path):
    base = write(tmp_path, args=argparse.Namespace(lr=0.1, device=torch.device("cpu"), ids=(0, 5)))
    t, a, state, stats, line, args = torch.load(base + ".pt", weights_only=True)
    assert torch.equal(t, RESULT_T)
    assert torch.equal(a, RESULT_A)
    assert list(state) == ["weight", "bias"]
    assert stats == metrics.confusion_matrix(RESULT_T, RESULT_A)
    assert line == "one line"
    assert args == {"lr": 0.1, "device": "cpu", "ids": [0, 5]}


def test_state_that_is_a_view_is_saved_alone(tmp_path):
    flat = torch.zeros(100_000)
    base = record.write(tmp_path, "x", make(), RESULT_T, RESULT_A, {"w": flat[:2]}, "")
    assert os.path.getsize(base + ".pt") < 10_000


def test_json_never_holds_nan(tmp_path):
    odd = {
        "a": math.nan,
        "b": [math.inf, np.float64("nan"), torch.tensor(math.nan)],
        "c": np.int64(3),
        "d": {1: -math.inf},
    }
    base = write(tmp_path, make(metrics=odd, path=Path("x")))
    content = json.loads(Path(base + ".json").read_text(), parse_constant=lambda c: pytest.fail(c))
    assert content["metrics"] == {"a": None, "b": [None, None, None], "c": 3, "d": {"1": None}}
    assert content["path"] == "x"


@pytest.mark.parametrize("failing", ["save", "replace", "json"])
def test_a_failure_leaves_the_old_files(tmp_path, monkeypatch, failing):
    base = write(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        if failing == "save":
            m.setattr(torch, "save", fail)
        elif failing == "replace":
            m.setattr(os, "replace", fail)
        else:
            m.setattr(record, "to_json", fail)
        with pytest.raises(RecordError, match="No space left"):
            write(tmp_path, make(status="diverged"))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert base == write(tmp_path, make(status="diverged"))
    assert records.read(base + ".json")["status"] == "diverged"


def test_an_interruption_leaves_no_partial_file(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_the_reason_given(tmp_path):
    """torch.save turns the disk's error into "unexpected pos 704 vs 598"; the limit on a file's size acts as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(RecordError, match=r"the record cannot be written \(File too large\); make room"):
            record.write(tmp_path, "x", make(), RESULT_T, RESULT_A, {"w": torch.zeros(100_000)}, "")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_inside_torch_is_an_interrupt(tmp_path, monkeypatch):
    """torch.save turns an exception while it writes, an interrupt too, into a RuntimeError."""
    save = torch.save

    class Interrupted:
        writes = 0

        def write(self, data):
            self.writes += 1
            if self.writes == 3:
                raise KeyboardInterrupt
            return len(data)

        def flush(self):
            pass

    monkeypatch.setattr(torch, "save", lambda content, file: save(content, Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_dead_processes_left_is_removed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".single_d.pt.json.{dead.pid}-{temporary.HOST}-0123abcd.tmp").touch()
    record.check_writable(tmp_path)
    assert os.listdir(tmp_path) == []


def test_check_writable(tmp_path):
    record.check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="is a file"):
        record.check_writable(tmp_path / "file")
    with pytest.raises(RecordError, match="cannot be written"):
        record.check_writable(tmp_path / "file" / "below")
    with pytest.raises(RecordError, match="cannot be written"):
        record.check_writable(tmp_path / ("x" * 300))


def test_check_writable_without_permission(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(temporary, "open", refuse, raising=False)
    with pytest.raises(RecordError, match=r"--save_path .*Permission denied"):
        record.check_writable(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"x\.json:1: is not JSON"),
        ('{\n"a": 1,\n}', r"x\.json:3: is not JSON"),
        ("[1]", "not a run's record"),
        ('{"format": 2}', "format 2"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_read_refuses(tmp_path, text, said):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RecordError, match=said):
        records.read(tmp_path / "x.json")


def test_read_of_what_is_not_there(tmp_path):
    (tmp_path / "x.txt").write_text("0.1\n|\n0.9\n")
    with pytest.raises(RecordError, match=r"x\.json"):
        records.read(tmp_path / "x.txt")


def test_one_liner():
    args = argparse.Namespace(model="gem", lr=0.1)
    assert record.one_liner(args, [0.5, -0.25, None]) == "{'model': 'gem', 'lr': 0.1} # 0.500 -0.250 nan"


def test_versions_and_machine():
    code = (
        "import sys; from results import record; print(record.versions());"
        "assert 'quadprog' not in sys.modules, 'imported'; assert record.peak_memory_mb() > 10"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = record.versions()
    assert found["torch"] == torch.__version__
    assert set(found) == {"python", "torch", "numpy", "quadprog", "cpu_capability"}


def git(folder, *command):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *command], check=True, capture_output=True)


def test_git_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setattr(record, "ROOT", project.resolve())
    assert record.git_revision() is None
    try:
        git(project, "init")
    except FileNotFoundError:
        pytest.skip("no git here")
    (project / "f").write_text("1")
    git(project, "add", "f")
    git(project, "commit", "-m", "f")
    clean = record.git_revision()
    assert len(clean) == 40
    (project / "f").write_text("2")
    assert record.git_revision() == clean + "-dirty"
    inner = project / "copy"
    inner.mkdir()
    monkeypatch.setattr(record, "ROOT", inner.resolve())
    assert record.git_revision() is None  # the outer repository's revision says nothing about this copy


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells a process's memory from its parent's"
)
def test_peak_memory_is_the_process_own():
    """On Linux getrusage begins with the peak of the process that started this one."""
    ask = "import sys; sys.path.insert(0, sys.argv[1]); from results import record; print(record.peak_memory_mb())"
    parent = (
        "import subprocess, sys; held = b'x' * 300_000_000; "
        "print(subprocess.run([sys.executable, '-c', *sys.argv[1:]], capture_output=True, text=True, check=True).stdout)"
    )
    words = [sys.executable, "-c", parent, ask, str(record.ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert 3 < float(done.stdout) < 150
    assert record.peak_memory_mb() > 3
