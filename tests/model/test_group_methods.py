"""Group GEM, A-GEM with relatedness and relatedness EWC: what each promises."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch

from model import UsageError
from model import grouped as grouped_module
from model.numeric import blockwise, groups, projection
from model.numeric.relatedness import margins
from tests.conftest import learn, net, parameters, stream

NAMES = ["gem_group", "agem_group", "ewc_group"]
SMALL = {"num_groups": 3, "cov_recompute_every": 4, "cov_first_task_buffer": 20}


# ---------------------------------------------------------------- the methods


def double(name, **given):
    return net(name, **{**SMALL, **given}).double()


def test_without_hidden_layers_group_gem_is_gem():
    train, _ = stream(dtype=torch.float64)
    given = {"n_layers": 0, "lr": 0.3, "memory_strength": 0.5}
    ours, gem = (learn(double(name, **given), train) for name in ("gem_group", "gem"))
    assert torch.allclose(parameters(ours), parameters(gem), rtol=1e-9, atol=1e-12)
    assert ours.counts["violations"] == gem.counts["violations"] > 0


@pytest.mark.parametrize("scope", ["global", "block"])
@pytest.mark.parametrize("rule, twin", [("closed", "agem_closed"), ("qp", "agem_meanqp")])
def test_a_plain_mean_in_one_scope_is_agem(scope, rule, twin):
    train, _ = stream(dtype=torch.float64)
    given = {"agem_group_scope": scope, "agem_group_rule": rule, "gem_ignore_relatedness": True, "lr": 0.3}
    if scope == "block":
        given["n_layers"] = 0  # one block
    ours = parameters(learn(double("agem_group", **given), train))
    other = parameters(learn(double(twin, **given), train))
    assert torch.allclose(ours, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ignore", [True, False])
def test_a_mean_of_bounds_is_a_margin_whatever_the_relatedness(ignore):
    """`mean_h` against `agem_meanqp` with the margin mean(h) / n, which changes with the task alone."""
    train, _ = stream(n_tasks=3, dtype=torch.float64)
    given = {"lr": 0.3, "num_groups": 2, "cov_recompute_every": 1, "memory_strength": 2.0}
    ours = double("agem_group", agem_group_rule="mean_h", gem_ignore_relatedness=ignore, **given)
    twin = double("agem_meanqp", **given)
    for t, (_, x, y) in enumerate(train):
        for i in range(10):
            ours.observe(x[i : i + 1], t, y[i : i + 1])
            if t:
                n = ours.grouping.partition.n_blocks
                related = 0.0 if ignore else (1 - 1 / n) / t
                assert ours.mean_bound() == pytest.approx(2.0 + related, rel=1e-12)
                twin.rule = partial(projection.one_row, margin=(2.0 + related) / n)
            twin.observe(x[i : i + 1], t, y[i : i + 1])
    assert torch.allclose(parameters(ours), parameters(twin), rtol=1e-9, atol=1e-12)
    assert ours.counts["violations"] == twin.counts["violations"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_engines_agree(name):
    train, _ = stream(dtype=torch.float64)
    more = {"gem_variant": "weighted", "if_output_cov": False}, {"fork_compat": True, "ewc_reverse": False}
    for options in ({}, *more):
        one, two = (learn(double(name, engine=kind, **options), train, 2, steps=9) for kind in ("fast", "autograd"))
        assert torch.allclose(parameters(one), parameters(two), rtol=1e-7, atol=1e-9), options


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "given",
    [
        {"create_random_groups": True},
        {"create_group_per_unit": True, "num_groups": 500},
        {"divergence": "LogDet"},
        {"gem_reverse": True, "ewc_reverse": True},
        {"gem_variant": "weighted"},
        {"agem_group_rule": "qp", "agem_group_scope": "global", "use_fisher": False},
        {"fork_compat": True},
        {"fork_compat": True, "gem_sub_mean": False, "divergence": "LogDet", "ewc_reverse": False},
        {"num_groups": 1},
        {"group_xi": 0.3},
        {"n_layers": 1},
        {"n_layers": 0},
        {"cov_recompute_every": 1, "cov_first_task_buffer": 1},
    ],
)
def test_every_option_learns(name, given):
    train, _ = stream()
    model = learn(net(name, **{**SMALL, "lr": 0.05, **given}), train, 3)
    model.finish_task()
    assert bool(parameters(model).isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_relatedness_is_estimated_and_used(name):
    train, _ = stream()
    model = net(name, **{**SMALL, "memory_strength": 1.0})
    learn(model, train[:1])
    assert model.grouping.rho is None and model.grouping.partition is None
    for i in range(3):
        model.observe(train[1][1][i : i + 1], 1, train[1][2][i : i + 1])
    assert len(model.grouping.first) == 0 and torch.equal(model.grouping.rho, torch.ones_like(model.grouping.rho))
    learn(model, [*train[:1], train[1]])
    x, y = train[2][1:]
    for i in range(3):
        model.observe(x[i : i + 1], 2, y[i : i + 1])
    assert bool((model.grouping.rho == 0.5).all())
    model.observe(x[3:4], 2, y[3:4])
    rho = model.grouping.rho
    assert torch.allclose(rho.sum(1), torch.ones(len(rho)).double()) and bool((rho[0] == 0.5).all())
    assert bool((rho[1:] != 0.5).any())
    other = learn(net(name, **{**SMALL, "memory_strength": 1.0, "gem_reverse": True, "ewc_reverse": True}), train)
    assert not torch.equal(parameters(learn(net(name, **{**SMALL, "memory_strength": 1.0}), train)), parameters(other))


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("y_part", ["label", "outputs", "own outputs"])
def test_covariances_are_of_the_right_samples(name, y_part, engine):
    """The first task's from its buffer at the weights of its end; others' from their activations as they came.

    With split heads other tasks' outputs count as 0, in every task.
    """
    split = y_part == "own outputs"
    outputs = {"n_outputs": 6, "task_outputs": [[0, 1], [2, 3], [4, 5]]} if split else {}
    train, _ = stream(n_outputs=6 if split else 4, split=split, dtype=torch.float64)
    given = {"n_layers": 1, "cov_first_task_buffer": 100, "engine": engine, **outputs}
    model = double(name, if_output_cov=y_part != "label", **given)

    def sample(x, t, y):
        hidden = model.net.net[:2](x).detach()
        last = y.unsqueeze(1).double()
        if y_part != "label":
            last = model.net.net[2](hidden).detach()
            others = [c for task, own in enumerate(outputs.get("task_outputs", [])) for c in own if task != t]
            last[:, others] = 0.0
        return torch.cat((hidden, last), 1)

    learn(model, train[:1], 3)
    model.finish_task()
    samples = {0: sample(train[0][1], 0, train[0][2])}
    seen = []
    for i in range(0, 12, 3):
        x, y = train[1][1][i : i + 3], train[1][2][i : i + 3]
        seen.append(sample(x, 1, y))
        model.observe(x, 1, y)
    samples[1] = torch.cat(seen)
    grouping = model.grouping
    for task, Z in samples.items():
        n_y = Z.shape[1] - 8
        for covariance, (numbers, units) in zip(grouping.covariances[task], grouping._sizes, strict=True):
            for i in range(len(numbers)):
                z = Z[:, [*units[i].tolist(), *range(8, 8 + n_y)]].numpy()
                expected = np.cov(z, rowvar=False, bias=True)
                assert covariance.matrix()[i].numpy() == pytest.approx(expected, abs=1e-10)
                assert bool((grouping.partition.groups[0][units[i]] == numbers[i]).all())


def test_ewc_penalty_equals_the_sum_over_tasks():
    train, _ = stream(dtype=torch.float64)
    model = learn(double("ewc_group", memory_strength=2.0, lr=0.05), train)
    model.fold()
    grouping, theta = model.grouping, model.engine.theta.clone().requires_grad_()
    labels = grouping.partition.labels()
    penalty = 0.0
    for s, (task, F, old) in enumerate(model.terms):
        assert task == grouping.past[s]
        penalty = penalty + 2.0 * (grouping.rho[:, s][labels] * F * (theta - old).square()).sum()
    slope = torch.autograd.grad(penalty, theta)[0]
    ours = model.pull * (model.engine.theta - model.mean) / model.lr
    assert len(model.terms) == 2 and bool((grouping.rho[1:] != 0.5).any())
    assert torch.allclose(ours, slope, rtol=1e-9, atol=1e-12)


def test_ewc_with_one_past_task_is_ewc():
    """rho = 1 then, whatever the divergence."""
    train, _ = stream(n_tasks=2)
    ours, plain = (learn(net(name, **SMALL, memory_strength=2.0, lr=0.05), train) for name in ("ewc_group", "ewc"))
    assert torch.allclose(parameters(ours), parameters(plain), rtol=1e-5, atol=1e-6)


def test_margins_before_and_after_an_estimate():
    train, _ = stream()
    model = learn(net("gem_group", **{**SMALL, "memory_strength": 2.0}), train[:2])
    x, y = train[2][1:]
    model.observe(x[:1], 2, y[:1])
    assert (model.bound() == 2.0).all()
    for i in range(1, 4):
        model.observe(x[i : i + 1], 2, y[i : i + 1])
    h = model.bound()
    assert (h[0] == 2.0).all() and (h[1:] != 2.0).any() and (h >= 0).all()
    assert h[model.grouping.partition.slices[0]].mean(0) == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("name", NAMES)
def test_an_estimate_acts_on_the_batch_that_made_it(name, engine):
    """The steps, from gradients by autograd and the relatedness of just before them or just after, in float64."""
    train, _ = stream(dtype=torch.float64)
    model = double(name, memory_strength=0.7, lr=0.3, engine=engine, cov_recompute_every=1)
    learn(model, train[:2])
    model.observe(train[2][1][:1], 2, train[2][2][:1])
    grouping, labels = model.grouping, model.grouping.partition.labels()
    blocks = torch.nn.functional.one_hot(labels).double().t()  # (n_blocks, p)

    def gradient(x, y):
        loss = torch.nn.functional.cross_entropy(model.net(x), y)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.net.parameters()))])

    def stepped(rho):
        if name == "ewc_group":
            a = sum(rho[:, s][labels] * F for s, (_, F, _) in enumerate(model.terms))
            c = sum(rho[:, s][labels] * F * old for s, (_, F, old) in enumerate(model.terms))
            return theta - 0.3 * g - 2 * 0.3 * 0.7 * (a * theta - c)
        if name == "agem_group":
            r = (rho.t()[:, labels] * G).sum(0)
            dots, squares = blocks @ (g * r), blocks @ (r * r)
            v = torch.where(dots < 0, -dots / squares, 0.0)
            return theta - 0.3 * (g + v[labels] * r)
        bound = margins(rho, grouping.partition.slices, 0.7, True).numpy()
        pp = (blocks.unsqueeze(1) * G).numpy()
        correction = blockwise.gem(pp @ g.numpy(), lambda: pp @ pp.swapaxes(1, 2), bound)
        v = np.zeros(pp.shape[:2]) if correction is None else correction.weights
        return theta - 0.3 * (g + torch.from_numpy(np.einsum("bs,bsp->p", v, pp)))

    told_apart = 0
    for i in range(1, 20):
        x, y, before = train[2][1][i : i + 1], train[2][2][i : i + 1], grouping.rho
        theta, g = parameters(model).clone(), gradient(x, y)
        if name != "ewc_group":
            G = torch.stack([gradient(*model.memory.rows([s])[:2]) for s in grouping.past])
        model.observe(x, 2, y)
        assert grouping.rho is not before
        wanted, late = stepped(grouping.rho), stepped(before)
        error = (parameters(model) - wanted).norm()
        assert error <= 1e-9
        told_apart += bool((late - wanted).norm() > 1e3 * max(error, 1e-12))
    assert told_apart > 5


def test_no_communities_gives_random_groups_and_says_so_once(monkeypatch):
    monkeypatch.setattr(groups, "_climb", lambda q, *_: (q, False))
    train, _ = stream()
    model = learn(net("gem_group", **SMALL, n_layers=1), train[:1])
    with pytest.warns(UserWarning, match="hidden layer 1: no communities found in 50 attempts; its groups are random"):
        model.finish_task()
    assert model.grouping.partition.groups[0].bincount().tolist() == [3, 3, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.finish_task()
        learn(model, train)


@pytest.mark.parametrize("name", NAMES)
def test_bad_input(name):
    with pytest.raises(UsageError, match="--num_groups 9: a hidden layer has only 8 units; give 8 or fewer"):
        net(name, num_groups=9)
    with pytest.raises(
        UsageError, match=f"--model {name}: its groups are of a plain MLP's .* is a ResNet18; give --net mlp"
    ):
        net(name, n_inputs=3072)
    with pytest.raises(UsageError, match=f"--n_memories 0: {name} needs"):
        net(name, n_memories=0)


def test_reverse():
    from tests.conftest import namespace

    assert not grouped_module.reverse(namespace(), False) and grouped_module.reverse(namespace(), True)
    assert grouped_module.reverse(namespace(fork_compat=True), False)
    assert not grouped_module.reverse(namespace(fork_compat=True, ewc_reverse=False), True)


@pytest.mark.parametrize("name, rows", [("gem_group", 19), ("agem_group", 1)])
def test_memory_of_a_step(name, rows):
    """Property 7: what a step allocates at once, at p = 89,610 and t = 19, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    torch.manual_seed(0)
    model = net(name, n_inputs=784, n_outputs=10, n_tasks=20, n_hiddens=100, n_memories=10, lr=0.01, num_groups=20,
                create_random_groups=True)  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(21, 784, generator=generator), torch.randint(0, 10, (21,), generator=generator)
    for t in range(20):
        for i in range(21 if t == 19 else 10):
            model.observe(x[i : i + 1], t, y[i : i + 1])
    p = parameters(model).numel()
    assert p == 89_610 and model.grouping.divergences is not None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        before = model.counts["violations"]
        for i in range(20):
            model.observe(x[i : i + 1], 19, y[i : i + 1])
    assert model.counts["violations"] > before
    held, peak = 0, 0
    for event in trace.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert 0 < peak < 4 * (rows + 1) * p * 4
