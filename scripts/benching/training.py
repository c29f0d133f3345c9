"""Training steps in yardsticks, by method and engine, by tasks, and by memories; also how far the kept layer drifts."""

import model as methods
from model.engine import fast
from scripts.benching.stopwatch import Bench, table

REFERENCE = {"single": 1.3, "ewc": 15, "gem": 30, "agem_closed": 17}  # the public GEM code, in yardsticks


def steps(bench: Bench) -> dict:
    """The time of a step of each method with either engine."""
    result, rows = {}, []
    for name in bench.options.methods or methods.learning("images"):
        got = {engine: bench.paired(lambda n=name, e=engine: bench.ten_tasks(n, e)) for engine in ("fast", "autograd")}
        result[name] = got
        rows.append([name, *got["fast"], *got["autograd"], REFERENCE.get(name, "")])
    heads = ["method", "fast: mean", "fast: task 10", "autograd: mean", "autograd: task 10", "reference: mean"]
    table("Training step, batch 1, 10 memories a task, 10 tasks, in yardsticks", heads, rows)
    return result


def tasks(bench: Bench) -> dict:
    """The time of a step by the number of tasks with 10 memories each, also for both forms of the first layer."""
    columns = [("gem", "auto"), ("agem_closed", "auto"), ("agem_closed", "kept"), ("agem_closed", "plain")]
    columns.append(("agem_sampled", "auto"))
    rows, result = [], {}
    for n in (10, 20, 50, 100):
        got = bench.paired(lambda n=n: [bench.at_task(name, n, 10, form) for name, form in columns])
        result[n] = got
        rows.append([n, *got])
    table("Step in the last of N tasks, 10 memories a task, in yardsticks", ["N", *map(" ".join, columns)], rows)
    return result


def memories(bench: Bench) -> dict:
    """The time of a step in the tenth task by the number of memories per task."""
    rows, result, names = [], {}, ("gem", "agem_closed", "agem_sampled")
    for m in (10, 50, 256):
        got = bench.paired(lambda m=m: [bench.at_task(name, 10, m, steps=60) for name in names])
        result[m] = got
        rows.append([m, *got])
    table("Step in the last of 10 tasks, in yardsticks, by memories a task", ["memories", *names], rows)
    return result


def drift(bench: Bench) -> dict:
    """How far the kept layer's pre-activations drift from exact ones in float32, over 100,000 steps of one task."""
    rows, result = [], {}
    every = fast.FOLD_EVERY
    for fold in (every, 10**9):
        fast.FOLD_EVERY = fold
        model = bench.net("agem_closed", 10, "kept")
        for t in range(9):
            x, y = bench.tasks[t]
            model.memory.write(t, x[:10], y[:10])
            model.begin(t)
        x, y = bench.tasks[9]
        errors, worst = {}, 0.0
        for step in range(1, 100_001):
            i = step % 1000
            model.observe(x[i : i + 1], 9, y[i : i + 1])
            if step % 1000 == 999:  # just before a fold
                first = model.engine.layers[0]
                W, b = (part.detach().double() for part in list(model.parameters())[:2])
                exact = first.X.double() @ W.t() + b
                worst = max(worst, float((first.P - exact).norm() / exact.norm()))
            if step in (1_000, 10_000, 100_000):
                errors[step] = worst
        result[fold] = errors
        rows.append([f"every {fold:,} steps" if fold == every else "never", *(f"{e:.1e}" for e in errors.values())])
        bench.bar.update()
    fast.FOLD_EVERY = every
    heads = ["folded", "1,000 steps", "10,000", "100,000"]
    table("Kept layer in float32: largest relative error of the carried pre-activations so far", heads, rows)
    return result
