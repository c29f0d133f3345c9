"""Train one method on a stream of tasks and print the T x T accuracy grid: the reference's `main.py`, and more.

    python main.py --model agem_closed --data_file digits_permutations.pt --n_memories 10

Exit status: 0 done; 2 the command or its data are wrong (one sentence says what); 3 the parameters became non-finite,
and what was measured until then is kept in a record whose status is "diverged"; 130 interrupted, 143 terminated.
"""

import os

# Threads that wait actively make an evaluation ten times slower when a core is busy; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if __name__ == "__main__":  # first: the libraries below take seconds
    from results import process

    process.prepare("main.py")

import argparse
import copy
import datetime
import functools
import random
import sys
import traceback
import uuid
import warnings
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

import model as methods
from data import DataError, joint, pixels
from experiment import continued, finetuning, pretraining, probes
from experiment.checkpoints import Checkpoints, Stopped
from experiment.continued import Earlier
from experiment.learning import life_experience, training_threads, unlearn
from experiment.stream import Continuum, load_datasets
from metrics import metrics, unlearning
from model import UsageError, arguments, combinations, foreign, idle, networks, own_flags, reference, room
from model.engine import scoring
from model.engine.flat import threads
from model.learner import Stateful
from model.unlearning import plan
from results import RecordError, console, process, record
from results.board import Board
from results.life import Life, describe, doubtful, drowned, require_room, short_curves, unreadable


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
    arguments.require_threads(args.threads)
    combinations.require(args, given)
    probes.names(args.probe)
    unused = [*arguments.unused(given, method), *(name for name in given if name in others)]
    return args, module, unused + ([] if issubclass(module.Net, Stateful) else foreign.ignored(given, method))


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


@contextmanager
def warnings_as_notes():
    """What a library or a method warns of inside is told in one line, and without a line of its code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say([" ".join(str(message).split())])
        yield


def main(argv: list | None = None) -> dict:
    """One run, from the command line to its record, which is returned; ``argv`` may hold numbers and paths.

    Raises ``UsageError``, ``DataError`` or ``RecordError`` for a user's mistake; ``cli`` turns them into exit status 2.
    """
    argv = sys.argv[1:] if argv is None else list(map(str, argv))
    started = datetime.datetime.now()
    args, module, unused = parse(argv)
    if args.cuda and not torch.cuda.is_available():
        _say(["--cuda yes: this torch sees no GPU, so the run goes on on the CPU"])
        args.cuda = False
    with reference.conditions() if args.parity else nullcontext(), room.told(), warnings_as_notes():
        return run(args, module, unused, argv, started)


def run(args, module, unused: list[str], argv: list[str], started) -> dict:
    """One run of settled arguments, of which the method does not use the flags ``unused``; returns its record."""
    earlier = Earlier(args) if args.start_from else None
    data = load_datasets(args)
    whole = earlier.followed_by(data) if earlier else data
    _say(idle.note(args, unused, whole))
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    random.seed(args.seed)
    continuum = Continuum(data.train, args, args.model == "joint", data.outputs is not None, data.problem.shown)
    require_room(args, continuum)
    _say(short_curves(args, continuum) + unreadable(data.n_tasks))
    with (
        earlier.blamed() if earlier else nullcontext(),
        foreign.told(args.model, but=(DataError, RecordError)),
    ):
        task_sizes = [*(earlier.task_sizes if earlier else []), *continuum.task_sizes]
        text = pretraining.language(data, continuum, args)
        given = {**vars(args), "task_outputs": whole.outputs, "task_sizes": task_sizes}
        handed_on = _handed_on(given, text)
        method = methods.build(module, whole, handed_on)
        with threads(training_threads(method, args)):
            model = earlier.teach(method) if earlier else method
        if scoring.in_integers(model, args.evaluation, data.file.bytes):
            data = data._replace(test=pixels.signed_tasks(data.test))
        attack = plan(args, data.n_tasks, module, args.model) if args.forgetting_mode else None
        require_pairs(method, continuum, args)
        if args.finetune_epochs:
            finetuning.require(method)
        folder = record.folder(args.save_path)
        record.check_writable(folder)
        name = record.name(args.model, args.data_file, uuid.uuid4().hex, started)
        before = earlier.text if earlier else ""
        onlookers = probes.of_run(args, method, model, data, continuum)
        when = started.isoformat(timespec="seconds")
        again = None
        if args.model not in methods.METHODS:
            again = functools.partial(methods.build, module, whole, _handed_on(given, text))
        kept = Checkpoints(args, data.hash, method, continuum, name, when, before, onlookers, again)
        with threads(training_threads(model, args)):
            _say(kept.resume())
        watch = Board(args.tensorboard, kept.name, continuum.position) if args.tensorboard else None
        with kept.heeding_signals():
            life = kept.life
            if not life.seen:
                learner = onlookers.around(model, life) if onlookers else model
                life_experience(learner, continuum, data.test, args, watch, life, kept.between)
            if attack and not life.diverged:
                unlearn(model, continuum, data, attack, life, args, kept.between)
        result = describe(args, argv, data, continuum, model, life, kept.started, before)
        if args.finetune_epochs and not life.diverged:
            with threads(training_threads(method, args)):
                result["finetuning"] = finetuning.measure(method, continuum, data, args)
        if onlookers:
            result["probes"] = onlookers.report()
        arrays = onlookers.arrays() if onlookers else {}
        state = model.state_dict()
    base = None
    try:
        with process.uncut():
            base = report(result, data, life, args, folder, kept.name, state, arrays)
            if args.save_state:
                continued.save(base, args, method, whole, task_sizes, earlier.learned if earlier else [])
            kept.remove()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{base}.json is complete" if base else "") from None
    notes = drowned(result) + doubtful(result) + data.file.changes() + foreign.changed(args.model, handed_on, given)
    _say(notes + ([joint.NOTE] if continuum.together else []))
    if life.diverged:
        print(f"main.py: {args.model} {life.diverged}; {base}.json keeps what was measured", file=sys.stderr)
    return result


def _handed_on(given: dict, text) -> argparse.Namespace:
    """The arguments for a method, which may change them."""
    return argparse.Namespace(**copy.deepcopy(given), text=text)


def require_pairs(model, continuum: Continuum, args) -> None:
    """``UsageError`` if a batch has one example, and the network's batch normalisation needs two."""
    size, task = continuum.smallest_batch()
    if size > 1 or not networks.needs_two(model):
        return
    which = f"the last batch of task {task}" if args.batch_size > 1 else "every batch"
    larger = range(args.batch_size + 1, max(continuum.samples_per_task()) + 2)
    able = next((f"--batch_size {b}, or " for b in larger if continuum.smallest_batch(b)[0] > 1), "")
    raise UsageError(
        f"--batch_size {args.batch_size}: {which} has one example, and batch normalisation needs two; "
        f"give {able}--norm layer"
    )


def report(result: dict, data, life: Life, args, folder: str, name: str, state: dict, arrays: dict) -> str:
    """Print what a run measured, then write its record, whose path without suffix is returned.

    The order matters: a disk that is full must not lose the numbers.
    """
    stats = record.stats(result)
    one_liner = record.one_liner(args, stats)
    print(f"data: {args.data_file}, {data.n_tasks} tasks, {data.n_inputs} inputs, sha256 {data.hash[:12]}")
    print(metrics.grid_text(result["baseline"], result["grid"]))
    learned = metrics.learned_text(result["protocol"]["task_order"], "joint" in result)
    print("\n".join([metrics.stats_text(*stats), *learned]), flush=True)
    if result["metrics"].get("perplexity") is not None:
        print(f"Perplexity: {result['metrics']['perplexity']:.4f} (mean of the tasks at the end)", flush=True)
    if "finetuning" in result:
        print(finetuning.text(result["finetuning"]), flush=True)
    if "unmasked" in result:
        print(metrics.unmasked_text(result["unmasked"]), flush=True)
    if life.unlearning:
        print(unlearning.text(life.unlearning), flush=True)
    base = record.write(folder, name, result, *life.complete(), state, one_liner, arrays=arrays)
    print(f"{base}: {one_liner} # {result['seconds']['total']:.3f}", flush=True)
    return base


def cli(argv: list[str] | None = None) -> int:
    """``main`` with exit statuses instead of exceptions and records."""
    try:
        return 3 if main(argv)["status"] == "diverged" else 0
    except (UsageError, DataError, RecordError, ModuleNotFoundError, OSError) as mistake:
        if os.environ.get("CL_TRACEBACK", "0") != "0":
            traceback.print_exc()
        remedy = "; pip install -r requirements.txt" if isinstance(mistake, ModuleNotFoundError) else ""
        if isinstance(mistake, OSError):
            mistake = f"{mistake.filename or 'a file'}: cannot be used ({mistake.strerror or mistake}); give another"
        console.tell("main.py", f"{mistake}{remedy}")
        return 2
    except Stopped as stop:
        print(f"main.py: {stop}", file=sys.stderr)
        return stop.status
    except KeyboardInterrupt as interrupt:
        print(f"main.py: interrupted; {str(interrupt) or 'no record was written'}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(process.run("main.py", cli))
