"""``--parity yes`` prints the reference's digits: commands that the reference itself has run, and what they need."""

import json
import sys
from pathlib import Path

import pytest
import threadpoolctl
import torch

import main
from data import DataError, digits_permutations, files
from model import common
from model import reference as parity_path
from results.reading.logs import parse
from scripts import parity
from tests.conftest import DROPPED_IN as NAME

DIGITS = [path for path in parity.fixtures() if "_digits_" in path.name]
CASES = [(path, i) for path in DIGITS for i in range(len(json.loads(path.read_text())["runs"]))]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of ``digits_permutations.pt``, whose first five tasks the cases on the digits learn."""
    folder = tmp_path_factory.mktemp("parity")
    digits_permutations.build(folder / "digits_permutations.pt")
    return folder


def printed(flags, data, save, *more):
    """The text file of a run."""
    assert main.cli([*flags, "--data_path", str(data), "--save_path", str(save), *more]) == 0
    (written,) = Path(save).glob("*.txt")
    return written.read_text()


# The reference's digits are those of the kernels it ran on: these are this machine's.
@pytest.mark.skipif(not CASES, reason=f"never run on {torch.backends.cpu.get_cpu_capability()} kernels")
@pytest.mark.parametrize(("path", "i"), CASES, ids=[f"{path.stem}-{i}" for path, i in CASES])
def test_the_references_digits(path, i, data, tmp_path):
    flags, logged = list(parity.commands(path))[i], parse(path)[i]
    ours = printed(flags, data, tmp_path, "--threads", "2").split()
    lines = json.loads(path.read_text())["runs"][i]
    theirs = "\n".join(lines["text"]) if "text" in lines else path.with_name(lines["file"]).read_text()
    assert ours == theirs.split() and not logged.problems


def test_all_kernels_have_the_same_cases():
    """Also the names of the data: of every file, on whichever kernels, a machine like the reference's makes all cases."""
    cases = {}
    for path in parity.LOGGED.glob("parity_*_*.json"):
        content = json.loads(path.read_text())
        name, kernels = path.stem.rsplit("_", 1)
        assert content["versions"]["cpu_capability"].lower() == kernels
        cases.setdefault(kernels, {})[name] = sorted(map(sorted, parity.commands(path)))
    assert len(cases) >= 2 and len(set(map(repr, map(sorted, (of.items() for of in cases.values()))))) == 1


def test_the_file_with_split_heads_is_the_one_that_was_logged(tmp_path):
    parity.split_heads(tmp_path / "cifar100.pt")
    logged = json.loads((parity.LOGGED / "parity_split_heads_avx512.json").read_text())
    assert files.load(tmp_path / "cifar100.pt").hash == logged["protocol"]["data_hash"]


def test_cases_whose_data_cannot_be_had_are_left_out_and_it_is_said(monkeypatch, tmp_path, capsys):
    def no_data(flags):
        raise DataError("no raw files")

    monkeypatch.setattr(parity, "run", no_data)
    monkeypatch.setattr(parity, "fixtures", lambda: [parity.LOGGED / "parity_fashion_avx512.json"])
    assert parity.check(*parity.every()) == 0
    assert "parity_fashion_avx512: left out, its data cannot be had: no raw files" in capsys.readouterr().out
    monkeypatch.setattr(parity, "fixtures", list)
    assert parity.check(*parity.every()) == 0
    assert "parity: left out, nobody has run the reference on" in capsys.readouterr().out


def test_the_default_mends_the_defects(data, tmp_path):
    """The last test example is scored, so the accuracies are others, and near the reference's."""
    path = parity.LOGGED / "parity_digits_avx512.json"
    for i, flags in enumerate(parity.commands(path)):
        logged = parse(path)[i]
        ours = main.main([*flags, "--parity", "no", "--data_path", str(data), "--save_path", str(tmp_path)])
        assert ours["grid"] != logged.grid and abs(ours["final"] - logged.final) < 0.05


def test_parity_is_one_thread_whatever_is_asked():
    args, _, _ = main.parse(["--parity", "yes", "--threads", "2"])
    assert args.threads == 1


FOREIGN = """
import threadpoolctl
import torch
from .common import ResNet18

SEEN = []


class Net(torch.nn.Module):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__()
        self.net = torch.nn.Linear(n_inputs, n_outputs)
        self.hidden = [ResNet18(n_outputs)]

    def forward(self, x, t):
        return self.net(x)

    def observe(self, x, t, y):
        late = ResNet18(2, 1)
        threads = {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
        SEEN.append((self.hidden[0].plain_layout, late.plain_layout, threads, x.untyped_storage().nbytes() == 4 * x.numel()))
"""


def words(model, data_file, tmp_path):
    return [
        "--model",
        model,
        "--data_path",
        str(data_file.parent),
        "--data_file",
        "tiny.pt",
        "--save_path",
        str(tmp_path / "r"),
    ]


def test_every_network_of_a_parity_run_and_no_later_one(drop, data_file, tmp_path):
    """Plain layouts wherever a ResNet18 is made, numpy on one thread, each batch in memory of its own: foreign modules too."""
    drop(FOREIGN)
    argv = words(NAME, data_file, tmp_path)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        for wanted in ("yes", "no", "yes"):
            sys.modules.pop(f"model.{NAME}", None)
            main.main([*argv, "--parity", wanted])
            seen = sys.modules[f"model.{NAME}"].SEEN
            expected = (True, True, {1}, True) if wanted == "yes" else (False, False, {2}, False)
            assert seen and all(each == expected for each in seen)
            assert not common.ResNet18(2, 1).plain_layout
        with pytest.raises(ZeroDivisionError), parity_path.conditions():
            assert common.ResNet18(2, 1).plain_layout and 1 / 0
        assert not common.ResNet18(2, 1).plain_layout


@pytest.mark.parametrize(("model", "sizes"), [("single", (3, 3, 4)), ("gem", (3, 3, 3)), ("agem", (1, 1, 1))])
def test_the_references_slices(model, sizes):
    """Boundaries t C / T rounded down; in its GEM, t times C / T rounded down."""
    args = main.parse(["--parity", "yes", "--model", model, "--data_file", "cifar100.pt", "--n_memories", "1"])[0]
    first = [sum(sizes[:t]) for t in range(3)]
    labels = [{a, a + n - 1} for a, n in zip(first, sizes, strict=True)]
    slices = parity_path.outputs(labels, max(map(max, labels)) + 1, args)
    assert slices == [list(range(a, a + n)) for a, n in zip(first, sizes, strict=True)]
    args.data_file = "cifar10.pt"
    assert parity_path.outputs(labels, sum(sizes), args) is None


def test_labels_that_the_reference_has_no_output_for(tmp_path, capsys):
    x, y = torch.rand(4, 3072), torch.tensor([0, 1, 2, 3])
    files.save(tmp_path / "cifar100.pt", *[[["", x, y], ["", x, y]]] * 2)
    argv = ["--data_path", str(tmp_path), "--data_file", "cifar100.pt", "--save_path", str(tmp_path)]
    assert main.cli([*argv, "--parity", "yes"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert (
        "--parity yes: the reference gives task 0 of cifar100.pt the outputs 0 to 1, and the task has the label 2; "
        in said
    )
    assert main.cli([*argv, "--parity", "yes", "--head", "shared", "--samples_per_task", "1"]) == 0


@pytest.mark.parametrize("name", ["ewc", "gem"])
def test_a_parity_run_may_unlearn(name, data_file, tmp_path):
    """The reference has no such phase; ours follows its digits."""
    argv = words(name, data_file, tmp_path)
    argv += ["--parity", "yes", "--n_memories", "5", "--memory_strength", "0.5", "--lr", "0.1", "--batch_size", "1"]
    plain, unlearned = main.main(argv), main.main([*argv, "--forgetting_mode", "True", "--forgetting_task_ids", "0"])
    assert plain["grid"] == unlearned["grid"] and unlearned["status"] == "done"
    assert unlearned["forgetting"]["effect"] != 0
