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
from model.unlearning import Attack, phase, plan
from tests.conftest import learn, namespace, net, parameters, stream

UNLEARNING = [name for name in methods.METHODS if hasattr(methods.load(name).Net, "unlearn")]
ROWS = [name for name in UNLEARNING if hasattr(methods.load(name).Net, "recall_others")]


def trained(name, **given):
    train, _ = stream(n_tasks=4, n_outputs=4, dtype=torch.float64)
    model = net(name, n_tasks=4, forgetting_mode=True, task_sample=12, ogd_per_task=6, lr=0.02, **given).double()
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


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ("0,9", "--forgetting_task_ids 0,9: there is no task 9; give ids from 0 to 3"),
        ("-1", "there is no task -1"),
        ("2,2", "task 2 is named twice"),
        ("0,1,2,3", "names every task"),
        ("a", "--forgetting_task_ids a: not numbers of tasks"),
    ],
)
def test_ids_that_cannot_be(ids, said):
    with pytest.raises(UsageError, match=said):
        plan(namespace(forgetting_task_ids=ids), 4, methods.load("gem"), "gem")


@pytest.mark.parametrize("name", [name for name in methods.METHODS if name not in UNLEARNING])
def test_methods_that_cannot_forget_say_so(name):
    with pytest.raises(
        UsageError, match=f"--forgetting_mode True: {name} cannot forget single tasks: .*; give another"
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
