"""python -m results.show: what it prints, and how it ends."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metrics import metrics
from results import record, show
from results.reading.logs import parse
from results.reading.run import Run
from results.reading.text import parse_text

ROOT = Path(__file__).parents[2]
LOGGED = ROOT / "results" / "logged"


def write(folder, name="x", seed=3, **more):
    t, a = torch.tensor([0.0, 0, 1]), torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.8, 0.7]])
    baseline, grid, order = metrics.split(t, a)
    numbers = metrics.summary(baseline, grid)
    content = {
        "format": 1,
        "status": "done",
        "model": "gem",
        "args": {"seed": seed, "samples_per_task": 7},
        "protocol": {"data_file": "d.pt", "samples_per_task": [7, 7], "task_order": order},
        "grid": grid,
        "baseline": baseline,
        **{key: numbers[key] for key in ("final", "backward", "forward")},
        **more,
    }
    return record.write(folder, name, content, t, a, {}, "")


def test_a_record(tmp_path, capsys):
    base = write(tmp_path)
    assert show.main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "gem on d.pt, seed 3, done, 2 tasks, 7 samples per task\n"
        f"from {base}.json:1\n"
        "\n"
        "0.1000 0.2000\n|\n0.9000 0.3000\n0.8000 0.7000\n"
        "\n"
        "Final Accuracy: 0.7500    its grid gives 0.7500\n"
        "Backward: -0.0500         its grid gives -0.0500; over T - 1, as in the papers, -0.1000\n"
        "Forward: 0.0500           its grid gives 0.0500; over T - 1, as in the papers, 0.1000\n"
        "learning accuracy 0.8000; forgetting 0.1000\n"
    )


def test_the_learning_curve_area_where_it_was_measured(tmp_path, capsys):
    write(tmp_path, metrics={"lca": 0.43216})
    assert show.main([str(tmp_path)]) == 0
    assert "learning accuracy 0.8000; forgetting 0.1000; LCA 0.4322\n" in capsys.readouterr().out
    write(tmp_path, metrics={"lca": None})
    show.main([str(tmp_path)])
    assert "LCA" not in capsys.readouterr().out


def test_accuracies_without_the_tasks_masks(tmp_path, capsys):
    write(tmp_path, unmasked={"baseline": [0.1, 0.1], "grid": [[0.5, 0], [0.3, 0.4]], "final": 0.35, "backward": None})
    assert show.main([str(tmp_path)]) == 0
    assert "\nUnmasked: final 0.3500 (all outputs compete" in capsys.readouterr().out
    for wrong in ([0.3], {"final": "high"}, {"grid": [[2.0]]}, {"grid": 3}, {"grid": [3]}):
        write(tmp_path, unmasked=wrong)
        assert show.main([str(tmp_path)]) == 1
        assert "'unmasked' is" in capsys.readouterr().out


def test_seed_004(capsys):
    assert show.main([str(LOGGED / "seed_004.json")]) == 0
    out = capsys.readouterr().out
    assert out.count("\n0.7113 0.0944") == 3
    for said in (
        "prints Final Accuracy 0.4992, its grid gives 0.4997",
        "prints Backward -0.1820, its grid gives -0.1815",
        "prints Backward -0.1134, its grid gives -0.1062",
        "0.55118 has 5 digits",
        "no baseline row; by the forward number its mean is 0.1156 over all tasks but the first",
    ):
        assert said in out


def test_what_is_unreadable_is_said_and_the_rest_is_shown(tmp_path, capsys):
    write(tmp_path, "a")
    (tmp_path / "b.json").write_text('{\n"format": 1,\n"grid": [[\n')
    assert show.main([str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "0.9000 0.3000" in out
    assert f"{tmp_path}/b.json:4: is not JSON" in err


def test_partly_read(tmp_path, capsys):
    text = (LOGGED / "parity_gem_seed0.txt").read_text().replace("0.7180 0.6940", "0.7180 0.x940")
    (tmp_path / "x.txt").write_text(text)
    assert show.main([str(tmp_path / "x.txt")]) == 1
    out, err = capsys.readouterr()
    assert "0.7180 nan 0.8980" in out
    assert f"! {tmp_path}/x.txt:5: '0.x940' is not a number" in out
    assert len(err.splitlines()) == 1


def test_a_number_that_could_not_be_read_is_not_made_up(tmp_path, capsys):
    text = (LOGGED / "parity_gem_seed0.txt").read_text()
    (tmp_path / "x.txt").write_text(text.replace("Final Accuracy: 0.7640", "Final Accuracy: high"))
    assert show.main([str(tmp_path / "x.txt")]) == 1
    assert "\nFinal Accuracy: X         its grid gives 0.7640\n" in capsys.readouterr().out


def test_a_record_without_numbers(tmp_path, capsys):
    (tmp_path / "x.json").write_text('{"format": 1}')
    assert show.main([str(tmp_path / "x.json")]) == 1
    assert capsys.readouterr() == ("", f"results.show: {tmp_path}/x.json: has no grid and no numbers\n")


def test_a_full_disk():
    command = [sys.executable, "-m", "results.show", str(LOGGED)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "results.show: its output cannot be written (No space left on device)\n"


def test_usage_errors(tmp_path, capsys):
    assert show.main([str(tmp_path / "absent")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"results.show: {tmp_path}/absent: no such file or folder\n"
    with pytest.raises(SystemExit) as e:
        show.main([])
    assert e.value.code == 2


def test_hostile_text_is_shown_harmlessly(tmp_path, capsys):
    write(tmp_path, model="gem\x1b[2J\nFinal Accuracy: 1.0", args={"seed": "\x07"})
    assert show.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out


@given(st.integers(1, 7), st.integers(0, 7), st.booleans(), st.randoms(use_true_random=False))
def test_what_is_shown_can_be_read_again(T, rows, with_baseline, random):
    rows = min(rows, T)
    if not with_baseline and (T < 3 or rows < T):
        return  # without a baseline row, few numbers are not taken for a grid
    values = torch.rand(T + 1, T, generator=torch.Generator().manual_seed(random.randint(0, 9999))).tolist()
    run = Run("x", grid=values[1 : rows + 1], baseline=values[0] if with_baseline else None)
    numbers = run.recomputed
    run.printed = {k: f"{numbers[k]:.4f}" for k in ("final", "backward", "forward") if numbers[k] is not None}
    if not run.printed and not with_baseline:
        return
    found = parse_text(show.format_run(run), "y")
    assert len(found) == 1
    assert [[f"{v:.4f}" for v in row] for row in run.grid] == [[f"{v:.4f}" for v in row] for row in found[0].grid]
    assert (found[0].baseline is None) == (not with_baseline)
    assert found[0].disagreements() == []


def test_nothing_known_is_shown_as_such():
    assert show.format_run(Run("x", label="y")) == "y\nfrom x:1"
    assert "nan" in show.format_grid(None, [[math.nan, 0.5]])
    one_line = Run("x", label="y", printed={"final": "0.817", "backward": "-0.056", "forward": "nan"})
    assert "Final Accuracy: 0.817\nBackward: -0.056\nForward: nan" in show.format_run(one_line)


def test_the_reader_may_leave(tmp_path):
    for i in range(200):
        write(tmp_path, f"run{i}", seed=i)
    command = f"{sys.executable} -m results.show {tmp_path} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gem on d.pt")


def test_as_a_command_without_heavy_imports():
    code = (
        "import sys, results.show, metrics.metrics, results.record;"
        "print(sorted({'pandas', 'matplotlib', 'scipy', 'sklearn', 'quadprog'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    done = subprocess.run([sys.executable, "show.py", "logged"], cwd=ROOT / "results", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "parity_gem_seed0" in done.stdout


def test_many_records_are_shown_each_once(tmp_path, capsys):
    text = Path(write(tmp_path / "one") + ".json").read_text()
    content = json.loads(text)
    rows = torch.rand(10, 10).tolist()
    content.update(grid=rows, baseline=rows[0], final=None, backward=None, forward=None)
    content["evolution"] = {"step": list(range(100)), "task": [0] * 100, "accuracy": rows * 10}
    content["protocol"]["task_order"] = list(range(10))
    for i in range(500):
        (tmp_path / f"r{i}.json").write_text(json.dumps(content))
    assert show.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("\n|\n") == 501
    assert len(parse(tmp_path)) == 501
