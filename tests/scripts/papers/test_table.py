"""scripts/papers/table.py: the paper's numbers beside ours, and what never stands there."""

import csv
import json
import os
import re

import pytest

import model as methods
from model import own_flags
from model.arguments import FLAGS
from scripts.papers import table as paper_table
from scripts.papers import targets
from scripts.sweeping import jobs

ROOT = paper_table.ROOT
with open(targets.FILE, newline="", encoding="utf-8") as f:
    TARGETS = list(csv.DictReader(f))
PAPERS = sorted({row["paper"] for row in TARGETS})
GEM = {"n_layers": 2, "n_hiddens": 100, "lr": 0.1, "n_memories": 256, "memory_strength": 0.5, "first_task": 0}


def kept(folder, final=0.82, seed=0, status="done", n_tasks=20, started=None, **more):
    args = {"data_file": "mnist_permutations.pt", "seed": seed, "batch_size": 10, "n_epochs": 1, "validation": 0}
    content = {
        "format": 1,
        "status": status,
        "model": "gem",
        "args": {**args, **GEM, "n_tasks": None, "parity": False, **more},
        "protocol": {"data_hash": "h", "samples_per_task": [1000] * n_tasks, "n_epochs": 1},
        "baseline": [0.1] * n_tasks,
        "final": final,
        "backward": 0.02,
        "forward": 0.01,
        "metrics": {"forgetting": 0.05},
        "seconds": {"total": 60.0},
        "versions": {"torch": "2"},
        "device": "cpu",
        "threads": 1,
        "started": started,
    }
    path = folder / f"gem-{len(list(folder.iterdir()))}" / "a.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def cells(text, stream="permutations", method="`gem`"):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] == stream and row[1].startswith(method)]


def test_a_row(tmp_path):
    for seed, final in enumerate((0.81, 0.82, 0.83)):
        kept(tmp_path, final, seed)
    (row,) = cells(paper_table.table("gem", tmp_path))
    assert row[2:] == ["ACC", "0.826", "0.820", "0.010", "3", "-0.006", "agrees", "60"]


def test_brief(tmp_path):
    for seed, final in enumerate((0.81, 0.82, 0.83)):
        kept(tmp_path, final, seed)
    kept(tmp_path, 0.3, lr=0.2)
    text = paper_table.brief_table("gem", tmp_path)
    assert "X" not in text and text.count("`") == 2  # neither what was not run nor another protocol
    (row,) = cells(text)
    numbers = "0.826 | 0.820 ± 0.010 | 0.025 | 0.020 ± 0.000, lower | 0.009 | 0.010 ± 0.000, higher | 3 | 60"
    assert row[2:] == numbers.split(" | ")


def test_no_run_is_a_cross(tmp_path):
    kept(tmp_path, data_file="mnist_rotations.pt")
    (row,) = cells(paper_table.table("gem", tmp_path))
    assert row[2:] == ["ACC", "0.826", "X", "", "0", "", "", ""]


def test_other_protocols_are_named_and_not_averaged(tmp_path):
    kept(tmp_path)
    kept(tmp_path, 0.9, n_tasks=5)
    kept(tmp_path, 0.7, lr=0.2)
    kept(tmp_path, 0.1, status="diverged", seed=1)
    text = paper_table.table("gem", tmp_path)
    assert [row[4] for row in cells(text)] == ["0.820", "0.900", "0.700"]
    assert "--n_tasks 5 (paper: 20)" in text and "--lr 0.2 (paper: 0.1)" in text
    assert "1 of 2 runs diverged and are left out of the means" in text


def test_other_settings_and_repeated_seeds_are_not_averaged(tmp_path):
    kept(tmp_path, 0.8, seed=0, threads=1, started="1")
    kept(tmp_path, 0.81, seed=0, threads=2, started="2")  # the same run once more: the last counts
    kept(tmp_path, 0.3, seed=1, shuffle_tasks="yes")
    text = paper_table.table("gem", tmp_path)
    rows = cells(text)
    assert [(row[4], row[6]) for row in rows] == [("0.810", "1"), ("0.300", "1")]
    assert "--shuffle_tasks yes" in text
    assert len(cells(paper_table.brief_table("gem", tmp_path))) == 1


def test_all_diverged_is_not_a_run_that_is_missing(tmp_path):
    kept(tmp_path, status="diverged")
    assert cells(paper_table.table("gem", tmp_path))[0][4] == "diverged"
    assert cells(paper_table.brief_table("gem", tmp_path))[0][3] == "diverged"


@pytest.mark.parametrize(
    "change, said",
    [
        ({"protocol": {"n_epochs": 0}}, "its protocol is not that of a run"),
        ({"args": 5}, "'args' is 5, not an object"),
        ({"final": "abc"}, "'final' is 'abc', not a number"),
        ({"seconds": []}, "'seconds' is [], not an object"),
        ({"versions": {"torch": [2]}}, "in 'versions' 'torch' is [2], not text or a number"),
        ({"metrics": {"forgetting": "x"}}, "in 'metrics' 'forgetting' is 'x', not a finite number"),
    ],
)
def test_a_record_that_is_none_is_named(tmp_path, capsys, change, said):
    kept(tmp_path)
    path = next(tmp_path.rglob("a.json"))
    record = json.loads(path.read_text())
    path.write_text(
        json.dumps({**record, **{k: {**record[k], **v} if isinstance(v, dict) else v for k, v in change.items()}})
    )
    assert paper_table.main(["gem", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"papers/table.py: {path}: {said}") and err.count("\n") == 1 and "move it away" in err


def test_a_record_that_lacks_an_entry_is_named(tmp_path, capsys):
    kept(tmp_path)
    path = next(tmp_path.rglob("a.json"))
    record = json.loads(path.read_text())
    for place in paper_table.NEEDED:
        part, _, name = place.partition(".")
        lacking = {k: v for k, v in record.items() if k != part}
        if name:
            lacking[part] = {k: v for k, v in record[part].items() if k != name}
        path.write_text(json.dumps(lacking))
        assert paper_table.main(["gem", str(tmp_path)]) == 2
        assert f"{path}: has no '{place}'" in capsys.readouterr().err


def test_the_rounding_of_the_paper_is_allowed_for():
    assert targets.verdict([0.0094, 0.0094], 0.009, None, 1) == "higher"
    assert targets.verdict([0.0094, 0.0094], 0.009, None, 1, rounding=0.0005) == "agrees"
    assert targets.verdict([0.0096, 0.0096], 0.009, None, 1, rounding=0.0005) == "higher"
    assert targets.verdict([0.0084, 0.0084], 0.009, 0.0, 5, rounding=0.0005) == "lower"


@pytest.mark.parametrize(
    "values, paper, spread, n, wanted",
    [
        ([0.5, 0.52, 0.51], 0.53, None, 1, "agrees"),  # interval 0.51 +- 4.303 * 0.01 * sqrt(4/3)
        ([0.5, 0.52, 0.51], 0.561, None, 1, "lower"),
        ([0.5, 0.52, 0.51], 0.459, None, 1, "higher"),
        ([0.5, 0.52, 0.51], 0.53, 0.001, 5, "agrees"),  # 0.02 against 4.3 * 0.0058 = 0.025
        ([0.5, 0.52, 0.51], 0.54, 0.001, 5, "lower"),
        ([0.5], 0.5, None, 1, "-"),
    ],
)
def test_both_sides(values, paper, spread, n, wanted):
    assert targets.verdict(values, paper, spread, n) == wanted


def test_what_was_only_remembered_is_nowhere():
    for row in TARGETS:
        assert row["tag"] in "CTM"
        numbers = [row[metric] for metric in targets.METRICS if row[metric]]
        assert bool(numbers) == bool(row["source"]) == (row["tag"] != "M"), row
        for text in numbers:
            value, spread = targets.number(text)
            assert -1 <= value <= 1 and (spread is None or 0 < spread < 0.1)


@pytest.mark.parametrize("paper", PAPERS)
def test_the_script_runs_what_the_targets_say(paper):
    """Every target is met by exactly one line of its paper's script, in every flag of its protocol."""
    text = (ROOT / "scripts" / f"paper_{paper}.sh").read_text()
    variables = {"cuda": "no"}
    for name, plus, value in re.findall(r"^(\w+)(\+?)=\"(.*)\"$", text, flags=re.M):
        value = re.sub(r"\$(\w+)", lambda m: variables[m[1]], value)
        variables[name] = variables[name] + value if plus else value
    body = text.split("<<EOT\n")[1].split("EOT")[0]
    body = re.sub(r"\$(\w+)", lambda m: variables[m[1]], body)
    found, notes = jobs.read({paper: body}, {"--seed": ["0"]})
    assert not notes
    for row in (row for row in TARGETS if row["paper"] == paper):
        wanted = {**targets.pairs(row["protocol"]), **targets.pairs(row["select"])}
        own = own_flags.of(methods.load(row["method"]))
        assert row["method"] in methods.METHODS and set(wanted) <= {*FLAGS, *own}
        met = [j for j in found if j.args["model"] == row["method"]
               and all(v == "?" or targets.same(j.args[k], v) for k, v in wanted.items())]  # fmt: skip
        if row["paper"] == "agem" and row["method"] == "gem":
            assert met
        assert len(met) == 1, (row, [j.command for j in found])


def test_into_a_document(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    kept(tmp_path / "runs")
    document = tmp_path / "doc.md"
    document.write_text("before\n<!-- table gem -->\na former table\n<!-- end of table gem -->\nafter\n")
    for _ in range(2):
        assert paper_table.main(["gem", str(tmp_path / "runs"), "--into", str(document)]) == 0
    text = document.read_text()
    assert text.startswith("before\n<!-- table gem -->\n\n| stream") and text.endswith("gem -->\nafter\n")
    assert "former" not in text and text.count("| stream") == 1
    os.mkfifo(pipe := tmp_path / "pipe.md")
    assert paper_table.main(["gem", str(tmp_path / "runs"), "--into", str(pipe)]) == 2
    assert f"--into {pipe}: cannot be written (is there and is no regular file)" in capsys.readouterr().err
    document.write_text("nothing")
    assert paper_table.main(["gem", str(tmp_path / "runs"), "--into", str(document)]) == 2
    assert paper_table.main(["other", str(tmp_path)]) == 2
    assert paper_table.main(["gem", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.count("papers/table.py: ") == 3
