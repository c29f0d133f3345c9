"""What a run says beside its results: learning curves that are too short, margins that drown the current gradient."""

import argparse

import pytest
import torch

import main
from model import UsageError, room
from results import life
from results.reading import bounds
from tests.results.records import make


class Stream:
    """A continuum as far as they look at it."""

    def __init__(self, order, samples):
        self.order, self.samples = order, samples

    def samples_per_task(self):
        return self.samples

    batches_per_task = samples_per_task  # of one example each


@pytest.mark.parametrize(
    "lca, batch_size, samples, said",
    [
        (True, 1, [10, 10, 10], None),
        (True, 3, [40, 28, 40], None),  # 10 batches, the last of one example
        (True, 3, [40, 27, 40], "--lca yes: task 0 has 9 batches and LCA needs 10 of each task"),
        (False, 3, [40, 27, 40], None),
    ],
)
def test_short_curves(lca, batch_size, samples, said):
    args = argparse.Namespace(lca=lca, batch_size=batch_size)
    found = life.short_curves(args, Stream([2, 0, 1], samples))
    assert len(found) == (said is not None) and (said is None or found[0].startswith(said))


def test_more_tasks_than_records_are_read_of_are_told_before_training(capsys, monkeypatch, data_file):
    assert life.unreadable(bounds.TASKS) == []
    (said,) = life.unreadable(bounds.TASKS + 1)
    assert said.startswith(
        "2,001 tasks: the record may be larger than python -m results.* reads, which is sure up to 2,000"
    )
    monkeypatch.setattr(bounds, "TASKS", 2)
    main.main(
        ["--data_path", data_file.parent, "--data_file", data_file.name, "--save_path", data_file.parent / "records"]
    )
    assert "note: 3 tasks: the record may be larger than" in capsys.readouterr().err


def margin(replay, steps=100, **more):
    counts = {"steps": steps, "violations": 60, **({} if replay is None else {"replay_weight": replay})}
    record = make("agem", counts=counts, samples_per_task=[20] * 5, **more)
    record["args"]["memory_strength"] = 10.0
    return record


@pytest.mark.parametrize("replay, warns", [(None, False), (0.0, False), (80 * 14.9, False), (80 * 15.1, True)])
def test_drowned(replay, warns):
    """Of 100 steps of one example 20 are the first task's."""
    found = life.drowned(margin(replay))
    assert bool(found) == warns
    if warns:
        assert found == [
            "agem replayed rather than learned: with --memory_strength 10 the past tasks weighed 15 times as much as the batch "
            "(60 of 80 steps after the first task were corrected); give a smaller --memory_strength"
        ]


def test_drowned_counts_the_unlearning_phase_and_survives_a_short_run():
    assert life.drowned(margin(80 * 15.1, forgetting={"batches": {"0": 20, "3": 20}})) == []
    assert life.drowned(margin(0.0, steps=3)) == []  # diverged in its first task


def measured(E, T=3):
    """A Life of E evaluations on T tasks."""
    rows = [[(i + j) / 7 for j in range(T)] for i in range(E)]
    return life.Life([0] * E, rows, [[] for _ in rows], list(range(E)), curves={0: [0.5, None]}, seen={1: 4})


@pytest.mark.parametrize(
    "E, steps", [(0, []), (1, [0]), (6, [*range(6)]), (7, [0, 2, 4, 6]), (14, [0, 3, 6, 9, 12, 13])]
)
def test_the_curve_of_a_record_is_bounded(monkeypatch, E, steps):
    """One of 10^6 evaluations on ten tasks would make a file of 200 MB, which no reader takes."""
    monkeypatch.setattr(life, "CURVE", 18)
    whole = measured(E)
    found = whole.evolution()
    assert found["step"] == steps and found["accuracy"] == [whole.result_a[i] for i in steps]
    assert len(found["task"]) == len(steps)


def test_a_checkpoint_holds_measurements_as_tensors():
    """As lists ten million accuracies take half a minute to read."""
    whole = measured(50)
    saved = whole.checkpoint()
    assert all(
        isinstance(saved[name]["values"], torch.Tensor) for name in ("result_t", "result_a", "unmasked", "steps")
    )
    assert life.Life.of(saved) == whole
    assert {type(number) for number in (*life.Life.of(saved).steps, *life.Life.of(saved).result_t)} == {int}
    mixed = life.Life(losses=[[1.0], [1.0, 2.0]], epoch=[1, 2.0])
    assert life.Life.of(mixed.checkpoint()) == mixed


def test_more_accuracies_than_memory_has_room_for(monkeypatch):
    monkeypatch.setattr(room, "available_memory", lambda cuda=False: 10**9)
    args = argparse.Namespace(log_every=10)
    life.require_room(args, Stream(range(10), [100_000] * 10))
    with pytest.raises(
        UsageError, match="--n_tasks 20000 --log_every 10: what 60,001 evaluations on 20,000 tasks measure"
    ):
        life.require_room(args, Stream(range(20_000), [30] * 20_000))
