"""scripts/studies/alignment.py: mean cosines, falls and their rank correlation, by hand."""

import pytest

from results.reading.logs import parse
from scripts.studies import alignment
from tests.results.records import make, write

GRID = [[0.9, 0.1, 0.1, 0.1], [0.5, 0.9, 0.1, 0.1], [0.4, 0.8, 0.9, 0.1], [0.3, 0.7, 0.9, 0.9]]
FOUND = {"past": [[0], [0, 1], [0, 1, 2], [0, 1, 2]],
         "before": [[-0.2], [-0.4, 0.0], [-0.6, -0.2, 0.5], [None, -0.4, 0.7]],
         "of_step": [[0.1], [0.1, 0.0], [0.1, 0.0, -0.5], [0.1, 0.0, -0.5]]}  # fmt: skip


def record(model="gem", seed=0):
    evolution = {"step": [0], "task": [0], "accuracy": [[0.1] * 4]}
    return make(model, seed=seed, grid=GRID, baseline=[0.1] * 4, task_order=[0, 1, 2, 3], evolution=evolution,
                probes={"alignment": {"step": [1, 2, 3, 4], "task": [1, 2, 3, 3], **FOUND}})  # fmt: skip


def test_points_and_ranks(tmp_path):
    (run,) = parse(write(tmp_path / "r", record()))
    found = alignment.points(run, "before")
    assert [round(value, 6) for pair in found for value in pair] == [-0.4, 0.6, -0.2, 0.2, 0.6, 0.0]
    assert alignment.rank(found) == pytest.approx(-1)
    assert alignment.rank(alignment.points(run, "of_step")) == pytest.approx(1)
    assert alignment.rank(found[:2]) is None and alignment.rank([(0.1, 0.2)] * 4) is None


def test_the_table(tmp_path, capsys):
    assert alignment.main([write(tmp_path / "r", *(record(seed=seed) for seed in range(3)))]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[2] == ["tasks of `gem`", "-1.00 [-1.00, -1.00]", "3", "+1.00 [+1.00, +1.00]", "3"]
    assert rows[3] == ["methods", "X", "0", "X", "0"]
