"""The reduced ResNet-18 of CIFAR-100: its maps pixel by pixel against the reference's layout, and a step of `gem`."""

import argparse
import statistics

import torch
from torch.nn import functional as F

from experiment.evaluation import CONVOLUTION_CHUNK
from model import arguments, common, gem
from model.numeric import projection
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
    begun = bench.clock()
    for _ in range(passes):
        if trained:
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
        else:
            with torch.no_grad():
                for start in range(0, len(x), CONVOLUTION_CHUNK):
                    net(x[start : start + CONVOLUTION_CHUNK])
    bench.wait()
    return (bench.clock() - begun) / passes


# ---------------------------------------------------------------- a step of gem

TASKS, MEMORIES, CLASSES = 6, 64, 5  # five past tasks and the current one


class PlainLoop:
    """What a user would write: a backward pass a past task, the gradients as rows of a matrix; GEM's projection."""

    def __init__(self, net, tasks, lr: float, margin: float):
        self.net, self.tasks, self.margin = net, tasks, margin
        self.sgd = torch.optim.SGD(net.parameters(), lr)

    def gradient(self, t: int, x, y) -> torch.Tensor:
        """Of the mean loss over the outputs of task t: (p,)."""
        self.sgd.zero_grad()
        first = t * CLASSES
        F.cross_entropy(self.net(x)[:, first : first + CLASSES], y - first).backward()
        return torch.cat([p.grad.flatten() for p in self.net.parameters()])

    def observe(self, x, t, y):
        """A step on a batch of task t, whose past tasks' memories are ``tasks``."""
        rows = torch.stack([self.gradient(s, *memory) for s, memory in enumerate(self.tasks[:t])]).double()
        g = self.gradient(t, x, y).double()
        correction = projection.gem(
            (rows @ g).numpy(force=True), lambda: (rows @ rows.t()).numpy(force=True), self.margin
        )
        if correction is not None:
            g += rows.t() @ torch.from_numpy(correction.weights).to(g)
            parts = g.split([p.numel() for p in self.net.parameters()])
            for p, part in zip(self.net.parameters(), parts, strict=True):
                p.grad.copy_(part.view(p.shape))
        self.sgd.step()


def contenders(cuda: bool = False) -> tuple[dict, list]:
    """`gem` and two plain loops, which begin from the same parameters, and the tasks' stored examples x, y."""
    draw, lr, margin, n_outputs = torch.Generator().manual_seed(0), 0.01, 0.5, TASKS * CLASSES
    tasks = []
    for t in range(TASKS):
        x, y = torch.rand(MEMORIES, common.IMAGE_INPUTS, generator=draw), torch.arange(MEMORIES) % CLASSES + t * CLASSES
        tasks.append((x.cuda(), y.cuda()) if cuda else (x, y))
    settled = {"n_memories": MEMORIES, "memory_strength": margin, "lr": lr, "seed": 0, "threads": 1}
    settled["task_outputs"] = common.equal_slices(n_outputs, TASKS)
    torch.manual_seed(0)
    ours = gem.Net(common.IMAGE_INPUTS, n_outputs, TASKS, arguments.of(argparse.Namespace(**settled)))
    models = {"gem": ours.cuda() if cuda else ours}
    for t, (x, y) in enumerate(tasks[:-1]):
        ours.memory.write(t, x, y)
        ours.begin(t)
    for name, parity in (("plain loop, pixel by pixel", False), ("plain loop, map by map", True)):
        torch.manual_seed(0)
        with common.resnet_layout(plain=parity):
            net = common.ResNet18(n_outputs)
        models[name] = PlainLoop(net.cuda() if cuda else net, tasks, lr, margin)
    return models, tasks


def images(bench: Bench) -> dict:
    """Milliseconds of a step of `gem` on a ResNet18 after five tasks of 64 memories, and of a plain loop over the tasks."""
    torch.set_num_threads(1)
    models, tasks = contenders(bench.options.cuda)
    x, y = tasks[-1]
    times = []
    for i in range(1 + bench.options.repeats):  # the first repeat only warms up
        at = slice(10 * i % 50, 10 * i % 50 + 10)
        row = []
        for model in models.values():
            bench.wait()
            begun = bench.clock()
            model.observe(x[at], TASKS - 1, y[at])
            bench.wait()
            row.append(bench.clock() - begun)
        times.append(row)
        bench.bar.update()
    rows, result = [], {}
    for i, name in enumerate(models):
        seconds = statistics.median(row[i] for row in times[1:])
        ratio = statistics.median(row[i] / row[0] for row in times[1:])
        result[name] = {"seconds": seconds, "ratio": ratio}
        rows.append([name, f"{seconds * 1e3:.0f} ms", f"{ratio:.2f}"])
    table(
        "A step of gem on a ResNet18, batch 10, 5 past tasks of 64 memories, one thread", ["", "step", "to gem"], rows
    )
    return result
