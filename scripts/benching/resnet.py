"""The reduced ResNet-18 of CIFAR-100 with its maps pixel by pixel, against the same in the reference's layout."""

import statistics
import time

import torch
from torch.nn import functional as F

from experiment.evaluation import CONVOLUTION_CHUNK
from model import common
from scripts.benching.stopwatch import Bench, table

WORK = {"step, batch 10": (10, True), "memory pass, 256": (256, True), "evaluation": (500, False)}


def resnet(bench: Bench) -> dict:
    """Milliseconds an image of a training step, of a pass over a task's memory, and of an evaluation, one thread."""
    torch.set_num_threads(1)
    nets = []
    for parity in (False, True):
        torch.manual_seed(0)
        with common.resnet_layout(plain=parity):
            net = common.ResNet18(100)
        nets.append(net.cuda() if bench.options.cuda else net)
    x, y = torch.rand(500, common.IMAGE_INPUTS), torch.arange(500) % 5
    if bench.options.cuda:
        x, y = x.cuda(), y.cuda()
    rows, result = [], {}
    for name, (n, trained) in WORK.items():
        times = []
        for _ in range(1 + bench.options.repeats):  # the first repeat only warms up
            times.append([_seconds(bench, net, x[:n], y[:n], trained) for net in nets])
            bench.bar.update()
        ours, reference = (statistics.median(column) / n for column in zip(*times[1:], strict=True))
        ratio = statistics.median(b / a for a, b in times[1:])
        result[name] = {"ours": ours, "reference": reference, "ratio": ratio}
        rows.append([name, f"{ours * 1e3:.2f} ms", f"{reference * 1e3:.2f} ms", f"{ratio:.2f}"])
    table("ResNet18, an image, one thread", ["work", "pixel by pixel", "map by map (parity)", "ratio"], rows)
    return result


def _seconds(bench: Bench, net, x, y, trained: bool, passes: int = 3) -> float:
    net.train(trained)
    bench.wait()
    begun = time.perf_counter()
    for _ in range(passes):
        if trained:
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
        else:
            with torch.no_grad():
                for start in range(0, len(x), CONVOLUTION_CHUNK):
                    net(x[start : start + CONVOLUTION_CHUNK])
    bench.wait()
    return (time.perf_counter() - begun) / passes
