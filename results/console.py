"""Shared by the commands of results/: lists of names, files written, sentences on a terminal, readers that stop early."""

import contextlib
import os
import sys

from data.strangers import one_line
from results import RecordError


def names(text):
    """The names in a flag's value: 'model, lr' as ('model', 'lr')."""
    return tuple(filter(None, map(str.strip, text.split(","))))


@contextlib.contextmanager
def writing(what, remedy="give another name"):
    """Inside, an error of the system becomes a RecordError that says that ``what`` cannot be written."""
    try:
        yield
    except OSError as e:
        raise RecordError(f"{what}: cannot be written ({e.strerror or e}); {remedy}") from None


def tell(program, sentence):
    """Write a sentence of the program to stderr."""
    print(f"{program}: {one_line(sentence)}", file=sys.stderr)


def command(program, work):
    """The exit status of work(): 2, with its one sentence on stderr, for a RecordError.

    A character that the output cannot show is escaped. A reader that has seen enough, such as `head`, is no error.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = work()
        sys.stdout.flush()
        return status
    except RecordError as mistake:
        tell(program, str(mistake))
        return 2
    except BrokenPipeError:
        leave()
        return 0
    except OSError as e:  # only the output is left: files are read and written with errors of their own
        print(f"{program}: its output cannot be written ({e.strerror or e})", file=sys.stderr)
        leave()
        return 2


def leave():
    """Write nothing more to stdout, not even the text that is still buffered."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
