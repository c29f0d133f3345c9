"""Adam, momentum and rates against torch.optim; what they are made of where a method adds to the gradient or projects it."""

import argparse
import re
import warnings

import pytest
import torch
from torch.nn import functional as F

from model import UsageError, optimizer
from tests.conftest import learn, net, parameters, stream

pytestmark = pytest.mark.filterwarnings("ignore:--(optimizer|momentum)")
TASKS = [(None, x.double(), y) for _, x, y in stream()[0]]
TORCH = {
    "adam": ({"optimizer": "adam"}, lambda p, lr: torch.optim.Adam(p, lr)),
    "adamw": ({"optimizer": "adam", "weight_decay": 0.5}, lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.5)),
    "momentum": ({"momentum": 0.8}, lambda p, lr: torch.optim.SGD(p, lr, 0.8)),
}


@pytest.mark.parametrize("kind", TORCH)
@pytest.mark.parametrize("state", ["clear", "keep"])
@pytest.mark.parametrize("engine", ["fast", "autograd"])
def test_steps_are_those_of_torch_optim(kind, state, engine):
    """Begun anew with each task, or one for all; at a lower rate after the first task."""
    flags, make = TORCH[kind]
    model = net("single", engine=engine, later_lr_factor=0.2, optimizer_state=state, **flags).double()
    twin = net("single").double()
    theirs = None
    for t, (_, x, y) in enumerate(TASKS[:2]):
        if theirs is None or state == "clear":
            theirs = make(twin.parameters(), 0.1)
        theirs.param_groups[0]["lr"] = 0.1 * (0.2 if t else 1)
        for start in range(0, 40, 8):
            model.observe(x[start : start + 8], t, y[start : start + 8])
            theirs.zero_grad()
            F.cross_entropy(twin.net(x[start : start + 8]), y[start : start + 8]).backward()
            theirs.step()
    assert torch.allclose(parameters(model), parameters(twin), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", TORCH)
def test_the_penalty_of_ewc_is_part_of_the_loss(kind):
    flags, make = TORCH[kind]
    given = {"n_memories": 5, "memory_strength": 50.0, "later_lr_factor": 0.5}
    model, twin = (net("ewc", **given, **more).double() for more in (flags, {}))
    learn(model, TASKS[:1], 8)
    model.finish_task()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    a, m = model.a, model.mean
    theirs, (_, x, y) = make(twin.parameters(), 0.05), TASKS[1]
    for start in range(0, 40, 8):
        model.observe(x[start : start + 8], 1, y[start : start + 8])
        theirs.zero_grad()
        theta = torch.cat([p.reshape(-1) for p in twin.parameters()])
        loss = F.cross_entropy(twin.net(x[start : start + 8]), y[start : start + 8])
        (loss + 50 * (a * (theta - m) ** 2).sum()).backward()
        theirs.step()
    assert torch.allclose(parameters(model), parameters(twin), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["ewc", "spg", "icarl"])
def test_a_lower_rate_in_later_tasks_is_that_of_the_whole_step(name):
    """The same as a model whose rate somebody sets."""
    outputs = {"task_outputs": [[0, 1], [2, 3], [4, 5]], "n_outputs": 6, "n_memories": 8}
    tasks = stream(n_outputs=6, split=True)[0]
    model, other = (net(name, **outputs, **more) for more in ({"later_lr_factor": 0.25}, {}))
    learn(model, tasks[:1], 8)
    learn(other, tasks[:1], 8)
    other.lr = other.later_lr = 0.1 * 0.25
    for each in (model, other):
        _, x, y = tasks[1]
        for start in range(0, 40, 8):
            each.observe(x[start : start + 8], 1, y[start : start + 8])
    assert torch.equal(parameters(model), parameters(other))


@pytest.mark.parametrize("mode", ["loss_mean", "gtl"])
@pytest.mark.parametrize("projects", ["gradient", "displacement"])
def test_ogd_projects_what_adam_gets_or_what_it_makes(mode, projects):
    given = {"ogd_mode": mode, "ogd_per_task": 3, "task_sample": 6, "optimizer": "adam", "lr": 0.01}
    model = net("ogd", ogd_projects=projects, **given).double()
    dense = net("ogd", engine="autograd", ogd_projects=projects, **given).double()
    for each in (model, dense):
        learn(each, TASKS[:1], 8)
        each.finish_task()
    V, before = dense.basis.V, parameters(model)
    assert torch.allclose(before, parameters(dense), rtol=1e-8)
    adam = optimizer.Adam()
    theta = before.clone()
    _, x, y = TASKS[1]
    for start in range(0, 24, 8):
        xs, ys = x[start : start + 8], y[start : start + 8]
        twin = net("single").double()
        twin.load_state_dict(model.state_dict())
        F.cross_entropy(twin.net(xs), ys).backward()
        g = torch.cat([p.grad.reshape(-1) for p in twin.parameters()])
        step = adam.direction(g - V.t() @ (V @ g) if projects == "gradient" else g, theta)
        theta = theta - 0.01 * (step - V.t() @ (V @ step) if projects == "displacement" else step)
        model.observe(xs, 1, ys)
        assert torch.allclose(parameters(model), theta, rtol=1e-7, atol=1e-9)
    moved = parameters(model) - before
    assert ((V @ moved).norm() < 1e-9 * moved.norm()) == (projects == "displacement")


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_spg_masks_what_the_optimizer_makes(decay):
    model = net("spg", optimizer="adam", weight_decay=decay, task_sample=6).double()
    learn(model, TASKS[:1], 8)
    model.finish_task()
    before, (_, x, y) = parameters(model), TASKS[1]
    g = model.engine.gradients(x[:8], y[:8], 1).flat().clone()
    model.observe(x[:8], 1, y[:8])
    first = g / (g.abs() + optimizer.EPSILON) + decay * before  # Adam's first step
    assert torch.allclose(before - parameters(model), 0.1 * model.free * first, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "given", "warned"),
    [
        ("gem", {"momentum": 0.5}, "--momentum 0.5: gem's guarantee needs plain SGD: constraints on the gradient"),
        ("agem_closed", {"optimizer": "adam"}, "--optimizer adam: agem_closed's guarantee needs plain SGD"),
        ("ogd", {"optimizer": "adam"}, r"--optimizer adam: ogd's .*\(--ogd_projects displacement\)"),
        ("ogd", {"optimizer": "adam", "ogd_projects": "displacement"}, None),
        ("ogd", {"momentum": 0.5}, None),
        (
            "ogd",
            {"momentum": 0.5, "optimizer_state": "keep"},
            r"--momentum 0.5: ogd's .*\(--ogd_projects displacement\)",
        ),
        ("single", {"optimizer": "adam"}, None),
    ],
)
def test_a_lost_guarantee_is_told(name, given, warned):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        net(name, **given)
    assert len(said) == bool(warned) and all(re.match(warned, str(warning.message)) for warning in said)


@pytest.mark.parametrize("name", ["independent", "multimodal"])
def test_a_kept_memory_needs_one_network_for_all_tasks(name):
    with pytest.raises(UsageError, match=f"--optimizer_state keep: in {name} tasks have parameters of their own"):
        net(name, optimizer="adam", optimizer_state="keep")
    net(name, optimizer="adam")


def test_plain_sgd_has_no_object():
    assert optimizer.make(argparse.Namespace(optimizer="sgd", momentum=0.0)) is None
