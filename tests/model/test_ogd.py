"""Orthogonal gradient descent: the basis against QR, the step against its definition, the promise about outputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import UsageError, ogd
from model.numeric import basis
from model.numeric.directions import Directions
from model.unlearning import Attack
from tests.conftest import learn, net, parameters, stream

MODES = ("loss_mean", "gtl", "ave", "all")


def departure(V):
    return (V.double() @ V.double().t() - torch.eye(len(V), dtype=torch.float64)).abs().max().item() if len(V) else 0.0


def nearly_collinear(n, p, gap, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(p, generator=g, dtype=dtype) + gap * torch.randn(n, p, generator=g, dtype=dtype)


def orthonormal(ours):
    """The orthonormal rows (k, p) of a basis in either form."""
    if isinstance(ours, basis.Basis):
        return ours.V
    if not ours.k:
        return torch.zeros(0, 0)
    T = torch.cat([torch.nn.functional.pad(panel, (0, ours.k - panel.shape[1])) for panel in ours.factor.panels])
    stored = Directions(*([getattr(share, name).matrix.t().double() for share in ours.shares] for name in "AD"))
    return T @ stored.dense()


# ---------------------------------------------------------------- the basis


@pytest.mark.parametrize("gap", [10.0, 0.1, 1e-2, 1e-3])
def test_five_hundred_nearly_collinear_gradients_in_float32(gap):
    vectors = nearly_collinear(500, 3_000, gap)
    rows = torch.empty(600, 3_000)
    k, left = basis.extend(rows, 0, vectors)
    assert k == 500 and left == 0 and departure(rows[:k]) < 1e-5
    again, _ = basis.extend(rows, k, vectors[:100])  # all of them in the span
    assert again == k
    outside = vectors - (vectors @ rows[:k].t()) @ rows[:k]
    assert (outside.norm(dim=1) <= 2e-4 * vectors.norm(dim=1)).all()


def test_duplicates_multiples_and_sums_are_dropped():
    vectors = nearly_collinear(20, 400, 1e-2)
    scales = torch.logspace(-20, 18, 20).unsqueeze(1)
    offered = torch.cat((vectors, scales * vectors, -vectors, vectors[:10] + vectors[10:]))
    rows = torch.empty(100, 400)
    k, _ = basis.extend(rows, 0, offered[torch.randperm(len(offered), generator=torch.Generator().manual_seed(0))])
    assert k == 20 and departure(rows[:k]) < 1e-5


def test_a_tiny_gradient_counts_and_zero_and_nan_do_not():
    vectors = torch.zeros(4, 5)
    vectors[1, 0], vectors[2, 1], vectors[3, 2] = 1e-30, float("nan"), float("inf")
    rows = torch.empty(5, 5)
    k, _ = basis.extend(rows, 0, vectors)
    assert k == 1 and rows[0].tolist() == [1, 0, 0, 0, 0]


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 80), st.integers(1, 20), st.booleans())
def test_the_basis_spans_what_was_offered(seed, rank, n, p, double):
    """In any order and number of calls: rank and span are those of an SVD, whatever the panel."""
    g = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if double else torch.float32
    rank = min(rank, p)
    vectors = torch.randn(n, rank, generator=g, dtype=dtype) @ torch.randn(rank, p, generator=g, dtype=dtype)
    ours = basis.Basis(p + 1)
    for part in vectors.split(max(1, n // 3)):
        assert ours.add(part) == 0
    singular = torch.linalg.svdvals(vectors.double())
    surely, perhaps = (int((singular > tau * singular[0]).sum()) for tau in (1e-2, 1e-6))
    assert surely <= ours.k <= min(perhaps, p, n)
    assert departure(ours.V) < 1e-5
    outside = vectors - (vectors @ ours.V.t()) @ ours.V
    assert (outside.norm(dim=1) <= 2e-4 * vectors.norm(dim=1)).all()


def test_a_full_basis_says_how_many_were_left():
    vectors = nearly_collinear(100, 300, 1.0)
    ours = basis.Basis(40)
    assert ours.add(vectors) == 60 and ours.k == 40 and departure(ours.V) < 1e-5
    assert ours.add(vectors[:7]) == 7


@given(st.integers(0, 2**31))
def test_the_projection_is_one(seed):
    g = torch.Generator().manual_seed(seed)
    ours = basis.Basis(30)
    ours.add(torch.randn(30, 500, generator=g) + 5)
    raw = torch.randn(500, generator=g) + 3
    once = ours.reject_(raw.clone())
    size = raw.norm()
    assert (ours.V @ once).norm() <= 1e-5 * size and once.norm() <= size * (1 + 1e-5)
    assert (ours.reject_(once.clone()) - once).norm() <= 1e-5 * size
    assert raw @ once == pytest.approx((once @ once).item(), rel=1e-4, abs=1e-5 * size.item() ** 2)
    V = torch.linalg.qr(ours.V.double().t())[0]
    expected = raw.double() - V @ (V.t() @ raw.double())
    assert torch.allclose(once.double(), expected, atol=1e-5 * size.item())


# ---------------------------------------------------------------- the method


def explicit(model, x, y, t, mode):
    """The vectors of a mode by autograd, one example and logit at a time."""

    def flat(value):
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, list(model.net.parameters()))])

    foreign = model.outputs.foreign
    own = range(model.outputs.n_outputs) if foreign is None else (~foreign[t]).nonzero()[:, 0].tolist()
    if mode == "loss_mean":
        logits = model.net(x)
        if foreign is not None:
            logits = logits.masked_fill(foreign[t], -1e11)
        return flat(torch.nn.functional.cross_entropy(logits, y)).unsqueeze(0)
    rows = []
    for i in range(len(y)):

        def logits(i=i):
            return model.net(x[i : i + 1])[0]

        match mode:
            case "gtl":
                rows.append(flat(logits()[y[i]]))
            case "ave":
                rows.append(flat(logits()[list(own)].mean()))
            case "all":
                rows += [flat(logits()[j]) for j in own]
    return torch.stack(rows)


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_stored_is_what_the_mode_says(mode, split, engine):
    outputs = {"n_outputs": 6, "task_outputs": [[0, 1], [2, 3], [4, 5]]} if split else {}
    train, _ = stream(n_outputs=6 if split else 4, split=split, dtype=torch.float64)
    model = net("ogd", ogd_mode=mode, engine=engine, task_sample=7, ogd_per_task=7, **outputs).double()
    assert model.first_task_differs is None
    learn(model, train[:1], 4)
    x, y, _ = model.sample.rows()
    assert len(y) == 7 and len(x.unique(dim=0)) == 7
    wanted = explicit(model, x, y, 0, mode)[:, : model.shared]
    model.finish_task()
    V = orthonormal(model.basis)
    assert 0 < model.basis.k <= len(wanted) and model.counts["ogd_basis"] == model.basis.k
    assert (wanted - (wanted @ V.t()) @ V).norm() <= 1e-8 * wanted.norm()
    assert model.basis.k == int(torch.linalg.matrix_rank(wanted, rtol=1e-9))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("split", [False, True])
def test_the_step_is_the_projected_gradient(mode, split):
    outputs = {"n_outputs": 6, "task_outputs": [[0, 1], [2, 3], [4, 5]]} if split else {}
    train, _ = stream(n_outputs=6 if split else 4, split=split, dtype=torch.float64)
    model = net("ogd", ogd_mode=mode, task_sample=5, ogd_per_task=5, **outputs).double()
    learn(model, train[:1], 3)
    model.finish_task()
    V = torch.zeros(model.basis.k, sum(model.engine.flat.sizes), dtype=torch.float64)
    V[:, : model.shared] = orthonormal(model.basis)
    for i in range(5):
        before = parameters(model).clone()
        plain = net("single", **outputs).double()
        plain.load_state_dict(model.state_dict())
        x, y = train[1][1][i : i + 3], train[1][2][i : i + 3]
        model.observe(x, 1, y)
        plain.observe(x, 1, y)
        free = parameters(plain) - before
        assert torch.allclose(parameters(model) - before, free - V.t() @ (V @ free), atol=1e-13)
        assert (V @ (parameters(model) - before)).norm() <= 1e-10 * free.norm()


def linear(mode, steps, lr=0.1):
    """A linear model after task 0, and the change of the stored examples' logits while task 1 is learned."""
    train, _ = stream(dtype=torch.float64, n_inputs=30)
    model = net("ogd", n_inputs=30, n_layers=0, ogd_mode=mode, task_sample=6, ogd_per_task=6, lr=lr).double()
    learn(model, train[:1], 4)
    x, y, _ = (tensor.clone() for tensor in model.sample.rows())
    before = model.forward(x, 0).clone()
    for i in range(steps):
        j = i % 40
        model.observe(train[1][1][j : j + 1], 1, train[1][2][j : j + 1])
    moved = (model.forward(train[1][1], 1) - net("ogd", n_inputs=30, n_layers=0).double()(train[1][1], 1)).abs().max()
    assert moved > 0.1  # it does learn
    return (model.forward(x, 0) - before).abs(), y


def test_all_keeps_every_stored_logit_of_a_linear_model():
    change, _ = linear("all", 500)
    assert change.max() < 1e-10
    assert linear("all", 500, lr=3.0)[0].max() < 1e-10


def test_gtl_keeps_the_true_logits_of_a_linear_model_and_no_other():
    change, y = linear("gtl", 500)
    true = change.gather(1, y.unsqueeze(1))
    assert true.max() < 1e-10 and change.max() > 1e-2


def test_ave_keeps_the_mean_logit_of_a_linear_model():
    train, _ = stream(dtype=torch.float64, n_inputs=30)
    model = net("ogd", n_inputs=30, n_layers=0, ogd_mode="ave", task_sample=6, ogd_per_task=6).double()
    learn(model, train[:1], 4)
    x = model.sample.rows()[0].clone()
    before = model.forward(x, 0).clone()
    learn(model, train[1:2] * 2)
    assert (model.forward(x, 0) - before).mean(1).abs().max() < 1e-10


def test_the_change_of_a_stored_logit_is_of_second_order():
    train, _ = stream(dtype=torch.float64)
    model = net("ogd", ogd_mode="all", task_sample=4, ogd_per_task=4, n_hiddens=30).double()
    learn(model, train[:1], 4)
    x = model.sample.rows()[0].clone()
    model.finish_task()
    before, theta = model.forward(x, 0).clone(), parameters(model).clone()
    changes = []
    for lr in (1e-3, 5e-4, 2.5e-4):
        model.engine.theta.copy_(theta)
        model.lr = lr
        model.observe(train[1][1][:8], 1, train[1][2][:8])
        changes.append((model.forward(x, 0) - before).norm().item())
    assert changes[0] > 0
    assert changes[0] / changes[1] == pytest.approx(4, rel=0.1) and changes[1] / changes[2] == pytest.approx(4, rel=0.1)


def test_the_basis_grows_task_by_task_within_its_bounds(capsys):
    train, _ = stream(n_tasks=4)
    model = net("ogd", n_tasks=4, ogd_max_basis=50, task_sample=20, ogd_per_task=20)
    sizes = []
    for t in range(4):
        for i in range(0, 40, 4):
            model.observe(train[t][1][i : i + 4], t, train[t][2][i : i + 4])
        model.finish_task()
        model.finish_task()
        sizes.append(model.basis.k)
        assert departure(orthonormal(model.basis)) < 1e-5
    assert sizes[0] <= 20 and sizes == sorted(sizes) and sizes[-1] == 50
    said = capsys.readouterr().err
    assert said.count("the basis is full with 50 rows") == 1 and "from task 2 on" in said


@pytest.mark.parametrize("outputs", [[[0], [1, 2, 3, 4]], [[1, 2, 3, 4], [0]]])
def test_tasks_with_different_numbers_of_outputs_have_room_for_all_their_directions(outputs, capsys):
    """Mode `all` offers as many vectors an example as its task has outputs."""
    x = torch.rand(3, 12, generator=torch.Generator().manual_seed(0))
    model = net("ogd", n_outputs=5, n_tasks=2, ogd_mode="all", task_sample=3, ogd_per_task=3, task_outputs=outputs)
    assert model.basis.limit == 3 * 1 + 3 * 4
    for t in range(2):
        model.observe(x, t, torch.full((3,), outputs[t][0]))
        model.finish_task()
    assert "the basis is full" not in capsys.readouterr().err


def test_a_basis_that_does_not_fit_is_refused_with_its_size(monkeypatch, capsys):
    monkeypatch.setattr(ogd, "available_memory", lambda cuda: 10_000_000)
    size = {"n_inputs": 784, "n_outputs": 10, "n_hiddens": 100}
    dense = (
        r"--ogd_max_basis 2000: 600 rows of 89,610 numbers take 0.2 GB, and 0.0 GB are free; give --ogd_max_basis 13,"
    )
    with pytest.raises(UsageError, match=dense):
        net("ogd", **size, engine="autograd")
    net("ogd", **size)  # 4 MB in Gram space
    with pytest.raises(
        UsageError, match=r"--ogd_max_basis 10000: 4,000 directions take 0.1 GB, .* --ogd_max_basis 670,"
    ):
        net("ogd", **size, n_tasks=20)
    monkeypatch.setattr(ogd, "available_memory", lambda cuda: 10**10)
    net("ogd", **size, engine="autograd")
    assert "600 rows of 89,610 numbers, 215 MB" in capsys.readouterr().err
    net("ogd", **size, n_tasks=50)
    assert "10,000 directions, 448 MB" in capsys.readouterr().err


def test_what_unlearning_needs_counts_too(monkeypatch):
    monkeypatch.setattr(ogd, "available_memory", lambda cuda: 5_000_000)
    size = {"n_inputs": 784, "n_outputs": 10, "n_hiddens": 100}
    net("ogd", **size)
    with pytest.raises(UsageError, match="600 directions take 0"):
        net("ogd", **size, forgetting_mode=True)
    assert net("ogd", **size, forgetting_mode=True, ogd_mode="loss_mean").basis.limit == 3


def test_directions_in_the_span_of_forgotten_ones_stay():
    """Two tasks of one stream on a linear model offer the same directions: the second's were not needed, until then."""
    train, _ = stream(n_tasks=1, dtype=torch.float64)
    model = net("ogd", n_tasks=2, n_layers=0, task_sample=6, ogd_per_task=6, forgetting_mode=True).double()
    _, x, y = train[0]
    for t in range(2):
        model.observe(x[:6], t, y[:6])
        model.finish_task()
    assert model.basis.k == 6
    before = orthonormal(model.basis)
    attack = Attack(frozenset({0}), -1.0)
    model.unlearn(x[6:8], 1, y[6:8], attack)
    assert model.basis.k == model.counts["ogd_basis"] == 6
    after = orthonormal(model.basis)
    assert (before - (before @ after.t()) @ after).norm() < 1e-9


@pytest.mark.parametrize("engine", ["fast", "autograd"])
def test_what_a_full_basis_left_out_is_there_when_others_are_unlearned(engine):
    """The first task fills the basis; without it there is room for the second's directions."""
    train, _ = stream(n_tasks=2)
    model = net("ogd", n_tasks=2, task_sample=5, ogd_per_task=5, ogd_max_basis=5, forgetting_mode=True, engine=engine)
    for t, (_, x, y) in enumerate(train):
        model.observe(x[:5], t, y[:5])
        model.finish_task()
    assert model.basis.k == 5
    _, x, y = train[1]
    model.unlearn(x[5:7], 1, y[5:7], Attack(frozenset({0}), -1.0))
    assert model.basis.k == 5 and {task for task, _ in model.raw} == {1}


@pytest.mark.parametrize("given, match", [({"task_sample": 0}, "--task_sample 0: ogd needs"),
                                          ({"ogd_per_task": 300}, "--ogd_per_task 300: .* give --task_sample 300")])  # fmt: skip
def test_bad_input(given, match):
    with pytest.raises(UsageError, match=match):
        net("ogd", **given)


def test_a_convolutional_network():
    model = net("ogd", n_inputs=3072, n_outputs=4, n_tasks=2, task_sample=3, ogd_per_task=3,
                task_outputs=[[0, 1], [2, 3]], ogd_max_basis=6)  # fmt: skip
    x, y = torch.rand(4, 3072), torch.tensor([0, 1, 0, 1])
    model.observe(x, 0, y)
    running = model.net.bn1.running_mean.clone()
    model.finish_task()
    assert torch.equal(model.net.bn1.running_mean, running) and model.basis.k == 3
    model.observe(x, 1, y + 2)
    assert bool(parameters(model).isfinite().all())
