"""docs/add_a_method.md adds a method to a copy of the repository by its own words, and every tool is right about it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import main
from data import files
from tests.conftest import stream

ROOT = Path(main.__file__).parent
DOCUMENT = (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
KEPT = (
    "main.py",
    "model",
    "data",
    "experiment",
    "metrics",
    "results",
    "scripts",
    "tests",
    "docs",
    "README.md",
    "pyproject.toml",
)


def pieces(path):
    """The document's blocks of one file, in order."""
    return re.findall(rf"^```\w+ {re.escape(path)}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def commands(section):
    """The command lines of a section, as one would paste them."""
    text = re.search(rf"^## {section}\. .*?(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)[0]
    blocks = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    return [line.strip() for block in blocks for line in re.split(r"(?<!\\)\n", block) if "python " in line]


def no_source(folder, names):
    """Those of the names in a folder that are no part of the repository: data, records, caches."""
    kept = (".py", ".md", ".csv", ".sh", ".html", ".css", ".js")
    files = [name for name in names if (Path(folder) / name).is_file() and not folder.endswith("logged")]
    return {"__pycache__", "runs", *(name for name in files if not name.endswith(kept))}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The repository with what the document adds to it."""
    folder = tmp_path_factory.mktemp("tree")
    for name in KEPT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=no_source)
        else:
            shutil.copy(ROOT / name, folder / name)
    assert not (folder / "model" / "der.py").exists()
    (folder / "model" / "der.py").write_text("\n\n".join(pieces("model/der.py")).replace("\n\n\n    ", "\n\n    "))
    (folder / "tests" / "model" / "test_der.py").write_text(*pieces("tests/model/test_der.py"))

    table, (row,) = folder / "model" / "__init__.py", pieces("model/__init__.py")
    before, rest = table.read_text().split("METHODS = {")
    rows, after = rest.split("\n}", 1)
    table.write_text(f"{before}METHODS = {{{rows}\n{row.rstrip()}\n}}{after}")

    readme, (added,) = (folder / "README.md").read_text(), pieces("README.md")
    tables = re.findall(r"^\|.*ewc_group`.*\n", readme, re.MULTILINE)[:2]  # their last rows
    for last, row in zip(tables, added.splitlines(), strict=True):
        assert last.count("|") == row.count("|")
        readme = readme.replace(last, f"{last}{row}\n")
    (folder / "README.md").write_text(readme)
    return folder


def run(command, tree):
    """What a command of the document prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    shell = ["bash", "-c", command]
    done = subprocess.run(shell, cwd=tree, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


TOOLS = """
import contextlib, io, json, sys
import main
from results import compare, regress
from scripts import sweep
tools = {"main": main.cli, "sweep": sweep.cli, "compare": compare.main, "regress": regress.main}
found = []
for tool, *argv in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = tools[tool](argv)
        except SystemExit as left:
            status = left.code
    found.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(found))
"""


def tools(tree, *lines):
    """(exit status, stdout, stderr) of each tool with its arguments, all in one process."""
    told = json.dumps([shlex.split(line) for line in lines])
    command = [sys.executable, "-c", TOOLS]
    done = subprocess.run(command, cwd=tree, input=told, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_tests_of_every_method_pick_it_up(tree, number):
    passed = re.search(r"(\d+) passed", run(f"{commands(3)[number]} -o addopts=", tree))
    assert int(passed[1]) >= (20, 5, 4)[number]


def test_what_was_written_passes_the_linter(tree):
    for command in ("check", "format --check"):
        run(f"python -m ruff {command} model tests/model/test_der.py", tree)


def test_every_tool_is_right_about_it(tree):
    files.save(tree / "data" / "tiny.pt", *stream(n_tasks=4))
    der = "main --model der --data_file tiny.pt --lr 0.1"
    found = tools(
        tree,
        "main --help",
        "main --model DER --help",
        f"{der} --der_alpha much",
        f"{der} --memories 0",
        f"{der} --forgetting_mode yes --forgetting_task_ids 0",
        f"{der} --memories 20 --n_memories 4 --beta 0.3",
        "sweep --model der single --memories 20 --n_memories 3 5 --der_alpha 0.3 1 --seed 0..1 --print",
        *(
            f"{der} --memories {m} --der_alpha {a} --seed {seed} --n_memories {seed} --n_tasks 2 --save_path runs"
            for m in (20, 30) for a in (0.3, 1) for seed in (0, 1)
        ),
        "main --model single --data_file tiny.pt --n_tasks 2 --save_path runs",
        "compare runs --metric final",
        "compare runs --metric final --by model,der_alpha",
        "compare runs --metric final --by model,memories,der_alpha,n_memories",
        "sweep best runs",
    )  # fmt: skip
    names, help_, wrong, none, unlearning, once, grid, *_, mixed, half, table, best = found
    assert "  der           dark experience replay: stored" in names[1] and "--der_alpha" not in names[1]
    assert "of der alone:" in help_[1] and "weight of the stored logits (default 0.5; model/der.py)" in " ".join(
        help_[1].split()
    )
    assert wrong[::2] == [2, "main.py: --der_alpha much: not a number; give a number\n"]
    assert none[0] == 2 and none[2].startswith("main.py: --memories 0: der replays stored examples")
    assert unlearning[0] == 2 and "der cannot unlearn single tasks" in unlearning[2]
    assert once[0] == 0 and "note: der does not use --n_memories --beta\n" in once[2]
    (record,) = (json.loads(path.read_text()) for path in (tree / "results").glob("der_*.json"))
    assert record["args"]["der_alpha"] == 0.5 and record["counts"]["der_drift"] > 0
    assert [line.split()[3] for line in grid[1].splitlines()] == ["der"] * 4 + ["single"] * 2
    assert all(status == 0 for status, *_ in found[7:16])
    assert mixed[0] == half[0] == 2
    assert "runs of der differ in der_alpha: 0.3, 1;" in mixed[2]
    assert "runs of der 0.3 differ in memories: 20, 30;" in half[2]
    rows = [line.split()[:5] for line in table[1].splitlines()[1:]]
    assert rows == [["der", m, a, "-", "2"] for m in ("20", "30") for a in ("0.3", "1")] + [
        ["single", "-", "-", "-", "1"]
    ]
    command = next(line for line in best[1].splitlines() if line.startswith("--model der"))
    assert "--memories" in command and "--der_alpha" in command and "--n_memories" not in command


@pytest.mark.slow
def test_from_a_run_to_a_row_in_a_table(tree):
    one, sweep, compare = commands(4)
    assert "Final Accuracy" in run(one, tree)
    assert "9 jobs: 0 finished before, 9 now, 0 failed" in run(sweep, tree)
    printed = run(compare, tree)
    rows = [line.split() for line in printed.splitlines()]
    told = re.search(r"(?:^    (?:model|der|single)  +\S+  .*\n)+", DOCUMENT, re.MULTILINE)[0]
    assert [row[:3] for row in rows] == [line.split()[:3] for line in told.splitlines()]
    for row, line in zip(rows[1:], told.splitlines()[1:], strict=True):
        assert float(row[3]) == pytest.approx(float(line.split()[3]), abs=0.05)  # other kernels, other digits
