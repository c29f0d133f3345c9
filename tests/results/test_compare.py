"""python -m results.compare: means, paired differences, refusals, formats; and the statistics below it."""

import argparse
import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats

from results import RecordError, compare, table
from results.comparing import cells, inference
from tests.results.records import make, write

ROOT = Path(compare.__file__).parents[1]
OURS, THEIRS = [0.71, 0.74, 0.69, 0.80, 0.75], [0.60, 0.66, 0.61, 0.65, 0.70]


def test_the_learning_curve_area_of_the_runs_that_measured_it(tmp_path, capsys):
    """--lca decides what is measured, not what comes out: runs with and without it are averaged."""
    runs = [make("gem", seed, metrics={"lca": 0.4 + seed / 10 if seed else None}) for seed in range(3)]
    for record, asked in zip(runs, (False, True, True), strict=True):
        record["args"]["lca"] = asked
    write(tmp_path, *runs, make("single", 0))
    assert compared(tmp_path, "--metric", "final,lca") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["model", "n", "ACC", "LCA"]
    assert out[1].endswith("0.5500 ± 0.0707 (n 2)") and out[2].split()[-1] == "X"


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


def reference(path, seed, data_file, n_tasks=2, model="gem"):
    """A file as the reference writes it, with no hash of its data in it."""
    args = argparse.Namespace(model=model, seed=seed, data_file=data_file, lr=0.1, batch_size=10)
    accuracies = torch.rand(n_tasks + 1, n_tasks)
    torch.save((torch.tensor([0, *range(n_tasks)]), accuracies, {}, [0.5, 0.0, 0.0], "x", args), path)


@pytest.mark.parametrize(
    ("other", "said"),
    [({"data_file": "b.pt"}, "data_file: a.pt, b.pt"), ({"n_tasks": 3}, "n_tasks: 2, 3")],
)
def test_without_a_hash_the_files_and_tasks_must_agree(tmp_path, capsys, other, said):
    reference(tmp_path / "0.pt", 0, "a.pt")
    reference(tmp_path / "1.pt", 1, **{"data_file": "a.pt", **other})
    reference(tmp_path / "2.pt", 1, **{"data_file": "a.pt", **other}, model="single")
    assert compared(tmp_path) == 2
    assert f"runs of gem differ in {said};" in capsys.readouterr().err
    (tmp_path / "1.pt").unlink()
    assert compared(tmp_path, "--baseline", "single") == 2


def test_allow_averages_all_of_them(tmp_path, capsys):
    for strength, final in ((0, 0.1), (0.5, 0.5), (10, 0.9)):
        records = [make(seed=s, final=final, memory_strength=strength) for s in range(3)]
        write(tmp_path, *records, *([make("single", s, final=0.2) for s in range(3)] if not strength else []))
    arguments = "--metric", "final", "--allow", "memory_strength", "--baseline", "single"
    assert compared(tmp_path, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["gem", "9", "0.5000"]
    assert lines[7].split() == ["gem", "3", "+0.3000", "[+0.3000,", "+0.3000]"]  # a seed's runs are one of the pair


def test_no_difference_between_other_tasks(tmp_path, capsys):
    write(tmp_path, make(seed=0), make("single", 0, first_task=3))
    assert compared(tmp_path, "--baseline", "single") == 2
    assert "gem and single differ in first_task: unknown, 3; no difference is taken" in capsys.readouterr().err


def test_n_is_said_where_a_number_has_fewer(tmp_path, capsys):
    write(tmp_path, make(seed=0), make(seed=1, counts={}), make("single", 0, peak_memory_mb=None))
    assert compared(tmp_path, "--metric", "final,violations,memory_mb", "--baseline", "single") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "(n 1)" in lines[1] and lines[2].split()[-1] == "X"
    assert compared(tmp_path, "--metric", "violations", "--baseline", "single", "--confidence", "0.995") == 0
    assert "over common seeds" not in capsys.readouterr().out
    assert compared(tmp_path, "--metric", "final", "--baseline", "single", "--confidence", "0.995") == 0
    assert "[99.5% interval]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "model,counts"], "--by counts: is not one value a run"),
        (["--allow", "memory_strenght"], "--allow memory_strenght: no run has this field"),
    ],
)
def test_fields_that_are_none(tmp_path, capsys, arguments, said):
    write(tmp_path, make())
    assert compared(tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err
    assert compared(tmp_path, "--by", " model , lr ") == 0


def test_a_console_log_beside_its_record_is_the_same_run(tmp_path, capsys):
    write(tmp_path, make(seed=0), make(seed=1))
    (tmp_path / "log").write_text("results/000: {'model': 'gem', 'seed': 0} # 0.75 -0.075 0.05 # 1.0\n")
    assert compared(tmp_path, "--metric", "final") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["gem", "2"]


def test_a_printed_number_that_its_grid_belies_is_said(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(
        "0.1000 0.1000\n|\n0.9000 0.2000\n0.8000 0.7000\n\nFinal Accuracy: 0.9500\n"
        "x: {'model': 'gem', 'seed': 0} # 0.95 -0.05 0.05 # 1.0\n"
    )
    assert compared(tmp_path, "--metric", "final") == 0
    out, err = capsys.readouterr()
    assert "0.7500" in out and "prints Final Accuracy 0.95" in err and "its grid gives 0.7500, which counts" in err


def test_the_reader_may_leave(tmp_path):
    write(tmp_path, make())
    for rest, status in (("| true", 0), ("> /dev/full", 2)):
        command = (
            f"PYTHONIOENCODING=ascii {sys.executable} -m results.compare {tmp_path} {rest}; exit ${{PIPESTATUS[0]}}"
        )
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status and "Traceback" not in done.stderr
