"""Whole runs of main.py: the A-GEM note's command against its parts, and the GEM paper's against --parity yes."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import main
from data import DataError, standard
from results.reading import logs
from scripts.benching.evaluation import evaluation_seconds
from scripts.benching.stopwatch import DATA, Bench, table

A_GEM_NOTE = (
    "--n_tasks 10 --lr 0.01 --n_memories 10 --memory_strength 10 --n_layers 2 --n_hiddens 100 --batch_size 1 "
    "--log_every 100 --samples_per_task 1000 --cuda no --seed 3"
).split()


def command(bench: Bench) -> dict:
    """The seconds of the A-GEM note's whole command, against those of the parts that it cannot do without."""
    where = ["--data_path", bench.options.data_path, "--data_file", DATA, "--threads", str(bench.options.threads)]
    rows, result = [], {}
    importing = statistics.median(_importing() for _ in range(3))
    for name in ("agem", "agem_closed", "agem_meanqp"):
        got = []
        for _ in range(bench.options.repeats):
            step = bench.ten_tasks(name, "fast")[0]
            one = evaluation_seconds(bench)
            run = run_of(["--model", name, *A_GEM_NOTE, *where])
            floor = 101 * one + 10_000 * step + importing
            got.append((run["wall"], floor, run["wall"] / floor, run["peak_memory_mb"]))
            bench.bar.update()
        wall, floor, ratio, memory = (statistics.median(column) for column in zip(*got, strict=True))
        result[name] = {"wall": wall, "floor": floor, "ratio": ratio, "memory": memory}
        rows.append([name, f"{wall:.1f} s", f"{floor:.1f} s", f"{ratio:.2f}", f"{memory:.0f} MB"])
    title = (
        "The A-GEM note's command end to end, against 101 evaluations + 10,000 steps + start and load, timed beside it"
    )
    table(title, ["method", "command", "its parts", "ratio", "peak memory"], rows)
    return result


def _importing() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - begun


def paper(bench: Bench) -> dict:
    """The GEM paper's permutations run, 20 tasks and 256 memories, against --parity yes."""
    path = Path(bench.options.data_path, "mnist_permutations.pt")
    try:
        standard.ensure(path, bench.options.raw_path)
    except DataError as error:
        print(f"\npaper: left out ({error})")
        return {}
    argv = "--model gem --lr 0.1 --n_memories 256 --memory_strength 0.5 --batch_size 10 --samples_per_task 1000"
    argv = [*argv.split(), "--log_every", "100", "--data_path", bench.options.data_path, "--n_tasks", "20"]
    ours = run_of([*argv, "--threads", str(bench.options.threads)])
    parity = run_of([*argv, "--parity", "yes"])
    seconds = [run["seconds"]["train"] for run in (ours, parity)]
    row = [f"{seconds[0]:.1f} s", f"{seconds[1]:.1f} s", f"{seconds[1] / seconds[0]:.2f}", f"{ours['final']:.3f}"]
    heads = [f"fast, {bench.options.threads} threads", "--parity yes, 1 thread", "ratio", "final accuracy"]
    table("GEM paper's permutations run: 20 tasks, 256 memories, batch 10; training", heads, [row])
    return {"fast": seconds[0], "parity": seconds[1], "ratio": seconds[1] / seconds[0]}


def run_of(argv: list[str]) -> dict:
    """One run of main.py in a process of its own: its record, with wall-clock seconds."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        line = [sys.executable, main.__file__, *argv, "--save_path", folder]
        subprocess.run(line, check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        (run,) = logs.records(folder)
        return {**run.record, "wall": seconds}
