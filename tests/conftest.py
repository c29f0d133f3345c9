"""Shared by all tests: small data files, and arguments for methods."""

import argparse
import builtins
import io
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from hypothesis import settings

import model as methods
from data import files, tokens
from model import arguments, common
from model.transformer import Language
from tests.forked import Forks

settings.register_profile("project", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("project")
DROPPED_IN = "module_dropped_in_by_a_test"


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, and only them")


def pytest_collection_modifyitems(config, items):
    wanted = config.getoption("--slow")
    skipped = [item for item in items if ("slow" in item.keywords) != wanted]
    config.hook.pytest_deselected(items=skipped)
    items[:] = [item for item in items if ("slow" in item.keywords) == wanted]
    for item in items:
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a GPU, and this torch sees none"))


def stream(n_tasks=3, n=40, n_inputs=12, n_outputs=4, seed=0, split=False, dtype=torch.float32):
    """Train and test tasks of random inputs in [0, 1] whose labels depend on them; disjoint labels if ``split``."""
    draw = torch.Generator().manual_seed(seed)
    teacher = torch.randn(n_inputs, n_outputs, generator=draw)
    both = ([], [])
    for t in range(n_tasks):
        pixels = torch.randperm(n_inputs, generator=draw)
        for tasks in both:
            x = torch.rand(n, n_inputs, generator=draw).to(dtype)
            y = (x[:, pixels].float() @ teacher).sub(teacher.sum(0) / 2).argmax(1)
            if split:
                y = y % (n_outputs // n_tasks) + t * (n_outputs // n_tasks)
                y[: n_outputs // n_tasks] = torch.arange(n_outputs // n_tasks) + t * (n_outputs // n_tasks)
            else:
                y[:n_outputs] = torch.arange(n_outputs)
            tasks.append(["random", x, y])
    return both


@pytest.fixture
def data_file(tmp_path):
    """A folder with a small data file ``tiny.pt``: 3 tasks, 40 + 40 examples, 12 inputs, 4 shared outputs."""
    files.save(tmp_path / "tiny.pt", *stream())
    return tmp_path / "tiny.pt"


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Runs ``main.py`` as a process of its own, at the price of a fork."""
    server = Forks(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()


@pytest.fixture
def drop(monkeypatch, tmp_path):
    """Makes text the module DROPPED_IN of model/ for one test; the file lies in a second folder of that package."""
    folder = tmp_path / "model"
    folder.mkdir()
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    yield (folder / f"{DROPPED_IN}.py").write_text
    sys.modules.pop(f"model.{DROPPED_IN}", None)
    vars(methods).pop(DROPPED_IN, None)


N_TOKENS, MASK = 4, 3  # of the text in tests


def ids(n, length=12, seed=0):
    """Sequences of tokens (n, length) in which each follows from the one before, more often than not."""
    draw = torch.Generator().manual_seed(seed)
    steps = (torch.rand(n, length, generator=draw) < 0.8).long() + seed % 2
    return (steps.cumsum(1) + torch.randint(MASK, (n, 1), generator=draw)) % MASK


def masked_text(n_tasks=3, n=12):
    """Training tasks of masked text as a run sees them: what is seen (n, 12), and what is to be told."""
    draw = torch.Generator().manual_seed(0)
    tasks = []
    for t in range(n_tasks):
        x = ids(n, seed=t)
        tasks.append(["text", *tokens.masked(x, tokens.choose(x, MASK, N_TOKENS, draw))])
    return tasks


TEXT = {"text": Language(N_TOKENS, MASK, ids(20, seed=7), None, ids(20, seed=0)), "n_layers": 1, "task_sample": 8}


def text_file(path, n_tasks=2, n=40):
    """Write a small data file of text."""
    both = [[[f"domain {t}", ids(n, seed=2 * t + s), torch.arange(n) % 2] for t in range(n_tasks)] for s in (0, 1)]
    draw = torch.Generator().manual_seed(1)
    shown = tuple(tokens.choose(x, MASK, N_TOKENS, draw) for _, x, _ in both[1])
    files.save(path, *both, tokens.Text(("a", "b", "c", "<mask>"), MASK, "", ids(60, seed=9), shown))


def file_for(name, path):
    """Replace the data file at ``path`` where the method cannot learn its shared head of images."""
    if name == "icarl":
        files.save(path, *stream(n_outputs=6, split=True))
    elif name not in methods.learning("images"):
        text_file(path, 3)


SPLIT = {"n_outputs": 6, "task_outputs": [[0, 1], [2, 3], [4, 5]]}


def namespace(**given) -> argparse.Namespace:
    """Settled arguments, as main hands them on; small defaults for tests."""
    small = {"n_hiddens": 8, "n_memories": 5, "memory_strength": 0.5, "lr": 0.1, "task_outputs": None}
    small |= {"memories": 9, "replay_batch_size": 3}
    return arguments.of(argparse.Namespace(**{**small, **given}))


def net(name: str, n_inputs=12, n_outputs=4, n_tasks=3, seed=0, **given):
    """A fresh ``Net`` of the method ``name``, with ``parity`` as main makes it."""
    torch.manual_seed(seed)
    parity = given.get("parity", False)
    with common.resnet_layout(plain=parity):
        return methods.load(name, parity).Net(n_inputs, n_outputs, n_tasks, namespace(seed=seed, **given))


def suitable(name):
    """A small stream, training tasks, that a method can learn, and the arguments for it."""
    if name not in methods.learning("images"):
        return masked_text(), TEXT
    if name != "icarl":
        return stream()[0], {}
    return stream(n_outputs=6, split=True)[0], {**SPLIT, "n_memories": 8}


def learn(model, tasks, batch_size=1, steps=None):
    """Show ``model`` the tasks in order, ``steps`` batches of each (default: all)."""
    for t, (_, x, y) in enumerate(tasks):
        for i in range(0, min(len(y), (steps or len(y)) * batch_size), batch_size):
            model.observe(x[i : i + batch_size], t, y[i : i + batch_size])
    return model


def differ_after_a_restore(make, tasks, batch_size=2, steps=6, dtype=torch.float32) -> list[tuple]:
    """The places (task, batch, whether ``finish_task`` was called) at which a checkpoint does not restore to the byte.

    ``make()`` gives a fresh object. One learns ``steps`` batches of each task, and its state is taken before each batch,
    before and after ``finish_task``; another is restored from each state, by way of a file, and learns the rest.
    """
    batches = [
        (t, i, x[i * batch_size : (i + 1) * batch_size].to(dtype), y[i * batch_size : (i + 1) * batch_size])
        for t, (_, x, y) in enumerate(tasks)
        for i in range(steps)
    ]
    states = []

    def taken(model, place):
        buffer = io.BytesIO()
        torch.save(model.checkpoint(), buffer)
        states.append((place, buffer))

    def go_on(model, start, finished=False, watch=lambda *_: None):
        for place, (t, i, x, y) in enumerate([*batches, (None, 0, None, None)][start:], start):
            if place and i == 0 and not (finished and place == start):
                watch(model, (place, False))
                getattr(model, "finish_task", lambda: None)()
            watch(model, (place, True))
            if t is not None:
                model.observe(x, t, y)
        return parameters(model), model.counts

    whole, counts = go_on(make().to(dtype), 0, watch=taken)
    different = []
    for (place, finished), buffer in states:
        buffer.seek(0)
        model = make()
        model.restore(torch.load(buffer, weights_only=True))
        ours, ours_counts = go_on(model, place, finished)
        if ours.dtype != whole.dtype or not torch.equal(ours, whole) or ours_counts != counts:
            different.append((*divmod(place, steps), finished))
    return different


def parameters(model) -> torch.Tensor:
    """The complete parameters of ``model`` as one vector."""
    wanted = dict(model.named_parameters())
    return torch.cat([value.reshape(-1) for key, value in model.state_dict().items() if key in wanted])


@pytest.fixture
def hide(monkeypatch):
    """A function after which no module whose name begins so can be imported."""

    def hide(beginning):
        real = builtins.__import__

        def without(name, *rest, **more):
            if name.startswith(beginning):
                raise ImportError(name)
            return real(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", without)

    return hide
