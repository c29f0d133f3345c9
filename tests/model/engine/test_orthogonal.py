"""Steps with directions in Gram space: against the dense basis, and parameters that are complete whenever they are seen."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from model.engine import fast
from model.numeric import basis
from model.numeric.directions import Directions
from tests.conftest import learn, net, parameters, stream
from tests.model.test_ogd import orthonormal

SIZES = {"task_sample": 20, "ogd_per_task": 20}


def relative(one, two):
    a, b = parameters(one).double(), parameters(two)
    return float((a - b).norm() / b.norm())


def in_task_two(dtype=torch.float64, **given):
    """A model with directions that has made some steps since, and what it goes on with."""
    train, _ = stream(dtype=dtype)
    model = net("ogd", **{**SIZES, **given}).to(dtype)
    learn(model, train[:2], 5, steps=4)
    assert bool(model.engine.span.v.any()) and model.basis.k and model.engine.held
    return model, train[1]


@pytest.mark.parametrize("mode", ["gtl", "ave", "all"])
@settings(max_examples=3)
@given(
    st.booleans(),
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from([1, 10, 33]),
    st.integers(0, 99),
    st.sampled_from([7, 1000]),
)
def test_300_steps_and_two_boundaries_are_those_of_the_dense_basis(mode, split, n_layers, batch, seed, fold):
    outputs = {"n_outputs": 6, "task_outputs": [[0, 1], [2, 3], [4, 5]]} if split else {"n_outputs": 4}
    train, _ = stream(n_outputs=outputs["n_outputs"], n_inputs=40, split=split, seed=seed, dtype=torch.float64)
    same = {
        "n_inputs": 40,
        "n_hiddens": 20,
        "lr": 0.02,
        "seed": seed,
        "ogd_mode": mode,
        "task_sample": 9,
        "ogd_per_task": 9,
    }
    each = {
        "dense": net("ogd", **same, **outputs, n_layers=n_layers, engine="autograd").double(),
        "double": net("ogd", **same, **outputs, n_layers=n_layers).double(),
        "dense 1e-4": net("ogd", **same, **outputs, n_layers=n_layers, engine="autograd").double(),
        "float": net("ogd", **same, **outputs, n_layers=n_layers),
    }
    draw = torch.Generator().manual_seed(seed)
    before = fast.FOLD_EVERY, basis.tolerance
    fast.FOLD_EVERY = fold
    try:
        for step in range(300):
            t = step // 100
            i = torch.randint(40, (batch,), generator=draw)
            x, y = train[t][1][i].float(), train[t][2][i]
            for name, model in each.items():
                basis.tolerance = (lambda dtype: 1e-4) if name == "dense 1e-4" else before[1]
                model.observe(x.to(parameters(model)), t, y)
    finally:
        fast.FOLD_EVERY, basis.tolerance = before
    sizes = {name: model.basis.k for name, model in each.items()}
    assert sizes["double"] == sizes["dense"] and sizes["float"] == sizes["dense 1e-4"]
    assert relative(each["double"], each["dense"]) < 1e-9
    assert relative(each["float"], each["dense 1e-4"]) < 1e-4


@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
def test_networks_of_any_depth(n_layers):
    train, _ = stream(n=20, dtype=torch.float64)
    models = [net("ogd", **{**SIZES, "n_layers": n_layers, "engine": name}).double() for name in ("fast", "autograd")]
    for model in models:
        learn(model, train[:2], 2)
    assert models[0].basis.k == models[1].basis.k > 0
    assert relative(*models) < 1e-9


@pytest.mark.parametrize("batch", [1, 4])
def test_a_step_in_float32_leaves_nothing_along_the_directions(batch):
    model, (_, x, y) = in_task_two(torch.float32, n_hiddens=40)
    V, before = orthonormal(model.basis), parameters(model).double()
    g = model.engine.gradients(x[:batch], y[:batch], 1)
    flat = g.flat().double().clone()
    c = model.basis.factor.solve(g.along()).clone()
    views = [view.clone() for view in model.engine.flat.split(flat)]
    model.basis.add_to(list(zip(views[::2], views[1::2], strict=True)), -c)
    projected = torch.cat([view.flatten() for view in views])
    assert (V @ projected).abs().max() < 1e-6 * flat.norm()
    assert (projected - (flat - V.t() @ (V @ flat))).norm() < 1e-6 * flat.norm()
    model.observe(x[:batch], 1, y[:batch])
    moved = parameters(model).double() - before
    assert (moved + model.lr * projected).norm() < 1e-5 * moved.norm() + 1e-6 * before.norm()


def test_complete_parameters_do_not_inherit_what_float32_loses_in_a_step(monkeypatch):
    """Even if the rough solution were wrong by a tenth, steps would stay orthogonal in the parameters that are seen."""
    model, (_, x, y) = in_task_two(torch.float32, n_hiddens=40)
    V, before = orthonormal(model.basis), parameters(model).double()
    honest, sizes = model.basis.factor.roughly, []

    def wrong(u):
        sizes.append(float(u.norm()))
        return honest(u) * 1.1

    monkeypatch.setattr(model.basis.factor, "roughly", wrong)
    for i in range(40):
        model.observe(x[i : i + 1], 1, y[i : i + 1])
    moved = parameters(model).double() - before
    assert 35 < len(sizes) < 40 and max(sizes) > 0  # the 32nd step is exact
    assert (V @ moved).abs().max() < 1e-6 * moved.norm() + 1e-6


def test_what_a_pass_sees_stays_near_the_exact_coefficients():
    model, (_, x, y) = in_task_two(torch.float32, n_hiddens=40)
    span = model.engine.span
    for i in range(70):
        model.observe(x[i % 30 : i % 30 + 2], 1, y[i % 30 : i % 30 + 2])
        exact = model.basis.factor.solve(span.v)
        assert (span.rounded.double() - exact).norm() < 1e-5 * exact.norm()
    model, (_, x, y) = in_task_two(torch.float64)
    assert torch.equal(model.engine.span.rounded, model.basis.factor.solve(model.engine.span.v))


def test_what_is_left_along_a_direction_of_real_images_in_float32():
    """Handwritten digits of 32 x 32 pixels, permuted anew in each task: at most 1e-7 of a gradient, with any batch."""
    images, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    pixels = (images.view(-1, 8, 8) / 16).repeat_interleave(4, 1).repeat_interleave(4, 2).flatten(1).float()
    g = torch.Generator().manual_seed(0)
    tasks = [("", pixels[:, torch.randperm(1024, generator=g)], labels) for _ in range(5)]
    each = {"n_inputs": 1024, "n_outputs": 10, "n_tasks": 5, "n_hiddens": 100, "lr": 0.01}
    model = net("ogd", **each, ogd_per_task=60, task_sample=60)
    learn(model, tasks, 10, steps=20)
    _, x, y = tasks[-1]
    shares = model.basis.shares
    assert model.basis.k == 240
    norms = Directions(*([getattr(share, name).matrix.t() for share in shares] for name in "AD")).norms()
    worst = {}
    for batch in (1, 2, 7, 8, 10, 33):
        for start in range(0, 5 * batch, batch):
            g = model.engine.gradients(x[start : start + batch], y[start : start + batch], 4)
            views = [view.double() for view in model.engine.flat.split(g.flat())]
            size = sum(view.square().sum() for view in views).sqrt()
            model.basis.add_to(list(zip(views[::2], views[1::2], strict=True)), -model.basis.factor.solve(g.along()))
            pairs = zip(shares, views[::2], views[1::2], strict=True)
            dots = sum(share.dots(weight, bias) for share, weight, bias in pairs)
            worst[batch] = max(worst.get(batch, 0), float((dots.abs() / norms).max() / size))
    assert max(worst.values()) < 1e-7, worst
    assert max(worst[batch] for batch in (1, 2, 7)) < 4e-8, worst  # inner products without pieces would leave 6e-8


def test_predictions_and_gradients_are_those_of_the_complete_parameters():
    model, (_, x, y) = in_task_two()
    plain = net("single").double()
    plain.load_state_dict(model.state_dict())
    assert torch.allclose(model(x, 1), plain(x, 1), atol=1e-13)
    ours, theirs = model.engine.gradients(x[:3], y[:3], 1), plain.engine.gradients(x[:3], y[:3], 1)
    assert torch.allclose(ours.flat(), theirs.flat(), atol=1e-13)
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-12)
    d = torch.randn(40, 4, dtype=torch.float64)
    for model_ in (model, plain):
        model_.engine.forward(x, 1)
    assert torch.allclose(
        model.engine.backward(d, per_sample=True), plain.engine.backward(d, per_sample=True), atol=1e-12
    )
    assert torch.allclose(parameters(model), parameters(plain), atol=1e-13)
    assert model.engine.form == "fast gram"


def test_seeing_the_parameters_leaves_the_trajectory_alone():
    seen, (_, x, y) = in_task_two()
    alone, _ = in_task_two()
    for i in range(10):
        seen(x, 1)
        seen.state_dict()
        seen.checkpoint()
        for model in (seen, alone):
            model.observe(x[i : i + 2], 1, y[i : i + 2])
    assert torch.equal(parameters(seen), parameters(alone))


@pytest.mark.parametrize("change", [
    lambda model: copy.deepcopy(model),
    lambda model: model.float().double(),
    lambda model: model.to("cpu"),
    lambda model: model.load_state_dict(copy.deepcopy(model.state_dict())) and model,
    lambda model: [setattr(p, "data", p.data.clone()) for p in model.parameters()] and model,
    lambda model: model.engine.theta is not None and model,
])  # fmt: skip
def test_what_the_parameters_lack_goes_along(change):
    model, (_, x, y) = in_task_two()
    same, _ = in_task_two()
    model = change(model)
    for i in range(5):
        for each in (model, same):
            each.observe(x[i : i + 2], 1, y[i : i + 2])
    assert relative(model, same) < 1e-6


def test_parameters_loaded_from_elsewhere_replace_what_was_kept():
    model, (_, x, _y) = in_task_two()
    other = net("single", seed=5).double()
    model.load_state_dict(other.state_dict())
    assert torch.equal(model(x, 1), other(x, 1)) and torch.equal(parameters(model), parameters(other))


def test_a_state_fits_as_many_directions_of_the_same_type():
    model, _ = in_task_two()
    span, other = model.engine.span, in_task_two(torch.float32)[0].engine.span
    span.hand_out(), other.hand_out()
    state = span.checkpoint()
    assert span.fits(state) and not span.fits({}) and not span.fits(other.checkpoint())
    assert not span.fits({**state, "v": state["v"][1:]})


def test_the_first_exact_step_is_the_32nd_after_parameters_are_taken_over(monkeypatch):
    model, (_, x, y) = in_task_two(torch.float32)
    model.engine.span.fold()
    exact, steps, solve = [], [], model.basis.factor.solve
    monkeypatch.setattr(model.basis.factor, "solve", lambda v: exact.append(len(steps)) or solve(v))
    for _ in range(70):
        steps.append(model.observe(x[:1], 1, y[:1]))
    assert exact == [31, 63]  # steps made before


def test_going_on_after_a_restore_within_a_task():
    model, (_, x, y) = in_task_two(torch.float32)
    fresh = net("ogd", **SIZES)
    fresh.restore(model.checkpoint())
    assert torch.equal(parameters(fresh), parameters(model))
    for i in range(8):
        for each in (model, fresh):
            each.observe(x[i : i + 2], 1, y[i : i + 2])
    for each in (model, fresh):
        each.finish_task()
        each.observe(x[:3], 2, y[:3])
    assert torch.equal(parameters(fresh), parameters(model)) and fresh.basis.k == model.basis.k


def test_a_loss_that_is_not_finite_is_an_error():
    model, (_, x, y) = in_task_two()
    with pytest.raises(FloatingPointError):
        model.observe(x[:2] * float("nan"), 1, y[:2])


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_what_is_written_into_a_parameter_counts(layer):
    """In the midst of a task, whichever layer: the model goes on as one that has begun with these parameters."""
    model, (_, x, y) = in_task_two()
    same, _ = in_task_two()
    assert model.engine.held
    with torch.no_grad():
        model.net.net[layer].weight.add_(0.25)
    assert not model.engine.held
    values = parameters(same).clone()
    at = [name for name, _ in same.named_parameters()].index(f"net.net.{layer}.weight")
    same.engine.flat.split(values)[at].add_(0.25)
    same.engine.theta.copy_(values)
    for i in range(6):
        for each in (model, same):
            each.observe(x[i : i + 2], 1, y[i : i + 2])
    assert relative(model, same) < 1e-12


def test_an_optimizer_of_somebody_else_sees_complete_parameters():
    model, (_, x, y) = in_task_two()
    theirs = torch.optim.SGD(model.parameters(), 0.1)
    before = parameters(model).clone()
    torch.nn.functional.cross_entropy(model(x[:5], 1), y[:5]).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()]).clone()
    theirs.step()
    assert torch.allclose(parameters(model), before - 0.1 * gradient, atol=1e-14)
    V = orthonormal(model.basis)
    before = parameters(model).clone()
    model.observe(x[:2], 1, y[:2])
    moved = parameters(model) - before
    assert moved.norm() > 0 and (V @ moved).norm() < 1e-9 * moved.norm()
