"""One evaluation of all tasks against its matrix products alone, all threads."""

import argparse
import statistics
import time

import torch

from experiment.evaluation import EVALUATION_CHUNK, Evaluator
from experiment.stream import placed
from model import common
from scripts.benching.stopwatch import Bench, table


def evaluation(bench: Bench) -> dict:
    """One evaluation of 10 x 10,000 images against its matrix products alone, all threads."""
    model = bench.net("single")
    test = placed(bench.file.test, common.device(bench.options))
    evaluate = Evaluator(test, argparse.Namespace(parity=False))
    weights = [p.detach() for p in model.parameters() if p.dim() == 2]

    def products():
        for _, x, _ in test:
            for start in range(0, len(x), EVALUATION_CHUNK):
                h = x[start : start + EVALUATION_CHUNK]
                for W in weights:
                    h = h @ W.t()
        bench.wait()

    torch.set_num_threads(bench.options.threads)
    both = []
    for _ in range(2 + 2 * bench.options.repeats):
        times = []
        for work in (lambda: evaluate(model), products):
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
    test = placed(bench.file.test, common.device(bench.options))
    model, evaluate = bench.net("single"), Evaluator(test, argparse.Namespace(parity=False))
    torch.set_num_threads(bench.options.threads)
    times = []
    for _ in range(6):
        begun = time.perf_counter()
        evaluate(model)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])
