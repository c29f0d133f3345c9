"""Orthogonal gradient descent: directions in Gram space against dense orthonormal vectors."""

import statistics
import time

import torch

from model.numeric.basis import Basis
from model.numeric.directions import Directions
from model.numeric.inverse_factor import PANEL
from scripts.benching.runs import run_of
from scripts.benching.stopwatch import DATA, Bench, table

PER_TASK, DENSE, MANY = 200, 1_800, 10_000  # directions: of a task, of the comparison, of the large basis
COMMAND = (
    "--model ogd --ogd_mode gtl --ogd_per_task 1000 --task_sample 1000 --n_tasks 10 --samples_per_task 1000 "
    "--batch_size 10 --lr 0.01 --seed 0 --log_every 1000000"
)


def directions(bench: Bench) -> dict:
    """A step and the memory in either form; what is left of a gradient; a basis of ten thousand."""
    model, stored = learned(bench, DENSE // PER_TASK)
    x, y = bench.tasks[-1]
    dense = Basis(DENSE)
    for start in range(0, DENSE, PANEL):
        dense.add(stored.rows(slice(start, start + PANEL)).dense())
    plain = bench.net("single")
    bytes_dense, bytes_gram = dense.V.nbytes, held(model.basis)
    rows, result = [], {"memory": [bytes_dense, bytes_gram]}
    for batch in (1, 10):
        ratios, times = [], []
        for _ in range(bench.options.repeats):
            slow = timed(lambda i, b=batch: dense_step(plain, dense, *at(x, y, i, b)), 20)
            fast = timed(lambda i, b=batch: model.observe(*at(x, y, i, b)), 100)
            ratios.append([a / b for a, b in zip(slow, fast, strict=True)])
            times.append(fast[0])
            bench.bar.update()
        wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
        result[f"batch {batch}"] = [statistics.median(times), 1 / wall, 1 / cpu]
        rows.append([f"batch {batch}", statistics.median(times) * 1e3, f"1/{wall:.1f}, in CPU time 1/{cpu:.1f}"])
    rows.append(["memory, MB", bytes_gram / 1e6, f"1/{bytes_dense / bytes_gram:.1f}"])
    worst, worst_dense = left(model, stored, dense, x, y)
    result["left"] = [worst, worst_dense]
    rows.append(["left along a direction", f"{worst:.1e}", f"dense: {worst_dense:.1e}"])
    title = f"ogd, {DENSE:,} directions (`gtl`, {PER_TASK} a task): step in ms, and against dense orthonormal vectors"
    table(title, ["", "Gram space", "of dense"], rows)
    result["many"] = many(bench)
    return result


def learned(bench: Bench, n_tasks: int):
    """A model that has learned the first tasks, 100 steps of 10 each, and the directions it has stored."""
    model = bench.net("ogd", 10, ogd_per_task=PER_TASK, task_sample=PER_TASK)
    torch.set_num_threads(1)
    for t, (x, y) in enumerate(bench.tasks[:n_tasks]):
        for i in range(100):
            model.observe(*at(x, y, i, 10, t))
        model.finish_task()
    model.begin(9)
    shares = model.basis.shares
    return model, Directions(*([getattr(share, name).matrix.t() for share in shares] for name in "AD"))


def at(x, y, i: int, batch: int, t: int = 9):
    """The i-th batch, as ``observe`` takes it."""
    start = i * batch % len(y)
    return x[start : start + batch], t, y[start : start + batch]


def dense_step(model, dense: Basis, x, t, y) -> None:
    """A step with the dense basis of a model that has none of its own."""
    g = model.engine.gradients(x, y, t).flat()
    model.engine.theta.sub_(dense.reject_(g), alpha=model.lr)


def timed(step, n: int) -> tuple[float, float]:
    """Seconds of one call step(i), by the clock and of the processor: medians of n."""
    seconds = []
    for i in range(n + 3):
        begun = time.perf_counter(), time.thread_time()
        step(i)
        seconds.append((time.perf_counter() - begun[0], time.thread_time() - begun[1]))
    return tuple(statistics.median(column) for column in zip(*seconds[3:], strict=True))


def held(basis) -> int:
    """Bytes that a basis in Gram space holds."""
    tensors = [columns.filled for share in basis.shares for columns in (share.A, share.D)]
    return sum(tensor.nbytes for tensor in [*tensors, *(part for parts in basis.factor.parts for part in parts)])


def left(model, stored: Directions, dense: Basis, x, y) -> tuple[float, float]:
    """Largest |<u_j, h>| / (|u_j| |g|) over directions u_j and 50 gradients g, h being g projected; in either form."""
    worst, norms = [0.0, 0.0], stored.norms()
    for i in range(50):
        g = model.engine.gradients(*[at(x, y, i, 1)[j] for j in (0, 2, 1)])
        flat = g.flat().clone()
        part = model.basis.factor.solve(g.along()).clone()
        views = model.engine.flat.split(flat.double())
        projected = [view.clone() for view in views]
        model.basis.add_to(list(zip(projected[::2], projected[1::2], strict=True)), -part)
        size = float(flat.double().norm())
        rejected = model.engine.flat.split(dense.reject_(flat).double())
        for which, h in enumerate((projected, rejected)):
            dots = sum(
                share.dots(*pair)
                for share, pair in zip(model.basis.shares, zip(h[::2], h[1::2], strict=True), strict=True)
            )
            worst[which] = max(worst[which], float((dots.abs() / norms).max()) / size)
    return tuple(worst)


def many(bench: Bench) -> dict:
    """A basis of ten thousand directions, ten tasks of a thousand: a step with it, and the command that makes it."""
    got = large(bench)
    record = run_of([*COMMAND.split(), "--data_path", bench.options.data_path, "--data_file", DATA, "--threads", "1"])
    got["command"] = {**record["seconds"], "peak_memory_mb": record["peak_memory_mb"], "counts": record["counts"]}
    heads = ["directions", "memory, MB", "step of 1, ms", "step of 10, ms", "command: training, s", "peak memory, MB"]
    cells = [f"{got['directions']:,}", got["memory"] / 1e6, *(seconds * 1e3 for seconds in got["step"].values())]
    cells += [record["seconds"]["train"], f"{record['peak_memory_mb']:.0f}"]
    table(f"ogd, a large basis; the command is main.py {COMMAND}", heads, [cells])
    return got


def large(bench: Bench) -> dict:
    """The basis, held in this process: directions, bytes, and seconds of a step of 1 and of 10."""
    model = bench.net("ogd", 10, ogd_per_task=MANY // 10, task_sample=MANY // 10)
    torch.set_num_threads(1)
    for t, (x, y) in enumerate(bench.tasks):
        for i in range(10):
            model.observe(*at(x, y, i, 100, t))
        model.finish_task()
    x, y = bench.tasks[0]
    seconds = {batch: timed(lambda i, b=batch: model.observe(*at(x, y, i, b, 9)), 30)[0] for batch in (1, 10)}
    return {"directions": model.basis.k, "memory": held(model.basis), "step": seconds}
