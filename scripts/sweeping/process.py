"""One job in a process of its own, as a worker runs it. The code is sent by value: workers need none of our modules.

The process runs in the folder where the sweep was started, so that every path of the command line keeps its meaning.
Only the record goes elsewhere, into a new folder of the job's own that $SWEEP_RECORDS names (results.record.folder). So
the record holds the plain command line, and no two jobs can collide.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time

# Runs main.py in this same process. On Linux the kernel ends the process when the worker's thread dies for any reason.
LAUNCH = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
POLL = 0.5  # seconds between looks at the job's memory


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
    program = os.path.join(root, "main.py")
    if not os.path.exists(program):
        reason = f"{result['host']}: no {program}; start its workers with SWEEP_ROOT set to a checkout"
        return {**result, "reason": reason, "seconds": 0.0}
    try:
        os.makedirs(cwd, exist_ok=True)  # another host need not have it
    except OSError as error:
        reason = f"{result['host']}: {cwd}: cannot be made ({error.strerror}); start the sweep in another folder"
        return {**result, "reason": reason, "seconds": 0.0}
    wanted, scratch = _surroundings()
    with tempfile.TemporaryDirectory(prefix="job-", dir=scratch, ignore_cleanup_errors=True) as folder:
        output, records = os.path.join(folder, "output"), os.path.join(folder, "records")
        os.mkdir(records)
        command = [sys.executable, "-c", LAUNCH, str(os.getpid()), program, *task["argv"]]
        surroundings = {"cwd": cwd, "env": {**os.environ, "SWEEP_RECORDS": os.path.abspath(records)}}
        with open(output, "wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, **surroundings
            )
            try:
                result["reason"] = _watch(process, task["memory"], wanted)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        result["code"] = None if result["reason"] else process.returncode
        result["output"] = _content(output)
        result["files"] = {n: _content(os.path.join(records, n)) for n in os.listdir(records) if n[0] != "."}
    return {**result, "seconds": time.perf_counter() - began}


def _watch(process, memory, wanted):
    """Wait for the process to end. Returns the reason if the job had to be stopped, else None."""
    import psutil

    while True:
        try:
            process.wait(POLL)
            return None
        except subprocess.TimeoutExpired:
            pass
        try:
            info = psutil.Process(process.pid).memory_info()
        except psutil.Error:
            continue
        own = info.rss - getattr(info, "shared", 0)  # pages of the mapped data file are not the job's
        if memory and own > memory:
            return f"used {own / 1e9:.2f} GB of memory; raise --memory_limit, now {memory / 1e9:.2f} GB"
        if not wanted():
            return "nobody waits for it any more"


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
