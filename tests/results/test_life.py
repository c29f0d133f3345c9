"""What a run says beside its results: learning curves that are too short, margins that drown the current gradient."""

import argparse

import pytest

from results import life
from tests.results.records import make


class Stream:
    """A continuum as far as they look at it."""

    def __init__(self, order, samples):
        self.order, self.samples = order, samples

    def samples_per_task(self):
        return self.samples


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
