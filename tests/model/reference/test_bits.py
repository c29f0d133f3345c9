"""The reference's arithmetic, written out slowly, against what ``--parity yes`` runs: the same bits after a stream."""

import copy

import numpy as np
import pytest
import quadprog
import torch
from torch.nn import functional as F

from model import UsageError, common
from model.reference import gem
from tests.conftest import learn, net, parameters, stream
from tests.model.numeric.test_projection import kkt

GEMS = ("single", "ewc", "gem")  # the methods of the GEM authors' code
MLP = {"n_inputs": 64, "n_tasks": 5, "lr": 0.1, "batch_size": 3}
SHARED = {**MLP, "n_outputs": 10}
SPLIT = {**MLP, "n_outputs": 15, "task_outputs": common.equal_slices(15, 5)}
RESNET = {
    "data_file": "cifar100.pt",
    "n_inputs": 3072,
    "n_tasks": 3,
    "lr": 0.03,
    "batch_size": 3,
    "n_outputs": 6,
    "task_outputs": common.equal_slices(6, 3),
}
# 33 units: in a vector of all parameters, what follows the first layer's would begin off any boundary, and products of
# single examples with it would round differently.
SETTINGS = {
    "one hidden layer": {**SHARED, "n_layers": 1, "n_hiddens": 100},
    "two hidden layers": {**SHARED, "n_hiddens": 33, "batch_size": 1, "lr": 0.03},
    "split heads": {**SPLIT, "n_hiddens": 33},
    "resnet": RESNET,
}


class Plain:
    """Tensors with gradients, one after another, and SGD on them; the losses are the subclasses'."""

    def __init__(self, model, given):
        self.net, self.given, self.outputs = copy.deepcopy(model.net).train(), given, given.get("task_outputs")
        self.weights = list(self.net.parameters())
        self.sgd = torch.optim.SGD(self.weights, lr=given["lr"])
        self.now, self.past = None, []
        self.begin()

    def begin(self):
        pass

    def cross_entropy(self, x, t, y):
        logits, low, high = self.net(x), 0, self.given["n_outputs"]
        if self.outputs is not None:
            low, high = self.outputs[t][0], self.outputs[t][-1] + 1
        return F.cross_entropy(logits[:, low:high], y - low)

    def observe(self, x, t, y):
        if t != self.now:
            if self.now is not None:
                self.look_back(self.now)
                self.past.append(self.now)
            self.now = t
        self.keep(x, t, y)
        loss = self.loss(x, t, y)
        self.sgd.zero_grad()
        loss.backward()
        self.correct(t)
        self.sgd.step()

    def look_back(self, task):
        pass

    def keep(self, x, t, y):
        pass

    def correct(self, t):
        pass

    def loss(self, x, t, y):
        return self.cross_entropy(x, t, y)


class PlainEWC(Plain):
    def begin(self):
        self.kept, self.fisher, self.optimum = {}, {}, {}

    def keep(self, x, t, y):
        xs, ys = self.kept.get(t, (x[:0], y[:0]))
        if len(ys) < max(self.given["n_memories"], 1):
            end = max(self.given["n_memories"], len(y)) if len(ys) == 0 else self.given["n_memories"]
            self.kept[t] = torch.cat((xs, x))[:end], torch.cat((ys, y))[:end]

    def look_back(self, task):
        loss = self.cross_entropy(self.kept[task][0], task, self.kept[task][1])
        self.fisher[task] = [g * g for g in torch.autograd.grad(loss, self.weights)]
        self.optimum[task] = [w.detach().clone() for w in self.weights]

    def loss(self, x, t, y):
        total = self.cross_entropy(x, t, y)
        for task in self.past:
            for i, w in enumerate(self.weights):
                distance = (w - self.optimum[task][i]) ** 2
                total = total + torch.sum(self.given["memory_strength"] * self.fisher[task][i] * distance)
        return total


class PlainGEM(Plain):
    def begin(self):
        n_tasks, m = self.given["n_tasks"], self.given["n_memories"]
        self.x = torch.full((n_tasks, m, self.given["n_inputs"]), torch.nan)
        self.y = torch.full((n_tasks, m), -1)
        self.place = self.solved = 0
        self.gradients = torch.full((sum(w.numel() for w in self.weights), n_tasks), torch.nan)

    def keep(self, x, t, y):
        for xi, yi in list(zip(x, y, strict=True))[: self.given["n_memories"] - self.place]:
            self.x[t, self.place], self.y[t, self.place] = xi, yi
            self.place += 1
        self.place %= self.given["n_memories"]

    def loss(self, x, t, y):
        for s in self.past:
            gradient = torch.autograd.grad(self.cross_entropy(self.x[s], s, self.y[s]), self.weights)
            self.gradients[:, s] = torch.cat([g.flatten() for g in gradient])
        return self.cross_entropy(x, t, y)

    def correct(self, t):
        if not self.past:
            return
        self.gradients[:, t] = torch.cat([w.grad.flatten() for w in self.weights])
        g, rows = self.gradients[:, t], self.gradients[:, self.past]
        if (g[None] @ rows >= 0).all():
            return
        self.solved += 1
        M = rows.contiguous().double().numpy().T  # float64 as torch converts it, never copied into another order
        g = g.double().numpy()
        P, q = np.dot(M, M.T), -np.dot(M, g)
        P = (P + P.T) * 0.5 + np.diag(np.full(len(M), 1e-3))
        v, *_ = quadprog.solve_qp(P, q, np.identity(len(M)), np.full(len(M), self.given["memory_strength"]))
        x, end = torch.tensor(np.dot(v, M) + g, dtype=torch.float32), 0
        for w in self.weights:
            w.grad = x[end : end + w.numel()].clone().view_as(w)
            end += w.numel()


PLAIN = {"single": Plain, "ewc": PlainEWC, "gem": PlainGEM}


def batches(given, n=30):
    """n examples a task of the inputs that ``given`` names, in batches that need not divide them."""
    if given["n_inputs"] == common.IMAGE_INPUTS:
        n = 7
    split = given.get("task_outputs") is not None
    tasks, _ = stream(given["n_tasks"], n, given["n_inputs"], given["n_outputs"], split=split)
    for t, (_, x, y) in enumerate(tasks):
        for i in range(0, n, given["batch_size"]):
            yield x[i : i + given["batch_size"]].clone(), t, y[i : i + given["batch_size"]]


def both(name, **given):
    """The parity run's model and the plain one after the same stream."""
    ours = net(name, parity=True, **given)
    plain = PLAIN[name](ours, given)
    for x, t, y in batches(given):
        ours.observe(x, t, y)
        plain.observe(x, t, y)
    getattr(ours, "finish_task", lambda: None)()  # the reference never looks back on the last task
    return ours, plain


CASES = [
    ("single", {}),
    ("ewc", {"n_memories": 7, "memory_strength": 30.0}),
    ("ewc", {"n_memories": 0, "memory_strength": 2.0}),
    ("gem", {"n_memories": 5, "memory_strength": 0.5}),
    ("gem", {"n_memories": 4, "memory_strength": 0.0}),
]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("name", "memory"), CASES)
def test_the_same_bits(name, memory, setting):
    ours, plain = both(name, **SETTINGS[setting], **memory)
    theirs = plain.net.state_dict()
    assert all(torch.equal(value, theirs[key.removeprefix("net.")]) for key, value in ours.state_dict().items())
    assert bool(parameters(ours).isfinite().all())
    if name == "gem":
        assert ours.counts["violations"] == ours.counts["qp_solves"] == plain.solved > 0


@pytest.mark.parametrize("name", GEMS)
def test_the_methods_compute_the_same_but_for_rounding(name, monkeypatch):
    """In float64, where the memory is the same and the ridge next to nothing: the parity path is the method."""
    monkeypatch.setattr(gem, "REFERENCE_RIDGE", 1e-9)
    given = {**SETTINGS["split heads"], "n_memories": 30, "memory_strength": 0.5, "lr": 0.01}
    default, parity = (
        learn(net(name, parity=p, **given).double(), stream(5, 30, 64, 15, split=True, dtype=torch.float64)[0])
        for p in (False, True)
    )
    moved = float((parameters(default) - parameters(net(name, **given).double())).norm())
    assert float((parameters(default) - parameters(parity)).norm()) < (1e-4 if name == "gem" else 1e-10) * moved


@pytest.mark.parametrize("name", GEMS)
@pytest.mark.parametrize("cut", [9, 10, 13])
def test_going_on_after_a_restore(name, cut):
    given = {**SETTINGS["split heads"], "n_memories": 5, "memory_strength": 0.5, "parity": True}
    first, second = net(name, **given), net(name, seed=9, **given)
    steps = list(batches(given))
    for step in steps[:cut]:
        first.observe(*step)
    second.restore(first.checkpoint())
    for step in steps[cut:]:
        first.observe(*step)
        second.observe(*step)
    assert torch.equal(parameters(first), parameters(second)) and first.counts == second.counts


def test_the_projection_solves_its_problem():
    draw = torch.Generator().manual_seed(2)
    rows, g = torch.randn(90, 4, generator=draw), torch.randn(90, generator=draw)
    v, x = gem.project(g, rows, 0.5)
    G, g = rows.T.double().numpy(), g.double().numpy()
    assert kkt(G @ G.T + gem.REFERENCE_RIDGE * np.eye(4), -G @ g, np.full(4, 0.5), v) < 1e-10
    assert x.numpy() == pytest.approx(g + v @ G, abs=1e-5) and x.dtype == torch.float32


def test_gradients_that_the_references_program_fails_on():
    opposite = 1e9 * torch.tensor([[1.0, 1.0 + 1e-7], [0.0, 0.0]])
    with pytest.raises(FloatingPointError, match="the reference's quadratic program of 2 rows fails"):
        gem.project(torch.tensor([-1.0, 0.0]), opposite, 0.5)
    with pytest.raises(FloatingPointError, match="not finite"):
        gem.project(torch.tensor([-1.0, torch.inf]), opposite, 0.5)


def test_no_fisher_but_the_references():
    with pytest.raises(UsageError, match=r"--ewc_fisher sampled --parity yes: .*; give one of the two"):
        net("ewc", parity=True, ewc_fisher="sampled")
