"""Train one method on a stream of tasks and print the T x T accuracy grid: the reference's `main.py`, and more.

    python main.py --model agem_closed --data_file digits_permutations.pt --n_memories 10

Exit status: 0 done; 2 the command or its data are wrong (one sentence says what); 3 the parameters became non-finite,
and what was measured until then is kept in a record whose status is "diverged"; 130 interrupted.
"""

import os

# Threads that wait actively make an evaluation ten times slower when a core is busy; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import datetime
import functools
import math
import random
import sys
import time
import traceback
import uuid
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

import model as methods
from data import DataError, files, pixels, standard
from data.cut import cut
from metrics import metrics, unlearning
from model import UsageError, arguments, common, foreign, own_flags, reference
from model.engine import scoring
from model.engine.flat import threads
from model.unlearning import Attack, phase, plan
from results import RecordError, console, record
from results.board import Board
from results.life import Divergence, Life, describe, doubtful, drowned, short_curves

EVALUATION_CHUNK = 2_500  # test examples in one forward pass of an MLP
CONVOLUTION_CHUNK = 100  # test examples in one forward pass of a ResNet, whose maps should stay in a cache


class Datasets(NamedTuple):
    """Tasks as a run sees them: ``[description, x (N, n_inputs), y (N,)]`` each, cut to the first ``n_tasks``."""

    train: list
    test: list
    n_inputs: int
    n_outputs: int
    n_tasks: int
    outputs: list[list[int]] | None  # the outputs of each task; None: one shared head
    hash: str
    bytes: bool  # every pixel is one that a byte stands for


def load_datasets(args) -> Datasets:
    """Read the data file, building it first if it is a standard one; cut it, then derive the outputs from the labels."""
    path = os.path.join(args.data_path, args.data_file)
    standard.ensure(path, args.raw_path)
    file = files.load(path)
    train, test = cut(file.train, file.test, args.data_file, args.first_task, args.n_tasks, args.validation)
    n_tasks = len(train)
    labels = [set(torch.cat((a[2], b[2])).unique().tolist()) for a, b in zip(train, test, strict=True)]
    n_outputs = max(max(task) for task in labels) + 1
    outputs = reference.outputs if args.parity and args.head == "auto" else common.outputs_by_label
    n_inputs = train[0][1].shape[1]
    return Datasets(train, test, n_inputs, n_outputs, n_tasks, outputs(labels, n_outputs, args), file.hash, file.bytes)


class Continuum:
    """The stream of mini-batches ``(x (B, n_inputs), task, y (B,))``: task after task, each shuffled once an epoch.

    The draws are the reference's, in its order: ``torch.randperm`` for the order of tasks if they are shuffled, another
    for each task's samples, then ``random.shuffle`` for each task and epoch. ``position`` is the number of batches
    given so far; setting it moves the stream.
    """

    def __init__(self, data: list, args):
        self.data, self.batch_size, self.position = data, args.batch_size, 0
        self.order = list(range(len(data)))
        if args.shuffle_tasks == "yes":
            self.order = torch.randperm(len(data)).tolist()
        samples = []
        for _, x, _ in data:
            n = min(args.samples_per_task, len(x)) if args.samples_per_task > 0 else len(x)
            samples.append(torch.randperm(len(x))[:n].tolist())
        self.task_sizes = list(map(len, samples))  # the examples of each task, those of one epoch
        self._runs, batches = [], 0  # (task, its examples in the order of learning, the number of its first batch)
        for task in self.order:
            examples = []
            for _ in range(args.n_epochs):
                random.shuffle(epoch := list(samples[task]))
                examples += epoch
            self._runs.append((task, torch.tensor(examples), batches))
            batches += -(-len(examples) // self.batch_size)
        self._length = batches

    def __len__(self) -> int:
        return self._length

    def samples_per_task(self) -> list[int]:
        """The number of examples of each task that the run will see, all epochs together, in the order of learning."""
        return [len(examples) for _, examples, _ in self._runs]

    def batches(self, task: int, n: int):
        """The first ``n`` batches (x, y) of a task once more, in the order in which they were learned."""
        _, x, y = self.data[task]
        examples = next(examples for t, examples, _ in self._runs if t == task)
        for index in examples[: n * self.batch_size].split(self.batch_size) if n else ():
            yield pixels.floats(x[index]), y[index]

    def __iter__(self):
        block = max(1, 1024 // self.batch_size) * self.batch_size  # gathered together: a batch is then a view
        for task, examples, first in self._runs:
            _, x, y = self.data[task]
            while (start := (self.position - first) * self.batch_size) < len(examples):
                index = examples[start : start + block]
                xs, ys = pixels.floats(x[index]), y[index]
                for at in range(0, len(index), self.batch_size):
                    self.position += 1
                    yield xs[at : at + self.batch_size], task, ys[at : at + self.batch_size]


def eval_tasks(model, tasks: list, args, only: list[int] | None = None, tally: dict | None = None) -> list[float]:
    """Accuracy on each task's test set, or on those of the tasks ``only``.

    The accuracies of an MLP follow from its parameters alone, whatever the kernels and threads (``model.engine.scoring``).
    ``tally`` then counts the examples that were computed again. With ``--parity yes`` the function evaluates as the
    reference does: the last example of a test set is never scored, and all others are scored in one pass.
    """
    model.eval()
    scorer = scoring.of(model, pixels.floats)
    chunk = CONVOLUTION_CHUNK if tasks[0][1].shape[1] == common.IMAGE_INPUTS else EVALUATION_CHUNK
    if args.parity:
        chunk = max(len(y) for _, _, y in tasks)
    result = []
    with torch.no_grad():
        for t in range(len(tasks)) if only is None else only:
            _, x, y = tasks[t]
            n = len(y) - 1 if args.parity and len(y) > 1 else len(y)
            right = 0
            for start in range(0, n, chunk):
                end = min(start + chunk, n)
                xs, ys = x[start:end], y[start:end]
                if scorer:
                    right += scorer.right(xs, ys, t)
                    continue
                xs = pixels.floats(xs)
                if args.cuda:
                    xs, ys = xs.cuda(), ys.cuda()
                right += int((model(xs, t).argmax(1) == ys).sum())
            result.append(right / len(y))
    if scorer and tally is not None:
        scorer.add_to(tally)
    model.train()
    return result


def finite(model) -> bool:
    """Whether every parameter is finite."""
    return all(bool(p.isfinite().all()) for p in model.state_dict().values() if p.is_floating_point())


def life_experience(model, continuum: Continuum, tasks_te: list, args, watch=None) -> Life:
    """Learn the stream batch by batch; evaluate every ``log_every`` steps, where the task changes, and at the end.

    ``finish_task``, where the method has it, is called after a task's last evaluation. ``watch(step, task, accuracies,
    model)``, if given, is called after every evaluation. With ``--lca yes`` each task's learning curve is measured too.
    """
    life = Life([], [], [], {"train": 0.0, "eval": 0.0}, {}, scoring.nothing())
    current, diverged, i = continuum.order[0], None, 0
    finish = getattr(model, "finish_task", lambda: None)
    begun = time.perf_counter()

    def evaluate():
        started = time.perf_counter()
        if not finite(model):
            raise FloatingPointError("a parameter is not finite")
        with threads(args.threads):
            accuracies = eval_tasks(model, tasks_te, args, tally=life.tally)
        life.result_t.append(current)
        life.result_a.append(accuracies)
        life.steps.append(i)
        if watch:
            watch(i, current, accuracies, model)
        life.seconds["eval"] += time.perf_counter() - started

    def follow(task):
        started = time.perf_counter()
        curve = life.curves.setdefault(task, [life.result_a[-1][task]])  # evaluated just before the task's first batch
        if len(curve) <= metrics.LCA_BATCHES:
            with threads(args.threads):
                curve.append(eval_tasks(model, tasks_te, args, [task])[0] if finite(model) else None)
        life.seconds["eval"] += time.perf_counter() - started

    training_threads = args.threads if isinstance(getattr(model, "net", None), common.ResNet18) else 1
    with (
        threads(training_threads),
        tqdm(total=len(continuum), desc=f"task {current}", unit="step", dynamic_ncols=True, disable=None) as bar,
    ):
        try:
            for i, (x, t, y) in enumerate(continuum):
                if i % args.log_every == 0 or t != current:
                    evaluate()
                    if t != current:
                        finish()
                        current = t
                        bar.set_description(f"task {t}", refresh=False)
                if args.cuda:
                    x, y = x.cuda(), y.cuda()
                elif args.parity:
                    x = x.clone()  # own memory: the address where a product's operand begins decides its rounding
                model.observe(x, t, y)
                if args.lca:
                    follow(t)
                bar.update()
            i += 1
            evaluate()
            finish()
        except FloatingPointError as error:
            diverged = Divergence(current, i, error)
    life.seconds["total"] = time.perf_counter() - begun
    life.seconds["train"] = life.seconds["total"] - life.seconds["eval"]
    return life._replace(diverged=diverged)


def unlearn(model, continuum: Continuum, data: Datasets, attack: Attack, life: Life, args) -> Life:
    """The unlearning phase, and one more evaluation after it."""
    begun, seen = time.perf_counter(), {}
    try:
        with threads(1):
            phase(model, continuum, attack, args, seen)
        if not finite(model):
            raise FloatingPointError("a parameter is not finite")
    except FloatingPointError as error:
        return life._replace(
            diverged=Divergence(next(reversed(seen), None), sum(seen.values()), error, unlearning=True)
        )
    with threads(args.threads):
        after = eval_tasks(model, data.test, args)
    life.seconds["forgetting"] = time.perf_counter() - begun
    chance = [1 / len(outputs) for outputs in data.outputs or [range(data.n_outputs)] * data.n_tasks]
    report = unlearning.report(life.result_a[-1], after, sorted(attack.tasks), attack.sign, seen, chance)
    return life._replace(unlearning=report)


def parse(argv: list[str]):
    """The settled arguments, the method's module, and the flags that it does not use."""
    helped = bool({"-h", "--help"} & set(argv))  # for a help text a method is imported only if it is named
    asked = _method(helped).parse_known_args(argv)[0].model
    method = None if asked is None else methods.resolve(asked)
    module = methods.load(method) if method else None
    own = own_flags.of(module)
    others = own_flags.elsewhere(argv, {**arguments.FLAGS, **own})
    epilog = "methods:\n" + methods.describe() if helped else ""
    args = _parser(method, tuple(own.values()), tuple(others.values()), epilog).parse_args(argv)
    given = arguments.settle(args, {**own, **others})
    for name in others:
        delattr(args, name)
    args.model = method
    if args.parity:
        module = methods.load(method, parity=True)
    args.threads = 1 if args.parity else args.threads or torch.get_num_threads()
    if method in arguments.FLAGS["n_memories"].methods:
        arguments.require_memories(args, method)
    if args.parity and args.shuffle_tasks == "yes":
        raise UsageError("--shuffle_tasks yes --parity yes: the reference's numbers are wrong there; give one of them")
    if args.parity and (args.first_task or args.validation):
        raise UsageError("--parity yes: the reference knows neither --first_task nor --validation; leave them out")
    return args, module, [*arguments.unused(given, method), *(name for name in given if name in others)]


@functools.cache
def _method(helped: bool) -> arguments.Parser:
    """Finds the method in a command line whose flags are not known yet, since methods have flags of their own."""
    parser = arguments.Parser(add_help=False)
    parser.add_argument("--model", nargs="?", const="", default=None if helped else arguments.FLAGS["model"].default)
    return parser


@functools.lru_cache(8)  # a sweep parses up to 100,000 command lines
def _parser(method: str | None, own: tuple, others: tuple, epilog: str) -> arguments.Parser:
    more = {f"of {method} alone": own} if own else {}
    return arguments.parser(more, others, prog="main.py", description=__doc__, epilog=epilog)


def _say(sentences: list[str]) -> None:
    for sentence in sentences:
        print(f"note: {sentence}", file=sys.stderr)


def main(argv: list | None = None) -> dict:
    """One run, from the command line to its record, which is returned; ``argv`` may hold numbers and paths.

    Raises ``UsageError``, ``DataError`` or ``RecordError`` for a user's mistake; ``cli`` turns them into exit status 2.
    """
    argv = sys.argv[1:] if argv is None else list(map(str, argv))
    started = datetime.datetime.now()
    args, module, unused = parse(argv)
    if args.cuda and not torch.cuda.is_available():
        raise UsageError("--cuda yes: this torch sees no GPU; give --cuda no, or install a CUDA build of torch")
    if unused:
        _say([f"{args.model} does not use {' '.join('--' + name for name in unused)}"])
    with reference.conditions() if args.parity else nullcontext():
        return run(args, module, argv, started)


def run(args, module, argv: list[str], started) -> dict:
    """One run of settled arguments; returns its record."""
    data = load_datasets(args)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    random.seed(args.seed)
    continuum = Continuum(data.train, args)
    _say(short_curves(args, continuum))
    with foreign.told(args.model, but=(DataError, RecordError, BrokenPipeError)):
        handed_on = argparse.Namespace(**vars(args), task_outputs=data.outputs, task_sizes=continuum.task_sizes)
        model = methods.build(module, data, handed_on)
        if scoring.in_integers(model, args.evaluation, data.bytes):
            data = data._replace(test=[(name, pixels.signed(x), y) for name, x, y in data.test])
        attack = plan(args, data.n_tasks, module, args.model) if args.forgetting_mode else None
        folder = record.folder(args.save_path)
        record.check_writable(folder)
        name = record.name(args.model, args.data_file, uuid.uuid4().hex, started)
        watch = Board(args.tensorboard, name) if args.tensorboard else None
        life = life_experience(model, continuum, data.test, args, watch)
        if attack and not life.diverged:
            life = unlearn(model, continuum, data, attack, life, args)
        result = describe(args, argv, data, continuum, model, life, started)
        state = model.state_dict()
    stats = [result[key] for key in metrics.REFERENCE_KEYS]
    one_liner = record.one_liner(args, stats)
    base = record.write(folder, name, result, *life.complete(), state, one_liner)
    print(f"data: {args.data_file}, {data.n_tasks} tasks, {data.n_inputs} inputs, sha256 {data.hash[:12]}")
    print(metrics.grid_text(result["baseline"], result["grid"]))
    print(metrics.stats_text(*(math.nan if stat is None else stat for stat in stats)))
    if life.unlearning:
        print(unlearning.text(life.unlearning))
    print(f"{base}: {one_liner} # {life.seconds['total']:.3f}", flush=True)
    _say(drowned(result) + doubtful(result))
    if life.diverged:
        print(f"main.py: {args.model} {life.diverged}; {base}.json keeps what was measured", file=sys.stderr)
    return result


def cli(argv: list[str] | None = None) -> int:
    """``main`` with exit statuses instead of exceptions and records."""
    try:
        return 3 if main(argv)["status"] == "diverged" else 0
    except (UsageError, DataError, RecordError, ModuleNotFoundError) as mistake:
        if os.environ.get("CL_TRACEBACK", "0") != "0":
            traceback.print_exc()
        remedy = "; pip install -r requirements.txt" if isinstance(mistake, ModuleNotFoundError) else ""
        print(f"main.py: {mistake}{remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("main.py: interrupted; no record was written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough; the record was written before
        console.leave()
        return 0


if __name__ == "__main__":
    sys.exit(cli())
