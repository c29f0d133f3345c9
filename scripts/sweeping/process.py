"""One job in a process of its own, as a worker runs it. The code is sent by value: workers need none of our modules.

The process runs in the folder where the sweep was started, so that every path of the command line keeps its meaning.
Only the record goes elsewhere, into a new folder of the job's own that $SWEEP_RECORDS names (results.record.folder). So
the record holds the plain command line, and no two jobs can collide. The process comes from the worker's launcher
(scripts/sweeping/launcher.py, of the checkout whose main.py is run), which has loaded torch already.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

LAUNCHER = ("scripts", "sweeping", "launcher.py")
LAUNCHES = 3  # how often a job is told to a new launcher before the job fails
POLL = 0.5  # seconds between looks at the job's memory
# What dask gives its workers, so that they return memory. In a job each tensor of 128 kB would come from the system and go
# back to it, which takes as long as the arithmetic.
DASKS = {"MALLOC_TRIM_THRESHOLD_": "65536"}


def run(task: dict) -> dict:
    """Run ``task``: {"argv": words for main.py, "root": checkout, "cwd": folder, "memory": bytes or None}.

    On a host with another checkout, $SWEEP_ROOT names that checkout, and is also the folder. Returns {"code": exit
    status, None if it was stopped, "reason": why, "files": {name: bytes} of the record, "output": bytes, "seconds",
    "host"}. A failing job raises nothing.
    """
    here = os.environ.get("SWEEP_ROOT")
    root, cwd = map(os.path.abspath, (here, here) if here else (task["root"], task["cwd"]))
    result = {"code": None, "reason": None, "files": {}, "output": b"", "host": socket.gethostname()}
    began = time.perf_counter()
    program, launcher = os.path.join(root, "main.py"), os.path.join(root, *LAUNCHER)
    for path in (program, launcher):
        if not os.path.exists(path):
            reason = f"{result['host']}: no {path}; start its workers with SWEEP_ROOT set to a checkout"
            return {**result, "reason": reason, "seconds": 0.0}
    try:
        os.makedirs(cwd, exist_ok=True)  # another host need not have it
    except OSError as error:
        reason = f"{result['host']}: {cwd}: cannot be made ({error.strerror}); start the sweep in another folder"
        return {**result, "reason": reason, "seconds": 0.0}
    wanted, scratch = _surroundings()
    with tempfile.TemporaryDirectory(prefix="job-", dir=scratch, ignore_cleanup_errors=True) as folder:
        output, records = (os.path.join(os.path.abspath(folder), name) for name in ("output", "records"))
        os.mkdir(records)
        job = {"argv": task["argv"], "cwd": cwd, "output": output, "records": records}
        open(output, "wb").close()  # for a job that never begins
        result["code"], result["reason"] = _watch(job, [launcher, program], task["memory"], wanted)
        result["output"] = _content(output)
        result["files"] = {n: _content(os.path.join(records, n)) for n in os.listdir(records) if n[0] != "."}
    return {**result, "seconds": time.perf_counter() - began}


class Launcher:
    """The worker's end of a launcher. It belongs to the thread that started it, with which it ends."""

    def __init__(self, words: list[str]):
        self.origin = words, dict(os.environ)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = [sys.executable, *words, str(os.getpid())]
        own = {name: value for name, value in os.environ.items() if DASKS.get(name) != value}
        self.process = subprocess.Popen(command, bufsize=0, start_new_session=True, env=own, **pipes)

    @classmethod
    def ready(cls, words: list[str]) -> "Launcher":
        """This thread's launcher; a new one if it has none for ``words`` in this environment, or has lost it."""
        thread = threading.current_thread()
        launcher = getattr(thread, "launcher", None)
        if launcher and (launcher.origin != (words, dict(os.environ)) or launcher.process.poll() is not None):
            launcher.end()
            launcher = None
        thread.launcher = launcher or cls(words)
        return thread.launcher

    def tell(self, job: dict) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended; so its answer is the end of the file
            self.process.stdin.write(json.dumps(job).encode() + b"\n")

    def answer(self, seconds: float) -> str | None:
        """Its next line, "" if it has ended, None if there is no line for that long."""
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return None
        return self.process.stdout.readline().decode().strip()

    def end(self) -> None:
        """Kill it, and with it the job, which holds the other end of the pipe open until it is gone."""
        self.process.kill()
        while self.answer(5):
            pass
        self.process.wait()


def _watch(job, words, memory, wanted):
    """Run ``job`` in a launcher: its exit status and None, or None and the reason why it was stopped."""
    for _ in range(LAUNCHES):
        launcher, pid, reason = Launcher.ready(words), None, None
        try:
            launcher.tell(job)
            while reason is None:
                line = launcher.answer(POLL)
                if line is None:
                    reason = _beyond(pid, memory) or (None if wanted() else "nobody waits for it any more")
                elif line == "":
                    reason = "the process that it came from was killed"
                elif pid is None:
                    pid = int(line)
                else:
                    return int(line), None
        except BaseException:
            launcher.end()
            raise
        launcher.end()
        if line is None or pid is not None:
            break  # else the job was not begun: the launcher's code was out of date, or it was killed
    return None, reason


def _beyond(pid, memory):
    """Why a process may not go on, which is that it uses more than ``memory`` bytes; else None."""
    import psutil

    if pid is None or memory is None:
        return None
    try:
        info = psutil.Process(pid).memory_info()
    except psutil.Error:
        return None
    own = info.rss - getattr(info, "shared", 0)  # libraries' pages are not the job's
    if own <= memory:
        return None
    return f"used {own / 1e9:.2f} GB of memory; raise --memory_limit, now {memory / 1e9:.2f} GB"


def _surroundings():
    """A function that tells whether the job is still wanted, and the folder for its files (None: the system's)."""
    try:
        from distributed import get_worker

        worker = get_worker()
        key = worker.get_current_task()
    except (ImportError, ValueError):  # not on a worker
        return (lambda: True), None

    def wanted():
        state = worker.state.tasks.get(key)
        return state is not None and state.state != "cancelled"

    return wanted, worker.local_directory


def _content(path):
    with open(path, "rb") as f:
        return f.read()
