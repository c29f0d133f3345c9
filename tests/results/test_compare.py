"""python -m results.compare: means, paired differences, refusals, formats; and the statistics below it."""

import csv
import io
import json
import math

import pytest
from scipy import stats

from results import RecordError, cells, compare, inference, table
from tests.results.records import make, write

OURS, THEIRS = [0.71, 0.74, 0.69, 0.80, 0.75], [0.60, 0.66, 0.61, 0.65, 0.70]


def test_paired_interval_is_scipys():
    pair = inference.paired(dict(enumerate(OURS)), dict(enumerate(THEIRS)))
    reference = stats.ttest_rel(OURS, THEIRS).confidence_interval(0.95)
    assert pair.low == pytest.approx(reference.low, abs=1e-12)
    assert pair.high == pytest.approx(reference.high, abs=1e-12)
    assert pair.mean == pytest.approx(0.094) and pair.n == 5


def test_paired_over_common_seeds_only():
    pair = inference.paired({0: 1.0, 1: 2.0, 2: 9.0}, {1: 1.5, 0: 0.0, 7: 3.0})
    assert pair.mean == pytest.approx(0.75) and pair.n == 2
    assert inference.paired({0: 1.0}, {0: 0.5}) == (0.5, None, None, 1)
    assert inference.paired({0: 1.0}, {1: 0.5}) is None


def test_spread():
    assert inference.deviation([1.0]) is None
    assert inference.deviation(OURS) == pytest.approx(stats.tstd(OURS))


def compared(tmp_path, *arguments):
    return compare.main([str(tmp_path), *arguments])


def five(tmp_path):
    records = [make("gem", s, v) for s, v in enumerate(OURS)] + [make("single", s, v) for s, v in enumerate(THEIRS)]
    return write(tmp_path, *records)


def test_table(tmp_path, capsys):
    five(tmp_path)
    assert compared(tmp_path, "--baseline", "Single", "--metric", "final,violations,step") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "model   n              ACC  violations   us/step\n"
        "gem     5  0.7380 ± 0.0421       5 ± 2  1000 ± 0\n"
        "single  5  0.6440 ± 0.0404       5 ± 2  1000 ± 0\n"
        "\n"
        "Mean difference to single over common seeds [95% interval]\n"
        "\n"
        "model  n              ACC - single's  us/step - single's\n"
        "gem    5  +0.0940 [+0.0470, +0.1410]         +0 [+0, +0]\n"
    )


def test_formats(tmp_path, capsys):
    five(tmp_path)
    compared(tmp_path, "--format", "json", "--baseline", "single")
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["by"] == {"model": "gem"} and rows[0]["measures"]["final"]["mean"] == pytest.approx(0.738)
    assert rows[0]["paired"]["final"]["n"] == 5 and rows[1]["paired"] is None
    compared(tmp_path, "--format", "csv", "--metric", "final", "--baseline", "single")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(rows[0]["final_mean"]) == pytest.approx(0.738) and rows[1]["final_difference"] == "X"
    assert math.isclose(float(rows[0]["final_low"]), stats.ttest_rel(OURS, THEIRS).confidence_interval().low)
    compared(tmp_path, "--format", "markdown", "--metric", "final")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["| model | n | ACC |", "| --- | --: | --: |", "| gem | 5 | 0.7380 ± 0.0421 |",
                     "| single | 5 | 0.6440 ± 0.0404 |"]  # fmt: skip
    compared(tmp_path, "--format", "latex", "--metric", "final")
    assert "gem & 5 & 0.7380 $\\pm$ 0.0421 \\\\" in capsys.readouterr().out
    assert table.render(["a_b"], [["50%"]], "latex").splitlines()[2] == "a\\_b \\\\"


def test_other_data_is_told_by_its_file(tmp_path, capsys):
    write(tmp_path, make(seed=0), make(seed=1, data_hash="b" * 64, data_file="c.pt"))
    assert compared(tmp_path) == 2
    err = capsys.readouterr().err
    assert (
        "differ in data_file: c.pt, d.pt;" in err
        and "(--by model,data_file keeps" in err
        and "--allow data_hash" in err
    )
    assert compared(tmp_path, "--by", "model,data_file") == compared(tmp_path, "--allow", "data_hash") == 0


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("data_hash", {"data_hash": "b" * 64}, "data_hash: aaaaaaaaaaaa, bbbbbbbbbbbb"),
        ("samples_per_task", {"samples_per_task": [9, 9]}, "samples_per_task: 2 x 7, 2 x 9"),
        ("n_epochs", {"n_epochs": 2}, "n_epochs: 1, 2"),
        ("batch_size", {"batch_size": 10}, "batch_size: 1, 10"),
        ("memory", {"memory": 5}, "memory: 5, 10"),
        ("head", {"head": "split"}, "head: shared, split"),
        ("lr", {"lr": 0.03}, "lr: 0.03, 0.1"),
        ("memory_strength", {"memory_strength": 10}, "memory_strength: 0.5, 10"),
    ],
)
def test_refuses_to_average(tmp_path, capsys, name, changed, said):
    write(tmp_path, make(seed=0), make(seed=1, **changed))
    assert compared(tmp_path) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"runs of gem differ in {said}; they are not averaged" in err
    assert compared(tmp_path, "--allow", name) == 0
    assert compared(tmp_path, "--by", f"model,{name}") == 0
    assert capsys.readouterr().out.count("\ngem") == 3


def test_no_difference_across_protocols(tmp_path, capsys):
    write(tmp_path, make(seed=0), make("single", 0, batch_size=10))
    assert compared(tmp_path) == 0
    assert compared(tmp_path, "--baseline", "single") == 2
    assert "gem and single differ in batch_size: 1, 10; no difference is taken" in capsys.readouterr().err
    assert compared(tmp_path, "--baseline", "single", "--allow", "batch_size") == 0


def test_a_flag_that_a_method_does_not_use_tells_nothing_apart(tmp_path, capsys):
    write(tmp_path, make("agem_closed", 0), make("agem_closed", 1, memory_strength=10), make("single", 1, memory=0))
    assert compared(tmp_path, "--by", "model,memory_strength", "--metric", "final") == 0
    assert "agem_closed                -  2" in capsys.readouterr().out


def test_identity_diverged_repeated_and_missing(tmp_path, capsys):
    """A record's file name says nothing; of runs with one seed the last counts; diverged ones are counted apart."""
    last = make(seed=1, final=0.5, started="2027")
    broken = make(seed=2, status="diverged", grid=[], backward=None, forward=None)
    write(tmp_path, make(seed=1, final=0.9), last, broken, make("Agem", 0, counts={}))
    assert compared(tmp_path, "--metric", "final,violations") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["agem", "1", "0.7500", "±", "X", "X"]
    assert lines[2].split() == ["gem", "1", "(1", "diverged)", "0.5000", "±", "X", "4", "±", "X"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "accuracy"], "--metric accuracy: the metrics are final, backward"),
        (["--baseline", "ewc"], "--baseline ewc: no run of it; the methods are gem"),
        (["--baseline", "gem", "--by", "seed"], "--by must name model"),
        (["--by", "model,colour"], "--by colour: no run has this field; give model, seed, a flag or one of data_hash"),
        (["--confidence", "95"], "--confidence 95: give a number between 0 and 1"),
    ],
)
def test_wrong_commands(tmp_path, capsys, arguments, said):
    write(tmp_path, make())
    assert compared(tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err


def test_malformed_input(tmp_path, capsys):
    assert compare.main([str(tmp_path / "nothing")]) == 2
    write(tmp_path, make())
    (tmp_path / "broken.json").write_text('{"format": 1, "grid": [[0.1, "x"]]}')
    (tmp_path / "note.txt").write_text("0.5000 0.1000\n|\n0.9000 0.2000\n0.8000 0.7000\n\nFinal Accuracy: 0.7500\n")
    assert compared(tmp_path, "--metric", "final") == 1
    out, err = capsys.readouterr()
    assert "broken.json: grid or baseline is not rows of numbers" in err
    assert "note.txt:1: does not say which method it is; left out" in err
    assert out.splitlines()[1].split()[:3] == ["gem", "1", "0.7500"]
    with pytest.raises(RecordError, match="no run in it that says which method"):
        cells.read([str(tmp_path / "note.txt")], "x")
