"""Methods that are not in the table: a failure of their modules is told in one sentence that names the line.

With CL_TRACEBACK=1 in the environment ``main.py`` shows the whole traceback first. Failures in methods of the table
keep their traceback, so that our own bugs are seen.
"""

import importlib.util
import inspect
import re
import sys
import traceback
from contextlib import contextmanager

import torch

import model as methods
from model import METHODS, UsageError

# Flags that our methods follow without naming them, since model/learner.py does.
OURS = ("hidden_sizes", "norm", "dropout", "l1_activations", "later_lr_factor",
        "optimizer", "optimizer_state", "momentum", "weight_decay")  # fmt: skip


def ignored(given: list[str], name: str) -> list[str]:
    """Those of the flags ``given`` that a module with a network and steps of its own says nothing of."""
    text = methods.source(name)
    return [flag for flag in given if flag in OURS and flag not in text]


class Breach(Exception):
    """A method does not keep to what docs/add_a_method.md asks of it; ``member`` of its ``Net`` is to blame."""

    def __init__(self, text: str, member: str | None = None):
        super().__init__(text)
        self.member = member


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
        remedy = "mend it"
        if re.search("CUDA|NVIDIA", what) and not torch.cuda.is_available():
            remedy = "this torch sees no GPU, so use one only if args.cuda says so"
        raise UsageError(
            f"--model {name!r}: model/{name}.py {doing} ({what}; {place}); {remedy}, or see the traceback with CL_TRACEBACK=1"
        ) from error


def require_contract(net) -> None:
    """``Breach`` unless ``net``, which ``Net`` returned, can be trained and evaluated."""
    if not isinstance(net, torch.nn.Module):
        raise Breach(f"Net() gives a {type(net).__name__}, not a torch.nn.Module")
    if getattr(type(net), "forward", None) is torch.nn.Module.forward and "forward" not in vars(net):
        raise Breach("Net has no forward(x, t)")
    if not callable(getattr(net, "observe", None)):
        raise Breach("Net has no observe(x, t, y)")


def require_logits(logits, n: int, labels: int) -> None:
    """``Breach`` unless ``forward`` returned logits (n, C) for n examples, C being more than the largest of the ``labels``."""
    if not isinstance(logits, torch.Tensor):
        raise Breach(f"forward returned a {type(logits).__name__}, not a tensor of logits (B, n_outputs)", "forward")
    if logits.dim() != 2 or len(logits) != n or logits.shape[1] <= labels:
        shape = tuple(logits.shape)
        raise Breach(
            f"forward returned the shape {shape} for {n} examples with labels up to {labels}, not logits (B, n_outputs)",
            "forward",
        )


def changed(name: str, args, given: dict) -> list[str]:
    """A sentence for each argument that the module of the method ``name`` has changed from what it was ``given``."""
    notes = []
    for flag, value in given.items():
        now = getattr(args, flag, None)
        if type(now) is not type(value) or now != value:
            notes.append(
                f"model/{name}.py changes args.{flag} from {str(value)[:60]} to {str(now)[:60]} ({_assignment(name, flag)}); "
                "the record keeps the first"
            )
    return notes


def _assignment(name: str, flag: str) -> str:
    """file:line where the module seems to assign ``args.<flag>``, or the file alone."""
    file = importlib.util.find_spec(f"model.{name}").origin
    assigns = re.compile(rf"\bargs\.{flag}\b.*?[^=!<>]=(?!=)")
    with open(file, encoding="utf-8", errors="replace") as lines:
        return next((f"{file}:{i}" for i, line in enumerate(lines, 1) if assigns.search(line)), file)


def _what_and_where(name: str, error: BaseException) -> tuple[str, str]:
    """The exception in words, and file:line of the module's innermost frame.

    If the module has no frame in it, the line is that of the member that the exception names, or else of the innermost
    frame of all.
    """
    frames = traceback.extract_tb(error.__traceback__)
    file = importlib.util.find_spec(f"model.{name}").origin
    text = " ".join(str(error).split())
    own = next((frame for frame in reversed(frames) if frame.filename == file), None)
    frame = own or frames[-1]
    place = (not own and _member(name, text, error)) or f"{frame.filename}:{frame.lineno}"
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    if isinstance(error, Breach):
        return text, place
    return (
        f"{type(error).__name__}: {text or frame.line}",
        place,
    )  # a bare assert or raise has no text: its line of code


def _member(name: str, text: str, error: BaseException) -> str | None:
    """file:line of the member of ``Net`` that a breach, or a call with wrong arguments, names; of ``Net`` if it names none."""
    net = getattr(sys.modules.get(f"model.{name}"), "Net", None)
    called = re.match(r"\w+\.(\w+)\(\)", text) if isinstance(error, TypeError) else None
    if net is None or not (called or isinstance(error, Breach)):
        return None
    member = called[1] if called else error.member
    found = inspect.unwrap(getattr(net, member, net)) if member else net
    try:
        return f"{inspect.getsourcefile(found)}:{inspect.getsourcelines(found)[1]}"
    except (OSError, TypeError):
        return None
