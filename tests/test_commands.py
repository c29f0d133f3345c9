"""Every command of GEM's and MER's public scripts as it stands, with --samples_per_task 10 on small files of the same names."""

import re
from pathlib import Path

import pytest
import torch

import main
from data import files
from tests.conftest import stream

LINES = [line for line in (Path(__file__).parent / "commands.txt").read_text().splitlines() if line.startswith("--")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data/ as the builders fill it, but with few tasks and examples."""
    root = tmp_path_factory.mktemp("scripts")
    (root / "data").mkdir()
    for name, n_tasks in (("mnist_rotations", 2), ("mnist_permutations", 2), ("mnist_manypermutations", 3)):
        files.save(root / "data" / f"{name}.pt", *stream(n_tasks, 12, 784, 10))
    files.save(root / "data" / "cifar100.pt", *stream(2, 12, 3072, 10, split=True))
    return root


def test_there_are_72():
    assert len(LINES) == len(set(LINES)) == 72
    assert sum("--cuda yes" in line for line in LINES) == 5


@pytest.mark.parametrize(
    "line", LINES, ids=lambda line: re.sub(r".*--data_file (\S+)\.pt .*--model (.*)", r"\2 \1", line)
)
def test_it_runs(line, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    record = main.main([*line.split(), "--samples_per_task", "10"])
    out, err = capsys.readouterr()
    assert record["status"] == "done" and record["device"] == "cpu" and not record["args"]["cuda"]
    assert len(record["grid"]) == (3 if "many" in line else 2) and record["final"] is not None
    note = "note: --cuda yes: this torch sees no GPU, so the run goes on on the CPU\n"
    assert err.count(note) == err.count("--cuda") == ("--cuda yes" in line)
    assert "does not use" not in err  # every flag of the command means something to its method
    assert out.splitlines()[-1].startswith(f"results/{record['model']}_{record['args']['data_file']}_")
