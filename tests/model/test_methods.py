"""What every method must do, over the whole table of names; and what each promises by itself."""

import argparse
import copy

import pytest
import torch

import model as methods
from model import UsageError, arguments
from tests.conftest import (
    SPLIT,
    TEXT,
    differ_after_a_restore,
    learn,
    masked_text,
    namespace,
    net,
    parameters,
    stream,
    suitable,
)

NAMES = list(methods.METHODS)
TEXT_ALONE = sorted({*methods.learning("text")} - {*methods.learning("images")})
STORING = arguments.FLAGS["n_memories"].methods


@pytest.fixture(params=["shared", "split"])
def tasks(request):
    name = request.node.callspec.params.get("name")
    if request.param == "shared" and name == "icarl":
        pytest.skip("icarl is for tasks with classes of their own")
    if name in TEXT_ALONE and request.param == "split":
        pytest.skip(f"{name} learns text, whose domains share all outputs")
    if name in TEXT_ALONE and request.node.callspec.params.get("engine") == "fast":
        pytest.skip(f"{name} learns text with a Transformer, which only autograd knows")
    if name in TEXT_ALONE:
        return masked_text(), TEXT
    if request.param == "shared":
        return stream()[0], {}
    return stream(n_outputs=6, split=True)[0], {**SPLIT, "n_memories": 6}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_same_twice(name, tasks, batch_size):
    train, outputs = tasks
    one, two = (learn(net(name, **outputs), train, batch_size) for _ in range(2))
    assert torch.equal(parameters(one), parameters(two))
    assert bool(parameters(one).isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_the_first_task_is_that_of_single(name, tasks):
    train, outputs = tasks
    ours, single = (learn(net(n, **outputs), train[:1], 3) for n in (name, "single"))
    differs = ours.first_task_differs
    assert differs is None or isinstance(differs, str)
    assert torch.equal(parameters(ours), parameters(single)) == (differs is None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "engine, dtype, steps",
    [
        ("fast", torch.float32, 3),  # a quarter of the work of twice the steps
        pytest.param("fast", torch.float32, 6, marks=pytest.mark.slow),
        pytest.param("autograd", torch.float64, 6, marks=pytest.mark.slow),
    ],
)
def test_going_on_after_a_restore_anywhere(name, tasks, engine, dtype, steps):
    train, outputs = tasks
    given = {
        "task_sample": 8,
        "ogd_per_task": 8,
        "cov_recompute_every": 2,
        "num_groups": 2,
        "engine": engine,
        "memory_strength": 1.5,
        **outputs,
    }
    assert differ_after_a_restore(lambda: net(name, **given), train, steps=steps, dtype=dtype) == []


@pytest.mark.parametrize("name", NAMES)
def test_finish_task_may_be_called_or_not_and_twice(name, tasks):
    train, outputs = tasks
    left, told = net(name, **outputs), net(name, **outputs)
    for t, (_, x, y) in enumerate(train):
        for model in (left, told):
            for i in range(0, 12, 3):
                model.observe(x[i : i + 3], t, y[i : i + 3])
        for _ in range(2):
            getattr(told, "finish_task", lambda: None)()
    assert torch.equal(parameters(left), parameters(told))


@pytest.mark.parametrize("name", methods.learning("images"))  # the reference knows no text
def test_the_keys_are_the_references(name):
    layers = {
        "independent": [f"nets.{t}.net.{i}" for t in (0, 1, 2) for i in (0, 2, 4)],
        "multimodal": ["i_layer.0", "i_layer.1", "i_layer.2", "h_layer.0.0", "o_layer.0"],
    }.get(name, [f"net.net.{i}" for i in (0, 2, 4)])
    keys = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    assert list(net(name, **suitable(name)[1]).state_dict()) == keys


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_leaves_the_trajectory_alone(name, tasks):
    train, outputs = tasks
    plain, watched = net(name, **outputs), net(name, **outputs)
    for t, (_, x, y) in enumerate(train):
        for i in range(12):
            for model in (plain, watched):
                model.observe(x[i : i + 1], t, y[i : i + 1])
            watched.train(name not in TEXT_ALONE)  # main evaluates in evaluation mode; dropout would draw in the other
            with torch.no_grad():
                assert watched(x, t).shape == (len(x), watched.outputs.n_outputs, *y.shape[1:])
            watched.train()
            watched.state_dict()
            watched.checkpoint()
    assert torch.equal(parameters(plain), parameters(watched))


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_goes_its_own_way(name, tasks):
    train, outputs = tasks
    model = learn(net(name, **outputs), train[:2])
    before = parameters(model).clone()
    twin = copy.deepcopy(model)
    learn(twin, train)
    assert torch.equal(parameters(model), before) and not torch.equal(parameters(twin), before)


@pytest.mark.parametrize("name", NAMES)
def test_every_dtype_and_order_of_tasks(name, tasks):
    train, outputs = tasks
    model = net(name, **outputs).double()
    for t in (2, 0, 1, 0):
        _, x, y = train[t]
        for i in range(0, 8, 2):
            model.observe(x[i : i + 2].double(), t, y[i : i + 2])
    assert parameters(model).dtype == torch.float64 and bool(parameters(model).isfinite().all())


@pytest.mark.parametrize("name", STORING)
def test_no_memory_is_an_error(name):
    with pytest.raises(UsageError, match=f"--n_memories 0: {name} needs at least one memory per task"):
        net(name, **{**suitable(name)[1], "n_memories": 0})


@pytest.mark.parametrize("name", methods.learning("images"))  # a foreign main knows no text
def test_a_foreign_main_passes_only_the_flags_it_knows(name):
    known = {"n_layers": 2, "n_hiddens": 8, "n_memories": 4, "memory_strength": 0.5, "finetune": False, "lr": 0.1}
    known |= {"cuda": False, "data_file": "mnist_rotations.pt", "n_epochs": 1, "batch_size": 1, "seed": 0}
    known |= {"samples_per_task": 40}
    train, given = suitable(name)
    if given:  # as the reference's: equal slices for this file
        known |= {"data_file": "cifar100.pt", "n_memories": 8}
    model = methods.load(name).Net(12, given.get("n_outputs", 4), 3, argparse.Namespace(**known))
    assert bool(parameters(learn(model, train)).isfinite().all())


def test_without_margin_the_variants_coincide():
    """gamma = 0: the sum, the mean, the QP and the closed form give the same step (they differ only in r's scale)."""
    train, _ = stream(dtype=torch.float64)
    results = [
        parameters(learn(net(name, memory_strength=0.0).double(), train))
        for name in ("agem", "agem_closed", "agem_meanqp")
    ]
    for other in results[1:]:
        assert torch.allclose(results[0], other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["agem_closed", "agem_meanqp"])
def test_with_one_past_task_the_triggers_coincide_and_with_two_they_do_not(name):
    train, _ = stream(n_tasks=3, dtype=torch.float64)
    for n, same in ((2, True), (3, False)):
        mean, every = (
            parameters(learn(net(name, agem_trigger=trigger, lr=0.1).double(), train[:n]))
            for trigger in ("mean", "any")
        )
        assert torch.allclose(mean, every, rtol=1e-9, atol=1e-12) is same


def test_with_one_past_task_sum_and_mean_coincide_at_any_margin():
    train, _ = stream(n_tasks=3)
    summed, mean, closed = (
        parameters(learn(net(name, memory_strength=10.0, lr=0.01), train[:2]))
        for name in ("agem", "agem_meanqp", "agem_closed")
    )
    assert torch.equal(summed, mean) and not torch.equal(summed, closed)


def test_a_sample_of_everything_is_the_whole_memory():
    train, _ = stream(dtype=torch.float64)
    sampled, closed = (
        parameters(learn(net(name, agem_batch=256).double(), train)) for name in ("agem_sampled", "agem_closed")
    )
    assert torch.allclose(sampled, closed, rtol=1e-9, atol=1e-12)


def test_sampled_batches_are_of_past_tasks_only_and_without_repetition():
    train, _ = stream()
    model = learn(net("agem_sampled", agem_batch=6), train)
    x, y, tasks, weights = model.draw()
    assert len(y) == 6 and set(tasks.tolist()) <= {0, 1} and len(x.unique(dim=0)) == 6
    assert weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("fisher", ["batch", "empirical", "sampled"])
def test_ewc_equals_the_sum_over_tasks(fisher):
    """The O(p) form against the penalty written out, its gradient by autograd, in float64."""
    train, _ = stream(dtype=torch.float64)
    lam, lr = 3.0, 0.05
    model = net("ewc", memory_strength=lam, lr=lr, n_memories=6, ewc_fisher=fisher).double()
    fishers, optima = [], []
    for t, (_, x, y) in enumerate(train):
        for i in range(10):
            theta = parameters(model).clone()
            if t and i == 0:
                a = sum(fishers)
                assert torch.allclose(model.a, a, rtol=1e-12)
            probe = net("single", lr=lr).double()
            probe.load_state_dict(model.state_dict())
            probe.observe(x[i : i + 1], t, y[i : i + 1])
            ce_step = parameters(probe) - theta
            free = theta.clone().requires_grad_()
            penalty = sum(lam * (F * (free - o).square()).sum() for F, o in zip(fishers, optima, strict=True))
            slope = torch.autograd.grad(penalty, free)[0] if fishers else torch.zeros_like(theta)
            model.observe(x[i : i + 1], t, y[i : i + 1])
            assert torch.allclose(parameters(model), theta + ce_step - lr * slope, rtol=1e-9, atol=1e-12)
        before = None if model.a is None else model.a.clone()
        model.finish_task()
        fishers.append(model.a if before is None else model.a - before)
        optima.append(parameters(model).clone())
        assert bool((fishers[-1] >= -1e-18).all())


def test_ewc_fishers_against_autograd():
    x, y = stream(dtype=torch.float64)[0][0][1:]
    single = []
    for kind in ("batch", "empirical"):
        model = net("ewc", n_memories=8, ewc_fisher=kind).double()
        model.x, model.y, model.task = x[:8], y[:8], 0
        logits = model.net(x[:8])
        losses = torch.nn.functional.cross_entropy(logits, y[:8], reduction="none")
        each = [
            torch.cat(
                [g.reshape(-1) for g in torch.autograd.grad(loss, list(model.net.parameters()), retain_graph=True)]
            )
            for loss in losses
        ]
        each = torch.stack(each)
        expected = each.mean(0).square() if kind == "batch" else each.square().mean(0)
        single.append(model.fisher())
        assert torch.allclose(single[-1], expected, rtol=1e-10, atol=1e-16)


def test_ewc_without_strength_is_single():
    train, _ = stream()
    assert torch.equal(
        parameters(learn(net("ewc", memory_strength=0.0), train)), parameters(learn(net("single"), train))
    )


def test_counts():
    train, _ = stream()
    model = learn(net("gem", lr=0.3), train)
    assert 0 < model.counts["violations"] == model.counts["qp_solves"] <= 80
    assert learn(net("agem_closed", lr=0.3), train).counts["qp_solves"] == 0


@pytest.mark.parametrize(
    "name, given",
    [
        ("gem", {}),
        ("agem", {}),
        ("agem_meanqp", {}),
        ("agem_meanqp", {"agem_trigger": "any"}),
        ("gem_group", {}),
        ("agem_group", {"agem_group_rule": "qp"}),
    ],
)
def test_what_a_margin_replays_is_counted(name, given):
    """At least the margin for each past task's loss, or for their mean; in blocks, in the share that is corrected."""
    train, _ = stream(n_tasks=3)
    model, wanted = net(name, lr=0.1, memory_strength=3.0, num_groups=2, **given), []
    count = model.count

    def watched(correction):
        count(correction)
        if correction is not None:
            losses = 1 if name in ("agem_meanqp", "agem_group") else len(model.others(model.task))
            changed = correction.weights.any(1) if correction.weights.ndim == 2 else [True]
            wanted.append(3.0 * losses * sum(changed) / len(changed))

    model.count = watched
    learn(model, train)
    assert len(wanted) == model.counts["violations"] > 10 and len(set(wanted)) > (name in ("gem", "agem", "gem_group"))
    assert model.counts["replay_weight"] == pytest.approx(sum(wanted))


@pytest.mark.parametrize(
    "name, margin",
    [("gem", 1.0), ("agem_closed", 3.0), ("agem_sampled", 3.0), ("agem_group", 3.0), ("ewc", 3.0), ("gem_group", 0.5)],
)
def test_replay_is_counted_only_where_a_margin_is_above_one(name, margin):
    assert "replay_weight" not in learn(net(name, memory_strength=margin, num_groups=2), stream()[0]).counts


def test_parity_refuses_rows_never_written():
    train, _ = stream(n=4)
    with pytest.raises(UsageError, match="--parity yes: only 4 of --n_memories 5 rows of task 0"):
        learn(net("gem", parity=True), train)


def test_arguments_are_left_alone():
    args = namespace()
    before = dict(vars(args))
    methods.load("gem").Net(12, 4, 3, args)
    assert vars(args) == before
