"""The fast engine against the autograd engine: trajectories, forms, threads, memory, and parameters changed from outside."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

import model as methods
from model import UsageError, common, engine
from model.engine.fast import FastEngine, linear_layers
from model.engine.layers import Blocks, KeptFirstLayer
from model.replay import ReplayLearner
from tests.conftest import learn, namespace, net, parameters, stream

# Without icarl, which wants classes of their own (test_plainly.py), and those that learn text alone, by autograd
NAMES = [name for name in methods.learning("images") if name != "icarl"]


def relative(one, two):
    a, b = parameters(one), parameters(two)
    return float((a - b).norm() / b.norm())


@st.composite
def runs(draw):
    """Sizes, rates, margins, batches and an order of tasks."""
    n_tasks, split = draw(st.integers(2, 4)), draw(st.booleans())
    C = 2 * n_tasks if split else draw(st.integers(2, 5))
    outputs = [[2 * t, 2 * t + 1] for t in range(n_tasks)] if split else None
    train, _ = stream(n_tasks, 40, draw(st.integers(3, 15)), C, draw(st.integers(0, 99)), split, torch.float64)
    given = {
        "n_hiddens": draw(st.integers(2, 12)),
        "n_layers": draw(st.integers(0, 3)),
        "n_memories": draw(st.integers(1, 8)),
        "memory_strength": draw(st.sampled_from([0.0, 0.5, 2.0])),
        "lr": draw(st.sampled_from([0.01, 0.05])),
        "agem_batch": draw(st.integers(1, 9)),
        "num_groups": 2,
        "cov_recompute_every": 5,
        "task_outputs": outputs,
    }
    order = draw(st.permutations(range(n_tasks)))
    return train, C, given, order, draw(st.integers(1, 7)), draw(st.integers(0, 99))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=2)
@given(runs())
def test_300_steps_in_float64(name, run):
    train, C, given_, order, batch, seed = run
    sizes = {"n_inputs": train[0][1].shape[1], "n_outputs": C, "n_tasks": len(train), "seed": seed}
    fast, slow = (net(name, engine=kind, **sizes, **given_).double() for kind in ("fast", "autograd"))
    draw = torch.Generator().manual_seed(seed)
    steps = 300 // (batch * 2) if isinstance(fast, ReplayLearner) else 300  # which makes several of each example
    for step in range(steps):
        t = order[step * len(order) // steps]
        i = torch.randint(len(train[t][2]), (batch,), generator=draw)
        for model in (fast, slow):
            model.observe(train[t][1][i], t, train[t][2][i])
    # whether a direction within rounding of OGD's tolerance (1e-10) enters its basis is decided by that rounding
    assert relative(fast, slow) < (1e-5 if name == "ogd" else 1e-9)
    if name != "ogd":
        assert fast.counts == pytest.approx(slow.counts)


@pytest.mark.parametrize("name", ["gem", "agem", "agem_closed", "agem_meanqp"])
@pytest.mark.parametrize("form", ["kept", "plain"])
def test_forms_agree_and_say_so(name, form):
    train, _ = stream(dtype=torch.float64)
    model = net(name).double()
    model.engine.wanted = form
    slow = learn(net(name, engine="autograd").double(), train)
    assert relative(learn(model, train), slow) < 1e-11
    assert model.engine.form == f"fast {form}"


def big(name, n_tasks, memories, steps=12, threads=1, **given):
    """A method on 784-100-100-10 with full memories, after some steps of its last task."""
    model = net(name, 784, 10, n_tasks, n_hiddens=100, n_memories=memories, lr=0.01, threads=threads, **given)
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(memories + steps * 2, 784, generator=draw)
    y = torch.randint(10, (len(x),), generator=draw)
    for t in range(n_tasks - 1):
        model.memory.write(t, x[:, torch.randperm(784, generator=draw)][:memories], y[:memories])
        model.begin(t)
    for i in range(steps):
        model.observe(x[2 * i : 2 * i + 2], n_tasks - 1, y[2 * i : 2 * i + 2])
    return model


@pytest.mark.parametrize("name", ["gem", "agem_closed"])
def test_threads_leave_the_digits_alone(name):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, two = (big(name, 6, 256, threads=n) for n in (1, 2))
        assert two.engine.layers[0].wide == 2 and one.counts["violations"] > 0
        assert torch.equal(parameters(one), parameters(two))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["gem", "agem_closed", "agem_sampled"])
@pytest.mark.parametrize(("n_tasks", "memories"), [(20, 10), (40, 10), (4, 256), (20, 256)])
def test_no_array_above_the_bound(name, n_tasks, memories):
    """max(4 (t + 1) p, 4 N hidden) floats, DESIGN's bound, for every allocation of a step and of the task's first step."""
    model = big(name, n_tasks, memories, steps=0)
    x, y, t = torch.rand(1, 784), torch.tensor([3]), n_tasks - 1
    sizes = []
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        for _ in range(8):
            model.observe(x, t, y)
            y = (y + 1) % 10
    sizes = [event.cpu_memory_usage for event in watched.events() if event.name == "[memory]"]
    assert model.counts["violations"] > 0 and max(sizes) > 0
    assert max(sizes) <= 4 * max(4 * (t + 1) * 89_610, 4 * t * memories * 100)


def test_the_first_layer_is_kept_where_that_is_cheaper():
    like = torch.zeros(1)
    assert KeptFirstLayer.pays(Blocks(9, 10, like), 100, 784) and KeptFirstLayer.pays(Blocks(1, 990, like), 100, 784)
    assert not KeptFirstLayer.pays(Blocks(19, 256, like), 100, 784)
    assert not KeptFirstLayer.pays(Blocks(1, 2_000, like), 100, 784)
    assert big("agem_closed", 10, 10).engine.form == "fast kept"
    assert big("gem", 6, 256, steps=1).engine.form == "fast plain"
    assert big("agem_sampled", 10, 10, agem_batch=20).engine.form == "fast plain"


CHANGES = {
    "load": lambda model, other: model.load_state_dict(other.state_dict()),
    "load into the network": lambda model, other: model.net.load_state_dict(
        {k.removeprefix("net."): v for k, v in other.state_dict().items()}
    ),
    "in place": lambda model, other: [
        p.detach().copy_(v) for (_, p), v in zip(model.net.named_parameters(), other.state_dict().values(), strict=True)
    ],
}


@pytest.mark.parametrize("way", CHANGES)
def test_parameters_loaded_within_a_task_replace_what_was_kept(way):
    train, _ = stream(dtype=torch.float64)
    other = net("single", seed=7).double()
    fast, slow = (net("gem", engine=kind).double() for kind in ("fast", "autograd"))
    for model in (fast, slow):
        learn(model, train[:2])
        CHANGES[way](model, other)
        assert torch.equal(parameters(model), parameters(other))
        for i in range(10):
            model.observe(train[1][1][i : i + 1], 1, train[1][2][i : i + 1])
    assert relative(fast, slow) < 1e-11


@pytest.mark.parametrize("whole", [True, False])
def test_a_conversion_within_a_task_keeps_what_was_learned(whole):
    train, _ = stream()
    model = learn(net("gem"), train[:2])
    assert model.engine.layers[0].kept and float(model.engine.layers[0].C.abs().sum()) > 0
    before = parameters(model).double()
    (model if whole else model.net).double()
    assert parameters(model).dtype == torch.float64
    assert torch.allclose(parameters(model), before, atol=1e-6)
    model.observe(train[1][1][:1].double(), 1, train[1][2][:1])


def test_a_copy_within_a_task_keeps_what_was_learned():
    train, _ = stream()
    model = learn(net("gem"), train[:2])
    twin = copy.deepcopy(model)
    for each in (model, twin):
        each.observe(train[1][1][:1], 1, train[1][2][:1])
    assert torch.allclose(parameters(model), parameters(twin), atol=1e-6)


def test_outputs_are_those_of_the_complete_parameters():
    train, _ = stream()
    model = learn(net("agem_closed"), train[:2])
    plain = common.MLP([12, 8, 8, 4])
    plain.load_state_dict({k.removeprefix("net."): v for k, v in model.state_dict().items()})
    with torch.no_grad():
        assert torch.allclose(model(train[0][1], 0), plain(train[0][1]), atol=1e-6)
    logits = model(train[0][1], 0)  # under autograd, for a training loop of somebody else's
    logits.sum().backward()
    assert all(p.grad is not None for p in model.net.parameters())


def test_losses_and_hidden_activations_come_along():
    train, _ = stream(dtype=torch.float64)
    both = []
    for kind in ("fast", "autograd"):
        model = learn(net("gem", engine=kind).double(), train[:2], batch_size=4)
        g = model.engine.gradients(train[1][1][:3], train[1][2][:3], 1)
        both.append(g.losses)
        if kind == "fast":
            hidden = torch.relu(model.net.net[0](train[1][1][:3])) if not model.engine.layers[0].kept else None
            assert [h.shape for h in g.hidden] == [(3, 8), (3, 8)]
            assert hidden is None or torch.allclose(g.hidden[0], hidden)
    assert both[0] == pytest.approx(both[1], rel=1e-9)


def test_a_network_that_the_fast_engine_cannot_do():
    resnet = common.ResNet18(4, width=2)
    assert linear_layers(resnet) is None
    with pytest.raises(UsageError, match="--engine fast: this ResNet18 is not a stack of linear layers"):
        engine.make(resnet, common.TaskOutputs(4), namespace(engine="fast"))
    with pytest.raises(UsageError, match="--engine fast --parity yes"):
        engine.make(common.MLP([2, 2]), common.TaskOutputs(2), namespace(engine="fast", parity=True))
    assert not isinstance(engine.make(resnet, common.TaskOutputs(4), namespace()), FastEngine)
    assert isinstance(engine.make(common.MLP([2, 2]), common.TaskOutputs(2), namespace()), FastEngine)


def test_rows_of_unequal_size_and_overlapping():
    torch.manual_seed(0)
    mlp = common.MLP([6, 5, 3]).double()
    x, y = torch.rand(7, 6).double(), torch.randint(0, 3, (7,))
    tasks = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    weights = torch.randn(3, 7).double() * (torch.rand(3, 7) < 0.6)
    weights[1] = 0  # an empty row
    grams = []
    for kind in (FastEngine, engine.AutogradEngine):
        each = kind(copy.deepcopy(mlp), common.TaskOutputs(3))
        each.set_rows(x, y, tasks, weights)
        g = each.gradients(x[:2], y[:2], 0)
        grams.append(np.vstack((g.dots(), g.gram())))
    assert grams[0] == pytest.approx(grams[1], abs=1e-12)
