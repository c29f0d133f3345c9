"""Whole runs: what changes the grid and what must not, the record, divergence, split heads, dtypes."""

import json
import math
import random

import numpy as np
import pytest
import torch

import main
from data import files
from metrics import metrics
from model import common
from results.reading import records
from tests.conftest import file_for, stream


class Runs:
    """Calls ``main.main`` on a small data file with small defaults, each time with a new folder for the record."""

    def __init__(self, folder, data_file):
        self.folder, self.n = folder, 0
        self.common = {
            **{"data_path": data_file.parent, "data_file": data_file.name, "n_hiddens": 8, "n_memories": 5},
            **{"memory_strength": 0.5, "lr": 0.1, "batch_size": 1, "log_every": 10},
        }

    def __call__(self, **flags):
        self.n += 1
        flags = {**self.common, "save_path": self.latest, **flags}
        return main.main([word for name, value in flags.items() for word in (f"--{name}", str(value))])

    @property
    def latest(self):
        """The folder of the latest run's record."""
        return self.folder / f"results{self.n}"

    def file(self, suffix):
        (path,) = self.latest.glob(f"*{suffix}")
        return path

    def state(self):
        """The latest run's parameters, from its record."""
        return torch.load(self.file(".pt"), weights_only=True)[2]

    def bits(self, **flags):
        """All that a run measured, its trained parameters included: equal bit for bit, or not."""
        result = self(**flags)
        return result["baseline"], result["grid"], {key: value.tolist() for key, value in self.state().items()}


@pytest.fixture
def run(tmp_path, data_file):
    return Runs(tmp_path, data_file)


@pytest.mark.parametrize("model", ["single", "gem", "agem_sampled", "ewc"])
def test_the_grid_does_not_depend_on_log_every(run, model):
    bits = [run.bits(model=model, log_every=n) for n in (1, 7, 100_000)]
    assert bits[0] == bits[1] == bits[2]
    assert run.bits(model=model, seed=1)[1] != bits[0][1]


def test_the_grid_does_not_depend_on_who_built_the_data_file(run, tmp_path):
    """Nor on the state that the building left the generators in."""
    digits = {
        "data_path": tmp_path / "new",
        "data_file": "digits_permutations.pt",
        "n_tasks": 3,
        "samples_per_task": 30,
    }
    assert run.bits(model="gem", **digits) == run.bits(model="gem", **digits)
    assert (tmp_path / "new" / "digits_permutations.pt").exists()


def test_the_grid_does_not_depend_on_threads(run, tmp_path):
    digits = {"data_path": tmp_path, "data_file": "digits_permutations.pt", "n_tasks": 3, "samples_per_task": 100}
    one, two = (run.bits(model="agem", n_hiddens=100, threads=n, **digits) for n in (1, 2))
    assert one == two
    assert json.loads(run.file(".json").read_text())["threads"] == 2


def test_the_grid_does_not_depend_on_the_state_of_the_process(run):
    before = run.bits(model="agem_closed")
    torch.rand(3), np.random.rand(3), random.random()
    assert run.bits(model="agem_closed") == before


@pytest.mark.parametrize("batch_size", [1, 7, 40, 1_000])
def test_batches_are_the_references(batch_size):
    """Each epoch of a task is shuffled by itself; batches go over the boundary between epochs, not between tasks."""
    train, _ = stream()
    args, _, _ = main.parse(["--batch_size", str(batch_size), "--n_epochs", "2", "--samples_per_task", "30"])
    torch.manual_seed(3)
    random.seed(3)
    seen = list(main.Continuum(train, args))
    torch.manual_seed(3)
    random.seed(3)
    chosen = [torch.randperm(40)[:30].tolist() for _ in range(3)]
    expected = []
    for t in range(3):
        examples = []
        for _ in range(2):
            epoch = list(chosen[t])
            random.shuffle(epoch)
            examples += epoch
        expected += [(t, examples[i : i + batch_size]) for i in range(0, 60, batch_size)]
    assert len(seen) == len(expected)
    for (x, t, y), (task, index) in zip(seen, expected, strict=True):
        assert t == task and torch.equal(x, train[task][1][index]) and torch.equal(y, train[task][2][index])


def test_a_stream_can_be_set_to_a_place():
    args, _, _ = main.parse(["--batch_size", "7"])
    whole = main.Continuum(stream()[0], args)
    batches = list(whole)
    assert len(batches) == len(whole) == whole.position == 18
    for place in (0, 5, 6, 11, 17, 18):
        whole.position = place
        rest = list(whole)
        assert len(rest) == 18 - place
        assert all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(rest, batches[place:], strict=True))


def test_the_three_files_of_a_record_agree(run):
    result = run(model="gem")
    assert len({path.stem for path in run.latest.iterdir()}) == 1 and len(list(run.latest.iterdir())) == 3
    assert records.read(run.file(".txt")) == json.loads(run.file(".json").read_text()) == result
    result_t, result_a, state, stats, one_liner, args = torch.load(run.file(".pt"), weights_only=True)
    baseline, grid, _ = metrics.split(result_t, result_a)
    assert torch.equal(grid, torch.tensor(result["grid"])) and torch.equal(baseline, torch.tensor(result["baseline"]))
    assert stats == [result["final"], result["backward"], result["forward"]] and args == result["args"]
    assert one_liner.startswith("{'model': 'gem'") and one_liner.endswith(
        f"# {stats[0]:.3f} {stats[1]:.3f} {stats[2]:.3f}"
    )
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        **{"net.net.0.weight": (8, 12), "net.net.0.bias": (8,), "net.net.2.weight": (8, 8), "net.net.2.bias": (8,)},
        **{"net.net.4.weight": (4, 8), "net.net.4.bias": (4,)},
    }
    lines = run.file(".txt").read_text().splitlines()
    assert lines[0] == " ".join(f"{value:.4f}" for value in result["baseline"]) and lines[1] == "|"
    assert lines[2:5] == [" ".join(f"{value:.4f}" for value in row) for row in result["grid"]]
    assert f"Final Accuracy: {result['final']:.4f}" in lines
    assert result["status"] == "done" and result["counts"]["steps"] == 120
    assert result["evolution"]["step"] == [*range(0, 120, 10), 120]
    assert result["protocol"]["task_order"] == [0, 1, 2] and result["protocol"]["samples_per_task"] == [40, 40, 40]


def test_the_state_in_a_record_scores_the_last_row(run, data_file):
    result = run(model="agem")
    net = common.MLP([12, 8, 8, 4])
    net.load_state_dict({key.removeprefix("net."): value for key, value in run.state().items()})
    last = [float((net(x).argmax(1) == y).float().mean()) for _, x, y in files.load(data_file).test]
    assert last == pytest.approx(result["grid"][-1])


@pytest.mark.parametrize("model", ["single", "gem", "agem_closed", "agem_meanqp", "ewc"])
def test_a_run_that_diverges_stops_and_keeps_what_was_measured(run, capsys, model, monkeypatch):
    """The network is poisoned at the third step of task 1."""
    method = main.methods.load(model)
    learn, steps = method.Net.observe, []

    def observe(self, x, t, y):
        steps.append(t)
        if steps.count(1) == 3:
            with torch.no_grad():
                next(self.parameters()).fill_(float("nan"))
        learn(self, x, t, y)

    monkeypatch.setattr(method.Net, "observe", observe)
    healthy = run(model=model, n_tasks=1)
    steps.clear()
    result = run(model=model, log_every=10)
    assert result["status"] == "diverged" and 43 <= len(steps) <= 50
    assert result["grid"] == [[*result["grid"][0]]] and result["grid"][0][:1] == healthy["grid"][0]
    assert (result["final"], result["backward"], result["forward"]) == (None, None, None)
    err = capsys.readouterr().err
    assert f"{model} diverged in task 1 at step " in err and "keeps what was measured" in err
    assert json.loads(run.file(".json").read_text()) == result


@pytest.mark.parametrize("at, task", [(3, 0), (20, 2)])
@pytest.mark.parametrize("model", ["gem", "ewc"])
def test_a_phase_that_diverges_says_where_and_keeps_the_grid(run, capsys, model, at, task, monkeypatch):
    """The network is poisoned after the third step, or after the last, where no further step finds it out."""
    method, steps = main.methods.load(model), []
    unlearn = method.Net.unlearn

    def poisoned(self, x, t, y, attack):
        unlearn(self, x, t, y, attack)
        steps.append(t)
        if len(steps) == at:
            with torch.no_grad():
                next(self.parameters()).fill_(float("nan"))

    flags = {"model": model, "forgetting_mode": True, "forgetting_task_ids": 1, "forgetting_resee_size": 10}
    healthy = run(**flags)
    assert healthy["forgetting"]["batches"] == {"0": 10, "2": 10}
    monkeypatch.setattr(method.Net, "unlearn", poisoned)
    capsys.readouterr()
    result = run(**flags)
    assert result["status"] == "diverged" and result["grid"] == healthy["grid"] and "forgetting" not in result
    said = f"main.py: {model} diverged in the unlearning phase at its step {at}, task {task} seen again: "
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        {"model": "gem"},
        {"model": "ewc", "n_epochs": 2, "batch_size": 3},
        {"model": "agem_sampled", "shuffle_tasks": "yes", "seed": 2},
        {"model": "single", "parity": "yes"},
        {"model": "gem", "split": True},
    ],
)
def test_the_learning_curve_is_what_evaluation_at_every_step_gives(run, data_file, flags):
    if flags.pop("split", False):
        files.save(data_file, *stream(n_outputs=6, split=True))
    result = run(lca="yes", log_every=1_000, **flags)
    plain, each = run(log_every=1_000, **flags), run(log_every=1, **flags)["evolution"]
    assert result["evolution"] == plain["evolution"] and result["baseline"] == plain["baseline"]
    order, batches = result["protocol"]["task_order"], result["counts"]["steps"] // 3
    wanted = [[each["accuracy"][i * batches + b][task] for b in range(11)] for i, task in enumerate(order)]
    curve = result["learning_curve"]
    assert curve["task"] == order and curve["accuracy"] == wanted
    assert curve["Z"] == pytest.approx([sum(column) / 3 for column in zip(*wanted, strict=True)])
    assert result["metrics"]["lca"] == pytest.approx(sum(map(sum, wanted)) / 33)
    assert max(curve["Z"]) > curve["Z"][0]  # something was learned
    assert plain["metrics"]["lca"] is None and "learning_curve" not in plain


@pytest.mark.parametrize("model", [name for name in main.methods.METHODS if name != "joint"])
def test_measuring_the_learning_curve_changes_no_digit(run, data_file, model):
    file_for(model, data_file)
    flags = {
        "model": model,
        "n_hiddens": 20,
        "task_sample": 10,
        "ogd_per_task": 10,
        "log_every": 1_000,
        "n_memories": 6,
    }
    plain = run.bits(**flags)
    assert run.bits(lca="yes", **flags) == plain


def test_a_learning_curve_of_too_few_batches(run, capsys):
    """8 batches a task: the area up to the tenth is not defined, and that is said before the run."""
    result = run(model="single", lca="yes", batch_size=5)
    assert result["metrics"]["lca"] is None
    assert len(result["learning_curve"]["Z"]) == 9 and result["learning_curve"]["Z"][8] == pytest.approx(
        sum(result["grid"][t][t] for t in range(3)) / 3
    )
    said = "note: --lca yes: task 0 has 8 batches and LCA needs 10 of each task, so it is not recorded"
    assert said in capsys.readouterr().err
    run(model="single", lca="yes", batch_size=4)
    assert "lca" not in capsys.readouterr().err


def test_a_learning_curve_of_a_run_that_diverges(run, monkeypatch):
    """Poisoned at the third batch of task 1: its curve ends there, no area is given, and the run ends as without."""
    from model import single

    learn, steps = single.Net.observe, []

    def observe(self, x, t, y):
        learn(self, x, t, y)
        steps.append(t)
        if steps.count(1) == 3:
            with torch.no_grad():
                self.engine.theta.fill_(float("inf"))

    monkeypatch.setattr(single.Net, "observe", observe)
    result = run(model="single", lca="yes")
    steps.clear()
    plain = run(model="single")
    assert result["status"] == "diverged" and result["metrics"]["lca"] is None
    first, second, third = result["learning_curve"]["accuracy"]
    assert len(first) == 11 and None not in (*first, *second[:3]) and second[3:] == [None] and third == []
    assert result["learning_curve"]["Z"] == []
    assert result["evolution"] == plain["evolution"] and result["counts"] == plain["counts"]


@pytest.mark.parametrize(
    "flags",
    [
        "--model ncl --lr 1 --ncl_data_size 200 --ncl_lambda 1e3",  # finite parameters, outputs that are not
        "--model ncl --lr 0.1 --ncl_alpha 3e38",
        "--model ncl --lr 1e19 --ncl_lambda 1e30 --ncl_momentum 0.9",
        "--model agem --lr 1e30 --memory_strength 1e30 --n_memories 5",
    ],
)
def test_methods_at_the_edge_of_their_numbers_end_with_a_record(flags, data_file, tmp_path, capsys):
    """Done or diverged, and no traceback of a decomposition that failed or of a number that float32 cannot hold."""
    argv = ["--data_path", str(data_file.parent), "--data_file", data_file.name, "--save_path", str(tmp_path / "r")]
    status = main.cli([*argv, *flags.split(), "--n_hiddens", "8"])
    assert status in (0, 3) and len(list((tmp_path / "r").glob("*.json"))) == 1
    assert status == 0 or "diverged in task" in capsys.readouterr().err


def test_divergence_by_itself_is_exit_status_3(data_file, tmp_path, capsys):
    argv = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(tmp_path / "r")]
    assert main.cli([*argv, "--model", "gem", "--lr", "1e20", "--n_memories", "5"]) == 3
    (result,) = (json.loads(path.read_text()) for path in (tmp_path / "r").glob("*.json"))
    assert result["status"] == "diverged" and result["grid"] == [] and len(result["baseline"]) == 3
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("main.py: gem diverged in task 0 at step ")


def test_shuffled_tasks_are_recorded_and_scored_in_their_order(run):
    results = [run(model="single", shuffle_tasks="yes", seed=seed) for seed in range(4)]
    orders = [result["protocol"]["task_order"] for result in results]
    assert all(sorted(order) == [0, 1, 2] for order in orders) and len({*map(tuple, orders)}) > 1
    for result, order in zip(results, orders, strict=True):
        grid = torch.tensor(result["grid"])
        assert list(dict.fromkeys(result["evolution"]["task"])) == order
        gains = [float(grid[-1, t] - grid[i, t]) for i, t in enumerate(order)]
        assert result["backward"] == pytest.approx(sum(gains) / 3, abs=1e-6)
        ahead = [float(grid[i - 1, t]) - result["baseline"][t] for i, t in enumerate(order) if i]
        assert result["forward"] == pytest.approx(sum(ahead) / 3, abs=1e-6)


@pytest.mark.parametrize("model", ["single", "gem", "agem", "agem_sampled", "ewc"])
def test_classes_split_over_tasks(run, data_file, model):
    files.save(data_file, *stream(n_outputs=6, split=True))
    result = run(model=model)
    assert result["protocol"]["head"] == "split"
    # Two outputs a task: chance is a half, and an untrained network cannot name a class of another task.
    assert min(result["baseline"]) > 0.2 and result["metrics"]["learning_accuracy"] > 0.6
    assert run(model=model, head="shared")["protocol"]["head"] == "shared"


@pytest.mark.parametrize(
    ("model", "dtype"), [("agem_closed", torch.float32), ("single", torch.float64), ("icarl", torch.float32)]
)
def test_accuracies_with_and_without_the_tasks_masks(run, data_file, capsys, model, dtype):
    """Of one run: the masked ones stay what they were, the unmasked ones are those of all outputs of the trained network."""
    train, test = stream(n_outputs=6, split=True, dtype=dtype)
    files.save(data_file, train, test)
    result = run(model=model, n_memories=12, n_hiddens=32, batch_size=4, n_epochs=3)
    unmasked = result["unmasked"]
    assert len(unmasked["grid"]) == 3 and unmasked["final"] == pytest.approx(sum(unmasked["grid"][-1]) / 3)
    for row, masked in zip(
        [unmasked["baseline"], *unmasked["grid"]], [result["baseline"], *result["grid"]], strict=True
    ):
        assert all(a <= b for a, b in zip(row, masked, strict=True))
    assert unmasked["final"] < result["final"] and max(unmasked["grid"][-1]) > 0.3
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Unmasked: ")]
    assert len(printed) == 1 and f"final {unmasked['final']:.4f}" in printed[0]
    if model != "icarl":
        net = common.MLP([12, 32, 32, 6]).to(dtype)
        net.load_state_dict({key.removeprefix("net."): value for key, value in run.state().items()})
        right = [float((net(x).argmax(1) == y).double().mean()) for _, x, y in test]
        assert unmasked["grid"][-1] == pytest.approx(right)


def test_no_unmasked_accuracies_where_there_are_no_masks(run, data_file, capsys):
    assert "unmasked" not in run(model="single")
    files.save(data_file, *stream(n_outputs=6, split=True))
    for model in ("independent", "multimodal"):  # which must know the task to choose the network
        assert "unmasked" not in run(model=model)
    assert "\nUnmasked: " not in capsys.readouterr().out


def test_labels_split_unevenly(run, data_file):
    """Task 0 has the classes 0 to 2, task 1 the classes 7 and 3: the outputs follow the labels, not equal slices."""
    train, test = stream(n_tasks=2)
    for tasks in (train, test):
        tasks[0][2] = tasks[0][2].clamp(max=2)
        tasks[1][2] = torch.where(tasks[1][2] < 2, 7, 3)
    files.save(data_file, train, test)
    result = run(model="gem")
    assert result["protocol"]["head"] == "split" and min(result["grid"][-1]) > 0.4


@pytest.mark.parametrize("model", ["gem", "agem_closed", "ewc"])
def test_images_are_learned_by_a_resnet(run, data_file, model):
    files.save(data_file, *stream(n_tasks=2, n=4, n_inputs=3072, n_outputs=4, split=True))
    result = run(model=model, batch_size=2, n_memories=2, lr=0.01, log_every=100)
    assert result["status"] == "done" and result["protocol"]["head"] == "split"
    state = run.state()
    assert "net.layer4.1.bn2.running_var" in state and state["net.linear.weight"].shape == (4, 160)


def test_a_float64_data_file(run, data_file):
    files.save(data_file, *stream(dtype=torch.float64))
    assert run(model="gem")["status"] == "done"
    assert {value.dtype for value in run.state().values()} == {torch.float64}


def test_rescued_quadratic_programs_are_counted(run, monkeypatch):
    import quadprog

    solve, calls = quadprog.solve_qp, []

    def fails_first(P, *rest):
        calls.append(P)
        if len(calls) % 2:
            raise ValueError("matrix G is not positive definite")
        return solve(P, *rest)

    monkeypatch.setattr(quadprog, "solve_qp", fails_first)
    counts = run(model="gem")["counts"]
    assert counts["qp_rescues"] == counts["qp_solves"] == len(calls) // 2 > 0
    assert counts["violations"] == counts["qp_solves"] and counts["steps"] == 120


def test_violations_are_counted(run):
    counts = {model: run(model=model)["counts"] for model in ("single", "agem", "gem")}
    assert counts["single"]["violations"] == 0 < counts["agem"]["violations"]
    assert counts["agem"]["qp_solves"] == 0 < counts["gem"]["qp_solves"] and counts["gem"]["qp_rescues"] == 0


@pytest.mark.parametrize("model", ["gem", "agem", "agem_meanqp", "gem_group", "agem_group"])
def test_a_margin_that_drowns_the_gradient_is_told_in_one_line(run, capsys, model):
    flags = {"model": model, "num_groups": 2, "agem_group_rule": "qp", "lr": 0.01}
    result = run(memory_strength=300, **flags)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "replayed" in line]
    assert line.startswith(
        f"note: {model} replayed rather than learned: with --memory_strength 300 the past tasks weighed "
    )
    assert result["counts"]["replay_weight"] > 15 * 80
    run(memory_strength=0.5, **flags)
    assert "replayed" not in capsys.readouterr().err


def test_what_is_printed(run, capsys):
    result = run(model="agem_meanqp")
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("data: tiny.pt, 3 tasks, 12 inputs, sha256 ")
    assert out[1:6] == [metrics.grid_text(result["baseline"], result["grid"]).splitlines()[i] for i in range(5)]
    path, one_liner = out[-1].split(": ", 1)
    settings, stats, seconds = one_liner.split(" # ")
    assert run.latest.samefile(path.rsplit("/", 1)[0]) and settings.startswith("{'model': 'agem_meanqp'")
    assert [float(s) for s in stats.split()] == pytest.approx(
        [result[k] for k in ("final", "backward", "forward")], abs=6e-4
    )
    assert math.isclose(float(seconds), result["seconds"]["total"], abs_tol=1e-3)


def test_what_a_method_warns_of_is_told_in_one_line(run, capsys):
    run(model="agem_group", group_xi=1e30)
    err = capsys.readouterr().err
    assert "note: hidden layer 1: no communities found in 50 attempts; its groups are random\n" in err
    assert all(line.startswith("note: ") for line in err.splitlines())
