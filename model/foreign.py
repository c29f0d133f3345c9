"""Methods that are not in the table: a failure of their modules is told in one sentence that names the line.

With CL_TRACEBACK=1 in the environment ``main.py`` shows the whole traceback first. Failures in methods of the table
keep their traceback, so that our own bugs are seen.
"""

import importlib.util
import traceback
from contextlib import contextmanager

import model as methods
from model import METHODS, UsageError

# Flags that our methods follow without naming them, since model/learner.py does.
OURS = ("hidden_sizes", "norm", "dropout", "l1_activations", "later_lr_factor", "optimizer", "momentum")


def ignored(given: list[str], name: str) -> list[str]:
    """Those of the flags ``given`` that a module with a network and steps of its own says nothing of."""
    text = methods.source(name)
    return [flag for flag in given if flag in OURS and flag not in text]


@contextmanager
def told(name: str, doing: str = "failed", but: tuple = ()):
    """Any exception raised inside, in the module of the method ``name``, becomes a ``UsageError``.

    ``doing`` is the verb of its sentence. ``UsageError`` itself and the exception types in ``but`` pass unchanged.
    """
    try:
        yield
    except (UsageError, *but):
        raise
    except (Exception, SystemExit) as error:  # a module may also leave by exit()
        if name in METHODS:
            raise
        what, place = _what_and_where(name, error)
        raise UsageError(
            f"--model {name!r}: model/{name}.py {doing} ({what}; {place}); mend it, or see the traceback with CL_TRACEBACK=1"
        ) from error


def _what_and_where(name: str, error: BaseException) -> tuple[str, str]:
    """The exception in words, and file:line of the module's innermost frame, or of the innermost of all if it has none."""
    frames = traceback.extract_tb(error.__traceback__)
    file = importlib.util.find_spec(f"model.{name}").origin
    frame = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
    place = f"{frame.filename}:{frame.lineno}"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    text = " ".join(str(error).split()) or frame.line  # a bare assert or raise has no text: its line of code
    return f"{type(error).__name__}: {text}", place
