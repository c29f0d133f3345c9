"""The unlearning phase: its guarantee, its stream, and what is left afterwards."""

import argparse
import math
import random

import numpy as np
import pytest
import torch

import main
import model as methods
from metrics import unlearning as summary
from model import UsageError
from model.numeric import projection
from model.numeric.directions import Directions
from model.unlearning import Attack, phase, plan
from tests.conftest import learn, namespace, net, parameters, stream
from tests.model.test_ogd import orthonormal

UNLEARNING = [name for name in methods.METHODS if hasattr(methods.load(name).Net, "unlearn")]
ROWS = [name for name in UNLEARNING if hasattr(methods.load(name).Net, "recall_others")]


def fresh(name, **given):
    small = {"task_sample": 12, "ogd_per_task": 6, "lr": 0.02, "cov_recompute_every": 4, "num_groups": 3}
    return net(name, n_tasks=5, forgetting_mode=True, **{**small, **given}).double()


def trained(name, **given):
    """A network that has learned four of its five tasks, their stream and the arguments of the phase."""
    train, _ = stream(n_tasks=4, n_outputs=4, dtype=torch.float64)
    model = fresh(name, **given)
    learn(model, train)
    getattr(model, "finish_task", lambda: None)()
    args = argparse.Namespace(batch_size=2, samples_per_task=-1, n_epochs=1, shuffle_tasks="no", cuda=False)
    args.forgetting_resee_size = 5
    torch.manual_seed(0)
    random.seed(0)
    return model, main.Continuum(train, args), args


def run(name, attack, **given):
    model, continuum, args = trained(name, **given)
    seen = phase(model, continuum, attack, args)
    return model, seen


@pytest.mark.parametrize("name", UNLEARNING)
def test_the_attacked_tasks_get_worse_than_without_the_attack(name):
    train, _ = stream(n_tasks=4, n_outputs=4, dtype=torch.float64)

    def loss(model):
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model(train[1][1], 1), train[1][2]))

    attacked, spared = (loss(run(name, Attack(frozenset({1}), sign))[0]) for sign in (-1.0, 0.0))
    assert attacked > spared


@pytest.mark.parametrize("name", ROWS)
def test_the_guarantee_holds_for_every_row_that_is_on(name):
    """<x, s_r g_r> >= -ridge for GEM; for A-GEM the same of its one row, the mean of the scaled gradients."""
    model, continuum, _ = trained(name, memory_strength=0.0)
    attack = Attack(frozenset({0, 2}), -1.0)
    checked = 0
    for t in (1, 3):
        others = model.recall_others(t)
        for x, y in continuum.batches(t, 8):
            g = model.engine.gradients(x, y, t)
            gram, dots = g.gram(), g.dots()
            scales = attack.scales(g, others, gram, model.outputs)
            assert all(s == 1 for s, task in zip(scales, others, strict=True) if task not in attack.tasks)
            length = float(g.flat().norm())
            for r, task in enumerate(others):
                if task in attack.tasks:
                    on = g.losses[1 + r] < math.log(4)
                    assert (scales[r] < 0) == on and abs(scales[r]) * math.sqrt(gram[r, r]) <= length * (1 + 1e-9)
            if name == "gem":
                correction = attack.along_rows(g, others, model.outputs, projection.gem)
                rows = np.diag(scales)[scales != 0]
            else:
                correction = attack.along_mean(g, others, model.outputs, projection.one_row)
                share = [sum((o in attack.tasks) == (task in attack.tasks) for o in others) for task in others]
                rows = (scales / share)[None, :]
            if correction is not None:
                checked += 1
                products = rows @ dots + rows @ gram @ correction.weights
                assert (products >= -1e-5 * length * np.sqrt(gram.diagonal().max())).all()
            model.unlearn(x, t, y, attack)
    assert checked > 0


@pytest.mark.parametrize("name", UNLEARNING)
def test_sign_0_is_the_phase_without_the_attacked_tasks_memory(name):
    attack = Attack(frozenset({1}), 0.0)
    silent, _ = run(name, attack)
    model, continuum, args = trained(name)
    if hasattr(model, "memory"):
        model.memory.erase({1})
    else:
        model.kept.memory.erase({1})
    phase(model, continuum, attack, args)
    assert torch.allclose(parameters(silent), parameters(model), rtol=1e-9, atol=1e-12)


def test_the_stream_of_the_phase():
    model, continuum, args = trained("gem")
    calls = []
    model.unlearn = lambda x, t, y, attack: calls.append((t, len(y)))
    seen = phase(model, continuum, Attack(frozenset({0, 2}), -1.0), args)
    assert calls == [(1, 2)] * 5 + [(3, 2)] * 5 and seen == {1: 5, 3: 5}
    first = next(iter(continuum.batches(1, 1)))
    again = next((x, y) for x, t, y in continuum if t == 1)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    args.forgetting_resee_size = 1_000
    assert phase(model, continuum, Attack(frozenset({0}), -1.0), args) == {1: 20, 2: 20, 3: 20}


def test_without_attacked_tasks_it_is_rehearsal_with_all_others():
    model, continuum, _ = trained("gem")
    assert model.recall_others(1) == [0, 2, 3]
    x, y = next(iter(continuum.batches(1, 1)))
    g = model.engine.gradients(x, y, 1)
    attack = Attack(frozenset(), -1.0)
    assert (attack.scales(g, [0, 2, 3], g.gram(), model.outputs) == 1).all()
    run("gem", attack)


@pytest.mark.parametrize("name", UNLEARNING)
def test_afterwards_the_memory_of_the_attacked_tasks_is_gone(name):
    model, _ = run(name, Attack(frozenset({0, 2}), -1.0))
    memory = model.memory if hasattr(model, "memory") else model.kept.memory
    assert memory.rows([0, 2])[1].tolist() == [] and not bool(memory.x[[0, 2]].any())
    assert len(memory.rows([1, 3])[1]) > 0
    train, _ = stream(n_tasks=4, n_outputs=4, dtype=torch.float64)
    model.observe(train[3][1][:2], 3, train[3][2][:2])  # life may go on
    assert bool(parameters(model).isfinite().all())


@pytest.mark.parametrize("name", [name for name in UNLEARNING if name not in ROWS])
def test_examples_of_old_tasks_are_kept_only_where_forgetting_is_asked_for(name, capsys):
    assert net(name).kept.memory is None
    assert capsys.readouterr().err == ""
    assert net(name, forgetting_mode=True).kept.memory.capacity == 200
    assert "200 examples a task are kept, to unlearn by" in capsys.readouterr().err


def observe(model, t, n=8):
    """The first ``n`` batches of 2 of task t, of which 4 is new."""
    train, _ = stream(n_tasks=5, n_outputs=4, dtype=torch.float64)
    for i in range(0, 2 * n, 2):
        model.observe(train[t][1][i : i + 2], t, train[t][2][i : i + 2])


@pytest.mark.parametrize("name", UNLEARNING)
@pytest.mark.parametrize("finish", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", [3, 1, 0, 4])  # the last task learned, an older one, an unlearned one, a new one
def test_life_goes_on_after_the_phase(name, first, finish):
    """Tasks learned before, unlearned and new ones; then a second phase, of other tasks, and on again."""
    model, continuum, args = trained(name)
    phase(model, continuum, Attack(frozenset({0, 2}), -1.0), args)
    for t in (first, 1, 4, 0, 3):
        before = parameters(model).clone()
        observe(model, t)
        assert not torch.equal(parameters(model), before)
    if finish:
        getattr(model, "finish_task", lambda: None)()
    phase(model, continuum, Attack(frozenset({3}), -1.0), args)
    for t in (4, 3):
        observe(model, t)
    assert bool(parameters(model).isfinite().all())


@pytest.mark.parametrize("name", UNLEARNING)
def test_the_phase_finishes_a_task_that_nobody_finished(name):
    results = []
    for finish in (True, False):
        model, continuum, args = trained(name)
        observe(model, 4)
        if finish:
            getattr(model, "finish_task", lambda: None)()
        phase(model, continuum, Attack(frozenset({0}), -1.0), args)
        results.append(parameters(model))
    assert torch.equal(*results)


def kept_of(name, model):
    """What protects each task where a method has no memory for that, [(task, ...)]; and it all together."""
    if name == "ogd":
        return [(task, Directions(*vectors).dense()) for task, vectors in model.raw], orthonormal(model.basis)
    if name == "spg":
        return model.gammas, model.free
    return model.terms, model.a


@pytest.mark.parametrize("name", [name for name in UNLEARNING if name not in ROWS])
@pytest.mark.parametrize("batches", [0, 5])
def test_what_protected_the_attacked_tasks_is_gone(name, batches):
    """Also where the phase has no step to make; what is left is that of the kept tasks alone."""
    model, continuum, args = trained(name)
    before = [entry for entry in kept_of(name, model)[0] if entry[0] not in (0, 2)]
    args.forgetting_resee_size = batches
    phase(model, continuum, Attack(frozenset({0, 2}), -1.0), args)
    left, together = kept_of(name, model)
    assert [entry[0] for entry in left] == [entry[0] for entry in before] == [1, 3]
    if name == "ewc":
        assert torch.allclose(together, sum(F for _, F, _ in before), rtol=1e-12)
    elif name == "spg":
        gamma = torch.stack([gamma for _, gamma in before]).amax(0)
        assert torch.allclose(together[: model.below], 1 - gamma[: model.below], rtol=1e-12)
    elif name == "ogd":
        vectors = torch.cat([vectors for _, vectors in before])
        assert len(together) == int(torch.linalg.matrix_rank(vectors, rtol=1e-9)) == model.counts["ogd_basis"]
        assert (vectors - (vectors @ together.t()) @ together).norm() <= 1e-8 * vectors.norm()
    elif name == "ewc_group":
        observe(model, 4)
        assert model.grouping.past == [1, 3]
        labels = model.grouping.partition.labels()
        a = sum(model.grouping.rho[:, s][labels] * F for s, (_, F, _) in enumerate(before))
        assert torch.allclose(model.a, a, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in UNLEARNING if name.endswith("_group")])
def test_relatedness_to_the_attacked_tasks_is_gone(name):
    model, continuum, args = trained(name)
    phase(model, continuum, Attack(frozenset({0, 3}), -1.0), args)
    assert not model.grouping.pending and set(model.grouping.covariances) == {1, 2}
    observe(model, 4, 5)
    assert model.grouping.past == [1, 2] and model.grouping.rho.shape[1] == 2
    assert bool((model.grouping.rho[1:] != 0.5).any())  # estimated


@pytest.mark.parametrize("name", UNLEARNING)
def test_going_on_after_a_restore_within_the_phase(name):
    attack = Attack(frozenset({0, 2}), -1.0)

    def rest(model, steps):
        for x, t, y in steps:
            model.unlearn(x, t, y, attack)
        model.unlearned(attack)
        observe(model, 1)
        return parameters(model), model.counts

    whole, continuum, _ = trained(name)
    steps, states = [(x, t, y) for t in (1, 3) for x, y in continuum.batches(t, 4)], []
    for x, t, y in steps:
        states.append(whole.checkpoint())
        whole.unlearn(x, t, y, attack)
    wanted = rest(whole, [])
    for at, state in enumerate(states):
        model = fresh(name)
        model.restore(state)
        ours = rest(model, steps[at:])
        assert torch.equal(ours[0], wanted[0]) and ours[1] == wanted[1], at


@pytest.mark.parametrize("name", [name for name in UNLEARNING if name not in ROWS])
def test_no_sample_to_unlearn_by_is_an_error(name):
    with pytest.raises(
        UsageError, match=f"--task_sample 0: {name} needs a sample of each task; give --task_sample 200"
    ):
        net(name, forgetting_mode=True, task_sample=0)
    if name.startswith("ewc"):
        net(name, task_sample=0)  # without the phase it keeps none


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ("0,9", "--forgetting_task_ids 0,9: there is no task 9; give ids from 0 to 3"),
        ("-1", "there is no task -1"),
        ("2,2", "task 2 is named twice"),
        ("0,1,2,3", "names every task"),
        ("", "--forgetting_task_ids '': --forgetting_mode needs tasks to unlearn; give 0,5, say, or leave"),
        (" ,", "--forgetting_task_ids ' ,': --forgetting_mode needs tasks"),
        ("a", "--forgetting_task_ids a: not numbers of tasks"),
    ],
)
def test_ids_that_cannot_be(ids, said):
    with pytest.raises(UsageError, match=said):
        plan(namespace(forgetting_task_ids=ids), 4, methods.load("gem"), "gem")


@pytest.mark.parametrize("name", [name for name in methods.METHODS if name not in UNLEARNING])
def test_methods_that_cannot_forget_say_so(name):
    with pytest.raises(
        UsageError, match=f"--forgetting_mode True: {name} cannot unlearn single tasks: .*; give another"
    ):
        plan(namespace(forgetting_task_ids="0"), 4, methods.load(name), name)


def test_the_report():
    said = summary.report([0.8, 0.7, 0.9], [0.2, 0.8, 0.6], [0, 2], -1.0, {1: 5}, [0.5, 0.5, 0.25])
    assert said["effect"] == pytest.approx((0.6 + 0.3) / 2) and said["retention"] == pytest.approx(0.1)
    assert said["attacked_accuracy"] == pytest.approx(0.4) and said["chance"] == pytest.approx(0.375)
    assert "After forgetting tasks 0,2:\n0.2000 0.8000 0.6000\nForgetting effect: 0.4500" in summary.text(said)
    nothing = summary.report([0.5], [0.5], [], -1.0, {0: 5}, [0.1])
    assert nothing["effect"] is None and "Forgetting effect: none" in summary.text(nothing)


def test_a_whole_run_records_it(data_file, capsys):
    line = (
        f"--model gem --data_path {data_file.parent} --data_file tiny.pt --n_memories 5 --memory_strength 0.5 --lr 0.1"
    )
    line += f" --save_path {data_file.parent} --forgetting_mode True --forgetting_task_ids 0 --forgetting_resee_size 2"
    said = main.main(line.split())["forgetting"]
    assert said["attacked"] == [0] and said["batches"] == {"1": 2, "2": 2} and len(said["after"]) == 3
    (text,) = data_file.parent.glob("*.txt")
    assert text.read_text().endswith(summary.text(said) + "\n") and summary.text(said) in capsys.readouterr().out
    plain = main.main(line.replace("--forgetting_mode True", "").split())
    assert "forgetting" not in plain and plain["grid"][-1] == pytest.approx(said["before"])
