"""What goes wrong around a run: full disks, closed streams, signals, folders that go, other locales. Nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import main
from results import compare
from results.reading import records
from tests.results.records import make

ROOT = Path(main.__file__).parent
# In a namespace of mounts of its own, where a user may mount file systems.
MOUNTS = """
import ctypes, os, sys
libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
def call(function, *given):
    if function(*given):
        print("no mounts here:", os.strerror(ctypes.get_errno()))
        sys.stdout.flush()
        os._exit(77)
call(libc.unshare, 0x10020000)
for name, text in ("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1"):
    open(f"/proc/self/{name}", "w").write(text)
call(libc.mount, b"none", b"/", None, 0x44000, None)
os.makedirs("r", exist_ok=True)
"""
SMALL = MOUNTS + 'call(libc.mount, b"tmpfs", b"r", b"tmpfs", 0, b"size=64k")\n'
# What happens when the training is over.
LATER = """
import main
describe = main.describe
def described(*given):
    event()
    return describe(*given)
main.describe = described
"""
READ_ONLY = (
    MOUNTS
    + 'call(libc.mount, b"tmpfs", b"r", b"tmpfs", 0, None)\n'
    + 'def event(): call(libc.mount, None, b"r", None, 0x21, None)\n'
    + LATER
)
REMOVED = f"import shutil\ndef event(): shutil.rmtree('r')\n{LATER}"
SIGNALLED = """
import signal, torch
save = torch.save
class Writer:
    def __init__(self, file):
        self.file, self.writes = file, 0
    def write(self, data):
        self.writes += 1
        if self.writes in AT:
            signal.raise_signal(signal.NUMBER)
        return self.file.write(data)
    def flush(self):
        self.file.flush()
torch.save = lambda content, file: save(content, Writer(file))
"""


@pytest.fixture
def run(forks, data_file):
    """Runs ``main.py`` on the small data file, in its folder, with records in r/."""
    common = ["--data_path", ".", "--data_file", data_file.name, "--save_path", "r", "--threads", "1"]
    return lambda *argv, **how: forks(*common, *argv, cwd=data_file.parent, **how)


@pytest.fixture
def folder(data_file):
    return data_file.parent / "r"


def grid(done):
    """The printed lines from the data's to the three numbers."""
    lines = done.out.splitlines()
    assert lines[0].startswith("data: ") and lines[8].startswith("Forward:")
    return lines[:9]


def the_record(folder):
    """The one record in a folder, which is complete, and beside which nothing lies."""
    (path,) = folder.glob("*.json")
    assert sorted(os.listdir(folder)) == sorted(path.stem + suffix for suffix in (".json", ".pt", ".txt"))
    torch.load(path.with_suffix(".pt"), weights_only=True)
    return records.read(path)


@pytest.mark.parametrize(
    ("fault", "reason"), [(SMALL, "No space left on device"), (READ_ONLY, "Read-only file system")]
)
def test_a_disk_that_cannot_be_written_at_the_end(run, folder, fault, reason):
    done = run("--n_hiddens", "200", before=fault)
    if done.status == 77:
        pytest.skip(done.out)
    assert done.status == 2
    assert len(grid(done)) == len(done.out.splitlines())
    assert f": the record cannot be written ({reason}); make room, or give another folder\n" in done.err
    assert done.err.startswith("main.py: r/single_tiny.pt_") and done.err.count("\n") == 1


def test_a_disk_that_is_full_below_tensorboard(run, folder):
    pytest.importorskip("tensorboard")
    small = SMALL.replace("64k", "16k").replace('b"r"', 'b"board"').replace('"r"', '"board"')
    done = run("--tensorboard", "board", "--log_every", "1", "--batch_size", "1", before=small)
    if done.status == 77:
        pytest.skip(done.out)
    assert done.status == 0 and len(the_record(folder)["evolution"]["step"]) > 100
    assert "note: --tensorboard cannot be written any more (No space left on device); the run goes on\n" in done.err
    assert all(line.startswith("note: ") for line in done.err.splitlines())


def test_tensorboard_writes_into_folders_alone(run, folder):
    """Not to an address, for which it would import what reaches it."""
    pytest.importorskip("tensorboard")
    assert run("--tensorboard", "s3://bucket/x").status == 0
    assert len(list(folder.parent.glob("s3:/bucket/x/single_*/events*"))) == 1


def test_a_folder_that_was_removed_is_made_again(run, folder):
    done = run(before=REMOVED)
    assert (done.status, done.err) == (0, "") and the_record(folder)["grid"]


def test_a_folder_that_became_a_file(run, folder):
    done = run(before=f"import shutil\ndef event(): shutil.rmtree('r'); open('r', 'w').write('kept')\n{LATER}")
    assert done.status == 2 and len(grid(done)) == 9 and done.err.count("\n") == 1
    assert folder.read_text() == "kept"


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_a_full_disk_below_the_log(run, folder, argv):
    done = run(*argv, out="/dev/full")
    sentence = "main.py: standard output cannot be written (No space left on device); records have the numbers\n"
    assert (done.status, done.err) == (2, sentence)
    assert argv or the_record(folder)["status"] == "done"


def test_a_full_disk_below_the_errors(run, folder):
    """``ogd`` says there what its basis takes, while it trains."""
    done = run("--model", "ogd", "--ogd_max_basis", "3", err="/dev/full")
    assert done.status == 0 and len(grid(done)) == 9 and the_record(folder)["counts"]["ogd_basis"] == 3


@pytest.mark.parametrize("model", ["single", "ogd"])
def test_readers_of_both_streams_may_leave_before_the_run_begins(run, folder, model):
    """As in ``main.py ... 2>&1 | head``."""
    gone = "import os; a, b = os.pipe(); os.close(a); os.dup2(b, 1); os.dup2(b, 2)"
    done = run("--model", model, "--ogd_max_basis", "3", before=gone)
    assert done.status == 0 and the_record(folder)["status"] == "done"


def test_closed_streams(run, folder, data_file):
    """As in ``main.py ... >&- 2>&-``: no file that is opened later takes their place."""
    before = data_file.read_bytes()
    assert run(out="", err="").status == 0
    assert the_record(folder)["status"] == "done" and data_file.read_bytes() == before


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_a_record_is_written_waits(run, folder, name):
    done = run(before=SIGNALLED.replace("AT", "(3,)").replace("NUMBER", name))
    record = the_record(folder)
    assert len(grid(done)) == 9 and record["status"] == "done"
    if name == "SIGINT":
        assert done.status == 130
        assert done.err.startswith("main.py: interrupted; r/single_tiny.pt_")
        assert done.err.endswith(".json is complete\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_second_signal_while_a_record_is_written_does_not(run, folder, name):
    done = run(before=SIGNALLED.replace("AT", "(3, 4)").replace("NUMBER", name))
    assert not list(folder.glob("*.json")) and len(grid(done)) == 9 and "Traceback" not in done.err
    if name == "SIGINT":
        assert (done.status, done.err) == (130, "main.py: interrupted; no record was written\n")
        assert list(folder.iterdir()) == []


def test_an_interrupt_while_libraries_are_imported(tmp_path):
    """Which takes seconds: it would end in a traceback of some import. Here numpy waits for the signal."""
    # Short sleeps: a signal between the touch and one long sleep would be heeded after it only.
    waits = "import pathlib, time\npathlib.Path('begun').touch()\nwhile True:\n    time.sleep(0.01)\n"
    (tmp_path / "numpy.py").write_text(waits)
    process = subprocess.Popen(
        [sys.executable, ROOT / "main.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "main.py: interrupted\n")
    assert process.returncode == 130


def test_two_runs_of_one_command_at_one_moment(run, folder):
    """Each leaves its record, though all names begin alike."""
    moment = (
        "import datetime\nclass Fixed(datetime.datetime):\n    now = classmethod(lambda c: c(2026, 1, 2, 3, 4, 5))\n"
    )
    twice = "import os\nother = os.fork()\ndef event(): other and os.waitpid(other, 0)\n" + LATER
    done = run(before=f"{twice}\n{moment}\nmain.datetime.datetime = Fixed")
    assert done.status == 0 and len(os.listdir(folder)) == 6
    one, two = (records.read(path) for path in folder.glob("single_tiny.pt_2026_01_02_03_04_05_*.json"))
    assert one["grid"] == two["grid"] and one["started"] == two["started"]


def test_a_thousand_records_in_one_directory(run, folder, capsys):
    folder.mkdir()
    text = json.dumps(make(seed=-1))
    for seed in range(1000):
        (folder / f"{seed}.json").write_text(text.replace("-1,", f"{seed},", 1))
    assert run("--model", "single").status == 0 and len(os.listdir(folder)) == 1003
    assert compare.main([str(folder)]) == 0
    printed = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines() if line}
    assert (printed["gem"], printed["single"]) == ("1000", "1")


def test_a_clock_that_jumps_back(run, folder):
    back = (
        "import time, itertools, datetime, main\nhours = itertools.count(0, -3600)\n"
        "time.time = lambda: 1.8e9 + next(hours)\n"
        "class Back(datetime.datetime):\n    now = classmethod(lambda c: c.fromtimestamp(time.time()))\n"
        "main.datetime.datetime = Back"
    )
    done = run(before=back)
    record = the_record(folder)
    assert (done.status, done.err) == (0, "")
    assert all(0 <= seconds < 60 for seconds in record["seconds"].values())


def test_a_bare_environment(run, folder, data_file, tmp_path):
    """No HOME, a terminal that knows ASCII alone, ``python -O``, paths with blanks, quotes and letters like é."""
    place = tmp_path / "é 'a' \"b\" $HOME 漢\n"
    place.mkdir()
    argv = ["--data_path", place, "--data_file", "my é's.pt", "--save_path", place / "r é", "--threads", "1"]
    data_file.rename(place / "my é's.pt")
    bare = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-O", ROOT / "main.py", "--model", "gem", "--n_memories", "5", *argv]
    done = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode("ascii")
    record = the_record(place / "r é")
    assert out.splitlines()[0].startswith(r"data: my \udcc3\udca9's.pt, 3 tasks")
    (place / "my é's.pt").rename(data_file)
    assert run("--model", "gem", "--n_memories", "5").status == 0
    assert the_record(folder)["grid"] == record["grid"]


def test_a_locale_with_decimal_commas(run, folder, tmp_path):
    made = subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", tmp_path / "de_DE"], capture_output=True)
    if made.returncode:
        pytest.skip("no locale with decimal commas can be made here")
    commas = "import locale; locale.setlocale(locale.LC_ALL, 'de_DE'); assert locale.str(0.5) == '0,5'"
    german = run("--lr", "0.1", before=commas, env={"LOCPATH": str(tmp_path), "LC_ALL": "de_DE"})
    assert german.status == 0 and grid(german) == grid(run("--lr", "0.1"))
    one, two = (json.loads(path.read_text()) for path in folder.glob("*.json"))
    assert one["grid"] == two["grid"] and one["args"] == two["args"]
