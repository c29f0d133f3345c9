"""The command line: commands of the scripts it replaces, help, notes on stderr, what is imported when."""

import json
import os
import pty
import shlex
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import torch

import main
from data import files, standard
from model import METHODS, arguments
from tests.conftest import stream

ROOT = Path(main.__file__).parent
A_GEM_NOTE = json.loads((ROOT / "results" / "logged" / "seed_004.json").read_text())["command"]

# Command lines of the GEM code's run_experiments.sh and of MER's scripts, for the methods there are here.
GEM_COMMON = "--n_layers 2 --n_hiddens 100 --data_path data/ --save_path results/ --batch_size 10 --log_every 100"
ROTATIONS = f"{GEM_COMMON} --samples_per_task 1000 --data_file mnist_rotations.pt --cuda no --seed 0"
PERMUTATIONS = f"{GEM_COMMON} --samples_per_task 1000 --data_file mnist_permutations.pt --cuda no --seed 0"
CIFAR = f"{GEM_COMMON} --samples_per_task 2500 --data_file cifar100.pt --cuda yes --seed 0"
MER = (
    "--n_layers 2 --n_hiddens 100 --data_path ../data/ --save_path results/ --batch_size 1 --log_every 100 "
    "--samples_per_task 1000 --data_file mnist_rotations.pt --cuda no --seed 0"
)
COMMANDS = [
    f"main.py {ROTATIONS} --model single --lr 0.003",
    f"main.py {PERMUTATIONS} --model single --lr 0.03",
    f"main.py {CIFAR} --model single --lr 1.0",
    f"main.py {ROTATIONS} --model ewc --lr 0.01 --n_memories 1000 --memory_strength 1000",
    f"main.py {PERMUTATIONS} --model ewc --lr 0.1 --n_memories 10 --memory_strength 3",
    f"main.py {CIFAR} --model ewc --lr 1.0 --n_memories 10 --memory_strength 1",
    f"main.py {ROTATIONS} --model gem --lr 0.1 --n_memories 256 --memory_strength 0.5",
    f"main.py {PERMUTATIONS} --model gem --lr 0.1 --n_memories 256 --memory_strength 0.5",
    f"main.py {CIFAR} --model gem --lr 0.1 --n_memories 256 --memory_strength 0.5",
    f"main.py {MER} --model online --lr 0.0003",
    f"main.py {MER} --model ewc --lr 0.001 --n_memories 10 --memory_strength 100",
    f"main.py {MER} --model gem --lr 0.01 --n_memories 256 --memory_strength 1.0",
    f"main.py {MER} --model gem --lr 0.01 --n_memories 25 --memory_strength 0.0 --finetune yes --shuffle_tasks no",
    A_GEM_NOTE.removeprefix("python "),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_references_scripts(command, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    _, *argv = shlex.split(command)
    args, module, unused = main.parse(argv)
    assert hasattr(module, "Net") and args.model in METHODS
    for flag, text in zip(argv[::2], argv[1::2], strict=True):
        name = flag.removeprefix("--")
        if name != "model":
            assert getattr(args, name) == arguments.FLAGS[name].parse(text)
    assert set(unused) < {flag.removeprefix("--") for flag in argv[::2]}


def test_seed_004s_command_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    files.save(Path("data/fashion_mnist_permutations_reduced.pt"), *stream(n_tasks=12, n=20))
    assert main.cli(shlex.split(A_GEM_NOTE)[2:]) == 0
    out, err = capsys.readouterr()
    *_, result = out.splitlines()
    (record,) = (json.loads(path.read_text()) for path in Path("results").glob("*.json"))
    assert record["model"] == "agem" and len(record["grid"]) == record["args"]["n_tasks"] == 10
    assert record["command"] == A_GEM_NOTE
    assert result.startswith("results/agem_fashion_mnist_permutations_reduced.pt_") and ".pt_20" in result
    # Named once, in one line: the flags of other methods in this command. And what its margin of 10 does.
    note, margin = err.splitlines()
    assert margin.startswith(
        "note: agem replayed rather than learned: with --memory_strength 10 the past tasks weighed"
    )
    assert note.startswith("note: agem does not use --memories --replay_batch_size --batches_per_example --beta")
    assert note.count("--beta") == 1 and "--memory_strength" not in note and "--lr" not in note


def test_arguments_need_not_be_text(data_file, tmp_path):
    """As a notebook passes them: numbers, booleans, paths."""
    argv = ["--data_path", data_file.parent, "--data_file", "tiny.pt", "--save_path", tmp_path / "r", "--model", "gem"]
    result = main.main([*argv, "--n_memories", 10, "--lr", 0.05, "--shuffle_tasks", True, "--threads", 1])
    args = result["args"]
    assert (args["n_memories"], args["lr"], args["shuffle_tasks"], args["threads"]) == (10, 0.05, "yes", 1)
    assert "--n_memories 10 --lr 0.05 --shuffle_tasks True" in result["command"]
    assert main.cli([*argv, "--n_memories", -3]) == 2


def test_n_tasks_omitted_or_fewer(data_file, tmp_path):
    argv = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(tmp_path / "r")]
    whole, part = main.main(argv), main.main([*argv, "--n_tasks", "2"])
    assert (len(whole["grid"]), len(whole["baseline"])) == (3, 3)
    assert (len(part["grid"]), len(part["baseline"])) == (2, 2)


def test_help(capsys):
    with pytest.raises(SystemExit) as left:
        main.cli(["--help"])
    assert left.value.code == 0
    out, err = capsys.readouterr()
    assert err == "" and all(f"\n{title}:\n" in out for title in arguments.GROUPS)
    assert all(f"--{name} " in out for name in arguments.FLAGS)
    assert all(line in out for line in main.methods.describe().splitlines())
    assert "Exit status: 0 done; 2 " in out


def modules_after(*argv, cwd):
    """The top-level modules that a process has imported after ``main.py`` with these arguments."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import main\n"
        "try: status = main.cli()\n"
        "except SystemExit as left: status = left.code\n"
        "assert status == 0, status\n"
        "print('\\n', *{name.split('.')[0] for name in sys.modules}, *sys.modules)"
    )
    command = [sys.executable, "-c", code, str(ROOT), *argv]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"quadprog", "scipy", "sklearn", "matplotlib", "pandas", "dask", "PIL", "pooch"}


def test_single_imports_none_of_the_large_libraries(data_file):
    argv = ["--model", "single", "--data_path", ".", "--data_file", "tiny.pt", "--save_path", "r"]
    found = modules_after(*argv, cwd=data_file.parent)
    assert {"torch", "numpy", "tqdm"} <= found and not found & HEAVY


def test_help_imports_no_method_no_builder_and_no_large_library(tmp_path):
    found = modules_after("--help", cwd=tmp_path)
    assert "model.arguments" in found
    builders = {f"data.{builder}" for builder, *_ in standard.STANDARD.values()}
    needless = {*HEAVY, *(f"model.{name}" for name in METHODS), *builders, "data.sources"}
    assert found & needless == set()


def test_a_progress_bar_on_a_terminal_only(data_file):
    argv = ["--data_path", ".", "--data_file", "tiny.pt", "--save_path", "r", "--batch_size", "1", "--log_every", "7"]
    command = [sys.executable, str(ROOT / "main.py"), *argv]
    ours, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    with os.fdopen(ours, "rb", buffering=0) as screen:
        with subprocess.Popen(command, cwd=data_file.parent, stdout=subprocess.PIPE, stderr=terminal) as process:
            os.close(terminal)
            shown = b""
            try:
                while piece := screen.read(4096):
                    shown += piece
            except OSError:  # Linux's way to say that the other end is closed
                pass
            out = process.stdout.read().decode()
        assert process.returncode == 0
    assert b"task 2" in shown and b"120/120" in shown and b"step/s" in shown
    assert "Final Accuracy:" in out and "step/s" not in out


def test_the_reader_may_leave(data_file):
    """As `main.py ... | head` does: no traceback, and the record is there."""
    command = f"{sys.executable} {ROOT / 'main.py'} --data_path . --data_file tiny.pt --save_path r | true"
    shell = ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(shell, cwd=data_file.parent, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list((data_file.parent / "r").glob("*.json"))) == 1


def test_no_progress_bar_in_a_log(data_file, tmp_path, capsys):
    main.main(["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(tmp_path)])
    assert capsys.readouterr().err == ""
