"""Memories: what is stored, what is returned, and that a row never written never is."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import UsageError
from model.memory import ReservoirMemory, RingMemory, TaskSample, averaged, per_task, pooled, set_rows, summed


def batch(values):
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1), torch.tensor(values)


@given(st.integers(1, 7), st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=20))
def test_the_ring_holds_the_last_examples_of_each_task(capacity, writes):
    memory, offered, value = RingMemory(3, capacity), [[], [], []], 0
    for task, n in writes:
        values = list(range(value, value + n))
        value += n
        memory.write(task, *batch(values))
        offered[task] += values
    for task in range(3):
        stored = memory.rows([task])
        expected = offered[task][-capacity:]
        if not writes:
            assert stored is None
        else:
            x, y, ids = stored
            assert sorted(y.tolist()) == expected and sorted(x[:, 0].tolist()) == expected
            assert ids.tolist() == [task] * len(expected)


def test_rows_come_task_by_task_in_the_order_asked_for():
    memory = RingMemory(3, 4)
    for task in range(3):
        memory.write(task, *batch([10 * task, 10 * task + 1]))
    _, y, ids = memory.rows([2, 0])
    assert y.tolist() == [20, 21, 0, 1] and ids.tolist() == [2, 2, 0, 0]
    assert memory.rows([]) is None


def test_the_shared_pointer_drops_what_overflows_and_goes_on_at_the_next_task():
    memory = RingMemory(2, 4, shared_pointer=True)
    memory.write(0, *batch([1, 2, 3]))
    memory.write(0, *batch([4, 5, 6]))  # 5 and 6 are dropped
    memory.write(0, *batch([7]))
    memory.write(1, *batch([8, 9]))  # from row 1
    assert memory.y.tolist() == [[7, 2, 3, 4], [0, 8, 9, 0]]
    with pytest.raises(UsageError, match="only 2 of --n_memories 4 rows of task 1"):
        memory.rows([0, 1])


def test_the_reservoir_is_uniform():
    """Chi-square over which of 20 examples are kept in 5 rows, 4,000 seeds: 19 degrees of freedom, p = 0.001 at 43.8."""
    counts = torch.zeros(20)
    for seed in range(4_000):
        memory = ReservoirMemory(5, seed)
        memory.write(0, *batch(list(range(13))))
        memory.write(1, *batch(list(range(13, 20))))
        counts[memory.rows()[1]] += 1
    # sampling 5 of 20 without replacement: the variance of a count is that of a hypergeometric draw
    statistic = ((counts - 1_000) ** 2 / (4_000 * 0.25 * 0.75)).sum() * 19 / 20
    assert statistic < 43.8


def test_the_reservoir_keeps_all_until_it_is_full():
    memory = ReservoirMemory(5, 0)
    assert memory.rows() is None
    memory.write(3, *batch([1, 2]))
    x, y, tasks = memory.rows()
    assert (len(memory), y.tolist(), tasks.tolist(), x.shape) == (2, [1, 2], [3, 3], (2, 1))
    memory.write(4, *batch(list(range(10))))
    assert len(memory) == 5 and len(memory.rows()[1]) == 5
    memory.clear()
    assert memory.rows() is None


def test_the_reservoir_keeps_what_lies_beside_an_example_whatever_its_axes():
    memory = ReservoirMemory(5, 0)
    x, y = batch(list(range(20)))
    memory.write(0, x, torch.stack((y, 10 * y), 1).float())
    kept, pairs, _ = memory.rows()
    assert torch.equal(pairs, torch.cat((kept, 10 * kept), 1)) and len(kept.unique()) == 5


@pytest.mark.parametrize("make", [lambda: RingMemory(2, 3), lambda: ReservoirMemory(3, 0)])
def test_going_on_after_a_restore(make):
    first, second = make(), make()
    first.write(0, *batch([1, 2, 3, 4]))
    second.restore(first.checkpoint())
    for memory in (first, second):
        memory.write(1, *batch([5, 6, 7, 8, 9]))
    one, two = (m.rows([0, 1]) if isinstance(m, RingMemory) else m.rows() for m in (first, second))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


TASKS = torch.tensor([2, 2, 2, 0])  # three examples of task 2, one of task 0


def test_weights_of_rows():
    third = 1 / 3
    assert per_task(TASKS).tolist() == [[third] * 3 + [0.0], [0.0] * 3 + [1.0]]
    assert summed(TASKS).tolist() == [[third] * 3 + [1.0]]
    assert averaged(TASKS).tolist() == [[third / 2] * 3 + [0.5]]
    assert pooled(TASKS).tolist() == [[0.25] * 4]
    assert all(rows(TASKS).dtype == torch.float64 for rows in (per_task, summed, averaged, pooled))


class Noted:
    """An engine that notes its rows."""

    rows = "untouched"

    def set_rows(self, *given):
        self.rows = given

    def clear_rows(self):
        self.rows = None


@pytest.mark.parametrize(("rows", "total"), [(per_task, 1.0), (summed, 2.0), (averaged, 1.0), (pooled, 1.0)])
def test_rows_are_given_to_the_engine_with_their_weight(rows, total):
    engine, stored = Noted(), (torch.rand(4, 3), torch.zeros(4), TASKS)
    assert set_rows(engine, stored, rows) == total
    assert engine.rows[:3] == stored and torch.equal(engine.rows[3], rows(TASKS))
    assert set_rows(engine, None, rows) == 0.0 and engine.rows is None


def test_what_is_erased_is_gone_and_its_place_free():
    memory = RingMemory(2, 3)
    memory.erase([0])  # before anything was written
    memory.write(0, *batch([1, 2, 3, 4]))
    memory.write(1, *batch([5]))
    memory.erase([0])
    assert memory.rows([0])[1].tolist() == [] and memory.rows([1])[1].tolist() == [5]
    assert memory.x[0].tolist() == [[0]] * 3 and memory.y[0].tolist() == [0] * 3
    memory.write(0, *batch([6]))
    assert memory.y[0].tolist() == [6, 0, 0] and memory.written.tolist() == [[True, False, False]] * 2


def test_a_batch_larger_than_the_ring_goes_on_from_where_it_would_have():
    memory, one_by_one = RingMemory(1, 3), RingMemory(1, 3)
    for values in ([1, 2], [3, 4, 5, 6, 7, 8, 9, 10], [11]):
        memory.write(0, *batch(values))
        for value in values:
            one_by_one.write(0, *batch([value]))
    assert memory.y.tolist() == one_by_one.y.tolist() and memory.pointers == one_by_one.pointers


def test_incomplete_memory_is_refused_in_a_sentence():
    memory = RingMemory(2, 2, shared_pointer=True)
    memory.write(0, *batch([1, 2]))
    assert memory.rows([0])[1].tolist() == [1, 2]
    memory.write(1, *batch([3]))
    with pytest.raises(UsageError) as error:
        memory.rows([0, 1])
    assert str(error.value) == (
        "--parity yes: only 1 of --n_memories 2 rows of task 1 were written, and the reference would use the rest "
        "unwritten; give fewer --n_memories or --parity no"
    )


def test_draws_are_indices_even_of_nothing():
    memory = ReservoirMemory(4, 0)
    assert memory.draw(3).dtype == torch.long and memory.draw(3).tolist() == []
    memory.write(0, *batch([1, 2]))
    assert memory.draw(9).shape == (2,) and memory.draw(1).shape == (1,)
    assert sorted(memory.shuffled(5).tolist()) == [0, 1, 2, 3, 4]
    assert memory.tasks.dtype == torch.long and memory.x.shape == (4, 1)


def test_a_state_does_not_follow_its_memory():
    for memory in (RingMemory(1, 2), ReservoirMemory(2, 0)):
        before = memory.checkpoint()
        assert before["x"] is None and before["y"] is None
        memory.write(0, *batch([1, 2]))
        state = memory.checkpoint()
        memory.write(0, *batch([8, 9, 10, 11]))
        assert state["y"].flatten().tolist() == [1, 2]
        memory.restore(state)
        memory.y.fill_(5)
        assert state["y"].flatten().tolist() == [1, 2]
        memory.restore(before)
        assert memory.x is None and memory.y is None


def test_draws_of_a_reservoir_are_its_own():
    """They follow from its seed alone, and leave torch's own generator where it is."""
    drawn, before = [], torch.get_rng_state()
    for seed in (7, 7, 8):
        memory = ReservoirMemory(4, seed)
        memory.write(0, *batch(list(range(50))))
        drawn.append((*memory.rows()[1].tolist(), *memory.draw(4).tolist(), *memory.shuffled(20).tolist()))
    assert drawn[0] == drawn[1] != drawn[2] and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("sizes", "stored"), [((3, 9), [1, 2, 3]), (None, [1, 1, 2, 2, 3, 3]), ((7, 9), [1, 1, 2, 2, 3, 3])]
)
def test_a_task_sample_with_room_for_all_keeps_each_example_once(sizes, stored):
    """Where it is known how many there are."""
    sample = TaskSample(SimpleNamespace(task_sample=8, seed=0, task_sizes=sizes))
    for _ in range(2):  # epochs
        sample.write(0, *batch([1, 2]))
        sample.write(0, *batch([3]))
    x, y, tasks = sample.rows()
    assert sorted(y.tolist()) == stored == sorted(x[:, 0].tolist()) and set(tasks.tolist()) == {0}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_one_row_of_all_tasks_is_the_sum_or_the_mean_of_the_rows_of_each(sizes):
    """To the last bit, since digits follow from it."""
    tasks = torch.arange(3, 3 + len(sizes)).repeat_interleave(torch.tensor(sizes))
    assert torch.equal(summed(tasks), per_task(tasks).sum(0, keepdim=True))
    assert torch.equal(averaged(tasks), per_task(tasks).mean(0, keepdim=True))


@pytest.mark.parametrize("weighting", [summed, averaged])
def test_one_row_of_many_tasks_takes_no_matrix(weighting):
    """With a row for each of 20,000 tasks it took 3 GB at each task's beginning."""
    tasks = torch.arange(2000)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        weights = weighting(tasks)
    assert weights.nbytes <= max(event.cpu_memory_usage for event in profile.events()) < 10 * weights.nbytes
