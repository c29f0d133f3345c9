"""ER and MER against a plain implementation of their algorithms, in autograd and float64; and what they promise."""

import copy
import math
import pickle

import pytest
import torch

from model import UsageError
from model.engine import fast
from model.memory import ReservoirMemory
from tests.conftest import learn, net, parameters, stream
from tests.model import plain

NAMES = ("eralg4", "eralg5", "meralg1", "meralg6", "meralg7")
MER = NAMES[2:]
RATES = {"beta": 0.3, "gamma": 0.6, "s": 4.0, "batches_per_example": 2}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("n_layers", [0, 2])
def test_the_papers_algorithm(name, engine, split, n_layers):
    """Heads, networks of one layer and of three, batches, a reservoir that overflows."""
    outputs = [[0, 1], [2, 3], [4, 5]] if split else None
    C = 6 if split else 4
    train, _ = stream(n=14, n_outputs=C, split=split, dtype=torch.float64)
    given = {"memories": 17, "replay_batch_size": 4, "lr": 0.2}
    sizes = {"n_outputs": C, "n_layers": n_layers, "seed": 5, "task_outputs": outputs}
    model = net(name, engine=engine, **sizes, **given, **RATES).double()
    by_hand = plain.make(model)
    for t, (_, x, y) in enumerate(train):
        for i in range(0, 14, 3):
            for each in (model, by_hand):
                each.observe(x[i : i + 3], t, y[i : i + 3])
        assert torch.allclose(parameters(model), by_hand.theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MER)
def test_with_all_rates_one_it_is_plain_sgd_and_with_one_of_them_zero_nothing_is_learned(name):
    train, _ = stream(n=12, dtype=torch.float64)
    plain = {"beta": 1.0, "gamma": 1.0, "s": 1.0}
    model, steps = net(name, **plain).double(), []
    sgd = net("single").double()
    one_by_one = model.engine.one_by_one

    def noted(x, y, tasks, rates):
        steps.extend(zip(x.clone(), y.clone(), rates, strict=True))
        one_by_one(x, y, tasks, rates)

    model.engine.one_by_one = noted
    learn(model, train)
    for x, y, rate in steps:
        sgd.lr = rate
        sgd.observe(x.unsqueeze(0), 0, y.unsqueeze(0))  # all tasks share one head
    assert len(steps) > 100 and torch.allclose(parameters(model), parameters(sgd), rtol=1e-11, atol=1e-13)
    for rate in ("beta", "gamma") if name == "meralg1" else ("gamma",):
        still = net(name, **{**plain, rate: 0.0}).double()
        before = parameters(still).clone()
        assert torch.equal(parameters(learn(still, train)), before)


@pytest.mark.parametrize("name", MER)
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.5])
def test_the_outer_step_is_exact(name, gamma):
    train, _ = stream(n=10, dtype=torch.float64)
    inner, outer = (learn(net(name, gamma=0.7).double(), train[:1]) for _ in range(2))
    inner.args.gamma, outer.args.gamma = 1.0, gamma
    start = parameters(inner).clone()
    for model in (inner, outer):
        model.observe(train[1][1][:1], 1, train[1][2][:1])
    wanted = start + gamma * (parameters(inner) - start)
    assert torch.allclose(parameters(outer), wanted, rtol=1e-14, atol=1e-15)


def test_before_anything_is_stored_replay_is_sgd_on_single_examples():
    train, _ = stream()
    x, y = train[0][1][:1], train[0][2][:1]
    first = [net(name, s=3.0) for name in ("single", *NAMES[:4])]
    for model in first:
        model.observe(x, 0, y)
    for model in first[1:]:
        assert torch.allclose(parameters(model), parameters(first[0]), atol=1e-7)
    seventh = net("meralg7")  # which only stores the first example
    before = parameters(seventh).clone()
    seventh.observe(x, 0, y)
    assert torch.equal(parameters(seventh), before) and len(seventh.memory) == 1


def test_with_one_task_algorithm_5_is_algorithm_4():
    train, _ = stream(dtype=torch.float64)
    four, five = (learn(net(name).double(), train[:1]) for name in ("eralg4", "eralg5"))
    assert torch.allclose(parameters(four), parameters(five), rtol=1e-12)
    four, five = (learn(net(name).double(), train[:2]) for name in ("eralg4", "eralg5"))
    assert not torch.allclose(parameters(four), parameters(five), rtol=1e-3)


def test_with_s_one_algorithm_7_is_algorithm_6_in_the_same_order():
    train, _ = stream(n=12, dtype=torch.float64)
    seven, six = (net(name, gamma=0.4, s=1.0).double() for name in ("meralg7", "meralg6"))
    x, y = train[0][1], train[0][2]
    for model in (seven, six):
        model.memory.write(0, x[:5], y[:5])
    E = {}
    steps = seven.engine.one_by_one

    def noted(*examples):
        E["of 7"] = examples
        steps(*examples)

    seven.engine.one_by_one = noted
    seven.observe(x[5:6], 0, y[5:6])
    xs, ys, tasks, _ = E["of 7"]
    given = six.engine.one_by_one
    six.engine.one_by_one = lambda *_: given(xs, ys, tasks, [six.lr] * len(ys))
    six.observe(x[5:6], 0, y[5:6])
    assert len(ys) == 4 and torch.equal(parameters(seven), parameters(six))


def test_every_example_is_stored_with_the_same_probability():
    """Chi-square over 2,000 reservoirs of 5 of 20 examples; the statistic has 19 degrees of freedom."""
    n, capacity, times = 20, 5, 2_000
    counts = torch.zeros(n)
    x, y = torch.arange(n, dtype=torch.float32).unsqueeze(1), torch.zeros(n, dtype=torch.long)
    for seed in range(times):
        memory = ReservoirMemory(capacity, seed)
        memory.write(0, x, y)
        assert len(memory) == capacity
        counts[memory.rows()[0][:, 0].long()] += 1
    expected = times * capacity / n
    # without repetition inside a reservoir the variance is smaller than a multinomial's by 1 - capacity / n
    chi = float(((counts - expected) ** 2).sum() / expected / (1 - capacity / n) * (n - 1) / n)
    assert chi < 43.8  # 0.1 %


def test_draws_are_uniform_with_repetition_and_no_more_than_are_stored():
    memory = ReservoirMemory(10, 0)
    assert memory.draw(3).tolist() == []
    memory.write(0, torch.rand(4, 2), torch.zeros(4, dtype=torch.long))
    drawn = torch.cat([memory.draw(7) for _ in range(1_000)])
    assert len(drawn) == 4_000
    counts = drawn.bincount(minlength=4)
    assert len(counts) == 4 and bool(((counts - 1_000).abs() < 4 * math.sqrt(4_000 * 3 / 16)).all())
    assert any(len(set(memory.draw(4).tolist())) < 4 for _ in range(20))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flag", ["memories", "replay_batch_size"])
def test_without_memory_or_replay_it_is_refused(name, flag):
    with pytest.raises(UsageError, match=f"--{flag} 0: {name} replays stored examples; give 1 or more"):
        net(name, **{flag: 0})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", ["fast", "autograd"])
def test_a_loss_that_is_not_finite_stops_the_run(name, engine):
    model = net(name, engine=engine)
    x, y = stream()[0][0][1:]
    model.observe(x[:2], 0, y[:2])
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"^the loss of (the batch|an example) is (not finite|nan|inf)$"):
        model.observe(x[2:3], 0, y[2:3])


@pytest.mark.parametrize("name", ["eralg4", "meralg1", "meralg7"])
def test_of_a_filling_reservoir_few_sizes_are_remembered(name):
    """Each has buffers and a list of calls."""
    model = net(name, memories=40, replay_batch_size=40, batches_per_example=1)
    learn(model, stream(n=20)[0])
    assert len(model.memory) == 40 and 1 <= len(model.engine._steps) <= fast.SIZES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_goes_on_as_the_original_does(name, copied):
    train, _ = stream(n=30)
    model = learn(net(name), train, steps=20)
    twin = copied(model)
    for each in (model, twin):
        learn(each, train, steps=10)
    assert torch.equal(parameters(model), parameters(twin))
