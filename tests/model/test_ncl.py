"""Natural continual learning: step, Fisher and posterior against dense matrices, autograd and closed forms."""

import itertools

import pytest
import torch
from torch.nn import functional as F

import main
from model import UsageError, common, precision
from model.engine.flat import FlatParameters
from model.numeric import kronecker
from tests.conftest import differ_after_a_restore, net, parameters, stream

SPLIT = {"n_outputs": 6, "task_outputs": [[0, 1], [2, 3], [4, 5]]}
SMALL = {"n_hiddens": 5, "n_inputs": 7}


def cases(split=False):
    return stream(n_inputs=7, n_outputs=6 if split else 4, split=split, dtype=torch.float64)[0]


def made(split=False, **given):
    outputs = SPLIT if split else {}
    return net("ncl", **{**SMALL, "samples_per_task": 40, "task_sample": 12, **outputs, **given}).double()


def learn_one(model, train, t, steps=8, B=3):
    for i in range(0, B * steps, B):
        model.observe(train[t][1][i : i + B], t, train[t][2][i : i + B])


def dense(model):
    """Lambda (p, p) in the order of theta, from the factors."""
    sizes = model.engine.flat.sizes
    result, at = torch.zeros(sum(sizes), sum(sizes), dtype=torch.float64), 0
    for G, A in model.precision.pairs:
        o, i = len(G), len(A) - 1
        index = at + torch.cat((torch.arange(o * i).view(o, i), o * i + torch.arange(o).view(o, 1)), 1).flatten()
        result[index.unsqueeze(1), index] = torch.kron(G, A)
        at += o * (i + 1)
    return result


def loss_gradient(model, x, y, t):
    """The gradient (p,) of the mean cross-entropy at the parameters now, by autograd."""
    logits = model.net(x)
    if model.outputs.foreign is not None:
        logits = logits.masked_fill(model.outputs.foreign[t], common.FOREIGN_LOGIT)
    grads = torch.autograd.grad(F.cross_entropy(logits, y), list(model.net.parameters()))
    return torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("B", [1, 3, 9])  # of rank below and above the width of the first layer
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_steps_are_those_of_the_dense_algorithm(engine, split, B, momentum):
    """Algorithm 1 with explicit p x p matrices: momentum before preconditioning, prior at mu, rate eta / N."""
    train, lam, eta, N = cases(split), 0.7, 0.2, 40
    given = {"ncl_lambda": lam, "lr": eta, "ncl_momentum": momentum, "ncl_alpha": 0.0, "ncl_data_size": N}
    model = made(split, engine=engine, **given)
    mu = torch.zeros(len(model.engine.theta), dtype=torch.float64)
    for t in range(3):
        m = torch.zeros_like(mu)
        for i in range(0, 4 * B, B):
            x, y = train[t][1][i : i + B], train[t][2][i : i + B]
            theta = parameters(model).clone()
            gradient = loss_gradient(model, x, y, t)
            model.observe(x, t, y)
            Lambda = dense(model)
            m = momentum * m + gradient + lam * Lambda @ (theta - mu)
            wanted = theta - eta / N * torch.linalg.solve(Lambda, m)
            assert torch.allclose(parameters(model), wanted, rtol=0, atol=1e-9)
        model.finish_task()
        mu = parameters(model).clone()
        assert model.momentum is None and torch.equal(model.mu, mu)


def test_both_forms_of_the_preconditioner_and_its_inverse_agree():
    train = cases()
    model = made(ncl_alpha=0.0)
    learn_one(model, train, 0)
    model.finish_task()
    Lambda = dense(model)
    for B in (2, 6):
        g = model.engine.gradients(train[1][1][:B], train[1][2][:B], 1)
        vector = g.flat().clone()
        assert torch.allclose(model.precision.solve(g), torch.linalg.solve(Lambda, vector), rtol=1e-8, atol=1e-10)
        assert model.precision.quadratic(vector) == pytest.approx((vector @ Lambda @ vector).item(), rel=1e-10)
        D, A = zip(*precision.factors(g), strict=True)
        pieces = [part for d, a in zip(D, A, strict=True) for part in ((d.t() @ a).flatten(), d.sum(0))]
        assert torch.allclose(torch.cat(pieces), vector, atol=1e-14)


def test_the_first_task_is_sgd_but_for_prior_and_damping():
    train = cases()
    single = net("single", n_inputs=7, n_hiddens=5, n_outputs=4).double()
    exact, damped = made(ncl_lambda=0.0, ncl_alpha=0.0), made(ncl_lambda=0.0, ncl_alpha=1e-6)
    start = parameters(single).clone()
    for model in (single, exact, damped):
        learn_one(model, train, 0)
    assert torch.allclose(parameters(exact), parameters(single), rtol=0, atol=1e-13)
    moved = parameters(single) - start
    assert 0 < (parameters(damped) - parameters(single)).norm() < 1e-3 * moved.norm()


@pytest.mark.parametrize(
    "given, N",
    [
        ({"ncl_data_size": 1000, "task_sizes": [24, 24, 24]}, 1000),
        ({"task_sizes": [24, 24, 24], "samples_per_task": -1}, 24),  # main.py says what a run has
        ({"task_sizes": [24, 24, 24], "samples_per_task": 40}, 24),  # more was asked for than there is
        ({"task_sizes": [20, 24, 29], "samples_per_task": -1}, 24),  # tasks differ: their mean
        ({"samples_per_task": 40}, 40),  # under another main program what was asked for
    ],
)
def test_n_is_one_number_from_the_first_step_on(given, N):
    train = cases()
    single = net("single", n_inputs=7, n_hiddens=5, n_outputs=4).double()
    model = made(**{"samples_per_task": -1, **given})
    assert model.N == N and isinstance(model.first_task_differs, str)
    for each in (single, model):
        learn_one(each, train, 0)
    assert not torch.equal(parameters(model), parameters(single))
    start = model.precision.start
    model.precision.start = lambda N: pytest.fail("a second prior")
    model.finish_task()
    model.precision.start = start
    learn_one(model, train, 1)
    assert model.N == N


def test_n_that_nobody_says_is_counted_in_the_first_task():
    train = cases()
    single = net("single", n_inputs=7, n_hiddens=5, n_outputs=4).double()
    model = made(samples_per_task=-1, n_epochs=2)
    assert model.first_task_differs is None
    for each in (single, model):
        learn_one(each, train, 0)
    assert torch.equal(parameters(model), parameters(single))
    model.finish_task()
    assert model.N == 12  # 24 examples in two epochs
    learn_one(model, train, 1)
    model.finish_task()
    assert model.N == 12


def test_a_run_says_how_many_examples_its_tasks_have(data_file, tmp_path, monkeypatch):
    """40 a task, whatever was asked for, however many epochs, and in whatever order they come."""
    from model import ncl

    sizes, init = [], ncl.Net.__init__

    def watched(self, *args):
        init(self, *args)
        sizes.append(self.N)

    monkeypatch.setattr(ncl.Net, "__init__", watched)
    argv = [
        "--model",
        "ncl",
        "--data_path",
        str(data_file.parent),
        "--data_file",
        "tiny.pt",
        "--save_path",
        str(tmp_path),
    ]
    for more in ("", "--samples_per_task 1000", "--n_epochs 3", "--samples_per_task 30", "--shuffle_tasks yes"):
        assert main.main([*argv, *more.split()])["status"] == "done"
    assert sizes == [40, 40, 40, 30, 40]


class Never:
    """A sum of Kronecker products that cannot be taken."""

    def __call__(self, one, two):
        raise ArithmeticError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "given",
    [
        {"ncl_diag": True},
        {"ncl_diag": True, "ncl_momentum": 0.5, "ncl_radius": 1e-3, "engine": "autograd"},
        {"ncl_sum": "kl"},
        {"ncl_sum": "additive", "ncl_fisher": "all"},
        {"ncl_sum": "frobenius", "ncl_fisher": "empirical", "engine": "autograd"},
        {"ncl_momentum": 0.5, "ncl_radius": 1e-3},
        {"rule": Never()},
    ],
)
def test_going_on_after_a_restore_anywhere(given, known, dtype):
    given = {**SMALL, "samples_per_task": 40 if known else -1, "task_sample": 8, **given}
    rule = given.pop("rule", None)

    def make():
        model = net("ncl", **given)
        model.precision.rule = rule or getattr(model.precision, "rule", None)
        return model

    assert differ_after_a_restore(make, cases(), batch_size=3, steps=4, dtype=dtype) == []


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("fisher", ["all", "empirical", "sample"])
def test_the_fisher_is_per_sample_and_by_autograd(fisher, split, engine):
    """Factors collected against second moments of pre-activation gradients of each example's loss."""
    train = cases(split)
    model = made(split, ncl_fisher=fisher, engine=engine)
    learn_one(model, train, 0)
    x, y, _ = model.sample.rows()
    n = len(y)
    generator = torch.Generator()
    generator.set_state(model.generator.get_state())
    collected = []
    kept = model.precision
    kept.grow = lambda: collected.extend((G / kept.n, A / kept.n) for G, A in kept.fisher) or 0
    model.finish_task()
    H, steps, inputs = x, [], []
    for layer in model.precision.layers:
        inputs.append(torch.cat((H, torch.ones(n, 1, dtype=H.dtype)), 1))
        s = F.linear(H, layer.weight, layer.bias)
        s.retain_grad()
        steps.append(s)
        H = s.relu()
    logits = steps[-1] if not split else steps[-1].masked_fill(model.outputs.foreign[0], common.FOREIGN_LOGIT)
    p = torch.softmax(logits, 1).detach()
    C = p.shape[1]
    if fisher == "all":
        labelled = [(torch.full((n,), c), p[:, c]) for c in range(C) if p[:, c].any()]
    else:
        drawn = torch.multinomial(p, 1, generator=generator)[:, 0] if fisher == "sample" else y
        labelled = [(drawn, torch.ones(n, dtype=torch.float64))]
    wanted = [0.0] * len(steps)
    for labels, weights in labelled:
        losses = F.cross_entropy(logits, labels, reduction="sum")
        for k, d in enumerate(torch.autograd.grad(losses, steps, retain_graph=True)):
            wanted[k] = wanted[k] + (d * weights.unsqueeze(1)).t() @ d / n
    for (G, A), gradient, a in zip(collected, wanted, inputs, strict=True):
        assert torch.allclose(G, gradient, atol=1e-12) and torch.allclose(A, a.t() @ a / n, atol=1e-12)
    if fisher == "all":
        closed = (torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)).mean(0)
        assert torch.allclose(collected[-1][0], closed, atol=1e-12)


@pytest.mark.parametrize("rule", ["kl", "additive", "frobenius"])
@pytest.mark.parametrize("split", [False, True])
def test_factors_stay_symmetric_and_positive_and_grow(rule, split):
    train = cases(split)
    model = made(split, ncl_sum=rule)
    last = None
    for t in range(3):
        learn_one(model, train, t)
        model.finish_task()
        for G, A in model.precision.pairs:
            assert torch.equal(G, G.t()) and torch.equal(A, A.t())
            assert torch.linalg.eigvalsh(G)[0] > 0 and torch.linalg.eigvalsh(A)[0] > 0
        Lambda = dense(model)
        if rule == "additive" and last is not None:
            assert torch.linalg.eigvalsh(Lambda - last)[0] > -1e-12 * Lambda.norm()
        assert last is None or Lambda.trace() > last.trace()
        last = Lambda
    assert model.counts["ncl_fallbacks"] == 0


def test_no_step_is_longer_than_that_of_sgd_with_the_additive_sum():
    train = cases()
    model = made(ncl_sum="additive", ncl_lambda=0.0, lr=0.3)
    shorter = 0
    for t in range(3):
        for i in range(0, 30, 3):
            x, y = train[t][1][i : i + 3], train[t][2][i : i + 3]
            before, gradient = parameters(model).clone(), loss_gradient(model, x, y, t)
            model.observe(x, t, y)
            moved = (parameters(model) - before).norm()
            assert moved <= 0.3 * gradient.norm() * (1 + 1e-9)
            shorter += bool(moved < 0.9 * 0.3 * gradient.norm())
    assert shorter >= 15  # and past tasks do hold it back


def test_what_cannot_be_summed_falls_back_to_the_additive_rule():
    train = cases()
    model, additive = made(), made(ncl_sum="additive")

    def fails(one, two):
        raise ArithmeticError

    model.precision.rule = fails
    for each in (model, additive):
        learn_one(each, train, 0)
        each.finish_task()
        learn_one(each, train, 1)
    assert model.counts["ncl_fallbacks"] == 3 and torch.equal(parameters(model), parameters(additive))


class Quadratic:
    """l(theta) = 1/2 (theta - c)' H (theta - c), in the place of an engine's gradients."""

    def __init__(self, H, c, flat):
        self.H, self.c, self.theta = H, c, flat.theta

    def flat(self):
        return self.H @ (self.theta - self.c)


def test_on_a_quadratic_it_converges_to_the_posterior_mean_and_never_climbs():
    """(H + Lambda)^-1 (H c + Lambda mu); the gradient-direction note's sign climbs instead."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2).double()
    flat = FlatParameters(layer)
    flat.bind()
    Lambda = precision.Kronecker([layer], flat, 0.0, "kl")
    G, A = (torch.randn(n, 2 * n).double() for n in (2, 4))
    Lambda._set([(G @ G.t(), A @ A.t())])
    X = torch.randn(8, 12).double()
    H, c, mu = X @ X.t() / 12, torch.randn(8).double(), torch.randn(8).double()

    full = dense(type("", (), {"engine": type("", (), {"flat": flat}), "precision": Lambda}))
    wanted = torch.linalg.solve(full + H, H @ c + full @ mu)
    flat.theta.copy_(mu + 1)
    rate = 0.9 / (1 + torch.linalg.eigvals(torch.linalg.solve(full, H)).abs().max())
    values = []
    for _ in range(3_000):
        theta = flat.theta
        values.append((0.5 * (theta - c) @ H @ (theta - c) + 0.5 * (theta - mu) @ full @ (theta - mu)).item())
        step = Lambda.solve(Quadratic(H, c, flat)).add_(theta - mu)
        theta.sub_(step, alpha=rate.item())
    assert torch.allclose(flat.theta, wanted, rtol=1e-9, atol=1e-10)
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("few", [8, 10**9])
def test_wide_layers_grow_the_same_by_their_few_inputs_and_by_the_whole_factor(few, monkeypatch):
    """Layers of 41 and 6 inputs and 5 examples in two panels: with FEW = 8 the first is taken by its rows."""
    torch.manual_seed(0)
    asked, kl = [], kronecker.kl
    monkeypatch.setattr(kronecker, "FEW", few)
    monkeypatch.setitem(kronecker.SUMS, "kl", lambda *products, **rows: asked.append(rows) or kl(*products, **rows))
    monkeypatch.setattr(kronecker, "kl", kronecker.SUMS["kl"])
    layers = [torch.nn.Linear(40, 6).double(), torch.nn.Linear(6, 3).double()]
    flat = FlatParameters(torch.nn.Sequential(*layers))
    flat.bind()
    Lambda = precision.Kronecker(layers, flat, 0.0, "kl")
    Lambda.start(10, flat.theta)
    for x in torch.randn(5, 40).double().split(3):
        Lambda.collect(
            x, [torch.randn(len(x), flat.theta.numel(), generator=torch.Generator().manual_seed(1)).double()]
        )
    examples, deltas = [Lambda.fisher[0][1] / 5, Lambda.fisher[1][1] / 5], [fisher[0] / 5 for fisher in Lambda.fisher]
    before = Lambda.pairs
    assert Lambda.grow() == 0 and [bool(rows) for rows in asked] == [few == 8, False]
    for l, ours in enumerate(Lambda.pairs):
        wanted = kronecker.balanced(*kl(before[l], (deltas[l], examples[l])))
        assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-12) for a, b in zip(ours, wanted, strict=True))


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_radius_is_in_the_norm_of_the_precision(diagonal):
    train, radius = cases(), 1e-4
    free, limited = made(ncl_diag=diagonal), made(ncl_diag=diagonal, ncl_radius=radius)
    for model in (free, limited):
        learn_one(model, train, 0)
        model.finish_task()
    limited.load_state_dict(free.state_dict())
    limited.mu, limited.N = free.mu, free.N
    limited.precision.restore(free.precision.checkpoint())
    Lambda = torch.diag(free.precision.f) if diagonal else dense(free)
    clipped = 0
    for i in range(10):
        before = parameters(free).clone()
        limited.load_state_dict(free.state_dict())
        for model in (free, limited):
            model.observe(train[1][1][i : i + 1], 1, train[1][2][i : i + 1])
        d, e = parameters(free) - before, parameters(limited) - before
        length = (0.5 * d @ Lambda @ d).sqrt().item()
        assert torch.allclose(e, d * min(1.0, radius / length), rtol=0, atol=1e-12)
        clipped += length > radius
    assert clipped > 0


def test_the_diagonal_is_the_mean_squared_gradient():
    train = cases()
    model = made(ncl_diag=True, ncl_fisher="empirical", lr=0.2)
    learn_one(model, train, 0)
    x, y, _ = (tensor.clone() for tensor in model.sample.rows())
    model.finish_task()
    each = torch.stack([loss_gradient(model, x[i : i + 1], y[i : i + 1], 0) for i in range(len(y))])
    f = 1 / model.N + each.square().mean(0)
    assert torch.allclose(model.precision.f, f, rtol=1e-10)
    before, mu = parameters(model).clone(), model.mu
    gradient = loss_gradient(model, train[1][1][:4], train[1][2][:4], 1)
    model.observe(train[1][1][:4], 1, train[1][2][:4])
    wanted = before - 0.2 / model.N * (gradient / (f + 1e-12) + before - mu)
    assert torch.allclose(parameters(model), wanted, rtol=0, atol=1e-12)


def test_dead_units_leave_the_factors_invertible():
    train = cases()
    model = made()
    model.net.net[0].weight.data.fill_(-1.0)  # inputs are positive: no unit of the first hidden layer is ever on
    model.net.net[0].bias.data.fill_(-1.0)
    for t in range(3):
        learn_one(model, train, t)
        model.finish_task()
    assert bool(parameters(model).isfinite().all())
    assert all(torch.linalg.eigvalsh(factor)[0] > 0 for pair in model.precision.pairs for factor in pair)


def test_state_of_the_usual_network_is_six_megabytes():
    model = net("ncl", n_inputs=784, n_outputs=10, n_hiddens=100, samples_per_task=1000, task_sample=3)
    x, y = torch.rand(3, 784), torch.tensor([1, 2, 3])
    model.observe(x, 0, y)
    model.finish_task()
    kept = [f for pair in (*model.precision.pairs, *model.precision.inverses) for f in pair] + [model.mu]
    assert {f.dtype for f in kept} == {torch.float32}
    assert sum(f.numel() for f in kept) == 2 * 656_727 + 89_610
    assert sum(f.numel() * f.element_size() for f in kept) < 6_000_000


@pytest.mark.parametrize("given, match", [
    ({"task_sample": 0}, "--task_sample 0: ncl needs"),
    ({"n_inputs": 3072}, "ResNet18 has parameters outside a stack of linear layers.*give --ncl_diag yes"),
])  # fmt: skip
def test_bad_input(given, match):
    with pytest.raises(UsageError, match=match):
        net("ncl", **given)


def test_a_convolutional_network_with_the_diagonal():
    model = net("ncl", n_inputs=3072, n_tasks=2, task_sample=3, ncl_diag=True, task_outputs=[[0, 1], [2, 3]])
    x, y = torch.rand(4, 3072), torch.tensor([0, 1, 0, 1])
    for t in range(2):
        model.observe(x, t, y + 2 * t)
        running = model.net.bn1.running_mean.clone()
        model.finish_task()
        assert torch.equal(model.net.bn1.running_mean, running)
    assert bool(parameters(model).isfinite().all())
