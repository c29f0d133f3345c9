"""--cuda yes: data, memories and evaluation on the device, and steps that wait for nothing.

Without a GPU torch's `meta` device stands in for it: it has shapes and no values, so that a step which looks at a value, or
brings one to another device, fails there.
"""

import argparse

import pytest
import torch

import main
from data import files
from experiment.evaluation import eval_tasks
from experiment.stream import Continuum
from model import common
from results.life import counts
from tests.conftest import SPLIT, net, parameters, stream, suitable
from tests.test_runs import Runs

SILENT = ("single", "agem_closed")  # methods whose steps wait for nothing
IMAGES = {"n_inputs": 3072, "n_outputs": 4, "n_tasks": 2}


@pytest.fixture
def on_meta(monkeypatch):
    """The device of ``--cuda yes`` is `meta`."""
    monkeypatch.setattr(common, "device", lambda args: torch.device("meta" if args.cuda else "cpu"))


def to_meta(model):
    """The model with all that it holds on the device `meta`."""
    model = model.to("meta")
    if getattr(model, "memory", None) is not None and model.memory.x is not None:
        model.memory.x, model.memory.y = model.memory.x.to("meta"), model.memory.y.to("meta")
    if model.engine._rows is not None:
        rows = model.engine._rows
        model.engine._rows = [[(x.to("meta"), y.to("meta"), t, w.to("meta")) for x, y, t, w in row] for row in rows]
    return model


def learned_on_meta(name, begun, n_outputs=4, n_inputs=12, n_tasks=3, **given):
    """Three steps of the task ``begun`` on the device `meta`; its first step, which may look at values, was on the CPU."""
    model = net(name, n_inputs, n_outputs, n_tasks, cuda=True, **given)
    train = stream(n_tasks, 4, n_inputs, n_outputs, split="task_outputs" in given)[0]
    for t, (_, x, y) in enumerate(train[: begun + 1]):
        for i in range(1 if t == begun else 4):
            model.observe(x[i : i + 1], t, y[i : i + 1])
    model, (_, x, y) = to_meta(model), train[begun]
    for i in range(1, 4):
        model.observe(x[i : i + 1].to("meta"), begun, y[i : i + 1].to("meta"))


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize(
    "given", [{}, SPLIT, pytest.param(IMAGES, marks=pytest.mark.slow)], ids=["shared", "split", "images"]
)
def test_a_step_looks_at_no_value(name, given):
    for begun in (0, 1):
        learned_on_meta(name, begun, **given)


def test_looking_at_a_value_fails_there():
    """So the test above can fail. GEM's quadratic program needs its small matrix."""
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        learned_on_meta("gem", 1)


@pytest.mark.parametrize("name", ["single", "gem", "agem", "agem_closed", "ewc", "eralg4"])
def test_without_waiting_the_same_is_learned(name):
    """The device's form of each step against the usual one, on the same kernels."""
    train, given = suitable(name)
    models = [net(name, **given, engine="autograd", cuda=cuda, seed=2).double() for cuda in (False, True)]
    for model in models:
        for t, (_, x, y) in enumerate(train):
            for i in range(12):
                model.observe(x[i : i + 1].double(), t, y[i : i + 1])
    usual, ours = models
    assert torch.allclose(parameters(ours), parameters(usual), rtol=0, atol=1e-12)
    assert counts(ours) == counts(usual) and all(type(count) in (int, float) for count in counts(ours).values())
    if name.startswith("agem"):
        assert counts(ours)["violations"] > 3


def test_data_and_evaluation_are_on_the_device(on_meta, tmp_path, monkeypatch):
    """Whatever a run learns from and is tested on lies there before the first step, in bytes if the file has them."""
    from experiment import stream as streams

    both = [[(name, (x * 255).to(torch.uint8), y) for name, x, y in split] for split in stream()]
    files.save(tmp_path / "bytes.pt", *both)
    args = main.parse(["--data_path", str(tmp_path), "--data_file", "bytes.pt", "--batch_size", "3"])[0]
    args.cuda = True
    data = streams.load_datasets(args)
    assert all(x.is_meta and y.is_meta and x.dtype == torch.uint8 for _, x, y in data.test)
    continuum = Continuum(data.train, args)
    assert all(x.is_meta and x.dtype == torch.uint8 for _, x, _ in continuum.data)
    moved = []
    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **b: moved.append(a) or to(self, *a, **b))
    for x, t, y in continuum:
        assert x.is_meta and y.is_meta and x.dtype == torch.float32 and t in (0, 1, 2)
    assert [x.is_meta for x, _ in continuum.batches(1, 2)] == [True, True]
    assert not [a for a in moved if a and isinstance(a[0], torch.device | str)]


@pytest.mark.parametrize("cuda", [False, True])
def test_a_divergence_on_the_device_is_found_at_the_next_evaluation(cuda):
    model = net("single", engine="autograd", cuda=cuda)
    _, x, y = stream()[0][0]
    model.net.net[0].weight.data[0, 0] = torch.nan
    if cuda:
        model.observe(x[:1], 0, y[:1])
    else:
        with pytest.raises(FloatingPointError, match="the loss of the batch is nan"):
            model.observe(x[:1], 0, y[:1])


def test_cuda_on_a_machine_without_a_gpu_is_said(data_file, tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    result = Runs(tmp_path, data_file)(model="single", cuda="yes")
    assert "note: --cuda yes: this torch sees no GPU" in capsys.readouterr().err
    assert result["device"] == "cpu" and result["args"]["cuda"] is False


# -------------------------------------------------------------------- on a GPU


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["single", "joint", "independent", "multimodal", "ewc", "gem", "agem", "agem_closed",
                                  "agem_sampled", "eralg4", "eralg5", "meralg1", "meralg6", "meralg7", "ogd", "spg", "ncl",
                                  "icarl", "gem_group", "agem_group", "ewc_group"])  # fmt: skip
def test_every_method_runs_on_a_gpu(name, data_file, tmp_path):
    files.save(data_file, *(stream(n_outputs=6, split=True) if name == "icarl" else stream()))
    run = Runs(tmp_path, data_file)
    flags = {"model": name, "n_memories": 12, "samples_per_task": 10, "memories": 9, "replay_batch_size": 3}
    result = run(cuda="yes", **flags)
    assert result["status"] == "done" and result["device"] == torch.cuda.get_device_name()
    usual = run(engine="autograd", **flags)
    assert result["final"] == pytest.approx(usual["final"], abs=0.1)


@pytest.mark.cuda
@pytest.mark.parametrize("name", SILENT)
def test_a_step_on_a_gpu_waits_for_nothing(name):
    model = net(name, cuda=True).cuda()
    train = [(d, x.cuda(), y.cuda()) for d, x, y in stream()[0]]
    for t, (_, x, y) in enumerate(train):
        model.observe(x[:1], t, y[:1])
        model.observe(x[1:2], t, y[1:2])
        torch.cuda.set_sync_debug_mode("error")
        try:
            for i in range(2, 8):
                model.observe(x[i : i + 1], t, y[i : i + 1])
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
def test_an_evaluation_on_a_gpu_is_that_of_a_cpu():
    model, (_, test) = net("single"), stream()
    usual = eval_tasks(model, test, argparse.Namespace(parity=False, cuda=False))
    on_it = [(d, x.cuda(), y.cuda()) for d, x, y in test]
    assert eval_tasks(model.cuda(), on_it, argparse.Namespace(parity=False, cuda=True)) == usual
