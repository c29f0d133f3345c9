"""The hunt for inputs that a target does not survive, guided by the lines that an input reaches."""

import contextlib
import hashlib
import importlib
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from data import stored
from scripts.fuzzing.mutations import mutated

SECONDS = 10  # an input that takes longer hangs
MEMORY = 2**30  # bytes; an input that wants so much more than there was is a crash
KNOWN = 200  # inputs in a row that showed nothing new in a function; it is then followed with one input in EVERY
EVERY = 16


class Hang(BaseException):
    """An input took too long."""


class Hunt:
    """One target, its inputs so far and what came of them."""

    def __init__(self, target, corpus: list[bytes], scratch: Path, seed=0, limit=SECONDS):
        self.target, self.corpus, self.limit = target, [], limit
        self.path, self.draw = scratch / target.name, random.Random(seed)
        self.modules = {importlib.import_module(name).__file__ for name in target.follow}
        self.seen, self.inputs, self.failures, self.slowest = set(), 0, {}, 0.0
        self.quiet = Counter()  # for each function's code, the inputs in a row that showed nothing new in it
        stored.TICK = 0.0  # nobody writes to an input while it is read
        for data in corpus:
            self.attempt(data, keep=True)

    def go_on(self, seconds: float, inputs: int):
        """Try inputs made from the corpus; yields those that reach new lines, as they come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.inputs < inputs:
            # What came last has been tried least.
            first = self.corpus[-1 - int(len(self.corpus) * self.draw.random() ** 2)]
            data = mutated(first, self.draw.choice(self.corpus), self.target.words, self.draw)
            if self.attempt(data):
                yield data

    def attempt(self, data: bytes, keep=False) -> bool:
        """Read one input; True if it reached lines that none has reached, or went from one to another as none has.

        Following lines takes three times as long as reading. So functions in which nothing new is seen any more are
        followed now and then only.
        """
        self.path.write_bytes(data)
        edges = {}
        known = {code for code, n in self.quiet.items() if n >= KNOWN} if self.inputs % EVERY else frozenset()
        begun = time.monotonic()
        with self._failures(data), _bounded(self.limit), _followed(self.modules, known, edges):
            self.target.read(self.path)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.inputs += 1
        new = False
        for code, steps in edges.items():
            more = {(code, *step) for step in steps} - self.seen
            self.seen |= more
            self.quiet[code] = 0 if more else self.quiet[code] + 1
            new = new or bool(more)
        if new or keep:
            self.corpus.append(data)
        return new

    @contextlib.contextmanager
    def _failures(self, data):
        try:
            yield
        except self.target.refused:
            pass
        except (Exception, Hang) as error:
            frames = traceback.extract_tb(error.__traceback__)
            place = next(
                (f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames) if f.filename in self.modules), ""
            )
            self.failures.setdefault(f"{type(error).__name__} {place}", data)


@contextlib.contextmanager
def _followed(modules, known, edges):
    """Collect the pairs of lines that run one after the other in the files `modules`: {code: pairs}, but for those `known`."""

    def follow(frame, event, _):
        code = frame.f_code
        if code.co_filename not in modules or code in known:
            return None
        last, steps = 0, edges.setdefault(code, set())

        def line(frame, event, _):
            nonlocal last
            now = frame.f_lineno
            steps.add((last, now))
            last = now
            return line

        return line(frame, event, None)

    before = sys.gettrace()
    sys.settrace(follow)
    try:
        yield
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def _bounded(seconds):
    def hang(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def bound_memory() -> None:
    """Let this process take MEMORY bytes more than it has, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def name(data: bytes) -> str:
    """The name under which an input is kept."""
    return hashlib.sha256(data).hexdigest()[:12]
