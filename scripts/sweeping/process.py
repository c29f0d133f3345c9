"""One job in a process of its own, as a worker runs it. Sent to workers by value: a worker needs none of our modules.

The job's folder is new; a relative data folder is linked into it, and main.py writes into its default results/ there. So
the record's arguments and command are those of the plain command line, and no two jobs can meet.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time

# Runs main.py in this same process, which the kernel ends when the worker's thread dies, however it dies (Linux).
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

    On a host with another checkout, $SWEEP_ROOT names it. Returns {"code": exit status, None if it was stopped,
    "reason": why, "files": {name: bytes} of the record, "output": bytes, "seconds", "host"}; never raises for a job.
    """
    here = os.environ.get("SWEEP_ROOT")
    root, cwd = here or task["root"], here or task["cwd"]
    result = {"code": None, "reason": None, "files": {}, "output": b"", "host": socket.gethostname()}
    began = time.perf_counter()
    program = os.path.join(root, "main.py")
    if not os.path.exists(program):
        reason = f"{result['host']}: no {program}; start its workers with SWEEP_ROOT set to a checkout"
        return {**result, "reason": reason, "seconds": 0.0}
    wanted, scratch = _surroundings()
    with tempfile.TemporaryDirectory(prefix="job-", dir=scratch, ignore_cleanup_errors=True) as folder:
        output = os.path.join(folder, "output")
        command = [sys.executable, "-c", LAUNCH, str(os.getpid()), program, *_placed(task["argv"], cwd, folder)]
        with open(output, "wb") as out:
            process = subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )
            try:
                result["reason"] = _watch(process, task["memory"], wanted)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        result["code"] = None if result["reason"] else process.returncode
        result["output"] = _content(output)
        records = os.path.join(folder, "results")
        if os.path.isdir(records):
            result["files"] = {n: _content(os.path.join(records, n)) for n in os.listdir(records) if n[0] != "."}
    return {**result, "seconds": time.perf_counter() - began}


def _watch(process, memory, wanted):
    """Wait for the end; the reason if the job had to be stopped before it."""
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


def _placed(argv, cwd, folder):
    """``argv`` with its relative folders, which are under ``cwd``, made reachable from ``folder``."""
    argv = [part for word in argv for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for flag in {"--raw_path", "--tensorboard"} & set(argv):
        at = argv.index(flag) + 1
        argv[at] = argv[at] and os.path.join(cwd, argv[at])  # an empty one is none
    at = argv.index("--data_path") + 1 if "--data_path" in argv else None
    data = os.path.normpath(argv[at]) if at else "data"
    if data.startswith(os.pardir) or data == os.curdir:
        argv[at] = os.path.join(cwd, data)
    elif not os.path.isabs(data):
        target, link = os.path.join(cwd, data), os.path.join(folder, data)
        os.makedirs(target, exist_ok=True)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(target, link)
    return argv


def _content(path):
    with open(path, "rb") as f:
        return f.read()
