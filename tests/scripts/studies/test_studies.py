"""scripts/study.sh: the command lines of each study, its tables, and the whole path in a copy of the checkout."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model import METHODS
from results import compare
from scripts.studies import learning_rates
from scripts.sweeping import jobs
from tests.results.records import make, write

ROOT = Path(__file__).parents[3]
STUDIES = {
    "which_agem": (3 * 3 + 4 + 3) * 5,
    "relatedness": 10 * 5,
    "related_tasks": 21 * 2 * 5,
    "modular": (1 + 2 + 2 + 4 + 2 + 2 + 4) * 5,
    "engines": (len(METHODS) - 2) * 2 * 5,  # without icarl and das
    "unlearning": 6 * 3,
    "alignment": 6 * 5,
    "learning_rates": 11 * 5 * 3,
    "exact_evaluation": 5 * 4 * 5,
    "split_mnist": 27 * 5,
    "split_mnist_settings": (5 * 15 + 2 * 12) * 2,
    "split_heads": (7 * 3 + 2) * 5,
    "split_heads_settings": (6 * 4 * 3 + 12 * 3 + 12 * 2) * 2,
    "das": (4 + 3 + 3 + 2) * 2 + (2 + 1) * 5 + (4 + 5) * 5 + 2 * 5,
}
QUICK = {"related_tasks": (20, 5), "alignment": (20, 5)}  # a rank correlation needs three past tasks
QUICK |= {"split_mnist": (1000, None), "split_mnist_settings": (1000, None)}
QUICK |= {"das": (160, 3), "split_heads": (200, 3), "split_heads_settings": (200, 2)}


def sourced(study, then):
    """What a shell prints that has read a study and then does something."""
    text = f"set -euo pipefail; python={sys.executable}; source scripts/studies/{study}.sh; {then}"
    return subprocess.run(["bash", "-c", text], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_these_are_all():
    assert {path.stem for path in (ROOT / "scripts" / "studies").glob("*.sh")} == set(STUDIES)


@pytest.mark.parametrize("study", STUDIES)
def test_its_command_lines_are_jobs(study):
    lines = sourced(study, 'echo "$lines"')
    found, notes = jobs.read({study: lines}, {})
    assert len(found) == STUDIES[study]
    assert not any("left out" in note for note in notes)
    quick = shlex.split(sourced(study, 'printf "%q " "${quick[@]}"'))
    small, _ = jobs.read({study: lines}, jobs.grouped(quick))
    assert 0 < len(small) < len(found)
    assert {(job.args["samples_per_task"], job.args["n_tasks"]) for job in small} == {QUICK.get(study, (20, 3))}


# -- tables ----------------------------------------------------------------------------------------------


def tables(study, folder, capsys):
    """What results.compare prints for each of a study's calls of it, on a folder of records."""
    calls = Path(folder).with_name("calls")
    sourced(study, f'compare() {{ printf "%q " "$@" >&3; echo >&3; }}; table {folder} 3>{calls}')
    for call in calls.read_text().splitlines():
        assert compare.main([*shlex.split(call), "--format", "markdown"]) == 0, capsys.readouterr().err
        yield capsys.readouterr().out


def row(table, name):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.removeprefix(f"| {name} |").split("|")[:-1]]


def test_engines(tmp_path, capsys):
    runs = [
        make("gem", seed, final=final + seed / 10, engine=engine)
        for engine, final in (("fast kept", 0.7), ("autograd", 0.6))
        for seed in (0, 1)
    ]
    (text,) = tables("engines", write(tmp_path / "r", *runs), capsys)
    means, differences = text.split("Mean difference")
    assert row(means, "gem | autograd") == ["2", "0.6500 ± 0.0707"]
    assert row(differences, "gem | fast kept") == ["2", "+0.1000 [+0.1000, +0.1000]"]


def test_unlearning(tmp_path, capsys):
    said = {"before": [0.8, 0.6], "after": [0.2, 0.7], "attacked": [0], "effect": 0.6, "retention": 0.1}
    runs = [make("gem", seed, forgetting=said) for seed in (0, 1)]
    (text,) = tables("unlearning", write(tmp_path / "r", *runs), capsys)
    means = [cell.split(" ±")[0] for cell in row(text, "gem")]
    assert means == ["2", "0.8000", "0.2000", "0.6000", "0.7000", "0.7000"]


def test_relatedness(tmp_path, capsys):
    flags = ("gem_ignore_relatedness", "create_random_groups", "create_group_per_unit")
    runs = []
    for model in ("gem", "gem_group", "agem_closed", "agem_group"):
        for on in (None, *flags) if model.endswith("group") else (None,):
            for seed in (0, 1):
                made = make(model, seed, final=0.5 + (on == flags[0]) / 10 + (model == "gem") / 20)
                made["args"] |= {flag: flag == on for flag in flags}
                runs.append(made)
    folder = write(tmp_path / "r", *runs)
    first, *differences = tables("relatedness", folder, capsys)
    assert row(first, "`gem_group`, the margin alone")[:2] == ["2", "0.6000 ± 0.0000"]
    assert row(first, "`agem_group`, plain mean")[:2] == ["2", "0.6000 ± 0.0000"]
    assert len([line for line in first.splitlines() if line.startswith("| `")]) == 10
    assert len(differences) == 4
    none, _, gem, _ = (text.split("Mean difference")[1] for text in differences)
    assert row(none, "`gem_group`, relatedness")[1].startswith("-0.1000 [")
    assert row(gem, "`gem_group`, relatedness")[1].startswith("-0.0500 [")


def rates(*runs):
    """Runs of (model, lr, seed, final, flags that are not defaults)."""
    made = []
    for model, lr, seed, final, more in runs:
        status = {"status": "diverged"} if final is None else {}
        made.append(make(model, seed, final=final or 0.1, lr=lr, memory_strength=0.0, n_memories=0, memory=0, **status))
        made[-1]["args"] |= more
    return made


def test_learning_rates(tmp_path, capsys):
    runs = []
    for seed in (0, 1):
        runs += [("single", 0.1, seed, 0.5, {}), ("single", 0.3, seed, 0.6 + seed / 10, {})]
        runs += [("ncl", 0.1, seed, 0.7 + seed / 10, {}), ("ncl", 0.3, seed, 0.4, {})]
        runs += [
            ("ncl", 0.1, seed, 0.2, {"ncl_diag": True}),
            ("ncl", 0.3, seed, None if seed else 0.9, {"ncl_diag": True}),
        ]
        runs += [("spg", 0.1, seed, None, {})]
    assert learning_rates.main([write(tmp_path / "r", *rates(*runs))]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "| method | lr 0.1 | lr 0.3 | best (sd), n | above single [95 %] |"
    assert row(text, "single") == ["0.500", "0.650", "0.650 (0.071), 2", "-"]
    assert row(text, "ncl") == ["0.750", "0.400", "0.750 (0.071), 2", "+0.100 [+0.100, +0.100]"]
    assert row(text, "ncl --ncl_diag yes")[:3] == ["0.200", "X", "0.200 (0.000), 2"]
    assert row(text, "spg") == ["X", "", "X", "X"]


def test_learning_rates_names_rows_that_are_not_comparable(tmp_path, capsys):
    runs = rates(("single", 0.1, 0, 0.5, {}), ("spg", 0.1, 0, 0.6, {}), ("spg", 0.3, 0, 0.7, {}))
    runs[1]["protocol"]["batch_size"] = 10
    assert learning_rates.main([write(tmp_path / "r", *runs)]) == 0
    noted = capsys.readouterr().out.split("\n\n")[1]
    assert noted == "not comparable: batch_size differs: 1 (single at lr 0.1, spg at lr 0.3), 10 (spg at lr 0.1)\n"


@pytest.mark.parametrize("rate", ["high", None, [0.1]])
def test_learning_rates_of_a_run_without_one(tmp_path, capsys, rate):
    assert learning_rates.main([write(tmp_path / "r", *rates(("single", rate, 0, 0.5, {})))]) == 2
    assert "no number; leave it out" in capsys.readouterr().err


def test_learning_rates_without_records(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert learning_rates.main([str(tmp_path / "empty")]) == 2
    assert "no run in it" in capsys.readouterr().err


# -- whole studies ---------------------------------------------------------------------------------------


@pytest.fixture
def study(data_file, tmp_path):
    """Runs one of the scripts in a copy of the checkout whose environment is this one, on small data."""
    pytest.importorskip("distributed")
    here = tmp_path / "checkout"
    left = shutil.ignore_patterns(".*", "*.pt", "runs", "raw", "__pycache__", "tests")
    shutil.copytree(ROOT, here, ignore=left)
    text = f'set -euo pipefail\ncd "{here}"\npython="{sys.executable}"\n'
    (here / "scripts" / "environment.sh").write_text(text)

    def run(script, *words):
        command = ["bash", str(here / "scripts" / script), *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)

    run.checkout = here
    run.small = ["--quick", "--data_path", ".", "--data_file", data_file.name, "--workers", 2]
    return run


@pytest.mark.slow
def test_a_study_runs_continues_and_ends_in_its_table(study, tmp_path):
    words = ["unlearning", *study.small, "--only", "agem_meanqp", "--seed", "0", "--out", "kept here"]
    first = study("study.sh", *words)
    assert first.returncode == 0, first.stderr
    assert "2 jobs: 0 finished before, 2 now, 0 failed" in first.stdout
    assert [row(first.stdout, name)[0] for name in ("agem_meanqp", "gem")] == ["1", "1"]
    assert len(list((tmp_path / "kept here").iterdir())) == 2
    again = study("study.sh", *words)
    assert "2 jobs: 2 finished before, 0 now" in again.stdout and row(again.stdout, "gem") == row(first.stdout, "gem")


@pytest.mark.slow
def test_a_part_of_the_runs_leaves_the_document_as_it_is(study):
    document = study.checkout / "docs" / "which_agem.md"
    before = document.read_text()
    done = study("compare_agem.sh", *study.small, "--only", "agem_batch 10", "--seed", "0")
    folder = study.checkout / "results" / "runs" / "which_agem_quick"
    assert done.returncode == 0 and done.stdout.endswith("results/runs/which_agem_quick/which_agem.md\n"), done.stderr
    assert "| agem_sampled | 10 | 1 |" in (folder / "which_agem.md").read_text().replace("| - ", "")
    assert document.read_text() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "study.sh: no name: not a study; they are"),
        (["nothing"], "study.sh: nothing: not a study; they are"),
        (["../study"], "study.sh: ../study: not a study; they are"),
        (["engines", "--only"], "study.sh: --only needs a pattern"),
        (["engines", "--only", "nothing"], "study.sh: --only nothing: matches none of the command lines"),
        (["engines", "--lr", "-1"], "sweep.py: stdin:1: --lr -1: out of range"),
    ],
)
def test_wrong_words(study, words, message):
    done = study("study.sh", *words)
    assert done.returncode == 2 and done.stderr.startswith(message) and done.stdout == ""


def test_help(study):
    told = study("study.sh", "--help")
    assert told.returncode == 0 and all(f"  {name} " in told.stdout for name in STUDIES)
    for script, words in (("study.sh", ["relatedness", "--help"]), ("relatedness.sh", ["-h"])):
        told = study(script, *words)
        assert told.returncode == 0 and told.stdout.startswith("What are relatedness and groups worth?\n"), told.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_in_small(study, name):
    done = study("study.sh", name, *study.small)
    assert done.returncode == 0, done.stderr
    folder = study.checkout / "results" / "runs" / f"{name}_quick"
    records = [json.loads(path.read_text()) for path in folder.glob("*/*.json")]
    assert len(records) > 10
    printed = done.stdout + "".join(path.read_text() for path in folder.glob("*.md"))
    assert all(f"| {run['model']}" in printed or f"| `{run['model']}" in printed for run in records)
