"""The numbers of the accuracy grid, by hand on 3 x 3 and by their algebra on any."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import metrics

LOGGED = Path(__file__).parents[2] / "results" / "logged"

# R[i, j] after task i; b[j] untrained. Changes R[2, j] - R[j, j]: -.3, -.1, 0. Ahead R[j-1, j] - b[j]: .1, .2.
B = [0.1, 0.2, 0.1]
R = [[0.9, 0.3, 0.2], [0.7, 0.8, 0.3], [0.6, 0.7, 0.5]]
BY_HAND = {
    "final": 1.8 / 3,
    "backward": -0.4 / 3,
    "forward": 0.3 / 3,
    "backward_paper": -0.4 / 2,
    "forward_paper": 0.3 / 2,
    "forgetting": 0.4 / 2,
    "learning_accuracy": 2.2 / 3,
    "retained_accuracy": 1.8 / 3,
    "backward_transfer_interference": -0.4 / 3,
}


def grids(min_tasks=1, max_tasks=6):
    """(baseline, grid) of any number of tasks, accuracies in thousandths."""
    accuracy = st.integers(0, 1000).map(lambda n: n / 1000)
    return st.integers(min_tasks, max_tasks).flatmap(
        lambda T: st.tuples(
            st.lists(accuracy, min_size=T, max_size=T),
            st.lists(st.lists(accuracy, min_size=T, max_size=T), min_size=T, max_size=T),
        )
    )


def history(baseline, grid, order, first_id=0, repeats=1):
    """result_t, result_a of a run: the baseline, then each task's evaluations, the last being its row."""
    t, a = [first_id], [baseline]
    for task, row in zip(order, grid, strict=False):
        t += [task] * repeats
        a += [[0.5] * len(row)] * (repeats - 1) + [row]
    return torch.tensor(t, dtype=torch.float32), torch.tensor(a)


def test_by_hand():
    assert metrics.summary(B, R) == pytest.approx(BY_HAND)
    assert set(BY_HAND) == set(metrics.KEYS)
    assert metrics.confusion_matrix(*history(B, R, range(3))) == pytest.approx([0.6, -0.4 / 3, 0.1])


def test_forgetting_counts_what_was_known_before_learning():
    grid = [[0.9, 0.6, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.9]]  # task 1: best before it was learned
    assert metrics.summary(B, grid)["forgetting"] == pytest.approx(0.05)
    assert metrics.summary(B, grid)["backward_paper"] == 0


@given(grids())
def test_algebra(case):
    baseline, grid = case
    T = len(grid)
    s = metrics.summary(baseline, grid)
    assert s["backward_transfer_interference"] == s["backward"]
    assert s["retained_accuracy"] == s["final"]
    assert s["backward"] == pytest.approx(s["retained_accuracy"] - s["learning_accuracy"])
    for key in ("backward", "forward"):
        assert s[f"{key}_paper"] * (T - 1) == pytest.approx(s[key] * T)
    assert s["forgetting"] >= -s["backward_paper"] - 1e-12
    if T == 1:
        assert s["backward"] == s["forward"] == s["forgetting"] == s["forward_paper"] == 0


@given(grids(min_tasks=2))
def test_forgetting_is_minus_backward_when_the_best_is_on_the_diagonal(case):
    baseline, grid = case
    for j in range(len(grid)):
        grid[j][j] = max(row[j] for row in grid)
    s = metrics.summary(baseline, grid)
    assert s["forgetting"] == pytest.approx(-s["backward_paper"])
    assert s["forgetting"] >= 0


@given(grids(min_tasks=2), st.randoms(use_true_random=False))
def test_shuffled_tasks_change_no_number(case, random):
    """The same run with its tasks renamed: columns permuted, rows in the order of learning."""
    baseline, grid = case
    T = len(grid)
    order = list(range(T))
    random.shuffle(order)
    place = [order.index(task) for task in range(T)]
    columns = [[row[place[task]] for task in range(T)] for row in grid]
    renamed = metrics.summary([baseline[place[task]] for task in range(T)], columns, order)
    assert renamed == pytest.approx(metrics.summary(baseline, grid))
    _, g, found = metrics.split(*history(baseline, columns, order, first_id=0, repeats=3))
    assert found == order
    assert torch.equal(g, torch.tensor(columns))


def test_constant_grid():
    s = metrics.summary([0.3] * 3, [[0.3] * 3] * 3)
    assert s["backward"] == s["forward"] == s["forgetting"] == 0


@given(grids(), st.integers(1, 3))
def test_split_takes_the_last_evaluation_of_each_task(case, repeats):
    baseline, grid = case
    b, g, order = metrics.split(*history(baseline, grid, range(len(grid)), repeats=repeats))
    assert order == list(range(len(grid)))
    assert torch.equal(b, torch.tensor(baseline))
    assert torch.equal(g, torch.tensor(grid))


def test_split_of_a_stream_that_does_not_begin_with_task_0():
    """The reference labels the baseline 0 and would make it a row of its own."""
    _, grid, order = metrics.split(torch.tensor([0.0, 2, 2, 0, 1]), torch.rand(5, 3))
    assert order == [2, 0, 1]
    assert grid.shape == (3, 3)


def test_split_with_a_known_order():
    t, a = history(B, R[:2], [2, 0])
    assert metrics.split(t, a, [2, 0, 1])[2] == [2, 0, 1]
    with pytest.raises(ValueError, match="not"):
        metrics.split(t, a, [0, 2, 1])


@pytest.mark.parametrize(
    ("t", "a"),
    [
        ([], torch.zeros(0, 2)),
        ([0, 1], torch.zeros(3, 2)),
        ([0, 0], torch.zeros(2)),
        ([0, 0, 1, 0], torch.zeros(4, 2)),  # task 0 comes back
        ([0, 0, 2], torch.zeros(3, 2)),
    ],
)
def test_split_refuses(t, a):
    with pytest.raises(ValueError):
        metrics.split(torch.tensor(t), a)


def test_fewer_rows_than_tasks():
    nothing = dict.fromkeys(metrics.KEYS)
    assert metrics.summary(B, []) == nothing
    assert metrics.summary(B, R[:1]) == nothing
    two = metrics.summary(B, R[:2])  # zero-shot accuracy on the last task is measured
    assert two["forward"] == pytest.approx(0.1)
    assert {key for key, value in two.items() if value is not None} == {"forward", "forward_paper"}
    stats = metrics.confusion_matrix(*history(B, R[:1], [0]))
    assert all(math.isnan(stat) for stat in stats)


def test_not_measured():
    assert metrics.summary(None, R)["forward"] is None
    assert metrics.summary(None, R)["final"] == pytest.approx(0.6)
    assert metrics.summary(B, [R[0], R[1], [0.6, None, 0.5]])["final"] is None
    assert metrics.summary([0.1, math.nan, 0.1], R)["forward"] is None
    with pytest.raises(ValueError):
        metrics.summary(B, R, [0, 0, 1])


def test_text_file_of_a_diverged_run(tmp_path):
    metrics.confusion_matrix(*history(B, R[:1], [0]), tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_text() == (
        "0.1000 0.2000 0.1000\n|\n0.9000 0.3000 0.2000\n\nFinal Accuracy: nan\nBackward: nan\nForward:  nan\n"
    )


@pytest.mark.parametrize("case", ["single", "ewc", "gem"])
def test_text_file_has_the_references_bytes(tmp_path, case):
    text = (LOGGED / f"parity_{case}_seed0.txt").read_bytes()
    rows = [[float(v) for v in line.split()] for line in text.decode().split("\n")[:7] if line != "|"]
    metrics.confusion_matrix(*history(rows[0], rows[1:], range(5), repeats=2), tmp_path / "x.txt")
    assert (tmp_path / "x.txt").read_bytes() == text


def reference_numbers(result, baseline):
    """The reference's three means, in its own dtype and order of summation."""
    nt = result.size(1)
    forward = torch.zeros(nt)
    for t in range(1, nt):
        forward[t] = result[t - 1, t] - baseline[t]
    return [result[nt - 1].mean(), (result[nt - 1] - result.diag()).mean(), forward.mean()]


@settings(max_examples=50)
@given(st.integers(1, 30), st.integers(0, 2**31))
def test_float32_to_the_last_bit(T, seed):
    a = torch.rand(T + 1, T, generator=torch.Generator().manual_seed(seed))
    ours = metrics.confusion_matrix(torch.tensor([0.0, *range(T)]), a)
    assert ours == [float(v) for v in reference_numbers(a[1:], a[0])]


@given(grids(min_tasks=1))
def test_learning_curve_area(case):
    accuracies = case[1]
    z = torch.tensor(accuracies, dtype=torch.float64).mean(0).tolist()
    assert 0 <= metrics.lca(accuracies) <= 1
    assert metrics.lca(accuracies) == pytest.approx(sum(z) / len(z))
    assert metrics.lca([row[:1] for row in accuracies], "trapezoid") == pytest.approx(z[0])
    assert metrics.lca([[0.4] * 11] * 3, "trapezoid") == pytest.approx(metrics.lca([[0.4] * 11] * 3))


def test_learning_curve_area_by_hand():
    accuracies = [[0.1, 0.5, 0.6], [0.3, 0.5, 0.8]]  # Z = .2, .5, .7
    assert metrics.lca(accuracies) == pytest.approx(1.4 / 3)
    assert metrics.lca(accuracies, "trapezoid") == pytest.approx(0.95 / 2)
    with pytest.raises(ValueError, match="rule"):
        metrics.lca(accuracies, "simpson")


@pytest.mark.parametrize(
    ("t", "a", "order", "sentence"),
    [
        ([], torch.zeros(0, 2), None, "0 task ids for accuracies of shape (0, 2): needs one id per evaluation and at "
                                      "least one evaluation"),
        ([0, 1], torch.zeros(2, 2, 2), None, "2 task ids for accuracies of shape (2, 2, 2): needs one id per evaluation "
                                             "and at least one evaluation"),
        ([0, 0, 2], torch.zeros(3, 2), None, "tasks learned in the order [0, 2]: each of the 2 at most once"),
        ([0, -1], torch.zeros(2, 2), None, "tasks learned in the order [-1]: each of the 2 at most once"),
        ([0, 0, 1], torch.zeros(3, 2), [1, 0], "tasks learned in the order [0, 1], not [1, 0]"),
    ],
)  # fmt: skip
def test_split_says_what_it_refuses(t, a, order, sentence):
    with pytest.raises(ValueError) as error:
        metrics.split(t, a, order)
    assert str(error.value) == sentence


def test_summary_says_what_it_refuses():
    for grid, order in ((R, [0, 1]), ([[0.5], [0.5]], None), (R, [0, 1, 3]), (R, [0, 1, 1])):
        with pytest.raises(ValueError, match=r"^a grid of \d rows and \d columns does not fit the task order \["):
            metrics.summary(None, grid, order)
    with pytest.raises(ValueError, match=r"^rule 'x': 'sum' or 'trapezoid'$"):
        metrics.lca([[0.5]], "x")


def test_an_order_longer_than_the_grid():
    """Two of three tasks learned, in a known order: the last one's zero-shot accuracy is measured."""
    two = metrics.summary(B, [[0.2, 0.3, 0.9], [0.7, 0.3, 0.8]], [2, 0, 1])
    assert two["forward"] == pytest.approx((0.2 - 0.1 + 0.3 - 0.2) / 3)
    assert two["forward_paper"] == pytest.approx(0.1) and two["final"] is None


def test_shots_end_where_one_is_missing():
    assert metrics.shots([[0.1, 0.5, None], [0.3, 0.7, 0.9]]) == pytest.approx([0.2, 0.6])
    assert metrics.shots([[0.1, 0.5, 0.6], [0.3]]) == pytest.approx([0.2])
    assert metrics.shots([[None], [0.3]]) == [] and metrics.shots([]) == []


def test_texts():
    assert metrics.grid_text(None, [[0.5, None]]) == "0.5000 nan"
    assert metrics.grid_text([0.1], [[0.25], [1.0]]) == "0.1000\n|\n0.2500\n1.0000"
    assert metrics.grid_text(torch.tensor([0.1]), torch.tensor([[0.25]])) == "0.1000\n|\n0.2500"
    assert metrics.stats_text(0.5, -0.25, 0.125) == "Final Accuracy: 0.5000\nBackward: -0.2500\nForward:  0.1250"


def test_one_task():
    s = metrics.summary([0.1], [[0.9]])
    assert s["final"] == s["learning_accuracy"] == 0.9
    assert s["backward"] == s["forward"] == s["forgetting"] == s["forward_paper"] == s["backward_paper"] == 0


def test_integers_are_numbers():
    assert metrics.summary(torch.tensor([0, 0]), torch.tensor([[1, 0], [0, 1]]))["final"] == 0.5
    assert metrics.lca([[1, 0, 0]], "trapezoid") == 0.25
    assert metrics.summary(None, [[1, None], [0, 1]])["final"] == 0.5


def test_confusion_matrix_without_a_file_writes_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics.confusion_matrix(*history(B, R, range(3)))
    assert list(tmp_path.iterdir()) == []


def test_perplexities():
    """The mean of the last row; and the geometric mean of what every task but the last was multiplied by since learned."""
    grid = [[9.0, 7.0, 2.0], [3.0, 7.0, 4.0], [6.0, 5.0, 18.0]]  # learned in the order 2, 0, 1
    found = metrics.of_perplexity(grid, (2, 0, 1))
    assert found["perplexity"] == pytest.approx(29 / 3)
    assert found["perplexity_growth"] == pytest.approx(math.sqrt(18 / 2 * 6 / 3))
    nothing = {"perplexity": None, "perplexity_growth": None}
    assert metrics.of_perplexity([], ()) == nothing == metrics.of_perplexity(grid[:2], (2, 0, 1))
    assert metrics.of_perplexity([[4.0]], (0,)) == {"perplexity": 4.0, "perplexity_growth": 1.0}
    assert metrics.of_perplexity([[2.0, 1.0], [math.inf, 1.0]], (0, 1)) == nothing
