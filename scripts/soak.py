"""A million steps of one method: does its memory grow, or its step slow down?

    python scripts/soak.py --model agem_closed
    python scripts/soak.py --model gem_group --n_layers 1 --n_hiddens 6 --n_memories 3          half as long a step

A small network (20-16-16-4, batch 1, four tasks of random data) learns one task after another, `--turn` steps at a
time, round and round, so that rows, covariances and the kept first layer are made anew a thousand times. The process's
resident memory and the processor time of a step are printed for each of twenty windows. The status is 1 if memory grew
by 5 MB or more in the last half, or if the windows of the last half took half as long again as those of the first.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

import torch

import model as methods
from model import arguments
from scripts.benching.machine import processor

SIZES = {"n_layers": 2, "n_hiddens": 16, "n_memories": 10}
WINDOWS, TASKS, EXAMPLES, INPUTS, OUTPUTS = 20, 4, 500, 20, 4
GROWTH, SLOWER = 5e6, 1.5  # bytes in the last half; the last half's processor time to the first's


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def data(seed: int = 0):
    """x (EXAMPLES, INPUTS) and y (EXAMPLES,) of each task; the inputs are permuted from task to task."""
    draw = torch.Generator().manual_seed(seed)
    x, teacher = (torch.rand(n, INPUTS, generator=draw) for n in (EXAMPLES, OUTPUTS))
    y = (x @ teacher.t()).argmax(1)
    return [(x[:, torch.randperm(INPUTS, generator=draw)], y) for _ in range(TASKS)]


def soak(name: str, steps: int, turn: int, report=print, **flags) -> list[tuple[float, float, float]]:
    """Learn ``steps`` steps; for each window megabytes, microseconds of a step, and the share of violated steps.

    ``flags`` are those of ``main.py``.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    given = argparse.Namespace(
        **{**SIZES, **flags}, memory_strength=0.5, lr=0.003, seed=0, task_outputs=None, threads=1, samples_per_task=EXAMPLES,
    )  # fmt: skip
    model, tasks = methods.load(name).Net(INPUTS, OUTPUTS, TASKS, arguments.of(given)), data()
    windows, violations, begun = [], 0, time.process_time()
    for step in range(steps):
        t, i = step // turn % TASKS, step % EXAMPLES
        x, y = tasks[t]
        model.observe(x[i : i + 1], t, y[i : i + 1])
        if (step + 1) % (steps // WINDOWS) == 0:
            seconds, n = time.process_time() - begun, steps // WINDOWS
            share = (model.counts["violations"] - violations) / n
            windows.append((resident() / 1e6, seconds / n * 1e6, share))
            report(
                f"{step + 1:>9,} steps  {windows[-1][0]:7.1f} MB  {windows[-1][1]:6.1f} us a step  {share:.3f} violated"
            )
            violations, begun = model.counts["violations"], time.process_time()
    return windows


def cli(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=methods.learning("images"), required=True)
    parser.add_argument("--engine", choices=("fast", "autograd"), default="fast")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--turn", type=int, default=1_000, help="steps of a task before the next one's turn")
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    if options.steps < WINDOWS or options.turn < 1:
        parser.error(f"--steps {options.steps} --turn {options.turn}: needs {WINDOWS} steps and a turn of 1 or more")
    print(f"{options.model}, {options.engine}: {processor()}, one thread, torch {torch.__version__}", flush=True)
    flags = {name: getattr(options, name) for name in ("engine", *SIZES)}
    windows = soak(options.model, options.steps, options.turn, lambda line: print(line, flush=True), **flags)
    memory, times, _ = zip(*windows, strict=True)
    half = WINDOWS // 2
    growth = memory[-1] - memory[half - 1]
    slower = statistics.median(times[half:]) / statistics.median(times[1:half])
    print(f"memory grew by {growth:.2f} MB in the last half; a step took {slower:.2f} times as long as in the first")
    return int(growth * 1e6 >= GROWTH or slower >= SLOWER)


if __name__ == "__main__":
    sys.exit(cli())
