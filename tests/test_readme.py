"""What the README says is so: its commands parse, its example runs, its tables are complete, its paths exist."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import main
import model as methods
from data import building
from data import own as own_data
from data.standard import STANDARD
from model import own_flags
from model.arguments import FLAGS

ROOT = Path(main.__file__).parent
README = (ROOT / "README.md").read_text()


def test_every_method_has_a_row():
    section = README.split("## Methods")[1].split("**Add one")[0]
    listed = [name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted([*methods.METHODS, *methods.METHODS, "online", "taskinput"])  # two tables


def test_every_standard_file_has_a_row():
    assert all(f"`{name}`" in README for name in STANDARD)


@pytest.mark.parametrize("command", re.findall(r"^    (python main\.py(?:.*\\\n)*.*)$", README, re.M))
def test_commands_parse(command):
    args, _, _ = main.parse(shlex.split(command.replace("\\\n", " "))[2:])
    assert args.model in methods.METHODS


def test_flags_and_paths_exist():
    own = {flag for name in methods.METHODS for flag in own_flags.of(methods.load(name))}
    theirs = {
        "help",
        *FLAGS,
        *own,
        *building.HELP,
        "split",
        *own_data.FLAGS,
    }  # the last three: of the builders in data/
    theirs.add("only")  # of the benchmark
    text = README + (ROOT / "docs" / "porting.md").read_text()
    assert set(re.findall(r"--(\w+)", text)) <= theirs
    for path in re.findall(r"[ `]((?:scripts|tests|model|results|docs|data|metrics)/[\w./]*)", text):
        made_by_a_run = path.startswith("results/agem_closed_") or path in ("model/pulled.py", "data/my.pt")
        assert made_by_a_run or (ROOT / path).exists(), path


def test_its_example_of_a_method_runs(data_file, tmp_path):
    (text,) = re.findall(r"```python\n(.*?)```", README, re.S)
    module = ROOT / "model" / "pulled.py"
    assert not module.exists()
    argv = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(tmp_path), "--lr", "0.1"]
    try:
        module.write_text(text)
        pulled, single = main.main([*argv, "--model", "pulled"]), main.main([*argv, "--model", "single"])
    finally:
        module.unlink(missing_ok=True)
        sys.modules.pop("model.pulled", None)
    assert pulled["status"] == "done" and pulled["evolution"] != single["evolution"]
