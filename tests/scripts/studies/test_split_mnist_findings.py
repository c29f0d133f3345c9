"""scripts/studies/split_mnist_findings.py: each number by hand, from records made by hand."""

import math

import numpy as np
import pytest

from results import record as records
from results.drawing import probes
from results.reading.logs import parse
from scripts.studies import split_mnist
from scripts.studies import split_mnist_findings as findings
from tests.results.records import write
from tests.scripts.studies.test_split_mnist import record

ROWS = {row.label: row for row in split_mnist.ROWS}
CURVE = {
    "task": [0, 1, 2],
    "old": [[None] * 3, [1.0, 0.5, 0.25], [0.8, 0.8, 0.0]],
    "new": [[0.0, 0.5, 1.0], [0.0, 0.5, 0.6], [0.0] * 3],
}
UPDATES = {"kinds": ["Linear", "BatchNorm1d", "Linear"], "layers": ["a", "b", "c"], "task": [0, 1, 2],
           "first_batches": [[1.0, 9.0, 3.0], [4.0, 9.0, 8.0], [2.0, 9.0, 4.0]],
           "later": [[0.5, 9.0, 1.0], [1.0, 9.0, 1.0], [1.0, 9.0, 4.0]]}  # fmt: skip
CONFIDENCE = {
    name: [0.0, value]
    for name, value in {
        "entropy": 0.2,
        "smallest": 1e-5,
        "loss": 3.0,
        "temperature": 7.0,
        "loss_at_temperature": 1.5,
    }.items()
}
EPOCHS = {"task": [0, 1, 1, 1], "epoch": [0, 0, 1, 2], "accuracy": [1.0, 0.5, 0.6, 0.45]}
EPOCHS |= {name: [0.5] * 4 for name in ("train_loss", "train_accuracy", "loss")}
DRIFT = {"step": [5, 10, 10, 20, 20], "mean": [[1.0], [0.8], [0.8, 1.0], [0.5, 0.6], [0.5, 0.6, 1.0]]}


def one(tmp_path, label="sequential", seed=0, seen=(1, 0.5, 0.3, 0.25, 0.2), zeros=(0.5, 0.6, 0.7, 0.8, 0.9), **probes):
    made = record(ROWS[label], seed, list(seen), list(zeros))
    made["probes"] |= probes
    made["seconds"] = {"train": 3.0}
    return parse(write(tmp_path / f"{label}{seed}", made))[0]


def test_what_is_left_and_how_rough(tmp_path):
    run = one(tmp_path, curve=CURVE)
    assert findings.left(run, 1) == pytest.approx((0.5 + 1) / 2)
    assert findings.left(run, 2) == findings.left(run, 99) == pytest.approx((0.25 + 0) / 2)
    changes = [np.std(np.diff(curve), ddof=1) for curve in CURVE["old"][1:]]
    assert findings.roughness(run, "old") == pytest.approx(np.mean(changes))
    assert findings.left(one(tmp_path, seed=1), 1) is None


def test_updates(tmp_path):
    run = one(tmp_path, updates=UPDATES)
    assert findings.early(run, first_task=True) == pytest.approx((2 + 3) / 2)
    assert findings.early(run, first_task=False) == pytest.approx((4 + 8 + 2 + 1) / 4)
    assert findings.last_layer(run, "later") == pytest.approx((1 + 4) / 2)
    assert findings.last_layer(run, "first_batches") == pytest.approx((2 + 2) / 2)
    assert findings.unevenness(run) is None  # no arrays beside it
    size = np.exp(np.random.default_rng(0).normal(size=(60, 3)))
    with open(run.source.removesuffix(".json") + records.ARRAYS, "wb") as f:
        np.savez(f, **{"updates.size": size, "updates.task": np.repeat([0, 1, 2], 20)})
    expected = [np.log(size[20 * t + 16 : 20 * t + 20, i]).std() for t in (1, 2) for i in (0, 2)]
    assert findings.unevenness(run) == pytest.approx(np.mean(expected))


def test_updates_of_short_tasks_and_of_dead_layers(tmp_path):
    """A task may end within its first mini-batches, and a layer whose units are all zero does not move."""
    short = one(tmp_path, updates=UPDATES | {"later": [None] * 3})
    assert findings.early(short, first_task=True) is None and findings.last_layer(short, "later") is None
    dead = one(tmp_path, seed=1, updates=UPDATES | {"later": [[0.0, 9.0, 1.0], [0.0, 9.0, 2.0], [0.0, 9.0, 0.0]]})
    assert findings.early(dead, first_task=True) == pytest.approx(3)
    assert findings.early(dead, first_task=False) == pytest.approx(4)
    assert findings.last_layer(dead, "later") is None
    assert "| X | X |" in findings.updates({"sequential": {0: short}})


def test_drift_after_each_task_and_by_steps(tmp_path):
    run = one(tmp_path, drift=DRIFT)
    assert [split_mnist.cosine(run, task) for task in (1, 2, 3, 4)] == [0.8, 0.5, 0.5, None]
    assert findings.turned(run) == pytest.approx(-1)


def test_the_last_task(tmp_path):
    assert findings.last_task(one(tmp_path, epochs=EPOCHS)) == [0.5, 0.6, 0.45]


def test_the_tables(tmp_path, capsys):
    label = findings.OGD
    for seed in (0, 1):
        common = {"epochs": EPOCHS, "confidence": CONFIDENCE, "curve": CURVE, "updates": UPDATES}
        one(tmp_path, seed=seed, **common)
        one(tmp_path, label, seed, (1, 1, 1, 1, 0.4 + seed / 10), **common, drift=DRIFT)
        one(tmp_path, findings.BN, seed, zeros=(0.5, 0.5, 0.5, 0.5, 0.5))
    other = "OGD, batch norm, until .98"  # with the probes, without them, and with probes that measured nothing
    one(tmp_path, other, 0, **common, drift=DRIFT)
    one(tmp_path, other, 1)
    nothing = {"confidence": {key: [] for key in CONFIDENCE}, "drift": {"step": [], "mean": []}}
    one(tmp_path, other, 2, **nothing, epochs={key: [] for key in EPOCHS}, curve={key: [] for key in CURVE})
    assert findings.main([str(tmp_path)]) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    told = [line for line in lines if line and line[0] == label]
    curve, updates, sure, drift, stopping, less = told[:6]
    assert curve[1] == "0.75 [0.75, 0.75]" and updates[1:3] == ["2.50", "3.75"]
    assert sure[1:4] == ["3.00 [3.00, 3.00]", "0.200 [0.200, 0.200]", "-5.0 [-5.0, -5.0]"]
    assert drift[1] == "0.50 [0.50, 0.50]" and drift[3] == "X"
    half = 0.05 * 12.7062  # Student's quantile of one degree of freedom
    assert stopping[1] == f"0.450 [{0.45 - half:.3f}, {0.45 + half:.3f}]"
    assert stopping[2:4] == ["-0.150 [-0.150, -0.150]", "30.0"]
    assert less[1] == findings.BN and less[2].startswith("+0.2500 [") and less[3] == "+0.400 [+0.400, +0.400]"
    assert math.isclose(float(less[4].split(" ")[0]), 0.4)
    curve, updates, sure, drift, stopping = [line for line in lines if line and line[0] == other][:5]
    assert [row[1] for row in (curve, updates, sure, drift)] == ["0.75", "2.50", "3.00", "0.50"]
    assert stopping[2] == "-0.150"


def test_figures(tmp_path, monkeypatch):
    for label in ("sequential", findings.BN):
        one(tmp_path, label, curve=CURVE)
    for label in (findings.OGD, "OGD, batch norm, until .80", split_mnist.EVALUATION):
        one(tmp_path, label)
    stops = []
    monkeypatch.setattr(probes, "threshold", lambda cells: stops.append(cells["OGD, batch norm"]))
    assert findings.main([str(tmp_path), "--figures", str(tmp_path / "drawn")]) == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["curve.png", "sparsity.png"]
    assert {at: [run.fact("ogd_record") for run in runs] for at, runs in stops[0].items()} == {
        0.8: ["train"],
        0.95: ["train"],
    }
