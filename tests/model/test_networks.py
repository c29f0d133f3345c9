"""Networks with normalisation, dropout, a penalty on activations, and LeNet-5, against plain modules and autograd."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from model import METHODS, UsageError, networks
from model.engine.autograd import AutogradEngine
from model.engine.fast import FastEngine
from tests.conftest import differ_after_a_restore, learn, net, parameters, stream, suitable

pytestmark = pytest.mark.filterwarnings("ignore:--(optimizer|momentum)")
TRAIN = stream()[0]
SIZES = (12, 7, 5, 4)
MER = ("meralg1", "meralg6", "meralg7")
GROUPS = ("gem_group", "agem_group", "ewc_group")


class Plain(nn.Module):
    """12-7-5-4 by hand, with the modules of torch."""

    def __init__(self, norm):
        super().__init__()
        kinds = {"none": lambda n: nn.Identity(), "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
        self.fc = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(SIZES))
        self.norm = nn.ModuleList(kinds[norm](n) for n in SIZES[1:3])

    def forward(self, x, masks):
        hidden = []
        for fc, norm, mask in zip(self.fc, self.norm, masks, strict=False):
            hidden.append(F.relu(norm(fc(x))))
            x = hidden[-1] * mask
        return self.fc[2](x), hidden


@pytest.mark.parametrize(
    ("norm", "dropout", "l1", "engine"),
    [
        ("batch", 0.0, 0.0, AutogradEngine),
        ("layer", 0.4, 0.0, AutogradEngine),
        ("batch", 0.4, 0.7, AutogradEngine),
        ("none", 0.0, 0.7, FastEngine),
    ],
)
def test_steps_are_those_of_a_plain_module(norm, dropout, l1, engine):
    model = net("single", hidden_sizes="7,5", norm=norm, dropout=dropout, l1_activations=l1, seed=3).double()
    assert isinstance(model.engine, engine)
    plain = Plain(norm).double()
    linear = [module for module in model.net.net if isinstance(module, nn.Linear)]
    norms = [module for module in model.net.net if isinstance(module, nn.BatchNorm1d | nn.LayerNorm)]
    for ours, theirs in zip(linear, plain.fc, strict=True):
        theirs.load_state_dict(ours.state_dict())
    draws = torch.Generator()
    for t in range(2):
        draws.manual_seed(3 + (t + 1) * 2**32)
        _, x, y = TRAIN[t]
        for start in range(0, 40, 8):
            xs, ys = x[start : start + 8].double(), y[start : start + 8]
            keep = [
                torch.empty(8, n, dtype=torch.double).bernoulli_(1 - dropout, generator=draws) / (1 - dropout)
                if dropout
                else 1.0
                for n in SIZES[1:3]
            ]
            logits, hidden = plain(xs, keep)
            loss = F.cross_entropy(logits, ys) + l1 * sum(h.abs().mean() for h in hidden)
            plain.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in plain.parameters():
                    p -= 0.1 * p.grad
            model.observe(xs, t, ys)
    for ours, theirs in zip([*linear, *norms], [*plain.fc, *(plain.norm if norms else [])], strict=True):
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.allclose(a.double(), b.double(), rtol=1e-9, atol=1e-11)
    model.eval()
    plain.eval()
    x = TRAIN[0][1].double()
    assert torch.allclose(model(x, 0), plain(x, [1.0, 1.0])[0], rtol=1e-8)


def test_sizes_are_the_split_mnist_notes():
    for norm, p in (("none", 105_214), ("batch", 105_622)):
        model = net("single", 784, 10, hidden_sizes="120,84", norm=norm)
        assert parameters(model).numel() == p
        kinds = [type(module).__name__ for module in model.net.net]
        assert kinds == (["Linear", *(["BatchNorm1d"] if norm == "batch" else []), "ReLU"] * 2 + ["Linear"])
    nets = net("independent", hidden_sizes="9,2", norm="layer", dropout=0.5).nets
    assert [module.out_features for module in nets[1].net if isinstance(module, nn.Linear)] == [3, 1, 4]


def test_lenet5_is_the_convolutional_net_of_the_paper():
    torch.manual_seed(0)
    model = networks.LeNet5(784, [120, 84], 10)
    assert sum(p.numel() for p in model.parameters()) == 61_706
    x = torch.rand(3, 784)
    w = list(model.parameters())
    h = F.max_pool2d(F.relu(F.conv2d(x.view(3, 1, 28, 28), w[0], w[1], padding=2)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, w[2], w[3])), 2).flatten(1)
    h1 = F.relu(F.linear(h, w[4], w[5]))
    h2 = F.relu(F.linear(h1, w[6], w[7]))
    logits = F.linear(h2, w[8], w[9])
    assert torch.allclose(model(x), logits, atol=1e-6)
    (one, two), out = networks.activations(model, x)
    assert torch.allclose(one, h1, atol=1e-6) and torch.allclose(two, h2, atol=1e-6) and torch.equal(out, model(x))
    assert networks.LeNet5(3072, [9], 5, "batch").eval()(torch.rand(2, 3072)).shape == (2, 5)
    normed = networks.LeNet5(784, [9], 5, "layer")
    assert sum(isinstance(module, nn.GroupNorm) for module in normed.modules()) == 2


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (*MER, *GROUPS, "ncl")])
def test_every_method_learns_any_network_and_goes_on_after_a_restore(name):
    """Running statistics, dropout's draws and Adam's memory included."""
    train, own = suitable(name)
    norm = "layer" if name.startswith("eralg") else "batch"
    given = {"hidden_sizes": "6,5", "norm": norm, "dropout": 0.3, "l1_activations": 0.2, "optimizer": "adam"}
    given |= {"lr": 0.01, "ogd_per_task": 3, "task_sample": 4, "later_lr_factor": 0.5, **own}
    if name == "joint":
        given["later_lr_factor"] = 1.0
    start = parameters(net(name, **{"n_outputs": 4, **given}))
    assert not torch.equal(parameters(learn(net(name, **given), train[:1], 4, 2)), start)
    assert differ_after_a_restore(lambda: net(name, **given), train[:2], batch_size=4, steps=2) == []


@pytest.mark.parametrize("name", [*GROUPS, *MER, "ncl"])
def test_others_learn_with_what_they_can_use(name):
    given = {"num_groups": 2, "cov_recompute_every": 2, "l1_activations": 0.2, "hidden_sizes": "6,5"}
    given |= {"optimizer": "adam"} if name in GROUPS else {}
    made = {engine: net(name, engine=engine, **given).double() for engine in ("auto", "autograd")}
    assert isinstance(made["auto"].engine, AutogradEngine if name in GROUPS[:2] else FastEngine)
    tasks = [(None, x.double(), y) for _, x, y in TRAIN[:2]]
    ours, theirs = (parameters(learn(model, tasks, 4, 4)) for model in made.values())
    assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["gem", "ogd", "eralg5"])
@pytest.mark.parametrize("more", [{"l1_activations": 0.6}, {"momentum": 0.7}, {"optimizer": "adam"}], ids=str)
def test_the_fast_engine_makes_the_steps_of_autograd(name, more):
    given = {"ogd_per_task": 4, "task_sample": 6, "lr": 0.02, "memory_strength": 0.1, **more}
    made = {engine: net(name, engine=engine, **given).double() for engine in ("fast", "autograd")}
    tasks = [(None, x.double(), y) for _, x, y in TRAIN[:2]]
    ours, theirs = (parameters(learn(model, tasks, 4, 5)) for model in made.values())
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-8)
    assert made["fast"].counts == made["autograd"].counts


def test_dropouts_draws_are_its_own_and_a_tasks():
    """They depend neither on torch's generator nor on how long the tasks before took, and a copy goes on alike."""
    given = {"dropout": 0.5, "hidden_sizes": "6,5"}
    one, two = net("single", **given), net("single", **given)
    before = torch.get_rng_state()
    learn(one, TRAIN[:1], 4, 3)
    learn(two, TRAIN[:1], 4, 3)
    assert torch.equal(torch.get_rng_state(), before)
    one.observe(TRAIN[0][1][:4], 0, TRAIN[0][2][:4])
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        a.data.copy_(b.data)
    _, x, y = TRAIN[1]
    three = copy.deepcopy(two)
    for model in (one, two, three):
        model.observe(x[:4], 1, y[:4])
    assert torch.equal(parameters(one), parameters(two)) and torch.equal(parameters(three), parameters(two))
    two.observe(x[:4], 1, y[:4])
    one.observe(x[:4], 2, y[:4])
    assert not torch.equal(parameters(one), parameters(two))


def test_a_pass_inside_unmoved_is_that_of_the_step_and_changes_nothing():
    model = net("single", norm="batch", dropout=0.5, l1_activations=0.1)
    learn(model, TRAIN[:1], 4, 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    _, x, _ = TRAIN[0]
    with networks.unmoved(model), torch.no_grad():
        inside = model(x[:8], 0)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(inside, model(x[:8], 0))  # what a step sees next
    assert not torch.equal(inside, model(x[:8], 0))


def test_recorded_gradients_are_of_the_cross_entropy_in_evaluation_mode():
    model = net("ogd", norm="batch", dropout=0.5, l1_activations=0.9, ogd_mode="loss_mean", task_sample=40).double()
    tasks = [(None, TRAIN[0][1].double(), TRAIN[0][2])]
    learn(model, tasks, 8)
    seen = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()
    model.zero_grad()
    F.cross_entropy(model.net(tasks[0][1]), tasks[0][2]).backward()  # all of the task: the sample has room for it
    g = torch.cat([p.grad.reshape(-1) for p in model.net.parameters()])
    model.train()
    model.finish_task()
    assert torch.allclose(model.basis.V[0], g / g.norm(), atol=1e-10)
    assert all(torch.equal(value, seen[key]) for key, value in model.state_dict().items())


def test_recording_in_training_mode_is_the_notes_mean_over_batches():
    model = net("ogd", norm="batch", ogd_mode="loss_mean", task_sample=40, ogd_record="train", batch_size=16).double()
    tasks = [(None, TRAIN[0][1].double(), TRAIN[0][2])]
    learn(model, tasks, 8)
    twin = copy.deepcopy(model.net)
    x, y, _ = model.sample.rows()
    total = 0
    for xs, ys in zip(x.split(16), y.split(16), strict=True):
        twin.zero_grad()
        F.cross_entropy(twin(xs), ys).backward()
        total = total + torch.cat([p.grad.reshape(-1) for p in twin.parameters()]) / 3
    model.finish_task()
    assert torch.allclose(model.basis.V[0], total / total.norm(), atol=1e-10)
    for a, b in zip(model.net.buffers(), twin.buffers(), strict=True):
        assert torch.equal(a, b)  # its statistics have moved


def test_the_sample_of_a_task_holds_each_example_once_where_it_has_room():
    model = net("ogd", task_sample=40, ogd_per_task=3, task_sizes=[40, 40, 40])
    learn(model, TRAIN[:1], 8)
    for start in range(0, 40, 8):  # a second epoch
        model.observe(TRAIN[0][1][start : start + 8], 0, TRAIN[0][2][start : start + 8])
    assert torch.equal(model.sample.rows()[0], TRAIN[0][1])


def test_a_stored_example_alone_takes_the_running_statistics():
    model = net("gem", norm="batch", n_memories=1)
    learn(model, TRAIN, 8, 2)
    assert parameters(model).isfinite().all()


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("single", {"net": "lenet5"}, "--net lenet5: needs 784 or 1024 or 3072 inputs, the data has 12; give --net mlp"),
        ("multimodal", {"net": "lenet5"}, "--net lenet5: multimodal has a linear first layer for each task; give --net mlp"),
        ("meralg1", {"norm": "batch"}, "--norm batch: meralg1 learns one example at a time, and .*; give --norm layer"),
        ("meralg6", {"optimizer": "adam"}, "--optimizer adam: meralg6 makes its steps itself: Reptile .*; give --optimizer sgd"),
        ("ncl", {"momentum": 0.9}, r"--momentum 0.9: ncl makes its steps itself: .*\(--ncl_momentum .*; give --momentum 0"),
        ("ncl", {"norm": "layer"}, "give --ncl_diag yes"),
        ("gem_group", {"dropout": 0.5}, "this MLP is normalised or has dropout; give --net mlp --norm none --dropout 0"),
        ("single", {"engine": "fast", "norm": "batch"}, "--engine fast: this MLP is not a stack of linear layers with ReLU"),
        ("gem_group", {"engine": "fast", "momentum": 0.5}, "--engine fast: steps in blocks .* plain SGD there; give --engine"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(name, given, said):
    with pytest.raises(UsageError, match=said) as caught:
        net(name, num_groups=2, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flag", [{"dropout": 0.5}, {"norm": "layer"}, {"l1_activations": 1.0}, {"hidden_sizes": "3"}])
def test_a_resnet_has_layers_of_its_own(flag):
    with pytest.raises(UsageError, match="a ResNet18 has layers of its own; give --net mlp or --net lenet5"):
        net("single", n_inputs=3072, **flag)
