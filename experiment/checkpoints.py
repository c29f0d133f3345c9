"""When a run's checkpoints are written, what is in them, and how a run goes on from one (docs/reliability.md).

A checkpoint is made between two steps, where the method, the place in the stream, the measurements so far and the states of
the random generators are all that the rest of the run follows from.
"""

import functools
import hashlib
import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from experiment import trial
from experiment.store import Damaged, Store, remove_left_behind
from model import UsageError, arguments, state
from model.flags import Role
from results import record
from results.life import Life

FORMAT = 1
INTERVAL = 60.0  # seconds between two checkpoints
AT_BOUNDARY = 10.0  # the same where a task ends
SHARE = 50  # the least time from one checkpoint to the next, in times what the first one took: 2 % of the run
ROOT = Path(os.path.abspath(__file__)).parent.parent  # of a checkout whose folders may be links
REMEDIES = {"data_hash": "bring that data file back", "program": "go back to that version of the program"}


class Stopped(KeyboardInterrupt):
    """A signal has ended the run between two steps. Its text says how to go on; ``status`` is the exit status."""

    def __init__(self, number: int, text: str):
        super().__init__(text)
        self.status = 128 + number


class Checkpoints:
    """The checkpoints of one run: ``resume`` goes on from the latest, ``between`` writes them, ``remove`` ends them.

    ``onlookers``: the run's probes, if it has any. ``life``, ``name`` and ``started`` are those of the run, also of its
    part before a stop. ``before`` says which data the method had learned, and how, when the run began. ``make``, of a method
    that is not ours, gives a fresh object of it: no checkpoint is written that such an object would not take on.
    """

    def __init__(
        self,
        args,
        data_hash: str,
        model,
        continuum,
        name: str,
        started: str,
        before: str = "",
        onlookers=None,
        make=None,
    ):
        self.args, self.model, self.continuum = args, model, continuum
        self.name, self.started, self.life, self.onlookers = name, started, Life(), onlookers
        remove_left_behind(args.save_path)
        self.store = Store(args.save_path, key(args))
        self.identity = {name: getattr(args, name) for name in arguments.of_role(Role.MACHINE)}
        self.identity |= {"data_hash": data_hash, "program": program(), "learned_before": before}
        self.signal: int | None = None  # what has asked the run to stop
        self.fault: str | None = None  # why the latest checkpoint could not be written
        self.possible = args.checkpoint_every != 0
        self.make, self._outside = make, state.outside(model) if make else {}
        self._steps = 0  # since the latest checkpoint
        self._schedule(0.0)
        if (args.checkpoint_every or args.resume) and not state.waits_for_shapes(model):
            self._method()  # UsageError now rather than in the midst of training

    # ---------------------------------------------------------------- going on

    def resume(self) -> list[str]:
        """Go on from the checkpoint if there is one and the run is to; sentences about it for the user.

        ``UsageError`` if there is one that does not fit, with the field that differs. A job of a sweep then starts anew.
        """
        if not self.args.resume and not record.in_a_sweep():
            if self.store.exists():
                return ["there is a checkpoint of this command; --resume yes goes on from it, the next one replaces it"]
            return []
        if not self.store.exists():
            where = f"no checkpoint of this command in {self.store.folder.parent}"
            return [f"--resume yes: {where}; the run starts anew"] if self.args.resume else []
        try:
            header, saved = self._read()
            self._require_the_same(header["identity"])
        except UsageError as mistake:
            if self.args.resume:
                raise
            return [f"{mistake}; the run starts anew"]
        self.name, self.started = header["name"], header["started"]
        self.life = Life.of(saved["life"])
        self.continuum.ended = saved["ended"]
        self.continuum.position = saved["position"]
        state.restore(self.model, saved["method"])
        if self.onlookers:
            self.onlookers.restore(saved["probes"])
        state.set_random_state(saved["random"])
        return [f"the run goes on {header['place']}"]

    def _read(self) -> tuple[dict, dict]:
        what = f"the checkpoint {self.store.file}"
        try:
            if not self.store.lock():
                raise UsageError(f"{what} is in use by a run of the same command; wait for its end")
            header, saved = self.store.read()
        except (Damaged, OSError) as error:
            raise UsageError(f"{what} cannot be read ({error}); delete it, or give --resume no") from None
        if header.get("format") != FORMAT:
            raise UsageError(
                f"{what} has the format {header.get('format')}, not {FORMAT}; delete it, or give --resume no"
            )
        return header, saved

    def _require_the_same(self, there: dict) -> None:
        """``UsageError`` unless all that decides the digits is as it was."""
        here = self._identity()
        for field in here:
            if there.get(field) != here[field]:
                was, now = (str(identity.get(field))[:64] for identity in (there, here))
                flag = f"give --{field} {was}" if field in arguments.FLAGS else f"use {field} {was}"
                raise UsageError(
                    f"the checkpoint {self.store.file} is of a run with another {field}: {was} there, {now} here; "
                    f"{REMEDIES.get(field, flag)}, or give --resume no"
                )

    def _identity(self) -> dict:
        return {**self.identity, **record.versions()}

    # ---------------------------------------------------------------- writing

    def between(self, step: int, boundary: bool) -> None:
        """Called between two steps: write a checkpoint if one is due; ``Stopped`` if a signal has come."""
        self._steps += 1
        if self.signal is None:
            if self.args.checkpoint_every is None:
                if time.monotonic() < (self._soon if boundary else self._late):
                    return
            elif self._steps < self.args.checkpoint_every:
                return
        if self.possible:
            self.write(step)
        if self.signal is not None:
            raise Stopped(self.signal, self._how_to_go_on(step))

    def write(self, step: int) -> None:
        """Write a checkpoint. If that fails, say so once: the run goes on, and tries again when the next one is due."""
        begun, before = time.monotonic(), self.fault
        with self.life.spends("checkpoint"):
            try:
                self.fault = "another run of the same command writes there"
                if self.store.lock():
                    self.store.write(*self._content(step))
                    self.fault = None
            except OSError as error:
                self.fault = error.strerror or str(error)
            except UsageError as error:
                self.fault, self.possible = str(error), False
        if self.fault and not before:
            print(f"note: no checkpoint could be written ({self.fault}); the run goes on", file=sys.stderr)
        self._steps = 0
        self._schedule(time.monotonic() - begun)

    def _schedule(self, cost: float) -> None:
        now, rest = time.monotonic(), SHARE * cost
        self._soon, self._late = now + max(AT_BOUNDARY, rest), now + max(INTERVAL, rest)

    def _content(self, step: int) -> tuple[dict, dict]:
        """Header and state of a checkpoint before ``step``."""
        header = {
            "format": FORMAT,
            "place": self._place(step),
            "name": self.name,
            "started": self.started,
            "identity": self._identity(),
            "settings": settings(self.args),
        }
        return header, {
            "position": len(self.continuum) if self.life.seen else step,
            "ended": self.continuum.ended,
            "life": self.life.checkpoint(),
            "random": state.random_state(),
            "method": self._method(),
            **({"probes": self.onlookers.checkpoint()} if self.onlookers else {}),
        }

    def _method(self) -> dict:
        """The method's state. ``UsageError`` if it cannot be held, or if another object could not go on from it."""
        if not self.make:
            return state.checkpoint(self.model)
        try:
            saved = state.checkpoint(self.model)
            state.require_unchanged(self._outside, self.model)
            trial.require(self.make, saved)
        except (UsageError, OSError):
            raise
        except Exception as error:  # of what somebody's module does when it is looked at
            raise UsageError(f"the method cannot tell its state ({type(error).__name__}: {error})") from error
        return saved

    def _place(self, step: int) -> str:
        phase = " of the unlearning phase" if self.life.seen else f" of {len(self.continuum):,}"
        return f"at step {step:,}{phase}"

    def _how_to_go_on(self, step: int) -> str:
        word = "interrupted" if self.signal == signal.SIGINT else "terminated"
        if self.fault or not self.possible:
            return f"{word}; no record was written, and no checkpoint ({self.fault or '--checkpoint_every 0'})"
        same = "the same command" + ("" if self.args.resume else " with --resume yes")
        return f"{word} {self._place(step)}; {same} goes on from there"

    def remove(self) -> None:
        """The run is done: its checkpoint is needed no more."""
        self.store.remove()

    # ---------------------------------------------------------------- signals

    @contextmanager
    def heeding_signals(self):
        """Inside, the first SIGINT or SIGTERM ends the run between two steps; a second one does at once what it always does.

        A signal that was ignored before stays ignored. Only the main thread of a process can heed signals.
        """
        before = {}

        def put_back():
            for number, handler in before.items():
                signal.signal(number, handler)

        def heed(number, _):
            self.signal = number
            put_back()

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None):
                    before[number] = handler
                    signal.signal(number, heed)
        try:
            yield
        finally:
            put_back()


def settings(args) -> dict:
    """The flags that say which run it is: its method, data, seed, settings and protocol, without those that it does not use."""
    machine = arguments.of_role(Role.MACHINE, Role.PLACE)
    return {
        name: value for name, value in vars(args).items() if name not in machine and arguments.uses(args.model, name)
    }


def key(args) -> str:
    """The name of a run's checkpoint: the data file's name stands in place of its path."""
    return digest(args, data_file=os.path.basename(args.data_file))


def digest(args, **instead) -> str:
    """The hash of ``settings``, with other values of some."""
    found = {**settings(args), **instead}
    return hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()[:16]


@functools.cache
def program() -> str:
    """The hash of the program's .py files; of results/, where runs leave their records, those that write them."""
    files = [ROOT / "main.py", ROOT / "results" / "life.py", ROOT / "results" / "record.py"]
    for package in ("data", "experiment", "metrics", "model"):
        for folder, inside, names in os.walk(ROOT / package):
            inside[:] = sorted(name for name in inside if name.isidentifier() and name != "__pycache__")
            files += [Path(folder, name) for name in sorted(names) if name.endswith(".py")]
    total = hashlib.sha256()
    for file in files:
        with suppress(OSError):  # one that an editor has just renamed
            total.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return total.hexdigest()
