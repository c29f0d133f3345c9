"""Speed, as ratios within one run: python scripts/bench.py [--only PART ...] [--repeats N] [--cuda] [--json FILE]

The yardstick is one training step of a plain `torch.nn.Sequential` MLP, 784-100-100-10, with `CrossEntropyLoss`,
`zero_grad()` and `torch.optim.SGD`, batch 1, one thread. It is timed before and after everything that is given in
yardsticks, because a shared machine's speed drifts. Every figure is the median of `--repeats` runs.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
from tqdm import tqdm

import main
import model as methods
from data import DataError, files, standard
from model import arguments
from model.engine import fast

DATA = "fashion_mnist_permutations_reduced.pt"
SEED_004 = (
    "--n_tasks 10 --lr 0.01 --n_memories 10 --memory_strength 10 --n_layers 2 --n_hiddens 100 --batch_size 1 "
    "--log_every 100 --samples_per_task 1000 --cuda no --seed 3"
).split()
REFERENCE = {"single": 1.3, "ewc": 15, "gem": 30, "agem_closed": 17}  # the public GEM code, in yardsticks


class Bench:
    """The data, the yardstick, and a bar that shows where the run is."""

    def __init__(self, options):
        self.options = options
        path = Path(options.data_path, DATA)
        standard.ensure(path, options.raw_path)
        begun = time.perf_counter()
        self.file = files.load(path)
        self.tasks = [(x[:1000].clone(), y[:1000].clone()) for _, x, y in self.file.train]
        self.load_seconds = time.perf_counter() - begun
        self.bar = tqdm(disable=not sys.stderr.isatty(), unit="part")

    def yardstick(self, steps: int = 1500) -> float:
        """Seconds of one plain training step."""
        torch.set_num_threads(1)
        nn = torch.nn
        net = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
        x, y = self.tasks[0]
        if self.options.cuda:
            net, x, y = net.cuda(), x.cuda(), y.cuda()
        sgd, ce = torch.optim.SGD(net.parameters(), 0.01), nn.CrossEntropyLoss()
        return self.timed(lambda i: self._plain_step(net, sgd, ce, x, y, i % 1000), steps)

    @staticmethod
    def _plain_step(net, sgd, ce, x, y, i):
        sgd.zero_grad()
        ce(net(x[i : i + 1]), y[i : i + 1]).backward()
        sgd.step()

    def timed(self, step, n: int) -> float:
        """Seconds of one call step(i), over n of them after a few."""
        for i in range(20):
            step(i)
        self.wait()
        begun = time.perf_counter()
        for i in range(n):
            step(i)
        self.wait()
        return (time.perf_counter() - begun) / n

    def wait(self):
        if self.options.cuda:
            torch.cuda.synchronize()

    def paired(self, measure) -> tuple[float, ...]:
        """Medians of what ``measure()`` returns (seconds a step), each repeat in yardsticks of that moment."""
        rows = []
        for _ in range(self.options.repeats):
            before = self.yardstick()
            values = measure()
            yard = (before + self.yardstick()) / 2
            rows.append([value / yard for value in values])
            self.bar.update()
        return tuple(statistics.median(column) for column in zip(*rows, strict=True))

    # ---------------------------------------------------------------- training

    def net(self, name: str, n_tasks: int = 10, form: str = "auto", **given):
        """A fresh method, as seed 004's command makes it."""
        torch.manual_seed(3)
        settled = {"n_memories": 10, "memory_strength": 0.5, "lr": 0.01, "seed": 3, "threads": 1, "task_outputs": None}
        model = methods.load(name).Net(784, 10, n_tasks, arguments.of(argparse.Namespace(**{**settled, **given})))
        if isinstance(model.engine, fast.FastEngine):
            model.engine.wanted = form
        return model.cuda() if self.options.cuda else model

    def ten_tasks(self, name: str, engine: str) -> tuple[float, float]:
        """Seconds a step, the stream's loop included: mean over 10 tasks of 1,000 steps, and in the last task."""
        model, steps = self.net(name, engine=engine), self.options.steps
        torch.set_num_threads(1)
        random.seed(0)
        stream = main.Continuum(
            [["", x, y] for x, y in self.tasks],
            argparse.Namespace(batch_size=1, samples_per_task=steps, n_epochs=1, shuffle_tasks="no"),
        )
        begun = last = time.perf_counter()
        for i, (x, t, y) in enumerate(stream):
            if i == 9 * steps:
                self.wait()
                last = time.perf_counter()
            if self.options.cuda:
                x, y = x.cuda(), y.cuda()
            model.observe(x, t, y)
        self.wait()
        end = time.perf_counter()
        return (end - begun) / (10 * steps), (end - last) / steps

    def at_task(self, name: str, n_tasks: int, memories: int, form: str = "auto", batch: int = 1, steps=200) -> float:
        """Seconds a step in the last of ``n_tasks`` tasks; the tasks before are as long as their memory."""
        model = self.net(name, n_tasks, form, n_memories=memories)
        torch.set_num_threads(1)
        draw = torch.Generator().manual_seed(0)
        for t in range(n_tasks):
            x, y = self.tasks[t % len(self.tasks)]
            x = x[:, torch.randperm(784, generator=draw)]
            if self.options.cuda:
                x, y = x.cuda(), y.cuda()
            if t + 1 < n_tasks:
                for i in range(0, memories, 5):
                    model.memory.write(t, x[i : i + 5], y[i : i + 5])
                model.begin(t)
        return self.timed(lambda i: model.observe(x[i : i + batch], t, y[i : i + batch]), steps)


def parts(bench: Bench) -> dict:
    """The parts of the benchmark by name; each prints its table and returns its numbers."""
    return {
        "steps": lambda: steps(bench),
        "tasks": lambda: tasks(bench),
        "memories": lambda: memories(bench),
        "evaluation": lambda: evaluation(bench),
        "command": lambda: command(bench),
        "paper": lambda: paper(bench),
        "drift": lambda: drift(bench),
    }


def table(title: str, heads: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    print(f"\n{title}\n\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    sys.stdout.flush()


def steps(bench: Bench) -> dict:
    """A step of each method with either engine."""
    result, rows = {}, []
    for name in bench.options.methods or methods.METHODS:
        got = {engine: bench.paired(lambda n=name, e=engine: bench.ten_tasks(n, e)) for engine in ("fast", "autograd")}
        result[name] = got
        rows.append([name, *got["fast"], *got["autograd"], REFERENCE.get(name, "")])
    heads = ["method", "fast: mean", "fast: task 10", "autograd: mean", "autograd: task 10", "reference: mean"]
    table("Training step, batch 1, 10 memories a task, 10 tasks, in yardsticks", heads, rows)
    return result


def tasks(bench: Bench) -> dict:
    """Growth with the number of tasks, 10 memories each, and of the two forms of the first layer."""
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
    """Growth with the memories a task, at the tenth task."""
    rows, result, names = [], {}, ("gem", "agem_closed", "agem_sampled")
    for m in (10, 50, 256):
        got = bench.paired(lambda m=m: [bench.at_task(name, 10, m, steps=60) for name in names])
        result[m] = got
        rows.append([m, *got])
    table("Step in the last of 10 tasks, in yardsticks, by memories a task", ["memories", *names], rows)
    return result


def evaluation(bench: Bench) -> dict:
    """One evaluation of 10 x 10,000 images against its matrix products alone, all threads."""
    model = bench.net("single")
    test = bench.file.test
    args = argparse.Namespace(parity=False, cuda=bench.options.cuda)
    weights = [p.detach() for p in model.parameters() if p.dim() == 2]

    def products():
        for _, x, _ in test:
            for start in range(0, len(x), main.EVALUATION_CHUNK):
                h = x[start : start + main.EVALUATION_CHUNK]
                h = h.cuda() if bench.options.cuda else h
                for W in weights:
                    h = h @ W.t()
        bench.wait()

    torch.set_num_threads(bench.options.threads)
    both = []
    for _ in range(2 + 2 * bench.options.repeats):
        times = []
        for work in (lambda: main.eval_tasks(model, test, args), products):
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


def _run(argv: list[str]) -> dict:
    """One run of main.py in a process of its own: its record, with wall-clock seconds."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        line = [sys.executable, str(ROOT / "main.py"), *argv, "--save_path", folder]
        subprocess.run(line, check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        return {**json.loads(next(Path(folder).glob("*.json")).read_text()), "wall": seconds}


def command(bench: Bench) -> dict:
    """Seed 004's command end to end against what it must at least do."""
    where = ["--data_path", bench.options.data_path, "--data_file", DATA, "--threads", str(bench.options.threads)]
    rows, result = [], {}
    importing = statistics.median(_importing() for _ in range(3))
    for name in ("agem", "agem_closed", "agem_meanqp"):
        got = []
        for _ in range(bench.options.repeats):
            step = bench.ten_tasks(name, "fast")[0]
            one = evaluation_seconds(bench)
            run = _run(["--model", name, *SEED_004, *where])
            floor = 101 * one + 10_000 * step + importing
            got.append((run["wall"], floor, run["wall"] / floor, run["peak_memory_mb"]))
            bench.bar.update()
        wall, floor, ratio, memory = (statistics.median(column) for column in zip(*got, strict=True))
        result[name] = {"wall": wall, "floor": floor, "ratio": ratio, "memory": memory}
        rows.append([name, f"{wall:.1f} s", f"{floor:.1f} s", f"{ratio:.2f}", f"{memory:.0f} MB"])
    title = "Seed 004's command end to end, against 101 evaluations + 10,000 steps + start and load, timed beside it"
    table(title, ["method", "command", "its parts", "ratio", "peak memory"], rows)
    return result


def _importing() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - begun


def evaluation_seconds(bench: Bench) -> float:
    """Seconds of one evaluation, all threads."""
    model, args = bench.net("single"), argparse.Namespace(parity=False, cuda=bench.options.cuda)
    torch.set_num_threads(bench.options.threads)
    times = []
    for _ in range(6):
        begun = time.perf_counter()
        main.eval_tasks(model, bench.file.test, args)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


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
    ours = _run([*argv, "--threads", str(bench.options.threads)])
    parity = _run([*argv, "--parity", "yes"])
    seconds = [run["seconds"]["train"] for run in (ours, parity)]
    row = [f"{seconds[0]:.1f} s", f"{seconds[1]:.1f} s", f"{seconds[1] / seconds[0]:.2f}", f"{ours['final']:.3f}"]
    heads = [f"fast, {bench.options.threads} threads", "--parity yes, 1 thread", "ratio", "final accuracy"]
    table("GEM paper's permutations run: 20 tasks, 256 memories, batch 10; training", heads, [row])
    return {"fast": seconds[0], "parity": seconds[1], "ratio": seconds[1] / seconds[0]}


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
                W, b = (part.double() for part in first.effective())
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


def cli(argv=None) -> int:
    """Run the parts asked for; 2 for a mistake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(parts(None)), help="parts to run (default: all)")
    parser.add_argument("--methods", nargs="+", choices=list(methods.METHODS), help="methods of the part steps")
    parser.add_argument("--repeats", type=int, default=3, help="runs behind each median")
    parser.add_argument("--steps", type=int, default=1000, help="steps a task in the part steps")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads for evaluations")
    parser.add_argument("--data_path", default=str(ROOT / "data"))
    parser.add_argument("--raw_path")
    parser.add_argument("--cuda", action="store_true", help="time on the GPU")
    parser.add_argument("--json", help="write all numbers to this file")
    options = parser.parse_args(argv)
    if options.cuda and not torch.cuda.is_available():
        print("bench.py: --cuda: this torch sees no GPU", file=sys.stderr)
        return 2
    try:
        bench = Bench(options)
    except DataError as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 2
    device = torch.cuda.get_device_name() if options.cuda else _processor()
    print(f"{device}, {options.threads} threads, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    print(f"yardstick {statistics.median(bench.yardstick() for _ in range(5)) * 1e6:.0f} us; repeats {options.repeats}")
    result = {name: part() for name, part in parts(bench).items() if not options.only or name in options.only}
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1))
    return 0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(cli())
