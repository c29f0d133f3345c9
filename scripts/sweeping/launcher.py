"""A process that has loaded main.py, and runs each job in a copy of itself: ``python launcher.py PROGRAM WORKER_PID``.

Loading torch takes longer than a short job, so it is done once, and every job begins from there, in a process of its
own (``fork``). Jobs come as lines of JSON on the standard input, one at a time: {"argv", "cwd", "records", "output"}.
Each is answered with two lines, its process id and its exit status as ``subprocess`` has it (negative: the signal that
killed it). A launcher ends without an answer if the code has changed on disk since it was loaded.

On Linux the kernel ends the jobs with their launcher, and the launcher with the worker's thread that started it.
Elsewhere copies of a process that has loaded torch are not safe, and each job starts a Python of its own.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import warnings
from pathlib import Path

COPIES = sys.platform == "linux"


def bind(parent: int) -> None:
    """End this process when the thread that made it ends, for any reason."""
    if COPIES:
        import ctypes

        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os._exit(1)


def code(root: Path) -> dict:
    """What tells whether a file of the checkout has changed since it was loaded: {path: (time, size)}."""
    paths = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    ours = (path for path in paths if Path(path).is_relative_to(root) and not Path(path).is_relative_to(sys.prefix))
    return {path: stamp(path) for path in ours}


def stamp(path: str) -> tuple | None:
    """Time and size of a file; None if it has gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def become(program: str, job: dict) -> None:
    """Turn this copy of the launcher into a process that was started as ``python PROGRAM ARGV``."""
    os.setsid()
    out = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(ours, theirs)
    os.chdir(job["cwd"])
    os.environ["SWEEP_RECORDS"] = job["records"]
    sys.argv = [program, *job["argv"]]
    if COPIES:
        runpy.run_path(program, run_name="__main__")
    else:
        os.execv(sys.executable, [sys.executable, *sys.argv])


def main(program: str, worker: int) -> None:
    """Serve jobs until the standard input ends."""
    bind(worker)
    root = Path(program).parent
    sys.path[0] = str(root)
    # The words of the protocol get files of their own: a job's standard streams are not ours.
    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    if COPIES:
        # A module that fails to load fails again in the job, whose output then says why.
        with contextlib.suppress(Exception):
            for name in ("main", "quadprog"):
                importlib.import_module(name)
        gc.freeze()
    loaded, launcher = code(root), os.getpid()
    for line in iter(asked.readline, ""):
        if any(stamp(path) != before for path, before in loaded.items()):
            return
        with warnings.catch_warnings():
            # Python warns of the threads of numpy's OpenBLAS: they are idle, and it makes new ones in the copy.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            bind(launcher)
            become(program, json.loads(line))
            return
        print(pid, file=answers)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
