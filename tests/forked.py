"""Runs of ``main.py`` as processes of their own, without the seconds that importing torch takes.

``Forks`` starts one process that has imported everything, and that forks for each run: own streams, folder,
environment and limits, as a shell would give them.
"""

import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Done(NamedTuple):
    """How a process ended: status (negative: the signal), stdout, stderr, seconds, and its largest memory in MB."""

    status: int
    out: str
    err: str
    seconds: float
    peak: float


class Forks:
    """Call it with a command line; ``close`` it at the end."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __call__(self, *argv, cwd=None, limit=60, env=None, memory=None, before="", out=None, err=None) -> Done:
        """``main.py argv`` in the folder ``cwd``; killed after ``limit`` seconds.

        ``env``: variables to set, None to unset one. ``memory``: MB that it may take for data beyond what it has when
        it starts. ``before``: code that runs first. ``out``, ``err``: names of files in place of the streams that are
        returned; "" closes the stream.
        """
        streams = [str(self.folder / name) if own is None else own for name, own in (("out", out), ("err", err))]
        asked = {
            **{"argv": list(map(str, argv)), "cwd": str(cwd or self.folder), "limit": limit, "env": env or {}},
            **{"memory": memory, "before": before, "streams": streams},
        }
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        texts = [
            Path(path).read_text("utf-8", "backslashreplace") if own is None else ""
            for path, own in zip(streams, (out, err), strict=True)
        ]
        return Done(answer["status"], *texts, answer["seconds"], answer["peak"])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def _become(asked) -> None:
    """In the child: take on folder, streams, environment and limits, and run the command."""
    from results import process

    os.chdir(asked["cwd"])
    for name, value in asked["env"].items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    for number, (path, name) in enumerate(zip(asked["streams"], ("stdout", "stderr"), strict=True), 1):
        if path:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(fd, number)
            os.close(fd)
        else:
            os.close(number)
            setattr(sys, name, None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["memory"]:
        used = int(re.search(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
        resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + asked["memory"] * 2**20,) * 2)
    process.prepare("main.py")
    exec(asked["before"], {})


def _child(asked, main) -> None:
    from results import process

    status = 99
    try:
        _become(asked)
        status = process.run("main.py", lambda: main.cli(asked["argv"]))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _serve() -> None:
    import main

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        asked = json.loads(line)
        begun = time.perf_counter()
        child = os.fork()
        if not child:
            _child(asked, main)
        handle = os.pidfd_open(child)
        if not select.select([handle], [], [], asked["limit"])[0]:
            os.kill(child, signal.SIGKILL)
        os.close(handle)
        _, ended, usage = os.wait4(child, 0)
        answer = {
            "status": os.waitstatus_to_exitcode(ended),
            "seconds": time.perf_counter() - begun,
            "peak": usage.ru_maxrss / 1024,
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
