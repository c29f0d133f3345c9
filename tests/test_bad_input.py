"""Bad input: one sentence with what, value and remedy; exit status 2; nothing lost, nothing left behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import main
from data import sources
from tests.conftest import stream

ROOT = Path(main.__file__).parent


def spoiled(change):
    """The tasks of a good data file, changed in place by ``change(train, test)``."""
    train, test = stream()
    replaced = change(train, test)
    return [train, test] if replaced is None else replaced


def put(tasks, t, place, value):
    tasks[t][place] = value


def entry(value):
    """Training task 1's x with ``value`` in it."""
    return lambda train, test: train[1][1].__setitem__((3, 2), value)


DAMAGE = {
    "widths": (lambda a, b: put(a, 1, 1, torch.rand(40, 9)), r"training task 1: x is 9 wide, training task 0's is 12"),
    "lengths": (lambda a, b: put(b, 2, 2, b[2][2][:-1]), r"test task 2: x has 40 examples but y has 39 labels"),
    "nan": (entry(float("nan")), r"training task 1: x holds NaN or infinity \(first in example 3\); remove it"),
    "infinity": (entry(float("inf")), r"training task 1: x holds NaN or infinity \(first in example 3\); remove it"),
    "negative": (lambda a, b: put(a, 0, 2, a[0][2] - 1), r"training task 0: label -1 is negative; labels count from 0"),
    "fractional": (
        lambda a, b: put(a, 0, 2, a[0][2].float()),
        r"the labels are torch.float32, not whole numbers; store",
    ),
    "no tasks": (lambda a, b: [[], []], r"holds no tasks"),
    "empty task": (lambda a, b: put(b, 0, slice(1, 3), [b[0][1][:0], b[0][2][:0]]), r"test task 0: is empty"),
    "scale": (lambda a, b: put(a, 0, 1, a[0][1] * 255), r"instead of \[0, 1\]; scale it"),
    "not a pair": (lambda a, b: [a], r"does not hold a pair \[training tasks, test tasks\]"),
}


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Runs ``main.py`` on arguments that must be refused; returns the sentence."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, folder=tmp_path):
        before = contents(folder)
        status = main.cli(list(argv))
        out, err = capsys.readouterr()
        assert status == 2 and out == ""
        said = [line for line in err.splitlines() if not line.startswith("note: ") and "building it" not in line]
        assert len(said) == 1 or "The names are:" in said[0]
        assert said[0].startswith("main.py: ") and "Traceback" not in err
        assert contents(folder) == before
        return said[0].removeprefix("main.py: ")

    return run


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_data_file_that_is_wrong_inside(kind, refused, tmp_path):
    change, sentence = DAMAGE[kind]
    torch.save(spoiled(change), tmp_path / "bad.pt")
    text = refused("--data_path", str(tmp_path), "--data_file", "bad.pt", "--save_path", str(tmp_path / "new"))
    assert text.startswith(f"{tmp_path}/bad.pt: ") and re.search(sentence, text), text


def test_labels_that_overlap_only_in_part(refused, tmp_path, capsys):
    """Neither the same in every task nor disjoint: which outputs belong to a task is for the user to say."""

    def partly(train, test):
        for tasks in (train, test):
            tasks[1][2] = tasks[1][2].clamp(max=2)

    torch.save(spoiled(partly), tmp_path / "partly.pt")
    words = ["--data_path", str(tmp_path), "--data_file", "partly.pt", "--save_path", str(tmp_path / "new")]
    text = refused(*words, folder=tmp_path / "new")
    assert text.startswith(
        "--head auto: the tasks' labels overlap only in part, since label 0 is in tasks 0 and 1, and label 3"
    )
    assert "give --head shared" in text and "in task 0 and not in task 1;" in text
    assert "--head split: the tasks share labels" in refused(*words, "--head", "split", folder=tmp_path / "new")
    assert (
        main.cli([*words, "--head", "shared"]) == 0 and main.cli([*words, "--first_task", "1", "--n_tasks", "1"]) == 0
    )
    capsys.readouterr()


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_data_file_with_pickled_code_is_not_executed(refused, tmp_path):
    torch.save([[["a", torch.rand(3, 2), Malicious()]], []], tmp_path / "bad.pt")
    assert "holds pickled code" in refused("--data_path", ".", "--data_file", "bad.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        (slice(None, -200), "is truncated, damaged or not written by torch.save; build or copy it again"),
        (slice(0, 50), "is truncated, damaged or not written by torch.save; build or copy it again"),
        (slice(0, 0), "not"),
    ],
)
def test_a_truncated_data_file(keep, sentence, refused, data_file):
    data_file.write_bytes(data_file.read_bytes()[keep])
    text = refused("--data_path", str(data_file.parent), "--data_file", "tiny.pt")
    assert text.startswith(str(data_file)) and sentence in text


def test_not_a_torch_file(refused, tmp_path):
    (tmp_path / "notes.pt").write_text("these are notes\n")
    assert "is not a data file written by torch.save" in refused("--data_path", ".", "--data_file", "notes.pt")


def test_a_missing_data_file_that_no_builder_knows(refused, tmp_path):
    text = refused("--data_path", "nowhere", "--data_file", "mnist_permutation.pt", "--save_path", "new")
    assert "nowhere/mnist_permutation.pt: does not exist" in text and "did you mean mnist_permutations.pt?" in text


def test_raw_files_missing_and_no_network(refused, tmp_path, monkeypatch):
    """Which files, where they are looked for, and the data file that needs none."""
    import pooch

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    monkeypatch.setattr(sources, "RAW", tmp_path / "their_raw")
    monkeypatch.delenv("CL_DATA_HOME", raising=False)
    (tmp_path / "results").mkdir()
    text = refused("--data_path", str(tmp_path), "--raw_path", str(tmp_path / "mine"), folder=tmp_path / "results")
    assert "train-images-idx3-ubyte" in text and "t10k-labels-idx1-ubyte" in text
    assert f"{tmp_path}/mine" in text and f"{tmp_path}/their_raw" in text
    assert "--data_file digits_permutations.pt, which needs none" in text
    assert not list(tmp_path.glob("mnist_permutations*"))


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ("--model agme", r"--model 'agme': no such method; did you mean 'agem'\? The names are:"),
        ("--model", r"--model '': no such method; The names are:"),
        ("--model model/gem.py", r"--model 'model/gem.py': a method's name, not a path; put the file into model/"),
        (
            "--model memory",
            r"--model 'memory': model/memory.py has no class Net, so it is a helper",
        ),
        ("--n_tasks 4", r"--n_tasks 4: tiny.pt has only 3 tasks; give 3 or fewer"),
        ("--model gem --n_memories 0", r"--n_memories 0: gem needs at least one memory per task; give --n_memories 10"),
        ("--model Agem", r"--n_memories 0: agem needs at least one memory per task"),
        ("--model ewc", r"--n_memories 0: ewc needs at least one memory per task"),
        ("--batch_size 0", r"--batch_size 0: out of range; give a whole number, 1 or more"),
        ("--n_hiddens 1000000000000", r"--n_layers 2 --n_hiddens 1000000000000: the network does not fit into memory"),
        (
            "--model independent --parity yes --n_hiddens 2",
            r"--n_hiddens 2 --parity yes: each of 3 tasks gets 2 // 3 units",
        ),
        (
            "--model independent --n_hiddens 1e12",
            r"--n_layers 2 --n_hiddens 1000000000000: the network does not fit into",
        ),
        (
            "--model multimodal --n_hiddens 1e12",
            r"--n_layers 2 --n_hiddens 1000000000000: the network does not fit into",
        ),
        ("--model eralg4 --memories 1e12", r"--memories 1000000000000: what is stored does not fit into memory \("),
        ("--n_epochs 1e9", r"--n_epochs 1000000000: more than 1,000,000,000 examples in all; give 8333333 or fewer"),
        ("--n_layers 1000000000", r"--n_layers 1000000000: out of range; give a whole number from 0 to 1000"),
        (
            "--n_memories 1e12 --model gem",
            r"--n_memories 1000000000000: what 3 tasks store does not fit into memory \(",
        ),
        ("--task_sample 1e12 --model spg", r"--task_sample 1000000000000: what is stored does not fit into"),
        (
            "--cov_first_task_buffer 1e12 --model ewc_group --n_memories 1",
            r"--cov_first_task_buffer 1000000000000: what is stored does not fit into memory \(",
        ),
        ("--n_memories 1e300", r"--n_memories 1e300: beyond what 64 bits hold; give a whole number, 0 or more$"),
        (f"--n_tasks {'1' * 5000}", r"--n_tasks 1{60}\.\.\.: not a whole number; give a whole number, 1 or more$"),
        ("--threads 100000", r"--threads 100000: this machine has \d+ cores; give \d+ or fewer$"),
        ("--lr 1e39", r"--lr 1e39: beyond what float32 holds, 1.2e-38 to 3.4e\+38; give a number above 0$"),
        ("--lr 1e-39", r"--lr 1e-39: beyond what float32 holds, "),
        ("--memory_strength 4e38", r"--memory_strength 4e38: beyond what float32 holds, .*; give a number, 0 or more$"),
        ("--group_xi 1e300", r"--group_xi 1e300: beyond what float32 holds, "),
        ("--n_epochs 0", r"--n_epochs 0: out of range; give a whole number, 1 or more"),
        ("--n_epochs nan", r"--n_epochs nan: not a whole number; give a whole number, 1 or more"),
        ("--lr 0", r"--lr 0: out of range; give a number above 0"),
        ("--lr nan", r"--lr nan: out of range; give a number above 0"),
        ("--log_every 0", r"--log_every 0: out of range; give a whole number, 1 or more"),
        ("--log_every 1.5", r"--log_every 1.5: not a whole number; give a whole number, 1 or more"),
        ("--net resnet18", r"--net resnet18: needs 3072 inputs, the data has 12; give --net mlp"),
        ("--head split", r"--head split: the tasks share labels, .*; give --head shared"),
        ("--parity yes --shuffle_tasks yes", r"--shuffle_tasks yes --parity yes: .*; give one of them"),
        ("--engine fast --parity yes", r"--engine fast --parity yes: "),
        (
            "--norm batch --batch_size 13",
            r"--batch_size 13: the last batch of task 0 has one example, and .* two; give --batch_size 14, or --norm layer$",
        ),
        (
            "--norm batch --batch_size 1 --model gem --n_memories 2",
            r"--batch_size 1: every batch has one example, and batch",
        ),
        (
            "--norm batch --model independent --n_epochs 3 --batch_size 7",
            r"--batch_size 7: the last batch of task 0 has one",
        ),
        (
            "--norm batch --batch_size 7 --samples_per_task 1",
            r"--batch_size 7: the last batch of task 0 has one example, and batch .* needs two; give --norm layer$",
        ),
        (
            "--net lenet5 --n_hiddens 9",
            r"--net lenet5 --n_hiddens 9: LeNet-5 has hidden .*; give --hidden_sizes for others$",
        ),
        ("--net lenet5 --hidden_sizes 9000000,9000000", r"--hidden_sizes 9000000,9000000: the network does not fit"),
        (
            "--hidden_sizes 9,8 --n_layers 2",
            r"--hidden_sizes 9,8 --n_layers 2: both say how large .*; give one of them$",
        ),
        ("--hidden_sizes 9 --n_hiddens 9", r"--hidden_sizes 9 --n_hiddens 9: both say how large .*; give one of them$"),
        ("--hidden_sizes 9,,8", r"--hidden_sizes 9,,8: not auto, or sizes such as 120,84; give auto, or sizes such"),
        ("--hidden_sizes 1000000,1000000", r"--hidden_sizes 1000000,1000000: the network does not fit into memory"),
        (
            "--optimizer adam --parity yes",
            r"--optimizer adam --parity yes: the reference does not know --optimizer; give one",
        ),
        (
            "--norm layer --parity yes",
            r"--norm layer --parity yes: the reference does not know --norm; give one of them$",
        ),
        (
            "--net lenet5 --parity yes",
            r"--net lenet5 --parity yes: the reference has no such network; give one of them$",
        ),
        (
            "--first_task 1 --parity yes",
            r"--first_task 1 --parity yes: the reference does not know --first_task; give one",
        ),
        (
            "--optimizer_state keep",
            r"--optimizer_state keep: plain SGD has no memory; give --optimizer adam or --momentum",
        ),
        ("--weight_decay 0.01", r"--weight_decay 0.01: is that of AdamW; give --optimizer adam too, or leave it out$"),
        ("--optimizer adam --momentum 0.5", r"--momentum 0.5 --optimizer adam: Adam has a momentum of its own; leave"),
        (
            "--stop_at_accuracy 1.01",
            r"--stop_at_accuracy 1.01: out of range; give never or a number above 0 and up to 1$",
        ),
        ("--stop_at_accuracy 0", r"--stop_at_accuracy 0: out of range; give never or a number above 0 and up to 1$"),
        (
            "--model joint --later_lr_factor 0.2",
            r"--later_lr_factor 0.2: joint learns all tasks together, .*; leave it out$",
        ),
        (
            "--model meralg7 --norm batch",
            r"--norm batch: meralg7 learns one example at a time, and .*; give --norm layer$",
        ),
        ("--net lenet5", r"--net lenet5: needs 784 or 1024 or 3072 inputs, the data has 12; give --net mlp$"),
        ("--unheard_of 3", r"Unrecognized arguments: --unheard_of 3; see main.py --help"),
        ("--modle gem", r"Unrecognized arguments: --modle gem; did you mean --model\? See main.py --help$"),
        ("--n_memory 3 --foo", r"Unrecognized arguments: --n_memory 3 --foo; did you mean --n_memories\? See main"),
        (
            "--seeed=3 --batchsize 4",
            r"Unrecognized arguments: .*; did you mean --seed, --batch_size\? See main.py --help$",
        ),
        ("-model gem", r"Unrecognized arguments: -model gem; did you mean --model\? See main.py --help$"),
        ("gem", r"Unrecognized arguments: gem; see main.py --help$"),
        ("--lr", r"Argument --lr: expected one argument; see main.py --help"),
    ],
)
def test_a_wrong_command(argv, sentence, refused, data_file):
    common = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", "new"]
    assert re.match(sentence, refused(*common, *argv.split()))


@pytest.mark.parametrize(
    "name", ["evil", "evil.py", "./evil", "..evil", ".evil", "model.evil", "model..evil", "Evil", "os", "main"]
)
def test_a_name_after_model_imports_nothing_but_methods(name, refused, data_file, monkeypatch):
    folder = data_file.parent
    (folder / "evil.py").write_text("open('executed', 'w')\nclass Net: pass\n")
    monkeypatch.syspath_prepend(folder)
    assert refused("--data_path", str(folder), "--data_file", "tiny.pt", "--model", name).startswith(
        f"--model {name!r}: "
    )
    assert not (folder / "executed").exists() and "evil" not in sys.modules


@pytest.mark.parametrize("flag", ["data_file", "data_path", "save_path", "tensorboard"])
def test_names_that_no_file_system_takes(flag, refused, data_file):
    common = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", "new"]
    assert "(File name too long); give" in refused(*common, f"--{flag}", "x" * 303, folder=data_file.parent / "no")


def test_control_characters_of_a_name_do_not_reach_the_terminal(refused):
    assert refused("--data_file", "\x1b[2J\r.pt").startswith(r"data/\x1b[2J .pt: does not exist")


def test_no_gpu(data_file, tmp_path, monkeypatch, capsys):
    """The run goes on on the CPU; its record says so."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ["--data_path", data_file.parent, "--data_file", "tiny.pt", "--save_path", tmp_path / "new"]
    result = main.main(["--cuda", "yes", *words])
    assert capsys.readouterr().err == "note: --cuda yes: this torch sees no GPU, so the run goes on on the CPU\n"
    assert result["device"] == "cpu" and result["args"]["cuda"] is False


def test_memory_is_missed_before_any_data_is_built(refused):
    """mnist_permutations.pt takes minutes to build."""
    assert refused("--model", "gem").startswith("--n_memories 0: gem needs")


@pytest.mark.parametrize("place", ["a_file", "a_file/below", "/proc/nothing_can_be_made_here"])
def test_a_save_path_that_cannot_be_written_is_found_out_before_training(place, refused, data_file, monkeypatch):
    Path("a_file").write_text("kept\n")
    monkeypatch.setattr(main, "life_experience", lambda *_: pytest.fail("training began"))
    text = refused("--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", place)
    assert text.startswith(f"--save_path {place}: ") and "give a folder" in text
    assert Path("a_file").read_text() == "kept\n"


def test_a_missing_library_is_named_with_its_remedy(data_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "quadprog", None)
    argv = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(tmp_path / "r")]
    assert main.cli([*argv, "--model", "gem", "--lr", "0.3", "--n_memories", "5", "--batch_size", "1"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "quadprog" in sentence and sentence.endswith("; pip install -r requirements.txt")
    assert list((tmp_path / "r").iterdir()) == []


def test_as_a_program(tmp_path):
    """What a shell sees: the status, the sentence on stderr, nothing on stdout."""
    command = [sys.executable, str(ROOT / "main.py"), "--model", "agem_close"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("main.py: --model 'agem_close': no such method; did you mean 'agem_closed'?")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--data_file tiny.pt --save_path",
            "--save_path .*: cannot be written .too many folders inside one another.; give",
        ),
        (
            "--data_file digits_permutations.pt --data_path",
            ".*: its folder cannot be made or used .too many folders inside",
        ),
    ],
)
def test_folders_too_deep_for_python(words, sentence, refused, tmp_path):
    """Linux would take the name."""
    torch.save(spoiled(lambda train, test: None), tmp_path / "tiny.pt")
    assert re.match(sentence, refused(*"--data_path .".split(), *words.split(), "r/" * 1990, folder=tmp_path / "r"))
