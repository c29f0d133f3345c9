"""The arithmetic and the draws of the MER authors' code, written out slowly, against ``--parity yes``: the same bits."""

import copy
import random

import pytest
import torch
from torch.nn import functional as F

from model import UsageError
from model.memory import ReservoirMemory
from model.replay import ReplayLearner
from tests.conftest import learn, net, parameters, stream

NAMES = ("eralg4", "eralg5", "meralg1", "meralg6", "meralg7")
GIVEN = {"n_inputs": 64, "n_outputs": 10, "n_hiddens": 33, "lr": 0.05, "memories": 11, "replay_batch_size": 4}
GIVEN |= {"batches_per_example": 2, "beta": 0.3, "gamma": 0.6, "s": 5.0}


class Plain:
    """A list of examples, Python's generator, dictionaries of parameters."""

    def __init__(self, algorithm, model):
        self.net, self.algorithm = copy.deepcopy(model.net), algorithm
        self.sgd = torch.optim.SGD(self.net.parameters(), GIVEN["lr"])
        self.M, self.age = [], 0

    def replayed(self):
        order, result = list(range(len(self.M))), []
        for j in range(min(GIVEN["replay_batch_size"], len(order))):
            random.shuffle(order)
            result.append(self.M[order[j]])
        return result

    def loss(self, examples):
        xs, ys = (torch.stack(part).clone() for part in zip(*(e[:2] for e in examples), strict=True))
        return F.cross_entropy(self.net(xs), ys)

    def step(self, loss):
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()

    def now(self):
        return {name: value.clone() for name, value in self.net.state_dict().items()}

    def reptile(self, start, rate):
        end = self.now()
        self.net.load_state_dict({name: start[name] + (end[name] - start[name]) * rate for name in start})

    def each(self, examples, current=None):
        for e in examples:
            self.step(self.loss([e]) * (GIVEN["s"] if e is current else 1.0))

    def learn(self, e):
        if self.algorithm == 4:
            self.step(self.loss([*self.replayed(), e]))
        elif self.algorithm == 5:
            groups = {}
            for example in [e, *self.replayed()]:
                groups.setdefault(example[2], []).append(example)
            self.step(sum(self.loss(group) for group in groups.values()))
        elif self.algorithm == 1:
            outer = self.now()
            for _ in range(GIVEN["batches_per_example"]):
                inner = self.now()
                self.each([e, *self.replayed()])
                self.reptile(inner, GIVEN["beta"])
            self.reptile(outer, GIVEN["gamma"])
        elif self.algorithm == 6:
            self.replayed()
            for _ in range(GIVEN["batches_per_example"]):
                start = self.now()
                self.each([*self.replayed(), e])
                self.reptile(start, GIVEN["gamma"])
        elif self.M:
            start, batch = self.now(), [e, *self.replayed()]
            random.shuffle(batch)
            self.each(batch, e)
            self.reptile(start, GIVEN["gamma"])

    def observe(self, x, t, y):
        for e in zip(x, y, [t] * len(y), strict=True):
            self.age += 1
            self.learn(e)
            if len(self.M) < GIVEN["memories"]:
                self.M.append(e)
            elif (place := random.randint(0, self.age)) < GIVEN["memories"]:
                self.M[place] = e


def batches():
    for t, (_, x, y) in enumerate(stream(3, 20, 64, 10)[0]):
        for i in range(0, 20, 3):
            yield x[i : i + 3], t, y[i : i + 3]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits(name):
    ours = net(name, parity=True, **GIVEN)
    plain = Plain(int(name[-1]), ours)
    for model in (ours, plain):
        random.seed(4)
        for batch in batches():
            model.observe(*batch)
    theirs = plain.net.state_dict()
    assert all(torch.equal(value, theirs[key.removeprefix("net.")]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_the_method_computes_the_same_but_for_rounding(name):
    """With the same draws, in float64."""
    train, _ = stream(3, 20, 64, 10, dtype=torch.float64)
    default, parity = (net(name, parity=p, **GIVEN).double() for p in (False, True))
    parity.memory = ReservoirMemory(GIVEN["memories"], 0)
    parity.examples = lambda x, t, y: ReplayLearner.examples(parity, x, t, y)  # without the draw that is not used
    assert torch.allclose(parameters(learn(default, train)), parameters(learn(parity, train)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_going_on_after_a_restore(name):
    first, second = net(name, parity=True, **GIVEN), net(name, seed=9, parity=True, **GIVEN)
    random.seed(7)
    for i, batch in enumerate(batches()):
        if i == 9:
            state = first.checkpoint()
        first.observe(*batch)
    random.seed(8)
    second.restore(state)
    for batch in list(batches())[9:]:
        second.observe(*batch)
    assert torch.equal(parameters(first), parameters(second))


def test_heads_of_their_own_are_refused():
    with pytest.raises(
        UsageError, match="--parity yes: the MER authors' eralg4 knows one head for all tasks; give --head"
    ):
        net("eralg4", parity=True, n_outputs=6, task_outputs=[[0, 1], [2, 3], [4, 5]])
