"""SPG: importance against its formula by autograd, the mask against its definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from model import UsageError, common, spg
from tests.conftest import learn, net, parameters, stream

SPLIT = {"n_outputs": 6, "task_outputs": [[0, 1], [2, 3], [4, 5]]}


def cases(split):
    return stream(n_outputs=6 if split else 4, split=split, dtype=torch.float64)[0], SPLIT if split else {}


def by_hand(z):
    return ((z - z.mean()) / z.std()).tanh().abs()


def gamma_by_autograd(model, x, y, t, older):
    """The formula, tensor by tensor: the loss's gradient, then those of the older heads' summed logits."""
    below = list(model.net.parameters())[:-2]
    foreign = model.outputs.foreign
    logits = model.net(x)
    own = logits if foreign is None else logits.masked_fill(foreign[t], common.FOREIGN_LOGIT)
    sums = [logits.sum() if foreign is None else logits[:, ~foreign[s]].sum() for s in older]
    terms = [torch.autograd.grad(v, below, retain_graph=True) for v in (F.cross_entropy(own, y), *sums)]
    return [torch.stack([by_hand(g) for g in tensors]).amax(0) for tensors in zip(*terms, strict=True)]


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("chi", [False, True])
def test_importance_and_its_accumulation(split, chi, engine):
    train, outputs = cases(split)
    model = net("spg", engine=engine, spg_chi=chi, task_sample=9, **outputs).double()
    total = None
    for t in range(3):
        learn_one(model, train, t)
        x, y, _ = model.sample.rows()
        older = list(range(t)) if split else [0][:t]
        wanted = torch.cat([g.flatten() for g in gamma_by_autograd(model, x, y, t, older if chi else [])])
        model.finish_task()
        before, total = total, wanted if total is None else torch.maximum(total, wanted)
        Gamma = 1 - model.free[: model.below]
        assert torch.allclose(Gamma, total, rtol=0, atol=1e-9)
        assert bool((Gamma >= 0).all()) and bool((Gamma <= 1).all())
        assert before is None or bool((Gamma >= before - 1e-12).all())
        share = 1 - Gamma.sum().item() / Gamma.numel()
        assert model.free[model.below :].tolist() == pytest.approx([share] * (len(model.free) - model.below), abs=1e-12)
        assert model.counts["spg_mean_importance"] == pytest.approx(1 - share, abs=1e-6)


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("split", [False, True])
def test_older_heads_logits_in_the_training_loss(split, engine):
    """A masked step along the gradient of the loss plus the sum of all past tasks' logits; without it, none in the first task."""
    train, outputs = cases(split)
    model = net("spg", engine=engine, spg_chi_loss=True, lr=0.01, **outputs).double()
    plain = net("spg", engine=engine, lr=0.01, **outputs).double()
    for each in (model, plain):
        learn_one(each, train, 0, steps=2)
    assert torch.equal(parameters(model), parameters(plain))
    for t in (1, 2):
        learn_one(model, train, t, steps=1)
        x, y, before = train[t][1][3:6], train[t][2][3:6], parameters(model).clone()
        foreign, logits = model.outputs.foreign, model.net(x)
        own = logits if foreign is None else logits.masked_fill(foreign[t], common.FOREIGN_LOGIT)
        sums = sum(logits.sum() if foreign is None else logits[:, ~foreign[s]].sum() for s in range(t))
        gradient = torch.autograd.grad(F.cross_entropy(own, y) + sums, list(model.net.parameters()))
        wanted = before - 0.01 * model.free * torch.cat([g.flatten() for g in gradient])
        model.observe(x, t, y)
        assert torch.allclose(parameters(model), wanted, rtol=1e-9, atol=1e-12)


def learn_one(model, train, t, steps=8):
    for i in range(0, 3 * steps, 3):
        model.observe(train[t][1][i : i + 3], t, train[t][2][i : i + 3])


@pytest.mark.parametrize("split", [False, True])
def test_without_chi_importance_is_lower(split):
    train, outputs = cases(split)
    models = [net("spg", spg_chi=chi, **outputs).double() for chi in (True, False)]
    for model in models:
        for t in range(2):
            learn_one(model, train, t)
            if t == 0:
                model.finish_task()
    theta = parameters(models[0])
    models[1].load_state_dict(models[0].state_dict())
    assert torch.equal(parameters(models[1]), theta)
    with_chi, without = (model.gamma() for model in models)
    assert bool((without <= with_chi).all()) and bool((without < with_chi).any())


@given(st.integers(0, 2**31), st.floats(1e-6, 1e6), st.booleans(), st.floats(-5, 5))
def test_importance_knows_neither_scale_nor_sign_nor_offset(seed, a, negative, offset):
    z = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ours = spg.importance(z)
    assert torch.allclose(ours, by_hand(z), rtol=1e-12)
    assert torch.allclose(spg.importance(z * (-a if negative else a) + a * offset), ours, rtol=1e-6, atol=1e-9)
    assert bool((ours >= 0).all()) and bool((ours <= 1).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_in_which_nothing_stands_out_have_importance_zero(dtype):
    for z in (torch.zeros(4, 3), torch.full((1000,), 0.1), torch.tensor([3.0])):
        assert spg.importance(z.to(dtype)).tolist() == torch.zeros_like(z).tolist()


def test_an_outlier_has_importance_one():
    z = torch.zeros(1000)
    z[3] = 1e6
    assert spg.importance(z)[3] == 1


@pytest.mark.parametrize("split", [False, True])
def test_the_step_is_the_masked_gradient(split):
    train, outputs = cases(split)
    model = net("spg", **outputs).double()
    learn_one(model, train, 0)
    model.finish_task()
    for i in range(6):
        before = parameters(model).clone()
        plain = net("single", **outputs).double()
        plain.load_state_dict(model.state_dict())
        for each in (plain, model):
            each.observe(train[1][1][i : i + 4], 1, train[1][2][i : i + 4])
        raw, masked = parameters(plain) - before, parameters(model) - before
        assert torch.allclose(masked, model.free * raw, rtol=1e-9, atol=1e-15)
        assert bool((masked.abs() <= raw.abs() * (1 + 1e-9) + 1e-15).all()) and bool((masked * raw >= 0).all())
        assert not torch.allclose(masked, raw)


def test_full_importance_freezes_and_none_is_sgd():
    train, _ = cases(False)
    model = net("spg").double()
    learn_one(model, train, 0)
    model.finish_task()
    before = parameters(model).clone()
    model.free[::3] = 0.0
    learn_one(model, train, 1)
    after = parameters(model)
    assert torch.equal(after[::3], before[::3]) and not torch.equal(after, before)

    free, single = net("spg").double(), net("single").double()
    for each in (free, single):
        learn_one(each, train, 0)
    assert torch.equal(parameters(free), parameters(single))
    free.finish_task()
    free.free.fill_(1.0)
    for each in (free, single):
        learn_one(each, train, 1)
    assert torch.allclose(parameters(free), parameters(single), rtol=1e-12, atol=1e-14)


def test_training_never_sees_chi():
    """Cross-head importance changes the mask alone: with the same mask both learn the same."""
    train, outputs = cases(True)
    models = [net("spg", spg_chi=chi, **outputs).double() for chi in (True, False)]
    for model in models:
        learn_one(model, train, 0)
        model.finish_task()
        learn_one(model, train, 1)
    assert torch.equal(*map(parameters, models))  # task 0 has no older head, so the masks are the same
    for model in models:
        learn_one(model, train, 2)
    assert not torch.equal(*map(parameters, models))


def test_no_sample_is_an_error():
    with pytest.raises(UsageError, match="--task_sample 0: spg needs"):
        net("spg", task_sample=0)


def test_without_hidden_layers_it_is_single_and_says_so(capsys):
    train, _ = cases(False)
    models = [net(name, n_layers=0).double() for name in ("spg", "single")]
    assert "spg: --n_layers 0 leaves nothing" in capsys.readouterr().err
    for model in models:
        for t in range(3):
            learn_one(model, train, t)
    assert torch.allclose(*map(parameters, models), rtol=1e-12, atol=1e-14)


def test_a_convolutional_network():
    model = net("spg", n_inputs=3072, n_outputs=4, n_tasks=2, task_sample=3, task_outputs=[[0, 1], [2, 3]])
    x, y = torch.rand(4, 3072), torch.tensor([0, 1, 0, 1])
    learn(model, [("", x, y), ("", x, y + 2)], 2)
    running = model.net.bn1.running_mean.clone()
    model.finish_task()
    assert torch.equal(model.net.bn1.running_mean, running)
    assert bool(parameters(model).isfinite().all()) and 0 < model.counts["spg_mean_importance"] < 1
