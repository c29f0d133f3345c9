"""What a checkpoint holds: all of a method that changes while it learns, whoever wrote it."""

import collections
import copy
import io
import random

import numpy as np
import pytest
import torch

from model import METHODS, UsageError, state
from model.memory import RingMemory
from model.numeric.basis import Basis
from tests.conftest import net, suitable

SETTINGS = [
    *((name, {}) for name in METHODS),
    *(pytest.param(name, {"engine": "autograd"}, marks=pytest.mark.slow) for name in METHODS),
    *(("ogd", {"ogd_mode": mode}) for mode in ("ave", "loss_mean")),
    ("ogd", {"ogd_max_basis": 9}),
    *(("ncl", given) for given in ({"ncl_diag": True}, {"ncl_momentum": 0.5}, {"ncl_data_size": 40})),
    *((name, {"forgetting_mode": True, "task_sample": 8}) for name in ("ewc", "ogd", "spg", "gem", "ewc_group")),
]
ELSEWHERE = {"step", "views", "flat"}  # buffers of precisions, overwritten before they are read; the engine's own


def differences(one, two, place="", seen=()) -> list[str]:
    """The places at which two objects differ in what their attributes hold; of our objects, in what their public ones hold."""
    if id(one) in seen:
        return []
    seen = (*seen, id(one))
    if isinstance(one, torch.Tensor):
        return [] if isinstance(two, torch.Tensor) and torch.equal(one, two) else [place]
    if isinstance(one, torch.Generator):
        return differences(one.get_state(), two.get_state(), place, seen)
    if isinstance(one, list | tuple):
        if not isinstance(two, list | tuple) or len(one) != len(two):
            return [place]
        return [
            d for i, pair in enumerate(zip(one, two, strict=True)) for d in differences(*pair, f"{place}[{i}]", seen)
        ]
    if isinstance(one, dict):
        if not isinstance(two, dict) or one.keys() != two.keys():
            return [place]
        return [d for key in one for d in differences(one[key], two[key], f"{place}[{key}]", seen)]
    if type(one).__module__.startswith("model") and hasattr(one, "__dict__"):
        names = [name for name in vars(one) if not name.startswith("_") and name not in ELSEWHERE]
        return [d for n in names for d in differences(getattr(one, n), getattr(two, n, None), f"{place}.{n}", seen)]
    return [] if callable(one) or isinstance(one, torch.nn.Module) or one == two else [place]


@pytest.mark.parametrize("name, given", SETTINGS)
def test_every_attribute_comes_back(name, given):
    """Also one that nobody has thought of: whatever an attribute holds is compared."""
    given = {"ogd_per_task": 8, "task_sample": 8, "num_groups": 2, "cov_recompute_every": 2, **given}
    tasks, needed = suitable(name)
    given |= needed
    model = net(name, **given)
    for t, (_, x, y) in enumerate(tasks):
        for i in range(0, 8, 2):
            model.observe(x[i : i + 2], t, y[i : i + 2])
    file = io.BytesIO()
    torch.save(state.checkpoint(model), file)
    file.seek(0)
    fresh = net(name, **given)
    state.restore(fresh, torch.load(file, weights_only=True))
    ours, theirs = vars(model), vars(fresh)
    left_out = {"engine", "args", *model.CACHES, *vars(torch.nn.Module())}
    names = [name for name in ours if name not in left_out]
    assert [d for name in names for d in differences(ours[name], theirs.get(name), name)] == []
    assert differences(dict(model.state_dict()), dict(fresh.state_dict())) == []


class Anything(torch.nn.Module):
    """A method of somebody else, with one attribute of every sort."""

    def __init__(self, seed=0):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 2))
        self.net[0].calls = seed  # of a module inside
        self.plain = [1, 2.5, "a", None, True, b"x", 1j, (1, {2}), {"a": {3: seed}}]
        self.shared = torch.full((2,), float(seed))
        self.twice = [self.shared]
        self.array, self.scalar = np.arange(3.0) + seed, np.float32(seed)
        self.queue = collections.deque([seed, 2], maxlen=3)
        self.draws = [torch.Generator().manual_seed(seed), np.random.default_rng(seed), random.Random(seed)]
        self.old = np.random.RandomState(seed)
        self.memory = RingMemory(2, 3)
        self.memory.write(0, torch.full((2, 2), float(seed)), torch.tensor([0, 1]))
        self.opt = torch.optim.SGD(self.parameters(), lr=0.1 + seed)
        self.function, self.loss, self.lstm = len, torch.nn.CrossEntropyLoss(), torch.nn.LSTM(2, 2)
        self._private = seed


def test_attributes_of_every_sort():
    model, fresh = Anything(seed=3), Anything()
    state.restore(fresh, copy.deepcopy(state.checkpoint(model)))
    assert fresh.plain == model.plain and fresh.net[0].calls == 3 and fresh._private == 3
    assert fresh.array.tolist() == [3.0, 4.0, 5.0] and fresh.scalar == 3 and type(fresh.scalar) is np.float32
    assert fresh.queue == model.queue and fresh.queue.maxlen == 3
    assert torch.equal(fresh.memory.x, model.memory.x) and fresh.opt.param_groups[0]["lr"] == 3.1
    assert fresh.shared is fresh.twice[0] and fresh.shared.tolist() == [3.0, 3.0]
    for each in (model, fresh):
        each.drawn = [torch.rand(1, generator=each.draws[0]).item(), each.draws[1].random(), each.draws[2].random()]
        each.drawn.append(each.old.rand())
    assert fresh.drawn == model.drawn


@pytest.mark.parametrize(
    "value, said",
    [
        (iter([]), "cannot hold the attribute strange, a list_iterator; give it checkpoint.. and restore"),
        (type("Mine", (dict,), {})(), "cannot hold the attribute strange, a Mine; give it"),
        (np.array(["text"]), "cannot hold the attribute strange, a ndarray"),
    ],
)
def test_what_cannot_be_held_is_told(value, said):
    model = Anything()
    model.strange = value
    with pytest.raises(UsageError, match=said):
        state.checkpoint(model)


def test_a_view_of_the_parameters_is_told():
    model = Anything()
    model.anchor = model.net[0].weight[0]
    with pytest.raises(UsageError, match=r"the attribute anchor, which is a view of the parameters; keep a clone\(\)"):
        state.checkpoint(model)


def test_gradients_fixed_parameters_and_fleeting_buffers_come_back():
    """What ``state_dict`` leaves out."""

    def made():
        model = Anything()
        model.register_buffer("seen", torch.zeros(2), persistent=False)
        model.both = [*model.net.parameters()]
        return model

    model, fresh = made(), made()
    model.net[0].weight.sum().backward()
    model.net[0].bias.requires_grad_(False)
    model.seen += 3
    state.restore(fresh, copy.deepcopy(state.checkpoint(model)))
    assert fresh.net[0].weight.grad.tolist() == [[1, 1], [1, 1]] and fresh.net[0].bias.grad is None
    assert [p.requires_grad for p in fresh.net.parameters()] == [True, False] and fresh.seen.tolist() == [3, 3]
    assert all(one is two for one, two in zip(fresh.both, fresh.net.parameters(), strict=True))


def test_an_optimizer_of_other_parameters_is_told():
    """Its own state has only their number."""
    model = Anything()
    model.opt = torch.optim.SGD(model.lstm.parameters(), lr=0.1)
    with pytest.raises(UsageError, match="the state of the attribute opt, which a fresh method does not have"):
        state.restore(Anything(), state.checkpoint(model))


def test_an_object_that_the_constructor_does_not_make_is_told():
    model = Anything()
    model.later = Basis(3)
    with pytest.raises(UsageError, match="the state of the attribute later, which a fresh method does not have"):
        state.restore(Anything(), state.checkpoint(model))


def test_the_shared_generators():
    before = state.random_state()
    drawn = [torch.rand(2).tolist(), np.random.rand(), random.random()]
    state.set_random_state(before)
    assert drawn == [torch.rand(2).tolist(), np.random.rand(), random.random()]
