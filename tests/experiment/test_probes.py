"""What probes measure, each against a case computed by hand or by autograd; and that they change nothing."""

import json
import math
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import main
from data import files
from experiment import probes
from experiment.probes import alignment, confidence, drift, epochs, latents, sparsity, updates
from experiment.probes.view import View
from model import UsageError, room
from model.engine.autograd import AutogradEngine
from model.memory import per_task
from model.numeric.directions import Directions
from tests.conftest import learn, namespace, net, stream
from tests.experiment.stopping import Stops, quickly, words

ADAM = {"norm": "layer", "dropout": 0.5, "optimizer": "adam", "ogd_mode": "loss_mean", "ogd_record": "train"}


def view(method, test=(), **args):
    """A view of ``method`` after the whole stream of its held-out tasks ``test``: pairs x, y."""
    tasks = [["by hand", torch.tensor(x), torch.tensor(y)] for x, y in test]
    args = namespace(
        model=method.name, threads=1, log_every=1, probe_batches=2, probe_memories=3, evaluation="float32", **args
    )
    stream = SimpleNamespace(position=1, together=False, order=list(range(len(tasks))))
    return View(args, method, method, SimpleNamespace(test=tasks, n_tasks=len(tasks)), stream)


def linear(weight, bias, name="single", **given):
    """A method whose network is one linear layer."""
    method = net(name, n_inputs=len(weight[0]), n_outputs=len(bias), n_layers=0, **given)
    method.load_state_dict({"net.net.0.weight": torch.tensor(weight), "net.net.0.bias": torch.tensor(bias)})
    return method


def run(folder, **flags):
    """The record of a run, and the arrays beside it."""
    record = main.main(words(folder, **flags))
    found = sorted((folder / "records").glob("*.npz"))
    return record, dict(np.load(found[-1])) if found else {}


@pytest.fixture
def run_here(data_file):
    def run_here(**flags):
        return run(data_file.parent, save_path=data_file.parent / "records", **flags)

    return run_here


# ---------------------------------------------------------------- each probe


def test_sparsity_counts_the_zeros_of_both_layers():
    method = net("single", n_inputs=2, n_outputs=2, n_layers=2, n_hiddens=2)
    eye, state = torch.eye(2), method.state_dict()
    state |= {"net.net.0.weight": eye, "net.net.0.bias": torch.zeros(2)}  # h1 = relu(x)
    state |= {"net.net.2.weight": -eye, "net.net.2.bias": torch.tensor([0.5, 1.0])}  # h2 = relu((0.5, 1) - h1)
    method.load_state_dict(state)
    # h1: (0, 1), (1, 0), (2, 3): two zeros of six. h2: (.5, 0), (0, 1), (0, 0): four of six.
    probe = sparsity.Probe(view(method, [([[0.0, 1.0], [1.0, 0.0]], [0, 1]), ([[2.0, 3.0]], [0])]))
    probe.task_ends(0)
    probe.task_ends(1)
    assert probe.report() == {"task": [0, 1], "sparsity": [4 / 8, 6 / 12], "layers": [[2 / 4, 2 / 4], [2 / 6, 4 / 6]]}


def test_the_forgetting_curve_is_that_of_evaluations_at_every_step(data_file, run_here):
    train, test = stream()
    test[0] = [test[0][0], test[0][1][:10], test[0][2][:10]]  # 10, 40 and 40 examples
    files.save(data_file, train, test)
    record, _ = run_here(model="single", probe="curve", probe_batches=3, log_every=1, batch_size=4)
    rows, found = record["evolution"]["accuracy"], record["probes"]["curve"]
    assert found["task"] == [0, 1, 2] and found["old"][0] == [None] * 4
    for task, first in ((0, 0), (1, 10), (2, 20)):  # ten steps each
        assert found["new"][task] == [row[task] for row in rows[first : first + 4]]
    assert found["old"][2] == pytest.approx([(10 * row[0] + 40 * row[1]) / 50 for row in rows[20:24]])


def test_updates_are_relative_to_the_layers_parameters():
    method = linear([[3.0, 0.0], [0.0, 4.0]], [0.0, 0.0], lr=0.1)
    probe = updates.Probe(view(method))
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    probe.before_step(x, 0, y)
    method.observe(x, 0, y)
    probe.after_step(x, 0, y)
    q = 1 / (1 + math.exp(3))  # of the wrong class; the gradient is -q, q in the first column and in the bias
    assert probe.sizes == [[pytest.approx(0.1 * 2 * q / 5, rel=1e-5)]]
    assert probe.report()["layers"] == ["net.net.0"] and probe.report()["later"] == [None]


def test_confidence_of_two_classes():
    logit = math.log(4)  # p = (.8, .2) for the first three examples, (.2, .8) for the last
    method = linear([[logit], [0.0]], [0.0, 0.0])
    probe = confidence.Probe(view(method, [([[1.0], [1.0]], [0, 0]), ([[1.0], [-1.0]], [1, 1])]))
    probe.task_ends(1)
    found = {name: values[0] for name, values in probe.report().items()}
    assert probe.arrays()["probabilities"][0].flatten().tolist() == pytest.approx([0.8, 0.2, 0.5, 0.5])
    assert found["smallest"] == pytest.approx(0.2)
    assert found["loss"] == pytest.approx(-(3 * math.log(0.8) + math.log(0.2)) / 4)
    assert found["entropy"] == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert found["temperature"] == pytest.approx(logit / math.log(3), rel=1e-4)  # .75 of them are right
    # The first half, one of two right, is best at p = 1/2; the other, both right, as cold as it gets, where the one wrong
    # example of the first half costs logit / T.
    assert found["loss_at_temperature"] == pytest.approx((2 * math.log(2) + logit / confidence.COLDEST) / 4, rel=1e-3)


def test_the_loss_of_an_epoch_is_that_before_each_step():
    """Two batches of one example each, of a linear network: the logits are 0 before the first step."""
    method = linear([[0.0], [0.0]], [0.0, 0.0], lr=1.0)
    probe = epochs.Probe(look := view(method, [([[1.0], [1.0], [1.0]], [0, 0, 1])]))
    x, y = torch.ones(1, 1), torch.tensor([0])
    for ended in (False, True):
        look.continuum.epoch_ended, look.continuum.epoch = ended, 1
        probe.before_step(x, 0, y)
        method.observe(x, 0, y)
        probe.after_step(x, 0, y)
    q = 1 / (1 + math.e**2)  # of the wrong class after a step: weight and bias move by 1/2 each, in both classes
    z = 2 + 4 * q  # the logits' difference after another
    found = {name: values[0] for name, values in probe.report().items()}
    assert found["train_loss"] == pytest.approx((math.log(2) - math.log(1 - q)) / 2)
    assert found["loss"] == pytest.approx((2 * math.log(1 + math.exp(-z)) + math.log(1 + math.exp(z))) / 3)
    assert (found["train_accuracy"], found["accuracy"]) == (1.0, 2 / 3)  # of equal logits the first counts


def test_epochs_see_the_dropout_and_the_statistics_of_the_steps(run_here):
    """The rule that ends a task at an accuracy measures the same, and so does the evaluation at a task's end."""
    flags = {"norm": "batch", "dropout": 0.3, "l1_activations": 0.1, "n_epochs": 3, "stop_at_accuracy": 1.0}
    record, _ = run_here(model="single", probe="epochs", **flags)
    found = record["probes"]["epochs"]
    ends = {task: i for i, task in enumerate(found["task"])}
    assert [found["train_accuracy"][i] for i in ends.values()] == record["stopping"]["accuracy"]
    assert [found["accuracy"][i] for i in ends.values()] == pytest.approx(record["seen"])
    assert found["epoch"] == [1, 2, 3] * 3 and found["train_loss"][0] > 1


def test_latents_begin_with_the_fresh_network_and_end_with_the_trained_one(data_file, run_here, monkeypatch):
    built = []
    make = probes.of_run
    monkeypatch.setattr(probes, "of_run", lambda args, method, *rest: built.append(
        {key: value.clone() for key, value in method.state_dict().items()}) or make(args, method, *rest))  # fmt: skip
    _, arrays = run_here(model="single", probe="latents")
    built.append(torch.load(next((data_file.parent / "records").glob("*.pt")), weights_only=True)[2])
    x = torch.cat([task[1] for task in stream()[1]])
    for place, state in ((0, built[0]), (3, built[1])):
        h1 = (x @ state["net.net.0.weight"].t() + state["net.net.0.bias"]).relu()
        h2 = (h1 @ state["net.net.2.weight"].t() + state["net.net.2.bias"]).relu()
        assert np.allclose(arrays["latents.layer1"][place], h1, atol=1e-6)
        assert np.allclose(arrays["latents.layer2"][place], h2, atol=1e-6)
    assert arrays["latents.layer1"].shape == (4, 120, 8)
    assert arrays["latents.of_task"].tolist() == [0] * 40 + [1] * 40 + [2] * 40


def test_cosines_of_gradients_that_are_not_written_down():
    draw = torch.Generator().manual_seed(0)
    one, other = (
        Directions([torch.rand(5, 3, generator=draw), torch.rand(5, 4, generator=draw)],
                   [torch.randn(5, 4, generator=draw), torch.randn(5, 2, generator=draw)])
        for _ in range(2)
    )  # fmt: skip
    dense = F.cosine_similarity(one.dense().double(), other.dense().double())
    assert torch.allclose(drift.cosines(one, other), dense, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["gtl", "loss_mean"])
def test_a_linear_network_drifts_in_its_loss_and_not_in_its_logits(run_here, mode):
    """The gradient of a logit of a linear network is the input; that of a loss depends on the parameters."""
    record, arrays = run_here(model="ogd", probe="drift", n_layers=0, ogd_mode=mode)
    cosine = arrays["drift.cosine"]
    assert record["probes"]["drift"]["task"] == [0, 1, 2] and np.isfinite(cosine[-1]).all()
    last = arrays["drift.of_task"] == 2
    assert np.allclose(cosine[-1][last], 1, atol=1e-6)  # just stored
    assert np.allclose(cosine[-1], 1, atol=1e-6) == (mode == "gtl")


def test_drift_is_the_same_from_activations_and_from_written_down_gradients(run_here):
    """By the engine without autograd, and by autograd."""
    found = [run_here(model="ogd", probe="drift", engine=engine)[1]["drift.cosine"] for engine in ("fast", "autograd")]
    assert np.nanmin(found[0]) < 0.99 and np.allclose(*found, atol=1e-4, equal_nan=True)


def test_alignment_of_many_tasks_holds_one_gradient_at_a_time(monkeypatch):
    """All of them would take T times the network in float64."""
    tasks = stream(6)[0]
    method = learn(net("gem", n_tasks=6, memory_strength=0.0), tasks[:5])
    probe = alignment.Probe(view(method, [([[0.0] * 12], [0])] * 6))
    made, gradient = [], probe._gradient

    def counted(*given):
        made[:] = [one for one in made if one() is not None]
        g = gradient(*given)
        made.append(weakref.ref(g))
        return g

    monkeypatch.setattr(probe, "_gradient", counted)
    x, y = tasks[5][1][:3], tasks[5][2][:3]
    probe.before_step(x, 5, y)
    method.observe(x, 5, y)
    probe.view.moved()
    held = []
    monkeypatch.setattr(F, "cosine_similarity", lambda *_, **__: held.append(len(made)) or 0.0)
    probe.after_step(x, 5, y)
    assert len(held) == 15 and max(held) <= 3  # the batch's, and of two rows at most


def test_alignment_is_that_of_the_gradients_of_autograd():
    tasks = stream()[0]
    method = learn(net("gem", memory_strength=0.0), tasks[:2])
    probe = alignment.Probe(view(method, [([[0.0] * 12], [0])] * 3))
    engine = AutogradEngine(method.net, method.outputs)
    engine.set_rows(*method.memory.rows([0, 1]), per_task(method.memory.rows([0, 1])[2]))
    x, y = tasks[2][1][:3], tasks[2][2][:3]
    g = engine.gradients(x, y, 2)
    expected = g.dots() / np.sqrt(np.diag(g.gram()) * float(g.flat().double() @ g.flat().double()))
    probe.before_step(x, 2, y)
    method.observe(x, 2, y)
    probe.view.moved()
    probe.after_step(x, 2, y)
    (found,) = probe.found
    assert found["past"] == [0, 1] and found["before"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_after_gems_correction_no_constraint_is_violated(run_here):
    record, _ = run_here(model="gem", probe="alignment", memory_strength=0, log_every=1, n_memories=2)
    found = record["probes"]["alignment"]
    before, after = (np.concatenate(found[name]) for name in ("before", "of_step"))
    assert before.min() < -0.05 and after.min() > -1e-4
    assert found["past"][0] == [0] and found["past"][-1] == [0, 1]


def test_under_adam_the_gradient_is_corrected_and_the_step_is_another(run_here):
    flags = {"optimizer": "adam", "lr": 0.01, "norm": "batch", "memory_strength": 0}
    found = run_here(model="gem", probe="alignment", log_every=1, n_memories=4, **flags)[0]["probes"]["alignment"]
    before, after, step = (np.concatenate(found[name]) for name in ("before", "after", "of_step"))
    assert before.min() < -0.05 and after.min() > -1e-4 and step.min() < -0.01


def test_a_memory_that_only_watches(run_here):
    """Its cosines are those of a method that keeps the same examples, and never corrects a gradient."""
    kept, _ = run_here(model="gem", probe="alignment", n_memories=4, lr=1e-6, log_every=3)
    watched, _ = run_here(model="single", probe="alignment", probe_memories=4, lr=1e-6, log_every=3)
    kept, watched = (record["probes"]["alignment"] for record in (kept, watched))
    assert kept["step"] == watched["step"] == [10, 12, 15, 18, 20, 21, 24, 27]
    assert np.concatenate(kept["before"]) == pytest.approx(np.concatenate(watched["before"]), abs=1e-3)
    plain = run_here(model="single", probe="alignment", batch_size=1)[0]["probes"]["alignment"]
    assert np.concatenate(plain["before"]) == pytest.approx(np.concatenate(plain["of_step"]), abs=1e-4)


def test_relatedness_is_the_last_estimate_of_each_task(run_here):
    """Its weights are the softmax of minus the divergences, averaged over the groups."""
    flags = {"model": "gem_group", "num_groups": 2, "cov_recompute_every": 3, "probe": "relatedness"}
    record, arrays = run_here(**flags)
    found = record["probes"]["relatedness"]
    assert (found["task"], found["past"]) == ([1, 2], [[0], [0, 1]])
    assert found["descriptions"] == [task[0] for task in stream()[1]]
    each = torch.from_numpy(arrays["relatedness.task2"])
    assert each.shape == (4, 2) and found["divergence"][1] == pytest.approx(each.mean(0).tolist())
    assert found["rho"][1] == pytest.approx(torch.softmax(-each, 1).mean(0).tolist()) and found["rho"][0] == [1.0]
    never, _ = run_here(**{**flags, "cov_recompute_every": 1000})
    assert never["probes"]["relatedness"]["task"] == []


# ---------------------------------------------------------------- all of them


def serving(folder, **flags):
    """The probes that serve the method of a command."""
    found = []
    for name in probes.PROBES:
        args = main.parse(words(folder, probe=name, **flags))[0]
        method = net(args.model, n_outputs=6, task_outputs=None, n_memories=8, ogd_mode=args.ogd_mode, norm=args.norm)
        continuum = SimpleNamespace(together=args.model == "joint", order=[0, 1, 2], position=0)
        data = SimpleNamespace(n_tasks=3, test=stream()[1])
        try:
            probes.of_run(args, method, method, data, continuum)
        except UsageError as mistake:
            assert str(mistake).startswith(f"--probe {name}: ") and "; " in str(mistake)
        else:
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("model", "without", "flags"),
    [
        ("single", {"drift", "relatedness"}, {}),
        ("gem", {"drift", "relatedness"}, {}),
        pytest.param("agem_group", {"drift"}, {}, marks=pytest.mark.slow),
        ("ogd", {"relatedness"}, {}),
        ("single", {"drift", "relatedness"}, {"norm": "batch", "dropout": 0.5, "l1_activations": 0.1, "momentum": 0.5}),
        pytest.param("ogd", {"relatedness"}, ADAM, marks=pytest.mark.slow),
        pytest.param("joint", {"drift", "curve", "alignment", "relatedness"}, {}, marks=pytest.mark.slow),
        ("independent", {"drift", "sparsity", "latents", "alignment", "relatedness"}, {}),
    ],
)
def test_probes_change_no_digit(data_file, run_here, model, without, flags):
    """Engines both, 300 inputs: then the engine of `gem` carries more along than the weights."""
    files.save(data_file, *stream(n_inputs=300))
    folder, all_probes = data_file.parent / "records", ",".join(serving(data_file.parent, model=model, **flags))
    assert set(probes.PROBES) - set(all_probes.split(",")) == without
    for engine in ("autograd",) if flags else ("fast", "autograd"):
        off, on = (
            run_here(model=model, engine=engine, probe=names, resume=False, **flags) for names in ("", all_probes)
        )
        bases = {
            record["args"]["probe"]: path for path in folder.glob("*.json") if (record := json.loads(path.read_text()))
        }
        states = [torch.load(path.with_suffix(".pt"), weights_only=True)[2] for path in bases.values()]
        assert all(torch.equal(*pair) for pair in zip(*(state.values() for state in states), strict=True))
        assert all(off[0][name] == on[0][name] for name in ("grid", "baseline", "evolution", "counts", "metrics"))
        assert (
            "probes" not in off[0] and "probe" not in off[0]["seconds"] and not bases[""].with_suffix(".npz").exists()
        )
        assert set(on[0]["probes"]) == set(all_probes.split(",")) and on[0]["seconds"]["probe"] > 0
        for path in folder.iterdir():
            path.unlink()


@pytest.mark.parametrize("model", quickly(["agem_closed", "ogd"], "ogd"))
def test_the_probes_of_a_run_that_goes_on_are_equal(data_file, monkeypatch, model):
    names = ",".join(serving(data_file.parent, model=model))
    whole, arrays = run(data_file.parent, save_path=data_file.parent / "records", model=model, probe=names)
    parts = data_file.parent / "parts" / "records"
    stops = Stops(monkeypatch)
    record = stops.run(words(data_file.parent, save_path=parts, model=model, probe=names), [3, 7, 1, 16, 3])
    assert [step for _, step in stops.places] == [3, 10, 11, 27, 30]
    assert json.dumps(record["probes"]) == json.dumps(whole["probes"])
    again = dict(np.load(next(parts.glob("*.npz"))))
    assert set(again) == set(arrays) and all(np.array_equal(again[key], arrays[key], equal_nan=True) for key in arrays)


def test_a_probe_that_cannot_serve_is_refused_before_training(data_file, capsys):
    for flags, sentence in [
        ({"probe": "sparsty"}, "--probe sparsty: no such probe; the probes are alignment, "),
        ({"probe": "sparsity", "n_layers": 0}, "--probe sparsity: this MLP has no hidden layer of units; "),
        (
            {"probe": "curve", "parity": True, "resume": False},
            "--probe curve --parity yes: the reference does not know --probe; ",
        ),
    ]:
        assert main.cli(words(data_file.parent, save_path=data_file.parent / "r", model="single", **flags)) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
        assert len(said) == 1 and said[0].startswith(f"main.py: {sentence}")
    assert not list((data_file.parent / "r").glob("*.json"))


def test_accuracy_over_all_that_was_seen_weighs_tasks_by_their_test_sets(data_file, run_here):
    train, test = stream(split=True, n_outputs=6)
    test[1] = [test[1][0], test[1][1][:10], test[1][2][:10]]
    files.save(data_file, train, test)
    record, _ = run_here(model="single", head="shared")
    R = record["grid"]
    assert record["seen"] == pytest.approx(
        [R[0][0], (40 * R[1][0] + 10 * R[1][1]) / 50, (40 * R[2][0] + 10 * R[2][1] + 40 * R[2][2]) / 90]
    )
    assert "seen" not in run_here(model="single", head="split")[0]


def test_what_probes_keep_of_many_tasks_has_to_fit_into_memory(monkeypatch):
    method = linear([[0.0], [0.0]], [0.0, 0.0])
    seen = view(method, [([[1.0]], [0])] * 3)
    deep = view(net("single", n_layers=2, n_hiddens=5), [([[0.0] * 12], [0])] * 3)
    monkeypatch.setattr(room, "LITTLE", 1)
    monkeypatch.setattr(room, "available_memory", lambda cuda=False: 8 * 3 * 4)
    confidence.Probe(seen)
    monkeypatch.setattr(room, "available_memory", lambda cuda=False: 8 * 3 * 4 - 1)
    with pytest.raises(
        UsageError, match="--probe confidence: a table of 3 x 2 x 2 probabilities does not fit into memory"
    ):
        confidence.Probe(seen)
    monkeypatch.setattr(room, "available_memory", lambda cuda=False: 8 * 4 * 3 * 10 - 1)
    with pytest.raises(UsageError, match="--probe latents: a table of 4 x 3 x 10 activations does not fit"):
        latents.Probe(deep)


def test_a_checkpoint_of_many_steps_holds_their_sizes_as_tensors():
    method = linear([[1.0], [0.0]], [0.0, 0.0])
    probe, again = (updates.Probe(view(method)) for _ in range(2))
    probe.sizes, probe.tasks = [[0.1 * i] for i in range(50)], [0] * 50
    saved = probe.checkpoint()
    assert all(isinstance(saved[name]["values"], torch.Tensor) for name in ("sizes", "tasks"))
    again.restore(saved)
    assert (again.sizes, again.tasks) == (probe.sizes, probe.tasks)
