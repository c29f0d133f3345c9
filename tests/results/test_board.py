"""main.py --tensorboard: scalars of every evaluation; one sentence where the library is missing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import main

ROOT = Path(__file__).parents[2]


def arguments(data_file, folder):
    return ["--model", "gem", "--n_memories", "5", "--data_path", str(data_file.parent), "--data_file", data_file.name,
            "--save_path", str(folder / "out"), "--log_every", "2", "--tensorboard", str(folder / "board")]  # fmt: skip


@pytest.mark.skipif(
    not importlib.util.find_spec("tensorboard"), reason="no tensorboard: pip install -r requirements-results.txt"
)
def test_scalars(data_file, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = main.main(arguments(data_file, tmp_path))
    (folder,) = (tmp_path / "board").iterdir()
    assert folder.name.startswith("gem_tiny.pt_")
    events = EventAccumulator(str(folder))
    events.Reload()
    written = events.Scalars("accuracy/task 2")
    assert [e.step for e in written] == result["evolution"]["step"]
    assert [e.value for e in written] == pytest.approx([row[1] for row in result["evolution"]["accuracy"]])
    assert events.Scalars("counts/violations")[-1].value == result["counts"]["violations"]


def test_without_the_library(data_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main.cli(arguments(data_file, tmp_path)) == 2
    err = capsys.readouterr().err
    assert "needs the package tensorboard; pip install -r requirements-results.txt" in err and "Traceback" not in err


def test_not_imported_unasked(data_file, tmp_path):
    given = arguments(data_file, tmp_path)[:-2]
    code = f"import sys, main; main.main({given!r}); sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
