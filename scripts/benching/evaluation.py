"""One evaluation of all tasks, against its matrix products alone; of small test sets, against a plain loop over tasks."""

import argparse
import statistics
import time

import torch

from experiment.evaluation import EVALUATION_CHUNK, Evaluator
from experiment.stream import placed
from model import common
from scripts.benching.stopwatch import Bench, table

SMALL = (500, 50, 5)  # images a task


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
    return {"evaluation": ours, "products": alone, "ratio": ratio, "small": small_test_sets(bench)}


def small_test_sets(bench: Bench) -> list[dict]:
    """One evaluation of many tasks of few images, and a plain loop over the tasks, in yardsticks; one thread."""
    model, result, rows = bench.net("single"), [], []
    test = placed(bench.file.test, common.device(bench.options))
    x, y = (torch.cat([task[column] for task in test])[:5_000] for column in (1, 2))
    for n in SMALL:
        test = [("", *part) for part in zip(x.split(n), y.split(n), strict=True)]
        evaluate = Evaluator(test, argparse.Namespace(parity=False))

        def plain(i, test=test):
            with torch.no_grad():
                return [int((model(x, 0).argmax(1) == y).sum()) / len(y) for _, x, y in test]

        def measure(evaluate=evaluate, plain=plain):
            return bench.timed(lambda i: evaluate(model), 20), bench.timed(plain, 20)

        ours, loop = bench.paired(measure)
        result.append({"tasks": len(test), "images": n, "evaluation": ours, "loop": loop, "ratio": loop / ours})
        rows.append([f"{len(test):,} x {n}", ours, loop, loop / ours])
    heads = ["tasks x images", "evaluation", "plain loop", "times as fast"]
    table("One evaluation of small test sets, in yardsticks", heads, rows)
    return result


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
