"""--evaluation: which arithmetic counts the right answers. The counts are the same whichever it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data import files
from model import UsageError
from model.engine import scoring
from model.numeric import integers
from tests.conftest import stream
from tests.test_runs import Runs

ROOT = Path(__file__).parents[1]
FORCED = [{}, {"lca": "yes"}, {"forgetting_mode": "True", "forgetting_task_ids": "0", "forgetting_resee_size": 5}]


def in_bytes(split):
    return [(name, (x * 255).round().to(torch.uint8), y) for name, x, y in split]


@pytest.fixture
def runs(tmp_path):
    """Runs on a file of bytes."""
    files.save(tmp_path / "bytes.pt", *map(in_bytes, stream(n=200)))
    return Runs(tmp_path, tmp_path / "bytes.pt")


@pytest.mark.parametrize("flags", FORCED)
def test_integers_count_as_floats_do(runs, flags):
    results = {way: runs(model="agem_closed", evaluation=way, **flags) for way in ("float32", "integer", "auto")}
    wanted = results["float32"]
    for way, got in results.items():
        for key in ("baseline", "grid", "final", "lca", "forgetting"):
            assert got.get(key) == wanted.get(key)
        tally = got["evaluation"]
        assert tally["examples"] > 0
        whole = way == "integer" or (way == "auto" and integers.quick())
        assert tally["integers"] == (tally["examples"] if whole else 0)


def test_floats_that_are_bytes_are_evaluated_as_bytes(runs, tmp_path):
    wanted = runs(evaluation="integer")
    floats = [[(name, x.float() / 255, y) for name, x, y in split] for split in map(in_bytes, stream(n=200))]
    files.save(tmp_path / "bytes.pt", *floats)
    got = runs(evaluation="integer")
    for key in ("evaluation", "grid", "protocol"):
        assert got[key] == wanted[key]


@pytest.mark.parametrize("shared", ["tasks", "splits"])
def test_tasks_that_share_their_images(tmp_path, shared):
    """Whose images a data file holds once: they must be turned into signed bytes once, and training needs them as they are."""
    train, test = map(in_bytes, stream(n_tasks=4, n=200))
    if shared == "tasks":
        test = [(name, test[0][1], y) for name, _, y in test]
    else:
        test = train
    files.save(tmp_path / "shared.pt", train, test)
    runs = Runs(tmp_path, tmp_path / "shared.pt")
    floats, whole = (runs.bits(model="gem", evaluation=way) for way in ("float32", "integer"))
    assert floats == whole


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"parity": "yes"}, "without --parity yes"),
        ({"data_file": "floats.pt"}, "not all k / 255"),
        ({"model": "gem", "wrong": True}, "wrong on this processor"),
    ],
)
def test_where_integers_cannot_count(runs, tmp_path, monkeypatch, flags, reason):
    files.save(tmp_path / "floats.pt", *stream())
    if flags.pop("wrong", False):
        monkeypatch.setattr(integers, "exact", lambda *shape: False)
        monkeypatch.setattr(integers, "quick", lambda: True)
    with pytest.raises(UsageError, match=f"^--evaluation integer: .*{reason}.*; give --evaluation auto$"):
        runs(evaluation="integer", **flags)
    assert runs(**flags)["status"] == "done"


def test_the_self_test_is_of_the_first_layer(runs, monkeypatch):
    shapes, exact = [], integers.exact
    monkeypatch.setattr(integers, "exact", lambda *shape: shapes.append(shape) or exact(*shape))
    runs(evaluation="integer")
    assert set(shapes) == {(12, 8)}  # inputs and hidden units


# Prints the counts of fixed networks on fixed images, and what the self-test says of the processor.
COUNTS = """
import torch
from data import pixels
from model import common
from model.engine.scoring import Scorer
from model.numeric import integers
from tests.model.engine.test_scoring import images, network
for width in (12, 96):
    told = integers.exact(width, 20)
    rows = [torch.full((40, width), value) for value in (127, -128)] + [torch.randint(-128, 128, (40, width))]
    k, q = torch.cat(rows).to(torch.int8), torch.randint(-127, 128, (width, 60)).to(torch.int8)
    q[:, :20] = 127
    try:
        right = torch.equal(torch._int_mm(k, q).double(), k.double() @ q.double())
    except RuntimeError:
        right = False
    assert right or not told, "the self-test passed products that are wrong"
    layers = network([width, 20, 20, 10], 3)
    x, y = images(900, width, 5)
    for n in (1, 2):
        torch.set_num_threads(n)
        for chunk in (400, 900):
            for stored in (x, pixels.signed(x.clone())) if told else (x,):
                scorer = Scorer(layers, common.TaskOutputs(10), pixels.floats)
                print(width, sum(map(lambda a, b: scorer.right(a, b, 0), stored.split(chunk), y.split(chunk))))
"""


def test_counts_do_not_depend_on_the_instructions_used():
    """oneDNN's and ATen's kernels for older processors, one and two threads, two sizes of chunks: the same counts."""
    printed = set()
    for instructions in ("DEFAULT", "AVX512_CORE", "SSE41"):
        settings = {"ONEDNN_MAX_CPU_ISA": instructions, "PYTHONPATH": str(ROOT)}
        if instructions == "SSE41":
            settings["ATEN_CPU_CAPABILITY"] = "default"
        words = [sys.executable, "-c", COUNTS]
        done = subprocess.run(
            words, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        printed |= set(done.stdout.splitlines())
    assert sorted(line.split()[0] for line in printed) == ["12", "96"]


def test_many_that_are_counted_again_are_told_of(runs, monkeypatch, capsys):
    runs(model="single")
    assert "again" not in capsys.readouterr().err
    monkeypatch.setattr(scoring, "SAFETY", 1e6)
    runs(model="single")
    assert "computed again" in capsys.readouterr().err
