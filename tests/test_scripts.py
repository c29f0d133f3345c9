"""The shell scripts: the quickstart's command, the environment they share, and the table at the end."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data import files
from main import main
from scripts import side_by_side
from tests.conftest import stream

ROOT = Path(__file__).resolve().parent.parent
LOGGED = json.loads((ROOT / "results" / "logged" / "seed_004.json").read_text())


# -- quickstart ------------------------------------------------------------------------------------------


def quickstart(folder, raw_status, statuses=()):
    """Run quickstart.sh in a copy whose ``python`` only notes what it is asked for; its command lines, and its exit."""
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    fake = folder / "fake_python"
    cases = "".join(f'*"--model {model}"*) exit {status} ;; ' for model, status in statuses)
    fake.write_text(
        f'#!/bin/sh\necho "$@" >> "{folder}/commands"\n'
        f'case "$*" in data/raw/raw.py*) exit {raw_status} ;; {cases}*) exit 0 ;; esac\n'
    )
    fake.chmod(0o755)
    (folder / "scripts" / "environment.sh").write_text(f'set -euo pipefail\ncd "{folder}"\npython="{fake}"\n')
    done = subprocess.run(["bash", str(folder / "scripts" / "quickstart.sh")], capture_output=True, text=True, cwd="/")
    return [shlex.split(line) for line in (folder / "commands").read_text().splitlines()], done


def flags(words):
    return dict(zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("raw_status", "data"), [(0, "fashion_mnist_permutations_reduced.pt"), (2, "digits_permutations.pt")]
)
def test_quickstart_runs_the_notes_command_for_each_of_the_three(tmp_path, raw_status, data):
    (raw, *three, table), done = quickstart(tmp_path, raw_status)
    assert done.returncode == 0, done.stderr
    assert raw == ["data/raw/raw.py", "fashion_mnist"] and f"data: {data}\n" in done.stdout
    wanted = flags(shlex.split(LOGGED["command"])[2:])
    assert [words[0] for words in three] == ["main.py"] * 3
    assert [flags(words[1:]) for words in three] == [
        {**wanted, "--model": model, "--data_file": data} for model in ("Agem", "agem_closed", "agem_meanqp")
    ]
    assert table[0] == "scripts/side_by_side.py" and data in table and table[-1] == "results/"


def test_quickstart_uses_a_data_file_that_is_there_already(tmp_path):
    commands, _ = quickstart(tmp_path, raw_status=2)
    assert commands[0][0] == "data/raw/raw.py"
    (tmp_path / "data" / "fashion_mnist_permutations_reduced.pt").touch()
    (tmp_path / "commands").unlink()
    subprocess.run(["bash", str(tmp_path / "scripts" / "quickstart.sh")], check=True, capture_output=True)
    assert "raw.py" not in (tmp_path / "commands").read_text()


def test_a_variant_that_diverges_does_not_stop_the_others(tmp_path):
    commands, done = quickstart(tmp_path, 0, [("Agem", 3)])
    assert done.returncode == 0 and len(commands) == 5


@pytest.mark.parametrize("status", [1, 2, 130])
def test_any_other_failure_stops_the_quickstart_with_its_status(tmp_path, status):
    commands, done = quickstart(tmp_path, 0, [("agem_closed", status)])
    assert done.returncode == status and len(commands) == 3


# -- environment -----------------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path):
    """Runs a script that sources environment.sh in a copy of the repository with an empty requirements file."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "environment.sh", tmp_path / "scripts")
    (tmp_path / "requirements.txt").write_text("# none\n")
    script = tmp_path / "scripts" / "some.sh"
    script.write_text(
        'source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements.txt\n'
        '"$python" -c "import os, sys; print(sys.prefix, os.getcwd())"\n'
    )

    def run(**variables):
        given = {**os.environ, "PYTHON": sys.executable, **variables}
        return subprocess.run(["bash", str(script)], cwd="/", env=given, capture_output=True, text=True, timeout=120)

    run.folder = tmp_path
    return run


def test_the_environment_is_made_once_and_filled_when_requirements_change(environment):
    first = environment()
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{environment.folder}/.venv {environment.folder}\n"
    assert "making .venv" in first.stderr and "installing requirements.txt" in first.stderr
    second = environment()
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    # A requirement that no installer can fulfil: the failure is told, nothing goes on, and it is tried again.
    (environment.folder / "requirements.txt").write_text("./no_such_package_here\n")
    for _ in range(2):
        broken = environment()
        assert broken.returncode != 0 and broken.stdout == "" and "no_such_package_here" in broken.stderr
        assert "making .venv" not in broken.stderr
    (environment.folder / "requirements.txt").write_text("# none\n")
    assert environment().stdout == first.stdout


@pytest.mark.parametrize("kind", ["old", "missing"])
def test_an_unsuitable_python_is_one_sentence(environment, kind):
    python = environment.folder / "python"
    if kind == "old":
        python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
        python.chmod(0o755)
    done = environment(PYTHON=str(python))
    (sentence,) = done.stderr.splitlines()
    assert done.returncode == 2 and done.stdout == ""
    assert sentence.startswith(f"{python}: not a Python 3.11 or newer") and "PYTHON=python3.11 bash" in sentence
    assert not (environment.folder / ".venv").exists()


def test_pip_installs_the_requirements_and_no_module(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    for name in ("main.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("model", "data", "metrics", "results", "scripts", "tests", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", tmp_path / "site", tmp_path]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (installed,) = (tmp_path / "site").iterdir()
    needed = re.findall(r"^Requires-Dist: ([\w-]+)", (installed / "METADATA").read_text(), re.M)
    assert needed == re.findall(r"^[\w-]+", (tmp_path / "requirements.txt").read_text(), re.M)


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.sh")))
def test_every_script_is_valid_and_stops_at_the_first_failure(script):
    path = ROOT / "scripts" / script
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert "set -euo pipefail" in text or text.count('source "$(dirname') == 1


# -- side by side ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A folder with records of the logged command, shortened in nothing but its data, for two of the three."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "data").mkdir()
    files.save(folder / "data" / LOGGED["args"]["data_file"], *stream(n_tasks=10, n=12))
    argv = flags(shlex.split(LOGGED["command"])[2:])
    argv.update({"--data_path": str(folder / "data"), "--save_path": str(folder / "results")})
    made = {}
    for model, changes in (("agem_closed", {}), ("agem_meanqp", {}), ("agem", {"--seed": "4"})):
        words = {**argv, "--model": model, **changes}
        made[model] = main([word for pair in words.items() for word in pair])
    return folder / "results", made


def row(out, name):
    (line,) = [line for line in out.splitlines() if line.startswith("(") and line.split()[1] == name]
    return line.split()[2:]


def test_logged_and_our_numbers_side_by_side(ours, capsys):
    folder, made = ours
    assert side_by_side.main([str(folder)]) == 0
    out = capsys.readouterr().out
    for name, logged in (
        ("agem_closed", ["0.6100", "-0.0781", "0.0161"]),
        ("agem_meanqp", ["0.5804", "-0.1134", "0.0081"]),
    ):
        numbers = [f"{made[name][key]:.4f}" for key in ("final", "backward", "forward")]
        assert row(out, name)[:6] == [text for pair in zip(logged, numbers, strict=True) for text in pair]
    # Seed 4 is another command than the note's: no record, no number.
    assert row(out, "agem") == ["0.4992", "X", "-0.1820", "X", "0.0152", "X", "X", "X"]
    assert "agem: no record here of this command" in out
    assert "prints Final Accuracy 0.4992, its grid gives 0.4997" in out and "not to be expected" in out


def test_identity_comes_from_the_record_and_not_from_its_name(ours, capsys, tmp_path):
    folder, made = ours
    for path in folder.glob("agem_closed*.json"):
        shutil.copy(path, tmp_path / "agem_meanqp_like_name.json")
    assert side_by_side.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert row(out, "agem_meanqp")[1] == "X" and row(out, "agem_closed")[1] == f"{made['agem_closed']['final']:.4f}"


def test_the_newest_of_several_and_none_before_a_time(ours, capsys, tmp_path):
    _, made = ours
    for i, (started, final) in enumerate((("2030-01-02T00:00:00", 0.25), ("2030-01-03T00:00:00", 0.75), ("2029", 0.5))):
        changed = {**made["agem_closed"], "started": started, "final": final}
        (tmp_path / f"r{i}.json").write_text(json.dumps(changed))
    assert side_by_side.main([str(tmp_path)]) == 0
    assert row(capsys.readouterr().out, "agem_closed")[1] == "0.7500"
    assert side_by_side.main([str(tmp_path), "--since", "2031-01-01T00:00:00"]) == 0
    assert row(capsys.readouterr().out, "agem_closed")[1] == "X"


def test_a_diverged_run_says_so(ours, capsys, tmp_path):
    _, made = ours
    broken = {**made["agem_closed"], "status": "diverged", "grid": made["agem_closed"]["grid"][:4]}
    broken.update({"final": None, "backward": None, "forward": None})
    (tmp_path / "r.json").write_text(json.dumps(broken))
    assert side_by_side.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert row(out, "agem_closed")[1::2][:3] == ["X", "X", "X"]
    assert "agem_closed diverged at step 120, after 4 of 10 tasks" in out


def test_another_data_file_is_another_benchmark(ours, capsys):
    folder, _ = ours
    assert side_by_side.main([str(folder), "--data_file", "digits_permutations.pt"]) == 0
    out = capsys.readouterr().out
    assert row(out, "agem_closed")[1] == "X" and "digits_permutations.pt is another benchmark than the note's" in out


def test_a_folder_that_is_not_there(capsys, tmp_path):
    assert side_by_side.main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"side_by_side.py: {tmp_path}/nowhere: no such file or folder\n"


def test_the_benchmark_says_what_it_cannot_do(capsys, monkeypatch):
    import torch

    from scripts import bench

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.cli(["--cuda"]) == 2
    assert capsys.readouterr().err == "bench.py: --cuda: this torch sees no GPU\n"
    with pytest.raises(SystemExit) as left:
        bench.cli(["--only", "pie"])
    assert left.value.code == 2 and "choose from" in capsys.readouterr().err
    assert (
        list(bench.PARTS)
        == "steps tasks memories replay directions evaluation command paper sweeps resnet images drift".split()
    )
