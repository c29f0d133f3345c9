"""Whether a checkpoint of somebody's own method can be gone on from: found out by doing so, in a copy of this process."""

import os
import select
import signal

import torch

from model import UsageError, state
from model.frozen import KIND, same

SECONDS = 60.0  # a constructor that takes longer is given up


def require(make, saved: dict) -> None:
    """``UsageError`` unless the method that ``make()`` gives takes the state ``saved`` on, and is then in that state.

    A process of its own, because a constructor may draw random numbers, count its objects or write to files. Where there
    is no fork, or a GPU is in use, which a fork would leave without, nothing is tried.
    """
    if not hasattr(os, "fork") or torch.cuda.is_initialized():
        return
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, _reason(make, saved).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    try:
        done = select.select([reading], [], [], SECONDS)[0]
        reason = os.read(reading, 4000).decode() if done else f"a constructor that takes more than {SECONDS:.0f} s"
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)  # a zombie, if it is done
        os.waitpid(child, 0)
    if reason != "good":
        raise UsageError(reason or "the process in which it was tried has died")


def _reason(make, saved: dict) -> str:
    """ "good", or why not."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1), os.dup2(nothing, 2)
        torch.set_num_threads(1)  # the threads of a parallel region do not survive a fork
        torch.set_num_threads = torch.set_num_interop_threads = lambda n: None
        fresh = make()
        state.restore(fresh, saved)
        return _difference(saved, state.checkpoint(fresh)) or "good"
    except UsageError as mistake:
        return str(mistake)
    except BaseException as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return f"a fresh object of the method does not take the state on ({what}); make all parts in the constructor"


def _difference(saved: dict, told: dict) -> str:
    """Which attribute of a fresh object is not what it was told to be, or other part of its state; "" if all are."""
    if same(saved, told):
        return ""
    one, two = (found.get("attributes") or {} for found in (saved, told))
    for place in {**one, **two}:
        here, there = one.get(place, {}), two.get(place, {})
        for name in {**here, **there}:
            if not same(here.get(name), there.get(name)):
                what = f"the attribute {place}.{name}".replace(" .", " ")
                if isinstance(here.get(name), dict) and here[name].get(KIND) == "set":
                    return f"the order of {what}, a set, would be another in another process; keep a list or a dict"
                return f"a fresh object of the method does not take on {what}; make it in the constructor"
    one, two = ({**found, **(found.get("beside") or {}), "beside": None} for found in (saved, told))
    part = next(key for key in {**one, **two} if not same(one.get(key), two.get(key)))
    return f"a fresh object of the method does not take on its {part}; make them in the constructor"
