"""The short form of scripts/kill_test.py: a few kills of every kind, in processes of their own."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import main
from scripts import kill_test

ROOT = Path(main.__file__).parent


def test_runs_that_are_killed_end_as_if_they_were_not(data_file):
    command = [
        sys.executable,
        "scripts/kill_test.py",
        "--model",
        "agem_closed",
        "--kills",
        "8",
        "--samples_per_task",
        "40",
    ]
    own = ["--data_path", data_file.parent, "--data_file", data_file.name, "--n_hiddens", "16", "--log_every", "5"]
    done = subprocess.run(
        [*command, *map(str, own)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    head, row, _ = done.stdout.splitlines()
    counted = dict(zip(head.split(), row.split(), strict=True))
    assert int(counted["kills"]) >= 8 and int(counted["resumed"]) > 0
    assert (counted["differences"], counted["half-written"], counted["orphans"]) == ("0", "0", "0")


def test_what_is_damaged_or_left_is_found(tmp_path):
    folder = tmp_path / "r"
    place = folder / kill_test.PLACE / "a"
    place.mkdir(parents=True)
    for name in ("x.json", "x.pt", "x.txt"):
        (folder / name).write_text("{")
    (place / "checkpoint").write_bytes(b"half")
    assert sorted(Path(path).name for path in kill_test.damaged(tmp_path)) == ["checkpoint", "x.json", "x.pt", "x.txt"]
    assert kill_test.left_behind(tmp_path, []) == [*sorted(path.name for path in folder.iterdir())]


def test_a_command_that_is_wrong(capsys):
    assert kill_test.main(["--model", "gem", "--n_hiddens", "none"]) == 2
    assert capsys.readouterr().err.startswith("kill_test.py: --n_hiddens none: not a whole number")


def test_a_process_that_stays_is_an_orphan_and_one_that_ends_is_none(tmp_path, monkeypatch):
    """Such as the git that a killed run had just started."""
    (tmp_path / "r").mkdir()
    monkeypatch.setattr(kill_test, "ENDING", 2.0)
    for seconds, orphans in (("0.3", 0), ("60", 1)):
        started = subprocess.Popen(["sleep", seconds], start_new_session=True)
        threading.Thread(target=started.wait, daemon=True).start()
        try:
            left = kill_test.left_behind(tmp_path, [started.pid])
            assert sum(each.startswith("process") for each in left) == orphans
        finally:
            started.kill()
