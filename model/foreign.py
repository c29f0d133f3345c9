"""Methods that are not in the table: a failure of their modules is told in one sentence that names the line.

With CL_TRACEBACK=1 in the environment ``main.py`` shows the whole traceback first. Methods of the table are left alone: a
bug of ours must be seen.
"""

import importlib.util
import traceback
from contextlib import contextmanager

from model import METHODS, UsageError


@contextmanager
def told(name: str, doing: str = "failed", but: tuple = ()):
    """What fails inside, in the module of the method ``name``, raises ``UsageError``.

    ``doing`` is the verb of its sentence. ``UsageError`` itself passes, as does what is in ``but``.
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
    """The exception in words, and file:line of the module's innermost frame; of the innermost of all if it has none."""
    frames = traceback.extract_tb(error.__traceback__)
    file = importlib.util.find_spec(f"model.{name}").origin
    frame = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
    place = f"{frame.filename}:{frame.lineno}"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    text = " ".join(str(error).split()) or frame.line  # of a bare assert or raise: what stands there
    return f"{type(error).__name__}: {text}", place
