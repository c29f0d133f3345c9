"""One evaluation of all tasks against its matrix products alone, all threads."""

import argparse
import statistics
import time

import torch

from experiment.evaluation import EVALUATION_CHUNK, eval_tasks
from scripts.benching.stopwatch import Bench, table


def evaluation(bench: Bench) -> dict:
    """One evaluation of 10 x 10,000 images against its matrix products alone, all threads."""
    model = bench.net("single")
    test = bench.file.test
    args = argparse.Namespace(parity=False, cuda=bench.options.cuda)
    weights = [p.detach() for p in model.parameters() if p.dim() == 2]

    def products():
        for _, x, _ in test:
            for start in range(0, len(x), EVALUATION_CHUNK):
                h = x[start : start + EVALUATION_CHUNK]
                h = h.cuda() if bench.options.cuda else h
                for W in weights:
                    h = h @ W.t()
        bench.wait()

    torch.set_num_threads(bench.options.threads)
    both, known = [], {}
    for _ in range(2 + 2 * bench.options.repeats):
        times = []
        for work in (lambda: eval_tasks(model, test, args, known=known), products):
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
        both.append(times)
        bench.bar.update()
    ours, alone = (statistics.median(column) for column in zip(*both[2:], strict=True))
    ratio = statistics.median(b / a for a, b in both[2:])
    row = [f"{ours * 1e3:.0f} ms", f"{alone * 1e3:.0f} ms", f"{100 * ratio:.0f} %", bench.options.threads]
    table(
        "One evaluation, 10 x 10,000 images",
        ["evaluation", "products alone", "products / evaluation", "threads"],
        [row],
    )
    return {"evaluation": ours, "products": alone, "ratio": ratio}


def evaluation_seconds(bench: Bench) -> float:
    """Seconds of one evaluation, all threads."""
    model, args = bench.net("single"), argparse.Namespace(parity=False, cuda=bench.options.cuda)
    torch.set_num_threads(bench.options.threads)
    times, known = [], {}
    for _ in range(6):
        begun = time.perf_counter()
        eval_tasks(model, bench.file.test, args, known=known)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])
