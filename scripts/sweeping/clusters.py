"""Where jobs run: worker processes on this machine, a running cluster, or SLURM; a dask client in each case."""

import contextlib
import logging
import os
import shutil
import signal
from multiprocessing import resource_tracker

from model import UsageError

NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # its web server on a free port
# Dask measures itself many times a second, which takes 2.5 % of a core from the sweep and from each worker.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "500ms",
}
DEATHS = 100  # how many workers may die while running one job before dask gives the job up


class Lost(Exception):
    """The scheduler is gone, and with it the jobs that were running."""


@contextlib.contextmanager
def client(scheduler=None, slurm=None, workers=None, gpus=0, memory=None):
    """A connected ``distributed.Client`` whose workers do one job at a time.

    scheduler: the address of a running one. slurm: a dict of dask-jobqueue's options (queue, walltime, account, ...),
    {} for none. Without both, ``workers`` processes start on this machine, of which the first ``gpus`` have the
    resource GPU. memory: bytes that a SLURM job may ask for. ``UsageError`` if a library or a scheduler is missing, or
    if ``Lost`` is raised.
    """
    try:
        import dask
        import distributed
    except ImportError:
        remedy = "pip install -r requirements-results.txt"
        raise UsageError(f"the sweep needs dask.distributed, which is not installed: {remedy}") from None
    dask.config.set({"distributed.scheduler.allowed-failures": DEATHS, **QUIET})
    for name in ("distributed", "distributed.client"):  # the sweep reports dead workers itself
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        if scheduler:
            target = scheduler
        elif slurm is not None:
            target = stack.enter_context(_slurm(dict(slurm), workers, gpus, memory))
        else:
            with _uninterrupted():
                target = stack.enter_context(_local(distributed, workers, gpus))
        try:
            connected = stack.enter_context(distributed.Client(target, timeout="15s"))
        except (OSError, ValueError) as error:
            if not scheduler:
                raise
            remedy = "start one (dask scheduler), or leave the flag out"
            raise UsageError(f"--scheduler {scheduler}: no dask scheduler answers there ({error}); {remedy}") from None
        try:
            yield connected
        except Lost:
            place = f"--scheduler {scheduler}" if scheduler else "the dask scheduler"
            raise UsageError(f"{place}: lost; the same command continues") from None


@contextlib.contextmanager
def _uninterrupted():
    """Block SIGINT while workers start, so that they inherit the block; a Ctrl-C meanwhile reaches the sweep later."""
    resource_tracker.ensure_running()  # if it started inside, it would unblock the signal (Python 3.11)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _local(distributed, workers, gpus):
    options = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": logging.CRITICAL}
    spec = {}
    for i in range(workers):
        own = {**options, "host": "127.0.0.1"}
        if i < gpus:
            own |= {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": str(i)}}
        spec[i] = {"cls": distributed.Nanny, "options": own}
    scheduler = {"protocol": "tcp://", "host": "127.0.0.1", "port": 0, **NO_DASHBOARD}
    return distributed.SpecCluster(
        workers=spec,
        scheduler={"cls": distributed.Scheduler, "options": scheduler},
        silence_logs=logging.CRITICAL,
        name="sweep",
    )


def _slurm(options, workers, gpus, memory):
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UsageError("--slurm needs dask-jobqueue, which is not installed: pip install dask-jobqueue") from None
    if shutil.which("sbatch") is None:
        raise UsageError("--slurm: no sbatch on this machine; start the sweep where SLURM jobs are submitted")
    extra = ["--gres=gpu:1"] if gpus else []
    settings = {
        "cores": 1,
        "processes": 1,
        "memory": f"{memory or 4 << 30}B",
        "walltime": "04:00:00",
        "job_extra_directives": extra,
        "worker_extra_args": ["--resources", "GPU=1"] if gpus else [],
        "scheduler_options": NO_DASHBOARD,
        **options,
    }
    try:
        cluster = SLURMCluster(**settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--slurm {' '.join(f'{k}={v}' for k, v in options.items())}: {error}") from None
    cluster.scale(jobs=workers)
    return cluster


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
