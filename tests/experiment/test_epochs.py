"""Epochs of a stream, the running training accuracy, and the rule that ends a task by it."""

import pytest
import torch
from torch.nn import functional as F

import main
from data import files
from experiment.epochs import Running
from model import UsageError, room, single
from tests.conftest import namespace, net, stream
from tests.experiment.stopping import words
from tests.experiment.test_resume import compare  # noqa: F401 - a fixture


def continuum(*argv, n=40, together=False):
    args, _, _ = main.parse(["--n_epochs", "3", *argv])
    torch.manual_seed(0)
    main.random.seed(0)
    return main.Continuum(stream(n=n)[0], args, together)


def same(ours, theirs):
    return len(ours) == len(theirs) and all(
        torch.equal(a[0], b[0]) and a[1] == b[1] and torch.equal(a[2], b[2]) for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("batch_size", [7, 8, 40, 50])
@pytest.mark.parametrize("together", [False, True])
def test_an_epoch_ends_with_the_batch_of_its_last_example(batch_size, together):
    whole = continuum("--batch_size", str(batch_size), together=together)
    n, before, task = (120 if together else 40), 0, 0
    assert not whole.epoch_ended and whole.epoch == 0
    for _, t, y in whole:
        before, task = (before if t == task or together else 0), t
        assert (whole.epoch, whole.epoch_ended) == ((before + len(y)) // n, (before + len(y)) // n > before // n)
        before += len(y)
    assert before == 3 * n


def test_a_batch_of_a_stream_of_many_tasks_looks_at_its_own_task(monkeypatch):
    """Adding up the tasks before it, at every batch, takes the square of their number."""
    whole = continuum("--batch_size", "7", together=True)

    def looked(*_):
        raise AssertionError("looks at all tasks")

    monkeypatch.setattr(main.Continuum, "samples_per_task", looked)
    monkeypatch.setattr(whole, "task_sizes", None)
    assert [whole.epoch for _ in whole][-1] == 3
    monkeypatch.undo()
    alone = continuum("--batch_size", "7")
    learned = [x for x, t, _ in alone if t == 2]
    alone._runs = None
    assert all(map(torch.equal, [x for x, _ in alone.batches(2, 3)], learned[:3]))


@pytest.mark.parametrize("batch_size", [7, 8])
def test_what_is_left_out_of_a_task_changes_nothing_of_the_others(batch_size):
    argv = ["--batch_size", str(batch_size)]
    whole, ours = continuum(*argv), continuum(*argv)
    every, given = list(whole), []
    for batch in ours:
        given.append(batch)
        assert ours.position == len(given)
        if batch[1] == 1 and ours.epoch_ended:
            assert ours.epoch == 1
            ours.end_task()
    per_task, short = -(-120 // batch_size), -(-40 // batch_size)
    assert same(given, every[:per_task] + every[per_task : per_task + short] + every[2 * per_task :])
    assert ours.ended == {1: short} and len(ours) == ours.position == 2 * per_task + short
    assert ours.batches_per_task() == [per_task, short, per_task] and ours.left_out == []
    assert ours.samples_per_task() == whole.samples_per_task()
    again = continuum(*argv)
    again.ended = ours.ended
    for place in (0, per_task, per_task + 2, per_task + short, per_task + short + 1, len(ours)):
        again.position = place
        assert same(list(again), given[place:])
        assert again.task_before(place) == (given[place - 1][1] if place else 0)
    assert [len(y) for _, y in again.batches(1, 100)] == [
        len(y) for _, t, y in given if t == 1
    ]  # seen again: as learned


def test_a_joint_stream_ends_as_a_whole():
    ours = continuum("--batch_size", "8", together=True)
    for _ in ours:
        if ours.epoch_ended:
            ours.end_task()
    assert ours.position == len(ours) == 15 and ours.left_out == [1, 2]


def test_the_running_accuracy_is_that_of_the_steps_own_predictions():
    """Those of each batch's forward pass: with the step's dropout and batch statistics."""
    given = {"norm": "batch", "dropout": 0.5}
    model, twin, running = net("single", **given), net("single", **given), Running()
    seen = []
    twin.net.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    _, x, y = stream()[0][0]
    right = 0
    for start in range(0, 40, 8):
        xs, ys = x[start : start + 8], y[start : start + 8]
        running.add(model, xs, 0, ys)
        model.observe(xs, 0, ys)
        twin.observe(xs, 0, ys)
        right += int((seen[-1].argmax(1) == ys).sum())
    assert running.state == [right, 40] and len(seen) == 5 and running.close() == right / 40 and running.state == []
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))


def test_a_run_stops_each_task_by_its_rule(data_file):
    """Against the loop written out."""
    flags = {"n_epochs": 30, "batch_size": 7, "lr": 0.2, "stop_at_accuracy": 0.6, "log_every": 1000, "resume": False}
    result = main.main(words(data_file.parent, save_path=data_file.parent / "r", **flags))
    args, _, _ = main.parse(words(data_file.parent, **flags))
    torch.manual_seed(0)
    main.random.seed(0)
    whole = main.Continuum(files.load(data_file).train, args)
    twin = single.Net(12, 4, 3, namespace())  # its draws follow the stream's
    epochs, skip, right = {}, None, 0
    for x, t, y in list(whole):
        if t == skip:
            continue
        logits = twin.net(x)
        right, seen = right + int((logits.argmax(1) == y).sum()), epochs.setdefault(t, [0, 0, 0])
        before, seen[0] = seen[0], seen[0] + len(y)
        seen[2] += len(y)
        twin.zero_grad()
        F.cross_entropy(logits, y).backward()
        with torch.no_grad():
            for p in twin.parameters():
                p -= 0.2 * p.grad
        if seen[0] // 40 > before // 40:
            accuracy, right, seen[2] = right / seen[2], 0, 0
            seen[1] += 1
            skip = t if accuracy >= 0.6 else None
    stopping = result["stopping"]
    assert stopping["epochs"] == [seen[1] for seen in epochs.values()] and min(stopping["epochs"]) > 1
    assert min(stopping["accuracy"]) >= 0.6 and max(stopping["epochs"]) < 30
    assert result["counts"]["steps"] == sum(stopping["batches"]) < len(whole)
    assert result["protocol"]["samples_per_task"] == [1200] * 3


def test_a_joint_run_that_stops_has_all_rows(data_file):
    flags = {"model": "joint", "n_epochs": 9, "lr": 0.1, "stop_at_accuracy": 0.3, "log_every": 1000, "resume": False}
    result = main.main(words(data_file.parent, save_path=data_file.parent / "r", **flags))
    assert len(result["grid"]) == len(result["seen"]) == 3 and result["grid"][-1] == result["grid"][-2]
    assert result["counts"]["steps"] < 270 and result["final"] == pytest.approx(result["seen"][-1], abs=1e-6)


@pytest.mark.parametrize(
    "flags",
    [
        {"model": "single", "norm": "batch", "dropout": 0.4, "optimizer": "adam", "lr": 0.02, "batch_size": 7},
        {"model": "ogd", "momentum": 0.5, "l1_activations": 0.1, "later_lr_factor": 0.5},
        {"model": "multimodal", "norm": "layer", "momentum": 0.5},
    ],
    ids=lambda flags: flags["model"],
)
def test_a_run_with_early_ends_goes_on_wherever_it_was_stopped(compare, flags):  # noqa: F811
    places = compare([3, 4, 5, 9, 6], n_epochs=6, stop_at_accuracy=0.4, **flags)
    assert len(places) >= 3


def test_an_order_that_does_not_fit_into_memory(monkeypatch):
    """Its 16 bytes an example are asked for before it is drawn, which takes minutes."""
    monkeypatch.setattr(room, "available_memory", lambda cuda=False: 7 * 10**7)
    epochs = 5 * 10**6 // sum(len(y) for *_, y in stream(n=40)[0])
    sentence = rf"^--n_epochs {epochs}: the order of [\d,]+ examples does not fit into memory \(0\.1 GB, and 0\.1 GB are free\)"
    with pytest.raises(UsageError, match=sentence):
        continuum("--n_epochs", str(epochs))
