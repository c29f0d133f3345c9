"""Modules written for the reference's main program run here, and ours run under a program like the reference's."""

import argparse
import random
import sys

import numpy as np
import pytest
import torch

import main
import model as methods
from data import files
from tests.conftest import DROPPED_IN as NAME
from tests.conftest import stream

# In the reference's style: its own optimizer, `args.cuda`, no `finish_task`, nothing of this project.
THEIRS = """
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super(Net, self).__init__()
        layers = [nn.Linear(n_inputs, args.n_hiddens), nn.ReLU(), nn.Linear(args.n_hiddens, n_outputs)]
        self.net = nn.Sequential(*layers)
        self.bce = nn.CrossEntropyLoss()
        self.opt = torch.optim.SGD(self.parameters(), lr=args.lr)
        self.is_cifar = args.data_file == "cifar100.pt"
        if args.cuda or args.finetune or args.shuffle_tasks != "no":
            raise ValueError((args.cuda, args.finetune, args.shuffle_tasks))
        self.memory = torch.FloatTensor(n_tasks, args.n_memories, n_inputs)
        self.strength = args.memory_strength

    def forward(self, x, t):
        return self.net(x)

    def observe(self, x, t, y):
        self.train()
        self.zero_grad()
        self.bce(self.forward(x, t), y).backward()
        self.opt.step()
"""
WITH_ARGUMENTS = (
    THEIRS.replace("lr=args.lr", "lr=args.lr, momentum=args.inertia")
    + """

def add_arguments(parser):
    parser.add_argument("--inertia", type=float, default=0.5, help="of SGD")
"""
)


@pytest.fixture
def argv(data_file, tmp_path):
    common = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(tmp_path / "r")]
    return [*common, "--n_hiddens", "32", "--lr", "0.1", "--batch_size", "1", "--n_epochs", "5"]


def test_a_module_of_the_references_kind_runs_unchanged(drop, argv, capsys):
    drop(THEIRS)
    flags = ["--finetune", "no", "--cuda", "no", "--n_memories", "3", "--memory_strength", "2"]
    result = main.main([*argv, *flags, "--model", NAME])
    assert result["model"] == NAME and result["status"] == "done" and result["protocol"]["engine"] == "foreign"
    assert result["metrics"]["learning_accuracy"] > result["baseline"][0] + 0.1
    assert capsys.readouterr().err == ""  # which flags it uses, nobody can know
    assert NAME in methods.names() and f"  {NAME}" in methods.describe()


def test_a_module_with_flags_of_its_own(drop, argv):
    drop(WITH_ARGUMENTS)
    default, other = main.main([*argv, "--model", NAME]), main.main([*argv, "--model", NAME, "--inertia", "0.9"])
    assert default["args"]["inertia"] == 0.5 and other["args"]["inertia"] == 0.9
    assert default["grid"] != other["grid"]


def test_another_method_does_not_use_its_flags(drop, argv, capsys):
    drop(WITH_ARGUMENTS)
    result = main.main([*argv, "--model", "single", "--inertia", "0.9"])
    assert "inertia" not in result["args"]
    assert capsys.readouterr().err == "note: single does not use --inertia\n"
    assert main.cli([*argv, "--model", "single", "--inertias", "0.9"]) == 2
    assert "Unrecognized arguments: --inertias 0.9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class Network: pass\n", f"--model '{NAME}': model/{NAME}.py has no class Net, so it is a helper"),
        ("def broken(:\n", f"--model '{NAME}': model/{NAME}.py cannot be imported (SyntaxError: "),
        (
            "import not_installed_anywhere\n",
            f"model/{NAME}.py cannot be imported (ModuleNotFoundError: No module named",
        ),
        ("1 / 0\nclass Net: pass\n", f"{NAME}.py:1); mend it, or"),
    ],
)
def test_a_module_that_is_no_method(text, sentence, drop, argv, capsys):
    drop(text)
    assert main.cli([*argv, "--model", NAME]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert sentence in said
    assert (NAME in methods.names()) == ("class Net:" in text)  # by its text: the list of names imports nothing
    assert f"model.{NAME}" not in sys.modules or "class Network" in text


def line_of(text, part):
    (number,) = (i for i, line in enumerate(text.splitlines(), 1) if part in line)
    return number


def answering(value):
    """A module whose ``forward`` returns this, and which trains without it."""
    return THEIRS.replace("self.bce(self.forward(x, t), y)", "self.bce(self.net(x), y)").replace(
        "return self.net(x)", f"return {value}"
    )


BEGIN = THEIRS[: THEIRS.index("    def observe")]
FAILURES = {
    "import": ("import nothing_of_this_name\n" + THEIRS, "import nothing", "cannot be imported (ModuleNotFoundError: "),
    "import inside": ("def f():\n    torch.mm()\n\n\nimport torch\nf()\n", "torch.mm()", "(TypeError: "),
    "syntax": (THEIRS + "\ndef broken(:\n", "def broken(:", "cannot be imported (SyntaxError: "),
    "leaves at import": ("import sys\nsys.exit('no data')\n", "sys.exit", "cannot be imported (SystemExit: no data"),
    "construction": (
        THEIRS.replace("self.bce = ", "error('set --samples_per_task')\n        self.bce = "),
        "error('set",
        "failed (NameError: name 'error' is not defined",
    ),
    "without a message": (
        THEIRS.replace("self.bce = ", "raise LookupError\n        self.bce = ", 1),
        "raise LookupError",
        "failed (LookupError: raise LookupError; ",
    ),
    "observe": (
        THEIRS.replace("self.zero_grad()", "x @ x[:, :3]"),
        "x @ x[:, :3]",
        "failed (RuntimeError: ",
    ),
    "forward": (THEIRS.replace("return self.net(x)", "return self.nett(x)"), "self.nett", "failed (AttributeError: "),
    "finish_task": (
        THEIRS + "\n    def finish_task(self):\n        {}['key']\n",
        "{}['key']",
        "failed (KeyError: 'key'",
    ),
    "leaves": (THEIRS.replace("self.zero_grad()", "raise SystemExit"), "raise SystemExit", "failed (SystemExit: "),
    "wrong arguments": (
        THEIRS.replace("def observe(self, x, t, y)", "def observe(self, x, y)"),
        "def observe",
        "failed (TypeError: ",
    ),
    "no logits": (
        THEIRS.replace("return self.net(x)", "self.net(x)"),
        "def forward",
        "failed (forward returned a NoneType, not a tensor of logits (B, n_outputs); ",
    ),
    "no observe": (BEGIN, "class Net", "failed (Net has no observe(x, t, y); "),
    "no forward": (THEIRS.replace("def forward", "def forwards"), "class Net", "failed (Net has no forward(x, t); "),
    "three arguments": (
        THEIRS.replace("n_tasks, args)", "args)", 1),
        "def __init__",
        "failed (TypeError: Net.__init__() takes",
    ),
    "no module": (
        "class Net:\n    def __init__(self, *_):\n        pass\n",
        "class Net",
        "(Net() gives a Net, not a torch.nn",
    ),
    "no batch": (
        answering("self.net(x)[:, 0]"),
        "def forward",
        "forward returned the shape (40,) for 40 examples with",
    ),
    "three axes": (
        answering("self.net(x).unsqueeze(2)"),
        "def forward",
        "returned the shape (40, 4, 1) for 40 examples",
    ),
    "one row": (answering("self.net(x)[:1]"), "def forward", "returned the shape (1, 4) for 40 examples"),
    "few outputs": (
        answering("self.net(x)[:, :2]"),
        "def forward",
        "(40, 2) for 40 examples with labels up to 3, not logits",
    ),
    "in place": (
        answering("self.net(x.mul_(0.9))"),
        "def forward",
        "changes its argument x, the test set, in place; use a",
    ),
    "one element": (
        THEIRS.replace("self.opt.step()", "self.opt.step()\n        print(self.bce(self.net(x), y).data[0])"),
        ".data[0]",
        "failed (IndexError: ",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_of_a_module_that_is_not_ours_is_one_sentence_with_its_line(kind, drop, argv, capsys, monkeypatch):
    text, place, said = FAILURES[kind]
    drop(text)
    assert main.cli([*argv, "--model", NAME]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"main.py: --model '{NAME}': model/{NAME}.py ") and said in sentence
    assert sentence.endswith("; mend it, or see the traceback with CL_TRACEBACK=1")
    if place:
        assert f"{NAME}.py:{line_of(text, place)})" in sentence
    monkeypatch.setenv("CL_TRACEBACK", "1")
    sys.modules.pop(f"model.{NAME}", None)
    assert main.cli([*argv, "--model", NAME]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):") and shown.endswith(sentence + "\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("habit", ["x = x.cuda()", "x = x.to('cuda')", "x = torch.cuda.FloatTensor(x)"])
def test_a_habit_of_a_gpu_where_there_is_none(habit, drop, argv, capsys):
    text = THEIRS.replace("self.zero_grad()", habit)
    drop(text)
    assert main.cli([*argv, "--model", NAME]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert (
        "CUDA" in said
        and f"{NAME}.py:{line_of(text, habit)}); this torch sees no GPU, so use one only if args.cuda" in said
    )


def test_arguments_that_a_module_changes_are_named(drop, argv, capsys):
    """The module has its will, the record what was given; lists that it changes are its own."""
    text = THEIRS.replace(
        "self.bce = ", "args.n_layers -= 1; args.task_sizes.clear(); args.mine = 3\n        self.bce = "
    )
    drop(text)
    result = main.main([*argv, "--model", NAME, "--n_layers", "2"])
    place = f"{NAME}.py:{line_of(text, 'args.n_layers')})"
    first, second = capsys.readouterr().err.splitlines()
    assert f"note: model/{NAME}.py changes args.n_layers from 2 to 1 (" in first and place in first
    assert "changes args.task_sizes from [40, 40, 40] to [] (" in second
    assert result["args"]["n_layers"] == 2 and "mine" not in result["args"]


# In MER's style: Variables, arrays of numpy, one example after another, whole state dicts copied back and forth.
MERS = """
from copy import deepcopy

import numpy as np
import torch
from torch.autograd import Variable
from .common import MLP, ResNet18, Xavier


class Net(torch.nn.Module):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super(Net, self).__init__()
        print("a network for %d tasks" % n_tasks)
        self.net = ResNet18(n_outputs) if args.data_file == "cifar100.pt" else MLP([n_inputs, args.n_hiddens, n_outputs])
        self.net.apply(Xavier)
        self.netforward = self.net
        self.opt = torch.optim.SGD(self.parameters(), args.lr)
        self.kept, self.cuda_wanted = [], args.cuda
        if self.cuda_wanted:
            self.cuda()

    def forward(self, x, t):
        return self.netforward(x)

    def observe(self, x, t, y):
        before = deepcopy(self.net.state_dict())
        for i in range(x.size()[0]):
            xi, yi = np.array(x[i].data.numpy()), int(y.data.numpy()[i])
            self.kept.append((xi, yi, t))
            for a, b, _ in [self.kept[len(self.kept) // 2], self.kept[-1]]:
                bx, by = Variable(torch.from_numpy(a)).float().view(1, -1), Variable(torch.LongTensor([b]))
                self.zero_grad()
                loss = torch.nn.CrossEntropyLoss()(self.forward(bx, t), by)
                loss.backward()
                self.opt.step()
        after = self.net.state_dict()
        self.net.load_state_dict({name: before[name] + 0.5 * (after[name] - before[name]) for name in before})
"""


def test_a_module_with_mers_habits(drop, argv, capsys):
    drop(MERS)
    result = main.main([*argv, "--model", NAME, "--n_epochs", "1", "--batch_size", "2", "--lr", "0.3"])
    said = capsys.readouterr()
    assert said.err == "" and said.out.startswith("a network for 3 tasks\n")
    assert result["metrics"]["learning_accuracy"] > result["baseline"][0] + 0.1


def test_a_numerical_failure_of_a_module_that_is_not_ours_is_divergence(drop, argv, capsys):
    drop(THEIRS.replace("self.zero_grad()", "raise FloatingPointError('too steep')"))
    assert main.cli([*argv, "--model", NAME]) == 3
    assert f"{NAME} diverged in task 0 at step 0: too steep" in capsys.readouterr().err


def test_a_users_mistake_found_by_our_helpers_stays_one(drop, argv, capsys):
    drop("from model.episodic import EpisodicLearner\n\n\nclass Net(EpisodicLearner):\n    pass\n")
    assert main.cli([*argv, "--model", NAME]) == 2
    assert capsys.readouterr().err.startswith(f"main.py: --n_memories 0: {NAME} needs at least one memory")


@pytest.mark.parametrize("place", ["__init__", "observe", "forward"])
def test_a_bug_of_ours_keeps_its_traceback(place, argv, monkeypatch):
    def fails(*_):
        return undefined  # noqa: F821

    monkeypatch.setattr(methods.load("single").Net, place, fails)
    with pytest.raises(NameError, match="undefined"):
        main.cli([*argv, "--model", "single"])


def test_attributes_that_only_look_like_ours(drop, argv):
    """``counts``, ``engine`` and ``name`` may be anything in a module that is not ours."""
    more = "        self.counts = torch.zeros(3)\n        self.engine = self.name = print\n        self.phase = 4\n"
    drop(THEIRS.replace("        self.bce = ", f"{more}        self.bce = "))
    assert main.main([*argv, "--model", NAME])["counts"] == {"steps": 600}


def test_help_with_a_broken_module_in_the_folder(drop, capsys):
    drop("1 / 0\n")
    with pytest.raises(SystemExit):
        main.cli(["--help"])
    assert "agem_closed" in capsys.readouterr().out


def life_like_the_references(net, tasks, test, order, args):
    """Its main loop: evaluate every ``log_every`` batches and where the task changes; rows where it changed, and last."""
    rows, current = [], None

    def score():
        net.eval()
        scores = []
        for t, (_, x, y) in enumerate(test):
            _, predicted = torch.max(net(x, t).data.cpu(), 1, keepdim=False)
            scores.append(float((predicted == y).float().mean()))
        net.train()
        return scores

    for t, index in order:
        _, x, y = tasks[t]
        for i in range(0, len(index), args.batch_size):
            if t != current:
                rows.append(score())
                current = t
            net.observe(x[index[i : i + args.batch_size]], t, y[index[i : i + args.batch_size]])
    return torch.tensor([*rows, score()])


@pytest.mark.parametrize("name", ["single", "ewc", "gem", "agem", "agem_closed", "agem_meanqp", "agem_sampled"])
def test_our_methods_under_a_program_like_the_references(name, data_file, argv):
    """The same draws, an ``args`` of only the reference's flags, no ``finish_task``: the same grid, bit for bit."""
    ours = main.main([*argv, "--model", name, "--n_memories", "5", "--memory_strength", "0.5", "--seed", "4"])
    args = argparse.Namespace(
        **{"model": name, "n_layers": 2, "n_hiddens": 32, "n_memories": 5, "memory_strength": 0.5, "finetune": False},
        **{"n_epochs": 5, "batch_size": 1, "lr": 0.1, "cuda": False, "seed": 4, "log_every": 100, "save_path": "r/"},
        **{"data_path": "data/", "data_file": "tiny.pt", "samples_per_task": -1, "shuffle_tasks": "no"},
    )
    train, test = stream()
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    random.seed(args.seed)
    chosen = [torch.randperm(len(x)).tolist() for _, x, _ in train]
    order = [(t, []) for t in range(len(train))]
    for t, index in order:
        for _ in range(args.n_epochs):
            epoch = list(chosen[t])
            random.shuffle(epoch)
            index += epoch
    given = dict(vars(args))
    net = methods.load(name).Net(12, 4, 3, args)
    rows = life_like_the_references(net, train, test, order, args)
    assert torch.equal(rows, torch.tensor([ours["baseline"], *ours["grid"]]))
    assert vars(args) == given


def test_the_references_rule_for_heads_where_its_program_says_nothing(tmp_path):
    """A program that hands on no ``task_outputs``: slices for cifar100.pt, one head for every other name."""
    known = {"n_layers": 1, "n_hiddens": 8, "lr": 0.1, "cuda": False}
    x = stream(n_outputs=6, split=True)[0][1][1]
    for name, owned in (("cifar100.pt", {2, 3}), ("anything.pt", {0, 1, 2, 3, 4, 5})):
        net = methods.load("single").Net(12, 6, 3, argparse.Namespace(**known, data_file=name))
        logits = net(x, 1)
        assert {i for i in range(6) if bool((logits[:, i] > -1e10).all())} == owned


def test_a_data_file_of_the_reference(tmp_path, argv):
    """Labels (N, 1) of another integral dtype, tuples, text as description."""
    train, test = ([("text", x, y.to(torch.uint8).unsqueeze(1)) for _, x, y in tasks] for tasks in stream())
    torch.save([train, test], tmp_path / "theirs.pt")
    ours, theirs = main.main(argv), main.main([*argv, "--data_file", "theirs.pt"])
    assert ours["grid"] == theirs["grid"] and files.load(tmp_path / "theirs.pt").hash == ours["protocol"]["data_hash"]


class OfTorch03:
    """A tensor pickled as torch 0.3 did, in which MER's authors saved their files."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        t = self.tensor
        return torch._utils._rebuild_tensor, (t._typed_storage(), t.storage_offset(), tuple(t.size()), t.stride())


def test_a_download_of_mers(tmp_path, argv):
    """100 tasks in torch's first format; all tasks have the same images and share their labels."""
    x, y = torch.rand(30, 12, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 4
    index = [torch.randperm(12, generator=torch.Generator().manual_seed(t)) for t in range(100)]
    labels = OfTorch03(y)
    tasks = [("random permutation", OfTorch03(x[:, i]), labels) for i in index]
    path = tmp_path / "mnist_manypermutations.pt"
    torch.save([tasks[:], tasks[:]], path, _use_new_zipfile_serialization=False)
    theirs = torch.load(path, weights_only=False)
    before = path.read_bytes()
    read = files.load(path)
    assert len(read.train) == 100 and torch.equal(read.train[99][1], theirs[0][99][1])
    assert torch.equal(read.test[3][2], theirs[1][3][2]) and torch.equal(read.test[3][1], x[:, index[3]])
    words = ["--data_file", path.name, "--n_tasks", "4", "--samples_per_task", "5", "--model", "online"]
    result = main.main([*argv, *words, "--n_epochs", "1"])
    assert len(result["grid"]) == 4 and result["counts"]["steps"] == 20 and path.read_bytes() == before


def test_a_flag_that_only_our_methods_follow_is_told(argv, drop, capsys):
    drop(THEIRS)
    main.main([*argv, "--model", NAME, "--optimizer", "adam"])
    assert f"note: {NAME} does not use --optimizer\n" in capsys.readouterr().err
