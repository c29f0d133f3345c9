"""DAS: importances, masks, contrast and proxy against autograd and against what ALGORITHMS.md promises of them."""

import math

import pytest
import torch
from torch.nn import functional as F

from data import tokens
from model import UsageError
from model.common import unmasked
from model.das import SMALLEST, contrast, divergence, normalised
from model.dropout import Dropout
from model.units import TYPES
from tests.conftest import TEXT, ids, learn, masked_text, net, parameters

PLAIN = {"das_contrast": 0.0, "das_initial": False}
HEAD = 2  # units of a head: width 8, 4 heads


def das(**given):
    return net("das", **{**TEXT, "n_layers": 2, "lr": 0.3, **given})


def learned(**given):
    """After 12 sequences of one domain, its importance accumulated."""
    model = learn(das(**given), masked_text(1), 4)
    model.finish_task()
    return model


def without_dropout(model):
    for module in model.net.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    return model


def some_importance(model, value=0.0):
    """`value` for all units, and 1 for head 1, intermediate unit 5 and output unit 3 of layer 0."""
    importance = model.units.filled(value, model.engine.theta)
    for kind, unit in zip(TYPES, (1, 5, 3), strict=True):
        importance[kind][0, unit] = 1.0
    return importance


# ---------------------------------------------------------------- masks


def owned(model):
    """The parameters of the three units of `some_importance`, by hand."""
    layer, at = model.net.layer[0], slice(HEAD, 2 * HEAD)
    own = layer.attention.self
    found = [part[at] for linear in (own.query, own.key, own.value) for part in (linear.weight, linear.bias)]
    found += [
        layer.attention.output.dense.weight[:, at],
        layer.intermediate.dense.weight[5],
        layer.intermediate.dense.bias[5],
    ]
    return [*found, layer.output.dense.weight[3], layer.output.dense.bias[3]]


@pytest.mark.parametrize(
    "steps", [{"lr": 0.1}, {"optimizer": "adam", "lr": 0.01}, {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.5}]
)
def test_a_unit_of_importance_one_does_not_move_and_the_others_do(steps):
    """By AdamW not either, since its whole step is masked."""
    model = das(**steps)
    model.importance = some_importance(model)
    before, whole = [part.detach().clone() for part in owned(model)], parameters(model).clone()
    learn(model, masked_text(1), 4)
    assert all(map(torch.equal, before, owned(model)))
    moved = (parameters(model) != whole).sum()
    assert moved > 0.9 * (len(whole) - sum(map(torch.numel, before)))


def test_units_of_importance_zero_get_the_raw_gradient_and_others_their_share():
    """One step against autograd's gradient; nothing but the units' parameters is masked."""
    _, x, y = masked_text(1)[0]
    model = without_dropout(das(**PLAIN))
    model.importance = some_importance(model, 0.25)
    model.finish_task()
    before = parameters(model).clone()
    F.cross_entropy(model.net(x[:8]), y[:8]).backward()
    gradients = {name: p.grad.clone() for name, p in model.net.named_parameters()}
    layers = [f"layer.{i}.{part}" for i in (0, 1) for part in ("attention.self", "intermediate.dense", "output.dense")]
    share = {
        name: torch.full_like(g, 0.75) if name.startswith(tuple(layers)) else torch.ones_like(g)
        for name, g in gradients.items()
    }
    for i in (0, 1):
        share[f"layer.{i}.attention.output.dense.weight"].fill_(0.75)
    own, at = "layer.0.attention.", slice(HEAD, 2 * HEAD)
    for part in ("query", "key", "value"):
        share[f"{own}self.{part}.weight"][at] = share[f"{own}self.{part}.bias"][at] = 0
    share[f"{own}output.dense.weight"][:, at] = 0
    for part, unit in (("intermediate", 5), ("output", 3)):
        share[f"layer.0.{part}.dense.weight"][unit] = share[f"layer.0.{part}.dense.bias"][unit] = 0
    model.observe(x[:8], 0, y[:8])
    expected = torch.cat([(0.3 * share[name] * gradients[name]).flatten() for name in gradients])
    assert torch.allclose(before - parameters(model), expected, atol=1e-6)


def test_the_output_is_the_same_with_masks_and_without():
    x = ids(6)
    model = learned().eval()
    bare = net("single", **{**TEXT, "n_layers": 2}).eval()
    bare.load_state_dict(model.state_dict())
    assert model.importance is not None and torch.equal(model(x, 0), bare(x, 0))
    with model.units.gated(model.units.filled(1.0, model.engine.theta, len(x))):
        assert torch.allclose(model(x, 0), bare(x, 0), atol=1e-6)
    with model.units.gated(model.importance):
        assert not torch.allclose(model(x, 0), bare(x, 0), atol=1e-2)
    assert torch.equal(model(x, 0), bare(x, 0))  # no gate is left


def test_without_all_that_it_adds_it_is_single_and_the_optimizer_begins_anew_for_each_domain():
    tasks, deep = masked_text(2), {**TEXT, "n_layers": 2}
    bare = learn(net("single", **deep, lr=0.3), tasks, 4)
    assert torch.equal(parameters(learn(das(**PLAIN, das_masks=False), tasks, 4)), parameters(bare))
    assert not torch.equal(parameters(learn(das(**PLAIN), tasks, 4)), parameters(bare))
    model = learned(optimizer="adam", lr=0.01)
    assert model.optimizer.steps == 3
    model.begin(1)
    assert model.optimizer.steps == 0


# ---------------------------------------------------------------- importance


def test_importance_is_the_mean_of_each_examples_absolute_gate_gradient():
    """By finite differences of the gates, one example at a time, in float64."""
    _, x, y = masked_text(1)[0]
    model = learn(das(task_sample=3), [["", x[:3], y[:3]]], 3).double().eval()
    x, y, _ = model.sample.rows()
    theta = model.engine.theta
    found = model.importance_for(lambda i, gates: model.mlm_sum(x[i], y[i], gates), 3)
    for kind, layer in (("head", 0), ("intermediate", 1), ("output", 0)):
        mean, step = torch.zeros(model.units.sizes[kind]).double(), 1e-5
        for u in range(len(mean)):
            for i in range(3):
                at = [model.units.filled(1.0, theta, 1) for _ in "+-"]
                for gates, sign in zip(at, (1, -1), strict=True):
                    gates[kind][layer, 0, u] += sign * step
                up, down = (model.mlm_sum(x[i : i + 1], y[i : i + 1], gates).item() for gates in at)
                mean[u] += abs(up - down) / (2 * step) / 3
        assert torch.allclose(
            found[kind][layer], ((mean - mean.mean()) / mean.std(correction=0)).tanh().abs(), atol=1e-4
        )


def test_importance_lies_in_0_1_and_does_not_fall():
    model, before = das(), None
    for t, (_, x, y) in enumerate(masked_text()):
        model.observe(x, t, y)
        model.finish_task()
        for kind, found in model.importance.items():
            assert bool((found >= 0).all()) and bool((found <= 1).all()) and found.max() > 0.3
            assert before is None or bool((found >= before[kind]).all())
        before = {kind: found.clone() for kind, found in model.importance.items()}
    assert model.counts["das_domains"] == 3 and len(model.counts["das_heads_task_2"]) == 8


@pytest.mark.parametrize("data", ["new", "general"])
@pytest.mark.parametrize("proxy", ["output", "representation"])
def test_without_dropout_the_proxy_and_the_importance_are_zero(proxy, data):
    model = das(das_proxy=proxy, das_proxy_data=data)
    found = model.general_importance()
    assert all(float(part.max()) > 0.3 for part in found.values())
    without_dropout(model)
    gates = model.units.filled(1.0, model.engine.theta, 5)
    assert abs(model.proxy(ids(5), gates).item()) < 1e-6
    x = ids(5)
    assert torch.equal(model.pooled(x), model.pooled(x))  # z1 = z2
    assert all(not part.any() for part in model.general_importance().values())


def test_a_proxy_takes_the_text_that_it_is_told_to():
    torch.manual_seed(0)
    found = [das(das_proxy_data=data).general_importance()["output"] for data in ("new", "general", "general")]
    assert torch.equal(found[1], found[2]) and not torch.equal(found[0], found[1])
    with pytest.raises(UsageError, match="--das_proxy_data new: this program hands on no such text"):
        das(das_proxy_data="new", text=TEXT["text"]._replace(ahead=None)).general_importance()


def test_rounding_is_not_important():
    assert not normalised(torch.tensor([0.9, 0.1, 0.5]) * SMALLEST).any()
    assert not normalised(torch.full((4,), 0.5)).any()
    assert normalised(torch.tensor([0.1, 0.1, 0.9])).tolist() == pytest.approx(
        [math.tanh(0.5**0.5), math.tanh(0.5**0.5), math.tanh(2**0.5)], abs=1e-6
    )


# ---------------------------------------------------------------- contrast, divergence, text


def test_the_contrast_of_equal_similarities_is_the_log_of_the_candidates():
    z = torch.randn(1, 5).expand(7, 5)
    assert contrast(z, z, z, 0.05).item() == pytest.approx(math.log(14), abs=1e-5)
    assert contrast(z, z, None, 0.05).item() == pytest.approx(math.log(7), abs=1e-5)


def test_the_contrast_is_its_formula():
    z1, z2, z3 = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)).double()
    total = 0.0
    for i in range(4):
        s = [float(F.cosine_similarity(z1[i], z, dim=0)) / 0.5 for z in (*z2, *z3)]
        total -= math.log(math.exp(s[i]) / sum(map(math.exp, s))) / 4
    assert contrast(z1, z2, z3, 0.5).item() == pytest.approx(total, rel=1e-9)


def test_the_divergence_is_that_of_distributions():
    one, two = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    for axis in (1, 2):
        p, q = one.softmax(axis), two.softmax(axis)
        assert divergence(one, two, axis).item() == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-9)
    assert divergence(one, two, 1) > 0 and abs(float(divergence(one, one, 1))) < 1e-12


def test_the_contrast_sees_the_text_before_it_was_masked():
    x = ids(4)
    seen, y = tokens.masked(x, tokens.choose(x, 3, 4, torch.Generator().manual_seed(0)))
    assert torch.equal(unmasked(seen, y), x) and not torch.equal(seen, x)


def test_images_are_refused():
    with pytest.raises(UsageError, match="--model das: learns text, and these data are images"):
        net("das")
