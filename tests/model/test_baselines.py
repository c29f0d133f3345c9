"""independent, multimodal, joint and icarl against plain implementations, and what each promises."""

import argparse
import copy

import pytest
import torch
from torch.nn import functional as F

import main
import model as methods
from data import joint
from model import UsageError, common, room
from model.icarl import herd
from results.reading import logs
from tests.conftest import SPLIT, learn, namespace, net, parameters, stream

ENGINES = pytest.mark.parametrize("engine", ["fast", "autograd"])


def split_stream(**given):
    return stream(n_outputs=6, split=True, **given)[0]


# -------------------------------------------------------------------- independent


def of_task(model, t):
    return torch.cat([p.detach().reshape(-1) for p in model.nets[t].parameters()])


@ENGINES
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("finetune", [False, True])
def test_independent_networks(engine, split, finetune):
    """Against SGD by autograd, one network after the other; only the network of the task moves."""
    train = split_stream(dtype=torch.float64) if split else stream(dtype=torch.float64)[0]
    given = {"engine": engine, "finetune": finetune, "n_hiddens": 9, **(SPLIT if split else {})}
    model = net("independent", **given).double()
    plain, before = copy.deepcopy(model.nets), None
    assert [len(layer.bias) for layer in plain[0].net[::2]] == [3, 3, 2 if split else 4]
    for t, (_, x, y) in enumerate(train):
        if finetune and t:
            plain[t].load_state_dict(before)
        sgd = torch.optim.SGD(plain[t].parameters(), lr=0.1)
        for i in range(0, 12, 3):
            others = [of_task(model, s).clone() for s in range(3) if s != t]
            model.observe(x[i : i + 3], t, y[i : i + 3])
            assert all(map(torch.equal, others, [of_task(model, s) for s in range(3) if s != t]))
            sgd.zero_grad()
            F.cross_entropy(plain[t](x[i : i + 3]), y[i : i + 3] - (2 * t if split else 0)).backward()
            sgd.step()
        before = plain[t].state_dict()
        wanted = torch.cat([p.detach().reshape(-1) for p in plain[t].parameters()])
        assert torch.allclose(of_task(model, t), wanted, rtol=1e-10, atol=1e-13)
    logits = model(x, 2)
    own = logits[:, 4:] if split else logits
    assert torch.equal(own, model.nets[2](x))
    assert not split or bool((logits[:, :4] == common.FOREIGN_LOGIT).all())


def test_without_finetuning_a_task_does_not_depend_on_the_others():
    train, _ = stream()
    alone, last = net("independent"), net("independent")
    learn(last, train)
    for i in range(40):
        alone.observe(train[2][1][i : i + 1], 2, train[2][2][i : i + 1])
    assert torch.equal(of_task(alone, 2), of_task(last, 2))


def test_its_backward_transfer_is_zero(data_file, tmp_path):
    argv = ["--data_path", data_file.parent, "--data_file", "tiny.pt", "--save_path", tmp_path, "--lr", 0.3]
    record = main.main([*argv, "--model", "independent", "--finetune", "yes"])
    assert record["backward"] == 0 and record["final"] > sum(record["baseline"]) / 3


def test_a_network_is_at_least_one_unit_wide():
    assert len(net("independent", n_hiddens=2).nets[0].net[0].bias) == 1


def test_a_narrow_resnet_for_each_task():
    model = net("independent", n_inputs=3072, **SPLIT)
    assert model.nets[0].conv1.out_channels == 6 and model.nets[2].linear.out_features == 2
    x = torch.rand(2, 3072)
    model.observe(x, 1, torch.tensor([2, 3]))
    assert model(x, 1).argmax(1).min() >= 2


# -------------------------------------------------------------------- multimodal


@ENGINES
@pytest.mark.parametrize("n_layers", [0, 1, 2, 3])
@pytest.mark.parametrize("split", [False, True])
def test_multimodal_networks(engine, n_layers, split):
    """Against the paper's formula and SGD by autograd; the first layers of the other tasks stay, to the bit."""
    train = split_stream(dtype=torch.float64) if split else stream(dtype=torch.float64)[0]
    model = net("multimodal", engine=engine, n_layers=n_layers, **(SPLIT if split else {})).double()
    plain = {name: value.clone().requires_grad_() for name, value in model.state_dict().items()}
    C = 6 if split else 4
    sizes = (C if n_layers == 0 else 8, max(0, n_layers - 1) * 72 + (9 * C if n_layers else 0))
    assert sum(value.numel() for value in plain.values()) == 3 * 13 * sizes[0] + sizes[1]
    assert all(not bool(value.any()) for name, value in plain.items() if name.endswith("bias"))

    def loss(x, t, y):
        h = x @ plain[f"i_layer.{t}.weight"].t() + plain[f"i_layer.{t}.bias"]
        layers = [f"h_layer.0.{i}" for i in range(n_layers - 1)] + (["o_layer.0"] if n_layers else [])
        for layer in layers:
            h = h.relu() @ plain[f"{layer}.weight"].t() + plain[f"{layer}.bias"]
        return F.cross_entropy(h[:, 2 * t : 2 * t + 2], y - 2 * t) if split else F.cross_entropy(h, y)

    for t in (1, 0, 2, 1):
        _, x, y = train[t]
        others = {
            k: v.clone() for k, v in model.state_dict().items() if k[:9] in {f"i_layer.{s}" for s in {0, 1, 2} - {t}}
        }
        for i in range(0, 9, 3):
            model.observe(x[i : i + 3], t, y[i : i + 3])
            gradients = torch.autograd.grad(loss(x[i : i + 3], t, y[i : i + 3]), plain.values(), allow_unused=True)
            for p, g in zip(plain.values(), gradients, strict=True):
                p.data -= 0 if g is None else 0.1 * g
        now = model.state_dict()
        assert all(torch.equal(now[k], v) for k, v in others.items())
        assert all(torch.allclose(now[k], v, rtol=1e-10, atol=1e-13) for k, v in plain.items())
    p = model(x, 1).exp()
    assert torch.allclose(p.sum(1), torch.ones(len(x), dtype=p.dtype)) and (not split or not bool(p[:, 4:].any()))


def test_tasks_with_the_same_first_layer_give_the_same_outputs():
    model = net("multimodal")
    model.i_layer[2].load_state_dict(model.i_layer[0].state_dict())
    x = torch.rand(5, 12)
    assert torch.equal(model(x, 0), model(x, 2)) and not torch.equal(model(x, 0), model(x, 1))


def test_taskinput_is_mers_name_and_n_layers_counts_the_first_layer(data_file, tmp_path):
    argv = ["--data_path", data_file.parent, "--data_file", "tiny.pt", "--save_path", tmp_path, "--n_hiddens", 5]
    one, two = (main.main([*argv, "--model", name, "--n_layers", 3]) for name in ("taskinput", "multimodal"))
    assert one["model"] == "multimodal" and one["grid"] == two["grid"] and one["args"]["n_layers"] == 3
    foreign = argparse.Namespace(
        n_layers=2, n_hiddens=5, lr=0.1, data_file="mnist.pt"
    )  # lowered by the foreign program
    assert len(methods.load("multimodal").Net(12, 4, 3, foreign).h_layer[0]) == 2


def test_in_parity_the_bias_of_the_first_shared_layer_alone_is_reset():
    model = net("multimodal", n_layers=3, parity=True)
    assert [bool(layer.bias.any()) for layer in model.h_layer[0]] == [False, True]


# -------------------------------------------------------------------- joint


def stream_args(**given):
    return argparse.Namespace(
        **{"batch_size": 4, "samples_per_task": 10, "n_epochs": 2, "shuffle_tasks": "no", "seed": 0, **given}
    )


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 50])
def test_the_joint_stream_is_every_example_once_an_epoch(split, batch_size):
    """Each x names its example; each part of the stream is a task's to the loop."""
    data = [["", torch.arange(12.0).unsqueeze(1) + 100 * t, torch.full((12,), t)] for t in range(3)]
    continuum = main.Continuum(data, stream_args(batch_size=batch_size), True, split)
    batches = list(continuum)
    assert [part for _, part, _ in batches] == sorted(part for _, part, _ in batches)
    assert {part for _, part, _ in batches} == {0, 1, 2} and len(batches) == len(continuum)
    seen = torch.cat([x[:, 0] for x, _, _ in batches]).tolist()
    labels = torch.cat([y for _, _, y in batches]).tolist()
    assert [x // 100 for x in seen] == labels
    assert sorted(seen.count(x) for x in set(seen)) == [2] * 30
    whole = batch_size == 1 or not split  # then no rest is put at the end of a part
    assert not whole or len(set(seen[:30])) == 30
    if split:
        assert all(len(set(y.tolist())) == 1 for _, _, y in batches)
    elif 1 < batch_size < 10:
        assert sum(len(set(y.tolist())) > 1 for _, _, y in batches) > len(batches) / 2
    again = main.Continuum(data, stream_args(batch_size=batch_size), True, split)
    again.position = 3
    rest = list(again)
    assert len(rest) == len(batches) - 3 and (not rest or sorted(rest[0][0][:, 0].tolist())[0] >= 0)


@pytest.mark.parametrize("split", [False, True])
def test_joint_is_single_on_the_tasks_of_the_examples(split):
    train = split_stream() if split else stream()[0]
    given = SPLIT if split else {}
    ours, single = net("joint", **given), net("single", **given)
    for t in (0, 2, 1, 0):
        _, x, y = train[t]
        ours.observe(x[:3], 7, y[:3])  # the part of the stream, which is no task
        single.observe(x[:3], t, y[:3])
    assert torch.equal(parameters(ours), parameters(single))


def test_a_joint_record_says_what_its_numbers_mean(data_file, tmp_path, capsys):
    argv = ["--data_path", data_file.parent, "--data_file", "tiny.pt", "--save_path", tmp_path / "r", "--lr", 0.1]
    record = main.main([*argv, "--model", "joint"])
    assert record["joint"] == joint.NOTE and f"note: {joint.NOTE}\n" in capsys.readouterr().err
    assert len(record["grid"]) == 3 and record["final"] == pytest.approx(sum(record["grid"][-1]) / 3)
    assert record["backward"] is record["forward"] is None
    assert {name for name, value in record["metrics"].items() if value is not None} == {"retained_accuracy"}
    with pytest.raises(UsageError, match="--lca yes: joint learns no task by itself"):
        main.main([*argv, "--model", "joint", "--lca", "yes"])
    for run in logs.runs([tmp_path / "r"]):
        assert run.recomputed["final"] == pytest.approx(record["final"], abs=1e-4) and run.problems == []
        assert run.recomputed["backward"] is run.recomputed["forgetting"] is None and run.disagreements() == []
    assert "joint" not in main.main([*argv, "--model", "single"])


# -------------------------------------------------------------------- icarl


@pytest.mark.parametrize("engine, norm", [("fast", "none"), ("autograd", "none"), ("autograd", "batch")])
def test_icarl_descends_on_its_loss(engine, norm):
    """Statistics of batch normalisation are those of one task's exemplars, whatever else is replayed."""
    train = split_stream(dtype=torch.float64)
    model = net("icarl", engine=engine, norm=norm, **SPLIT, n_memories=12, memory_strength=0.7).double()
    own = model.outputs
    for t, (_, x, y) in enumerate(train):
        for i in range(0, 40, 4):
            plain, generator = copy.deepcopy(model.net), model.generator.get_state()
            logits = plain(x[i : i + 4])
            loss = F.cross_entropy(logits[:, own.of(t)], y[i : i + 4] - 2 * t)
            for s in range(t):
                xs, zs = model.draw(s)
                p, q = (torch.log_softmax(z[:, own.of(s)], 1) for z in (zs, plain(xs)))
                loss = loss + 0.7 * F.kl_div(q, p, log_target=True, reduction="batchmean")
            model.generator.set_state(generator)
            gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(plain.parameters()))])
            before = parameters(model).clone()
            model.observe(x[i : i + 4], t, y[i : i + 4])
            assert torch.allclose(parameters(model), before - 0.1 * gradient, rtol=1e-9, atol=1e-12)
        model.finish_task()
        assert len(model.exemplars) == 2 * (t + 1)
        assert sum(map(len, model.exemplars.values())) <= 12
        assert {len(kept) for kept in model.exemplars.values()} == {12 // (2 * (t + 1))}
        model.eval()
        for c, kept in model.exemplars.items():
            assert torch.allclose(model.targets[c], model.net(kept).detach(), rtol=1e-10)
        model.train()


def test_distillation_is_zero_where_nothing_has_changed():
    model = learn(net("icarl", **SPLIT, n_memories=12), split_stream()[:1])
    model.finish_task()
    assert float(model.distillation([0]).abs().max()) < 1e-6
    with torch.no_grad():
        model.net.net[4].weight.mul_(2)
    assert float(model.distillation([0]).abs().max()) > 1e-3


def test_distillation_of_three_classes_is_exact_in_float64():
    """A third is no number of float32."""
    outputs = [[0, 1, 2], [3, 4, 5]]
    model = net("icarl", n_tasks=2, n_outputs=6, n_memories=12, task_outputs=outputs).double()
    learn(model, stream(2, n_outputs=6, split=True, dtype=torch.float64)[0][:1])
    model.finish_task()
    with torch.no_grad():
        model.net.net[4].weight.mul_(2)
    drawn = model.generator.get_state()
    gradient = model.distillation([0])
    model.generator.set_state(drawn)
    x, z = model.draw(0)
    q, p = (torch.log_softmax(logits[:, :3], 1) for logits in (model.net(x), z))
    loss = F.kl_div(q, p, log_target=True, reduction="batchmean")
    wanted = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.net.parameters()))])
    assert len(x) == 3 and torch.allclose(gradient, wanted, rtol=1e-12, atol=1e-15)


def test_herding_against_its_definition():
    features = torch.randn(9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, chosen = features.mean(0), []
    for _ in range(9):
        left = [i for i in range(9) if i not in chosen]
        chosen.append(min(left, key=lambda i: float((mean - features[[*chosen, i]].mean(0)).norm())))
    assert herd(features, 9) == herd(features, 50) == chosen and herd(features, 4) == chosen[:4]
    assert herd(features, 1) == [int((features - mean).norm(dim=1).argmin())]


def test_icarl_predicts_the_nearest_mean_of_the_task():
    train = split_stream()
    model = net("icarl", **SPLIT, n_memories=12)
    x = train[0][1]
    assert torch.equal(model(x, 1)[:, 2:4], torch.full((40, 2), 0.5)) and bool((model(x, 1)[:, :2] == -1e11).all())
    learn(model, train)
    model.finish_task()
    for t in range(3):
        means = torch.stack([model.net(model.exemplars[c]).mean(0) for c in (2 * t, 2 * t + 1)])
        wanted = (model.net(x).unsqueeze(1) - means).norm(dim=2).argmin(1) + 2 * t
        for _ in range(2):
            assert torch.equal(model(x, t).argmax(1), wanted)
            assert torch.equal(model.masked_and_unmasked(x, t)[0], wanted)
    means = torch.stack([model.net(model.exemplars[c]).mean(0) for c in range(6)])
    nearest = (model.net(x).unsqueeze(1) - means).norm(dim=2).argmin(1)
    assert torch.equal(model.masked_and_unmasked(x, 1)[1], nearest) and len(nearest.unique()) > 2
    with torch.no_grad():
        model.net.net[0].weight.mul_(-1)  # what is kept from one prediction to the next must not outlive its parameters
    means = torch.stack([model.net(model.exemplars[c]).mean(0) for c in (4, 5)])
    assert torch.equal(model(x, 2).argmax(1), (model.net(x).unsqueeze(1) - means).norm(dim=2).argmin(1) + 4)


@pytest.mark.parametrize("n_epochs", [1, 2])
def test_icarl_ends_a_task_with_its_last_batch(n_epochs):
    """So that the evaluation after it sees exemplars; they come from the examples of one epoch."""
    train = split_stream(n=10)
    model = net("icarl", **SPLIT, n_memories=60, task_sizes=[10, 10, 10], n_epochs=n_epochs)
    for _ in range(n_epochs):
        assert not model.exemplars
        learn(model, train[:1], batch_size=4)
    assert len(model.exemplars) == 2 and sum(map(len, model.exemplars.values())) == 10
    kept = torch.cat(list(model.exemplars.values()))
    assert len(kept.unique(dim=0)) == 10


def test_in_parity_older_exemplars_are_not_cut():
    model = net("icarl", **SPLIT, n_memories=12, parity=True)
    learn(model, split_stream())
    model.finish_task()
    assert [len(model.exemplars[c]) for c in range(6)] == [6, 6, 3, 3, 2, 2]


def test_what_icarl_cannot_do_is_said():
    with pytest.raises(UsageError, match="--model icarl: needs tasks with classes of their own"):
        net("icarl", n_memories=12)
    with pytest.raises(
        UsageError, match="--n_memories 5: icarl keeps exemplars of each of the 6 classes; give 6 or more"
    ):
        net("icarl", **SPLIT, n_memories=5)


def test_first_layers_of_many_tasks_have_to_fit_into_memory(monkeypatch):
    """20,000 tasks of 784 inputs and 100 units take 12 GB with their gradients."""
    monkeypatch.setattr(room, "available_memory", lambda cuda=False: 8 * 10**9)
    with pytest.raises(
        UsageError, match="--n_tasks 20000: a first layer of 78,500 parameters for each task does not fit"
    ):
        methods.load("multimodal").Net(784, 10, 20_000, namespace(n_hiddens=100))
