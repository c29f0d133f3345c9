"""python -m results.regress: digits that must agree, values that must lie in the prediction interval, and causes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from results import regress
from results.reading.logs import parse
from tests.results.records import make, write

ROOT = Path(__file__).parents[2]
LOGGED = ROOT / "results" / "logged"
ARGS = {"model": "gem", "seed": 0, "lr": 0.1}
FINALS = [0.74, 0.75, 0.76, 0.77, 0.73]


def seeds(folder, **changes):
    return write(folder, *(make(seed=s, final=v, shift=(v - 0.75) / 100, **changes) for s, v in enumerate(FINALS)))


def run(capsys, logged, ours, *more):
    status = regress.main(["--against", str(logged), str(ours), *more])
    return status, *capsys.readouterr()


def fixture(path, *lines, known=False, **args):
    """A fixture of one run with these lines; known: what the exact check needs is logged."""
    content = {"logged": "x", "args": ARGS | args, "runs": [{"label": "a", "text": list(lines)}]}
    if known:
        content["protocol"] = {"data_hash": "a" * 64}
        content["versions"] = {"torch": "2.13.0+cpu", "cpu_capability": "AVX512"}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_exact_agreement(tmp_path, capsys):
    logged, ours = write(tmp_path / "logged", make()), write(tmp_path / "ours", make())
    status, out, err = run(capsys, logged, ours)
    assert (status, err) == (0, "")
    assert "exact: 12 of 12 numbers agree to all digits" in out
    assert "1 of 1 logged runs checked, 1 of them digit by digit; none deviates" in out


def test_threads_do_not_excuse_an_mlp(tmp_path, capsys):
    logged, ours = write(tmp_path / "logged", make()), write(tmp_path / "ours", make(threads=2, final=0.76))
    status, out, _ = run(capsys, logged, ours)
    assert status == 1 and "exact: 8 of 12 numbers agree to all digits" in out


def test_exact_deviation(tmp_path, capsys):
    logged = write(tmp_path / "logged", make())
    ours = write(tmp_path / "ours", make(grid=[[0.9, 0.2], [0.75, 0.7501]], violations=4, git="def"))
    status, out, _ = run(capsys, logged, ours)
    assert status == 1
    assert "row 2, task 2    0.75  0.7501  +0.0001" in out and "violations       3       4       +1" in out
    assert "the code has changed (git abc logged, def here)" in out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpu_capability": "AVX2"}, "cpu_capability AVX512 logged, AVX2 here"),
        ({"torch": "3.0"}, "torch 2.13.0+cpu logged, 3.0 here"),
        ({"engine": "autograd"}, "engine fast logged, autograd here"),
        ({"device": "GPU X"}, "device cpu logged, GPU X here"),
        ({"threads": 2, "net": "ResNet18"}, "threads 1 logged, 2 here"),
        ({"data_hash": "b" * 64}, "data_hash aaaaaaaaaaaa logged, bbbbbbbbbbbb here"),
        ({"lr": 0.03}, "lr 0.1 logged, 0.03 here"),
    ],
)
def test_other_circumstances_are_said_and_are_no_deviation(tmp_path, capsys, changes, said):
    logged = write(tmp_path / "logged", make(final=0.76))
    status, out, _ = run(capsys, logged, seeds(tmp_path / "ours", **changes))
    assert status == 0
    assert f"they need not: {said}" in out
    assert (
        "final     logged 0.7600, ours 0.7500 ± 0.0158 (n 5): inside the 95% prediction interval [0.7019, 0.7981]"
        in out
    )


def test_statistical_deviation_and_its_cause(tmp_path, capsys):
    logged = write(tmp_path / "logged", make(seed=9, final=0.99))
    status, out, _ = run(capsys, logged, seeds(tmp_path / "ours", lr=0.03))
    assert status == 1
    assert "exact: no run with seed 9" in out
    assert "final     logged 0.9900" in out and "OUTSIDE" in out
    assert "cells: 2 of 4 deviate" in out
    assert "+0.2400 from the mean" in out and "+0.2400, adjusted p 0.0" in out
    assert "gem seed 9 000: lr 0.1 logged, 0.03 here" in out
    assert run(capsys, logged, seeds(tmp_path / "ours"), "--mode", "exact")[0] == 2


def test_the_runs_that_come_nearest_are_taken(tmp_path, capsys):
    logged = write(tmp_path / "logged", make(seed=9, final=0.75))
    ours = seeds(tmp_path / "ours", lr=0.03)
    write(tmp_path / "ours", *(make(seed=s, final=v) for s, v in [(10, 0.74), (11, 0.76)]))
    status, out, _ = run(capsys, logged, ours)
    assert status == 0 and "against seeds 10 11" in out


def test_a_printed_log(tmp_path, capsys):
    """Rounding of a log's digits is allowed for; what it does not say is said."""
    lines = "0.9000 0.2000", "0.7500 0.7500", "Final Accuracy: 0.7500 Backward: -0.0750 Forward: 0.0500"
    ours = write(tmp_path / "ours", *(make(seed=s, final=0.75004) for s in range(3)))
    status, out, _ = run(capsys, fixture(tmp_path / "log.json", *lines), ours)
    assert status == 0
    assert "exact: 7 of 7 numbers agree; they need not: data_hash not logged; torch not logged; cpu_cap" in out
    out = run(capsys, fixture(tmp_path / "log.json", *lines, known=True), ours)[1]
    assert "exact: 7 of 7 numbers agree to all digits" in out


def test_nothing_to_check(tmp_path, capsys):
    logged, ours = write(tmp_path / "logged", make()), write(tmp_path / "ours", make("ewc"))
    status, out, err = run(capsys, logged, ours)
    assert status == 2 and "no run of gem to check it against" in out and "nothing could be checked" in err
    assert run(capsys, tmp_path / "nothing", ours)[0] == 2
    status, _, err = run(capsys, logged, logged, "--confidence", "95")
    assert status == 2 and "--confidence 95" in err


def test_malformed_and_diverged(tmp_path, capsys):
    logged = write(tmp_path / "logged", make(seed=9))
    ours = write(tmp_path / "ours", make(), make(seed=1, status="diverged", grid=[]))
    (tmp_path / "ours" / "x.json").write_text('{"format": 1,')
    status, out, err = run(capsys, logged, ours)
    assert status == 2 and "x.json:1: is not JSON" in err
    assert "1 of our 2 runs diverged" in out and "1 run of ours; two or more are needed" in out


def test_logged_fixtures():
    """The parity cases know their arguments; a missing file is a problem of its run only."""
    runs = parse(LOGGED / "parity_digits_avx512.json")
    assert [r.fact("model") for r in runs] == ["single", "ewc", "ewc", "gem", "gem"]
    assert runs[4].fact("memory_strength") == 0.5 and runs[4].printed["final"] == "0.7640" and not runs[4].problems


def test_a_fixture_whose_file_is_missing(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"logged": "x", "runs": [{"file": "y.txt"}, {"text": "0"}, {}]}))
    problems = [p for r in parse(tmp_path / "x.json") for p in r.problems]
    assert any("y.txt cannot be read" in p for p in problems) and any("run 3 has no lines" in p for p in problems)


ONE_LINER = "gem_d: {'model': 'gem', 'seed': 0, 'lr': 0.1} # "


def test_printed_numbers_are_compared_digit_by_digit(tmp_path, capsys):
    ours = write(tmp_path / "ours", make())
    logged = fixture(tmp_path / "log.json", ONE_LINER + "0.750 -0.075 0.050 # 1.0", known=True)
    status, out, _ = run(capsys, logged, ours)
    assert status == 0 and "exact: 3 of 3 numbers agree to all digits" in out
    logged = fixture(tmp_path / "log.json", ONE_LINER + "0.751 -0.075 0.050 # 1.0", known=True)
    status, out, _ = run(capsys, logged, ours)
    assert status == 1 and "final   0.751  0.750  -0.001" in out


def test_a_record_whose_final_is_not_its_grids(tmp_path, capsys):
    grid = [[0.9, 0.2], [0.75, 0.75]]
    logged = write(tmp_path / "logged", make(final=0.9999, grid=grid))
    status, out, _ = run(capsys, logged, write(tmp_path / "ours", make()))
    assert status == 1 and "exact: 11 of 12 numbers agree to all digits" in out


def test_no_number_in_common_is_no_check(tmp_path, capsys):
    bare = {"grid": [], "final": None, "backward": None, "forward": None, "counts": {}, "evolution": None}
    logged = write(tmp_path / "logged", make(seed=9))
    status, out, err = run(capsys, logged, write(tmp_path / "ours", make(**bare), make(seed=1, **bare)))
    assert status == 2 and "nothing could be checked" in err and "0 of 1 logged runs checked" in out
    assert "final     logged 0.7500, not checked: 0 of our 2 runs have it, two or more are needed" in out
    assert "cells: 4 of 4 not checked: fewer than two of our runs have them" in out


def test_all_of_ours_diverged(tmp_path, capsys):
    logged = write(tmp_path / "logged", make(seed=9))
    ours = write(
        tmp_path / "ours", *(make(seed=s, status="diverged", grid=[], final=None, evolution=None) for s in range(3))
    )
    status, out, _ = run(capsys, logged, ours)
    assert status == 1 and "status    done  3 of 3 diverged" in out and "1 of 1 logged runs checked" in out
    logged = write(tmp_path / "too", make(seed=9, status="diverged", grid=[], final=None, evolution=None))
    status, out, _ = run(capsys, logged, ours)
    assert status == 0 and "status: diverged, as 3 of our 3 runs" in out


def test_a_logged_run_that_was_not_checked_is_no_success(tmp_path, capsys):
    ours = write(tmp_path / "ours", make())
    logged = write(tmp_path / "logged", make(), make("ewc"))
    status, out, _ = run(capsys, logged, ours)
    assert status == 1 and "no run of ewc to check it against" in out
    assert "1 of 2 logged runs checked, 1 of them digit by digit, 1 not checked; none deviates" in out
    logged = write(tmp_path / "other", make(), make(seed=1))
    assert run(capsys, logged, ours, "--mode", "exact")[0] == 1


def test_a_logged_file_that_cannot_be_read(tmp_path, capsys):
    logged, ours = write(tmp_path / "logged", make()), write(tmp_path / "ours", make())
    (tmp_path / "logged" / "golden.json").write_text('{"format": 1,')
    status, out, err = run(capsys, logged, ours)
    assert status == 1 and "1 of 1 logged runs checked" in out and "golden.json:1: is not JSON" in err


@pytest.mark.parametrize("ends", [("diverged", "done"), ("done", "diverged")])
def test_the_status_is_compared(tmp_path, capsys, ends):
    logged, ours = (write(tmp_path / str(i), make(status=end)) for i, end in enumerate(ends))
    status, out, _ = run(capsys, logged, ours)
    assert status == 1 and "status {} {}".format(*ends) in " ".join(out.split())


def test_surplus_rows_are_compared(tmp_path, capsys):
    logged = write(tmp_path / "logged", make(grid=[[0.9, 0.2]], backward=(0.75 - 0.9) / 2))
    status, out, _ = run(capsys, logged, write(tmp_path / "ours", make()))
    assert status == 1 and "exact: 10 of 12 numbers agree" in out
    assert "row 2, task 1       X  0.75   X" in out


@pytest.mark.parametrize(("ours", "status"), [(0.1153, 0), (0.1156, 1)])
def test_the_rounding_of_printed_summaries_is_allowed_for(tmp_path, capsys, ours, status):
    logged = fixture(tmp_path / "log.json", ONE_LINER + "0.115 -0.392 0.050 # 1.0")
    folder = write(tmp_path / "ours", *(make(seed=s, final=ours, backward=-0.392) for s in range(3)))
    assert run(capsys, logged, folder)[0] == status


def test_a_files_name_stands_for_data_without_a_hash(tmp_path, capsys):
    logged = fixture(tmp_path / "log.json", ONE_LINER + "0.990 -0.075 0.050 # 1.0", data_file="data/mnist_rotations.pt")
    status, out, _ = run(capsys, logged, seeds(tmp_path / "ours"))
    assert status == 1 and "gem seed 0 a: data_file mnist_rotations.pt logged, d.pt here" in out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"logged": 1}, "no list of 'runs' in it"),
        ({"logged": 1, "runs": []}, "no list of 'runs' in it"),
        ({"logged": 1, "runs": [{"text": ["hello"]}]}, "run 1: no grid, no one-line result in it"),
        ({"logged": 1, "runs": [{"file": ""}]}, "run 1 has no lines of text"),
    ],
)
def test_a_fixture_without_runs_is_a_problem(tmp_path, capsys, content, said):
    logged, ours = write(tmp_path / "logged", make()), write(tmp_path / "ours", make())
    (tmp_path / "logged" / "x.json").write_text(json.dumps(content))
    status, _, err = run(capsys, logged, ours)
    assert status == 1 and f"x.json: {said}" in err
    assert not [p for r in parse(LOGGED / "seed_002.json") for p in r.problems]


def test_a_fixture_in_another_encoding(tmp_path):
    path = fixture(tmp_path / "x.json", ONE_LINER + "0.115 -0.392 0.050 # 1.0")
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-16")
    assert [r.printed["final"] for r in parse(path)] == ["0.115"]


@pytest.mark.parametrize(("final", "status"), [(0.75, 0), (0.99, 1)])
def test_a_reader_that_has_seen_enough_changes_nothing(tmp_path, final, status):
    logged = write(tmp_path / "logged", make(seed=9, final=final))
    command = [sys.executable, "-m", "results.regress", "--against", logged, seeds(tmp_path / "ours")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", status)


def test_an_ascii_terminal(tmp_path):
    command = [sys.executable, "-m", "results.regress", "--against", write(tmp_path / "logged", make(seed=9))]
    done = subprocess.run(
        [*command, seeds(tmp_path / "ours")], cwd=ROOT, capture_output=True, env={"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0 and rb"0.7500 \xb1 0.0158" in done.stdout and not done.stderr


def test_confidence_as_given(tmp_path, capsys):
    logged = write(tmp_path / "logged", make(seed=9))
    out = run(capsys, logged, seeds(tmp_path / "ours"), "--confidence", "0.995")[1]
    assert "inside the 99.5% prediction interval" in out and "99.5% for all together" in out
