"""A command as a process: output that stops nothing, and signals that cut nothing in two."""

import io
import os
import signal
import sys
import threading
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Descriptor(io.FileIO):
    """A file descriptor that never fails: ``failure`` is its first error, and what is written after it is dropped."""

    failure: OSError | None = None

    def write(self, data) -> int:
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
        return len(data)


def prepare(program: str) -> None:
    """Make this process safe to start and to print. Call it before anything large is imported.

    Until ``run`` an interrupt ends the process at once, without the traceback of a half-finished import. Printing never
    raises afterwards: a run must not be lost because its reader left, or because the disk below its log is full. A
    character that the output cannot show is escaped, and the failure of a library's thread is told in one line.
    """
    threading.excepthook = lambda failed: print(f"note: a thread ended ({failed.exc_value})", file=sys.stderr)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background may ignore the signal
        signal.signal(signal.SIGINT, _Leave(program))
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us: its number must not go to a file
            stream = open(os.open(os.devnull, os.O_RDWR), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        if name != "stdin":
            raw = _Descriptor(stream.fileno(), "w", closefd=False)
            how = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "backslashreplace", **how))


def run(program: str, work) -> int:
    """The exit status of ``work()`` in a process that ``prepare`` made safe; 2 if what it printed cannot be written.

    A reader that has seen enough, such as `head`, is no error.
    """
    before = signal.getsignal(signal.SIGINT)
    if isinstance(before, _Leave):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = work()
    except SystemExit as left:  # argparse, after --help
        status = left.code
    finally:
        if isinstance(before, _Leave):
            signal.signal(signal.SIGINT, before)
    sys.stdout.flush()
    failure = sys.stdout.buffer.raw.failure
    if failure is None or isinstance(failure, BrokenPipeError):
        return status
    print(
        f"{program}: standard output cannot be written ({failure.strerror}); records have the numbers", file=sys.stderr
    )
    return status or 2


@contextmanager
def uncut():
    """What is done inside is finished before SIGINT or SIGTERM takes effect; a second signal takes effect at once."""
    received, before = [], {}

    def restore():
        while before:
            signal.signal(*before.popitem())

    def wait(number, _):
        received.append(number)
        if len(received) > 1:
            restore()
            signal.raise_signal(number)

    try:
        for number in SIGNALS:
            before[number] = signal.signal(number, wait) or signal.SIG_DFL
    except ValueError:  # outside the main thread, where no signal arrives
        before.clear()
    try:
        yield
    finally:
        restore()
    if len(received) == 1:
        signal.raise_signal(received[0])


class _Leave:
    """Ends the process at once, where no exception may be raised."""

    def __init__(self, program: str):
        self.sentence = f"{program}: interrupted\n".encode()

    def __call__(self, *_):
        os.write(2, self.sentence)
        os._exit(130)
