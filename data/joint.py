"""The stream of `--model joint`: the examples of all tasks, shuffled together, in as many parts as there are tasks.

The parts stand where the tasks stand in the usual stream, so that an evaluation follows each. An example is named by one
number: task x STRIDE + its place in the task.
"""

import itertools

import torch

STRIDE = 2**40
NOTE = (
    "all tasks were learned together, in one shuffled stream: row i of the grid was measured after part i of it, and of the "
    "numbers only the final accuracies mean something"
)


def parts(runs: list[tuple[int, torch.Tensor]], n_epochs: int, seed: int, batch_size: int | None) -> list[torch.Tensor]:
    """The parts of the stream, each the numbers of its examples.

    ``runs`` are pairs (task, its examples in the order of learning, all epochs). Every example comes once before any comes
    a second time. With ``batch_size`` each batch holds examples of one task: whole batches are shuffled, and what is left
    of a task's examples closes a part. Without it, tasks mix.
    """
    B, units, epochs, rests = batch_size or 1, [], [], []
    for task, examples in runs:
        numbers, whole = examples + task * STRIDE, len(examples) // B
        units.append(numbers[: whole * B].view(whole, B))
        epochs.append(torch.arange(0, whole * B, B) * n_epochs // len(examples))
        rests += [numbers[whole * B :]] if whole * B < len(numbers) else []
    units, epochs = torch.cat(units), torch.cat(epochs)
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(seed))
    units = units[order[epochs[order].sort(stable=True).indices]]
    T, n = len(runs), len(units)
    pieces = [units[n * i // T : n * (i + 1) // T].flatten() for i in range(T)]
    return [torch.cat(pair) for pair in itertools.zip_longest(pieces, rests, fillvalue=units.new_empty(0))]


def gather(data: list, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x (B, n_inputs) as stored and y (B,) of the examples with these ``numbers`` (B,), from the tasks of ``data``."""
    tasks, places = numbers // STRIDE, numbers % STRIDE
    xs = ys = None
    for task in tasks.unique().tolist():
        _, x, y = data[task]
        chosen = tasks == task
        x, y = x[places[chosen]], y[places[chosen]]
        if xs is None:
            xs, ys = x.new_empty(len(numbers), x.shape[1]), y.new_empty(len(numbers))
        xs[chosen], ys[chosen] = x, y
    return xs, ys
