"""Summaries of a run's accuracies.

Notation: R is the grid, R[i, j] = accuracy on task j's test set after learning i + 1 tasks, one row per
learned task in the order of learning, one column per task id; b[j] = accuracy of the untrained network;
order[i] = id of the task learned at place i (0, 1, 2 ... unless the tasks were shuffled). T = columns of R.

A number is given only if everything in its definition was measured, else it is None: a diverged run has
fewer rows than tasks. With one task, backward and forward transfer and forgetting are 0.
"""

import math

import torch


def split(result_t, result_a, order=None):
    """Take a run's evaluations apart into (baseline (T,), grid (K, T), order: list of K task ids), K <= T.

    result_t (E,): the task that was being learned at each evaluation, noted before the label changes.
    result_a (E, T): accuracy on every task. The first evaluation, of the untrained network, is the baseline.
    A task's row is its last evaluation before the id changes. The baseline's own id does not count: the
    reference labels it 0, which would make an extra row if a shuffled stream begins with another task.
    order: the whole order of the stream, where it is known; it is checked, and returned unchanged.
    """
    result_a = torch.as_tensor(result_a)
    ids = [int(t) for t in result_t]
    if not ids or result_a.dim() != 2 or len(ids) != result_a.size(0):
        raise ValueError(
            f"{len(ids)} task ids for accuracies of shape {tuple(result_a.shape)}: "
            "needs one id per evaluation and at least one evaluation"
        )
    last = [i for i in range(1, len(ids)) if i + 1 == len(ids) or ids[i + 1] != ids[i]]
    seen = [ids[i] for i in last]
    if len(set(seen)) != len(seen) or not all(0 <= t < result_a.size(1) for t in seen):
        raise ValueError(f"tasks learned in the order {seen}: each of the {result_a.size(1)} at most once")
    if order is not None and list(order[: len(seen)]) != seen:
        raise ValueError(f"tasks learned in the order {seen}, not {list(order)}")
    return result_a[0], result_a[last], seen if order is None else list(order)


def shuffled(order):
    """Whether tasks were learned in another order than 0, 1, 2 ..."""
    return list(order) != list(range(len(order)))


def final(grid):
    """ACC = RA = mean_j R[T-1, j]."""
    return grid[-1].mean()


def learned(grid, order):
    """(K,) accuracy on each task just after it was learned, R[i, order[i]]."""
    return grid[list(range(len(order))), list(order)]


def gains(grid, order):
    """(T,) what later tasks did to each task, R[T-1, order[i]] - R[i, order[i]], in the order of learning."""
    return grid[-1][list(order)] - learned(grid, order)


def transfer(baseline, grid, order):
    """(T,) zero-shot gain R[i-1, order[i]] - b[order[i]] of each task as it was learned; the first is 0."""
    ahead = grid.new_zeros(grid.size(1))
    later = list(order[1:])
    ahead[1:] = grid[list(range(len(later))), later] - baseline[later]
    return ahead


def forgetting(grid, order):
    """F_T of A-GEM (arXiv 1812.00420): max_{i<T-1} R[i, j] - R[T-1, j], mean over all tasks but the last.

    The maximum is over all earlier rows, those before task j was learned included, as in A-GEM's code.
    """
    if len(order) < 2:
        return 0.0
    early = list(order[:-1])
    return float((grid[:-1].amax(0) - grid[-1])[early].double().mean())


def over_seen(grid, sizes, seen):
    """[accuracy over all test examples of the tasks seen, after each task learned].

    sizes: the test examples of each task; seen: for each row of the grid, the ids of the tasks seen by then (any iterable).
    With one shared head and classes of their own in each task this is the accuracy on all classes seen so far.
    """
    n = torch.as_tensor(sizes, dtype=torch.float64)
    grid = torch.as_tensor(grid, dtype=torch.float64)
    return [float((row * n)[tasks].sum() / n[tasks].sum()) for row, tasks in zip(grid, seen, strict=False)]


LCA_BATCHES = 10  # A-GEM's beta


def shots(curves):
    """[Z_0, Z_1, ...], Z_b = mean over all tasks of the accuracy on a task after its first b mini-batches.

    curves: for each task its accuracies after 0, 1, 2 ... of its batches, None where one is not known. The list ends
    before the first Z_b for which a task's accuracy is missing.
    """
    means = []
    for column in zip(*curves, strict=False):
        if None in column:
            break
        means.append(math.fsum(column) / len(column))
    return means


def lca(accuracies, rule="sum"):
    """Learning curve area LCA_beta (A-GEM) from accuracies (T, beta + 1).

    accuracies[k, b] = accuracy on task k after its first b mini-batches; Z_b = mean_k accuracies[k, b].
    rule "sum": the paper's (1 / (beta + 1)) sum_b Z_b. rule "trapezoid": what A-GEM's plotting notebook
    computes, half weight to both ends and divided by beta. Both are Z_0 for beta = 0.
    """
    z = _matrix(accuracies).double().mean(0)
    if rule not in ("sum", "trapezoid"):
        raise ValueError(f"rule {rule!r}: 'sum' or 'trapezoid'")
    if rule == "sum" or len(z) == 1:
        return float(z.mean())
    return float(torch.trapezoid(z) / (len(z) - 1))


def summary(baseline, grid, order=None):
    """Every number of the matrix as a dict of floats, None where it was not measured.

    baseline (T,) or None where it is not known, grid (K, T) with K <= T rows: tensors or lists. final,
    backward and forward are the reference's three numbers, computed in the grid's own dtype so that the
    printed digits agree: backward and forward are divided by T, though one of their T entries is always 0.
    *_paper are GEM's definitions, divided by T - 1. learning_accuracy, retained_accuracy and
    backward_transfer_interference are MER's LA, RA and BTI; BTI is the reference's backward.
    """
    out = dict.fromkeys(KEYS)
    if not len(grid):
        return out
    grid = _matrix(grid)
    rows, tasks = grid.shape
    order = list(range(rows)) if order is None else [int(t) for t in order]
    if rows > tasks or len(order) < rows or sorted(order) != sorted(set(order) & set(range(tasks))):
        raise ValueError(f"a grid of {rows} rows and {tasks} columns does not fit the task order {order}")

    if rows >= tasks - 1 and baseline is not None:
        order_all = order + sorted(set(range(tasks)) - set(order))  # all but the last known: so is the last
        ahead = transfer(_matrix(baseline).to(grid.dtype), grid, order_all)
        out["forward"] = float(ahead.mean())
        out["forward_paper"] = _mean_of_others(ahead)
    if rows == tasks:
        change = gains(grid, order)
        out["final"] = out["retained_accuracy"] = float(final(grid))
        out["backward"] = out["backward_transfer_interference"] = float(change.mean())
        out["backward_paper"] = _mean_of_others(change)
        out["forgetting"] = forgetting(grid, order)
        out["learning_accuracy"] = float(learned(grid, order).double().mean())
    return {key: value if value is None or math.isfinite(value) else None for key, value in out.items()}


def of_perplexity(grid, order):
    """Two numbers of a grid (K, T) of perplexities, None where not all tasks were learned.

    ``perplexity``: the mean of the last row. ``perplexity_growth``: what later tasks multiplied each task's perplexity by
    since it was learned, geometric mean over all tasks but the last; 1 if nothing was forgotten.
    """
    if not len(grid) or len(grid) < len(grid[0]):
        return {"perplexity": None, "perplexity_growth": None}
    grid = _matrix(grid).double()
    growth = gains(grid.log(), order)[:-1]
    found = {
        "perplexity": float(grid[-1].mean()),
        "perplexity_growth": float(growth.mean().exp()) if len(growth) else 1.0,
    }
    return {key: value if math.isfinite(value) else None for key, value in found.items()}


def of_the_end(numbers):
    """The summary ``numbers`` of a run whose rows are no known tasks: those of its last row alone, the others None."""
    kept = ("final", "retained_accuracy", "perplexity")
    return {key: value if key in kept else None for key, value in numbers.items()}


IN_ORDER, TOGETHER = "Learned in the order", "Learned together, so that no row of the grid is a task's"
REFERENCE_KEYS = ("final", "backward", "forward")  # the three numbers that the reference prints
KEYS = (
    *REFERENCE_KEYS,
    "backward_paper",
    "forward_paper",
    "forgetting",
    "learning_accuracy",
    "retained_accuracy",
    "backward_transfer_interference",
)


def confusion_matrix(result_t, result_a, fname=None):
    """The reference's summary: [final, backward, forward] as floats, nan where not measured.

    Arguments as for split(). With fname, writes the reference's text file there (text()).
    """
    baseline, grid, order = split(result_t, result_a)
    numbers = summary(baseline, grid, order)
    stats = [math.nan if numbers[key] is None else numbers[key] for key in REFERENCE_KEYS]
    if fname is not None:
        with open(fname, "w", encoding="utf-8") as f:
            f.write(text(baseline, grid, order, stats))
    return stats


def text(baseline, grid, order, stats, together=False):
    """The reference's text file: grid and numbers, and what they do not show of how the tasks were learned."""
    return "\n".join([grid_text(baseline, grid), "", stats_text(*stats), *learned_text(order, together), ""])


def grid_text(baseline, grid):
    """Baseline row, a line "|" (neither if baseline is None), then the grid; four decimals, blanks."""
    head = [] if baseline is None else [_row(baseline), "|"]
    return "\n".join(head + [_row(row) for row in grid])


def stats_text(final, backward, forward):
    """The three lines under the grid in the reference's text file, with two blanks after "Forward:"."""
    return f"Final Accuracy: {final:.4f}\nBackward: {backward:.4f}\nForward:  {forward:.4f}"


def learned_text(order, together=False):
    """A line on tasks that were not learned in the order 0, 1, 2 ..., which a grid alone does not tell; or []."""
    if together:
        return [TOGETHER]
    return [f"{IN_ORDER} {' '.join(map(str, order))}"] if shuffled(order) else []


def unmasked_text(numbers):
    """One line for the summary ``numbers`` of accuracies where all outputs compete."""
    known = [f"{key} {numbers[key]:.4f}" for key in REFERENCE_KEYS if numbers.get(key) is not None]
    return f"Unmasked: {', '.join(known) or 'not measured'} (all outputs compete, so that the task need not be known)"


def _row(values):
    values = values.tolist() if isinstance(values, torch.Tensor) else values
    return " ".join(["nan" if v is None else f"{v:.4f}" for v in values])


def _matrix(values):
    """A tensor of floats; tensors keep their floating dtype, lists become float64 with nan for None."""
    if isinstance(values, torch.Tensor):
        return values if values.is_floating_point() else values.double()
    try:
        return torch.tensor(values, dtype=torch.float64)
    except TypeError:
        nested = [[math.nan if v is None else v for v in r] if isinstance(r, list) else r for r in values]
        return torch.tensor([math.nan if v is None else v for v in nested], dtype=torch.float64)


def _mean_of_others(entries):
    """Mean (divisor T - 1) of entries (T,), one of which is 0 by definition and does not count; 0 if T = 1."""
    return float(entries.double().sum() / max(len(entries) - 1, 1))
