"""Run the jobs that are not finished on a cluster's workers; retry those that fail; keep what comes back."""

import os
import sys
import time
import uuid
from concurrent.futures import CancelledError

import cloudpickle

from scripts.sweeping import clusters, process

FINISHED = {0: "done", 3: "diverged"}  # main.py's exit statuses that come with a record
TAIL = 10  # lines of a failed job's output that are shown


class Progress:
    """A bar with the time left on a terminal, else a line a job."""

    def __init__(self, n_jobs: int):
        self.n_jobs, self.n_done, self.began = n_jobs, 0, time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=n_jobs, unit="job", dynamic_ncols=True, smoothing=0)

    def say(self, text: str):
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def ended(self, status: str, job, result: dict):
        """Note that one more job has ended and will not be tried again."""
        self.n_done += 1
        if self.bar is not None:
            self.bar.update(1)
        if self.bar is None or status != "done":
            left = (time.monotonic() - self.began) / self.n_done * (self.n_jobs - self.n_done)
            self.say(
                f"[{self.n_done}/{self.n_jobs}] {status} in {result['seconds']:.1f} s on {result['host']}, "
                f"{duration(left)} left: {job.command}"
            )

    def close(self):
        if self.bar is not None:
            self.bar.close()


def duration(seconds: float) -> str:
    """'40 s', '12 min', '3 h 05 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def run(jobs: list, store, client, retries: int, memory: int | None, root: str, gpus=0) -> tuple[dict, list]:
    """Run ``jobs``; return {"done": n, "diverged": n} and the list of failures (job, result of the last attempt).

    A job fails if main.py ends with another status than FINISHED, if it needs more than ``memory`` bytes, or if its
    worker died too often; it is then tried up to ``retries`` times more. ``root``: the checkout whose main.py is run.
    ``gpus``: whether a job with ``--cuda yes`` is to wait for a worker with a GPU.
    ``clusters.Lost`` if the scheduler is gone.
    """
    from distributed import as_completed

    run_job = _ByValue(process.run, process)
    sweep = uuid.uuid4().hex[:8]
    finished, failures = dict.fromkeys(FINISHED.values(), 0), []
    progress = Progress(len(jobs))
    waiting = {}
    order = {job.name: -i for i, job in enumerate(jobs)}  # dask would run them in the order of their keys

    def submit(job, attempt):
        task = {"argv": job.argv, "root": root, "cwd": os.getcwd(), "memory": memory}
        resources = {"GPU": 1} if gpus and job.args["cuda"] else None
        key = f"{job.name}-{sweep}-{attempt}"
        future = client.submit(run_job, task, key=key, resources=resources, priority=order[job.name], pure=False)
        waiting[future.key] = (job, attempt)
        return future

    queue = as_completed([submit(job, 0) for job in jobs])
    try:
        for future in queue:
            job, attempt = waiting.pop(future.key)
            result = _result(future)
            future.release()
            status = FINISHED.get(result["code"])
            if status and not any(name.endswith(".json") for name in result["files"]):
                status, result["reason"] = None, "main.py ended well but wrote no record"
            if status:
                store.add(job, {**result["files"], "output": result["output"]})
                finished[status] += 1
                progress.ended(status, job, result)
                continue
            store.fail(job, result["output"])
            if attempt < retries:
                progress.say(f"failed ({why(result)}), trying again: {job.command}")
                queue.add(submit(job, attempt + 1))
            else:
                failures.append((job, result))
                progress.ended("failed", job, result)
    finally:
        progress.close()
    return finished, failures


class _ByValue:
    """A function that travels as code. Dask would send the name of its module, which other hosts may not have."""

    def __init__(self, function, module):
        cloudpickle.register_pickle_by_value(module)
        self.function, self.code = function, cloudpickle.dumps(function)

    def __call__(self, *args):
        return self.function(*args)

    def __reduce__(self):
        return cloudpickle.loads, (self.code,)


def _result(future) -> dict:
    try:
        if future.status == "finished":
            return future.result()
    except CancelledError:  # the scheduler went after it had reported the job's end
        raise clusters.Lost from None
    if future.status in ("cancelled", "lost"):
        raise clusters.Lost
    lost = {"code": None, "files": {}, "output": b"", "seconds": 0.0, "host": "a worker"}
    error = future.exception()
    return {**lost, "reason": f"the worker could not run it: {type(error).__name__}: {error}"}


def why(result: dict) -> str:
    if result["reason"]:
        return result["reason"]
    code = result["code"]
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def tail(result: dict) -> str:
    """The last lines of a failed job's output, indented."""
    lines = result["output"].decode("utf-8", errors="replace").splitlines()[-TAIL:]
    return "".join(f"    {line}\n" for line in lines)
