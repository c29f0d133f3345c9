"""scripts/sweep.py under stress: workers killed at random, another network namespace, a stand-in for SLURM, speed."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from experiment.store import PLACE
from scripts.sweeping import process
from tests.scripts.test_sweep import (
    ROOT,
    alive,
    facts,
    grid,
    plain,
    start,
    sweep,
    training,
    wait_for,
)

pytestmark = pytest.mark.slow
distributed = pytest.importorskip("distributed")


def test_ten_workers_killed_at_random(data_file, tmp_path, monkeypatch):
    words = grid(data_file, "--model", "single", "gem", "--lr", 0.1, "--n_epochs", 20, "--seed", "0..9")
    truth = plain(words, monkeypatch, tmp_path)
    sweeping = start(*words, "--workers", 2, "--retries", 0, "--out", "out", cwd=tmp_path)
    draw, killed = random.Random(0), 0
    while killed < 10 and sweeping.poll() is None:
        time.sleep(draw.uniform(0.0, 2.0))
        victims = [p for p in training(sweeping) if alive(p)]
        if victims:
            draw.choice(victims).parent().send_signal(signal.SIGKILL)
            killed += 1
    out = sweeping.communicate(timeout=600)[0]
    assert killed == 10
    assert sweeping.returncode == 0, out
    assert facts(tmp_path / "out") == truth


@pytest.fixture
def second_namespace():
    """The address of another network namespace, and the words that run a command in it; removed afterwards."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2")
    name, outer, inner = (f"sw{os.getpid()}{end}" for end in "nab")

    def run(*words):
        subprocess.run(["ip", *words], check=True)

    run("netns", "add", name)
    try:
        run("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        run("addr", "add", "10.213.77.1/30", "dev", outer)
        run("link", "set", outer, "up")
        run("-n", name, "addr", "add", "10.213.77.2/30", "dev", inner)
        run("-n", name, "link", "set", inner, "up")
        run("-n", name, "link", "set", "lo", "up")
        yield "10.213.77.2", ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "link", "del", outer], check=False)
        run("netns", "del", name)


def _answers(address):
    try:
        socket.create_connection((address, 8786), timeout=1).close()
        return True
    except OSError:
        return False


def test_a_second_network_namespace(data_file, tmp_path, monkeypatch, second_namespace):
    address, within = second_namespace
    words = grid(data_file, "--model", "single", "gem", "--lr", 0.1, "--seed", "0..1")
    truth = plain(words, monkeypatch, tmp_path)
    dask = [*within, sys.executable, "-m", "dask"]
    web = ["--dashboard-address", f"{address}:0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", address, "--port", "8786", "--no-dashboard", *web], **quiet
    )
    worker = subprocess.Popen([*dask, "worker", f"tcp://{address}:8786", "--nthreads", "1", "--no-dashboard"], **quiet)
    try:
        wait_for(lambda: _answers(address))
        out, _ = sweep(*words, "--scheduler", f"tcp://{address}:8786", "--out", "out", cwd=tmp_path)
        assert out.startswith("4 jobs: 0 finished before, 4 now, 0 failed")
        assert facts(tmp_path / "out") == truth
    finally:
        for running in (worker, scheduler):
            running.terminate()
            running.wait(20)


def test_interrupting_frees_a_running_cluster(data_file, tmp_path):
    """The job of a sweep that was stopped does not go on in somebody else's worker."""
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        words = grid(data_file, "--model", "single", "--n_epochs", 100_000)
        sweeping = start(*words, "--scheduler", cluster.scheduler_address, "--out", "out", cwd=tmp_path)
        import psutil

        def jobs():
            found = psutil.Process().children(recursive=True)
            return [p for p in found if alive(p) and str(ROOT / "main.py") in p.cmdline()]

        wait_for(lambda: len(jobs()) > 1)  # the launcher, and the job
        sweeping.send_signal(signal.SIGINT)
        assert "the same command continues" in sweeping.communicate(timeout=60)[0]
        assert sweeping.returncode == 130
        wait_for(lambda: not jobs())


def test_slurm_by_a_stand_in(data_file, tmp_path, monkeypatch):
    """sbatch, squeue and scancel are replaced: a batch job is a shell script run in the background."""
    pytest.importorskip("dask_jobqueue")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    programs = {
        "sbatch": 'script=$1; cp "$script" "$TRACE/script.$$"; setsid bash "$TRACE/script.$$" >/dev/null 2>&1 & '
        'echo "Submitted batch job $!"',
        "scancel": 'kill -- "-$1" 2>/dev/null || true',
    }
    for name, text in programs.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{text}\n")
        (bin_ / name).chmod(0o755)
    words = grid(data_file, "--model", "single", "--lr", 0.1, "--seed", "0..1")
    truth = plain(words, monkeypatch, tmp_path)
    env = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "TRACE": str(tmp_path)}
    slurm = ["--slurm", "queue=short", "walltime=00:10:00", "interface=lo", "--workers", 1, "--memory_limit", "1GB"]
    out, _ = sweep(*words, *slurm, "--out", "out", cwd=tmp_path, env=env)
    assert out.startswith("2 jobs: 0 finished before, 2 now, 0 failed")
    assert facts(tmp_path / "out") == truth
    script = next(tmp_path.glob("script.*")).read_text()
    assert "#SBATCH -p short" in script and "#SBATCH -t 00:10:00" in script


def seconds(*words, cwd):
    began = time.perf_counter()
    sweep(*words, cwd=cwd)
    return time.perf_counter() - began


def test_two_workers_are_nearly_twice_as_fast(data_file, tmp_path):
    """40 short runs; needs two idle cores."""
    words = grid(data_file, "--model", "single", "--seed", "0..39")
    one = seconds(*words, "--workers", 1, "--out", "one", cwd=tmp_path)
    two = seconds(*words, "--workers", 2, "--out", "two", cwd=tmp_path)
    print(f"\n40 runs: 1 worker {one:.1f} s, 2 workers {two:.1f} s, {one / two:.2f} times as fast")
    assert facts(tmp_path / "one") == facts(tmp_path / "two")
    assert one / two >= 1.8


def test_little_time_is_lost_to_the_sweep(data_file, tmp_path):
    """Against a shell loop over the same commands, at about 10 s a job; needs an idle core."""
    words = [*grid(data_file, "--model", "single", "--threads", 1), "--log_every", 100_000, "--n_epochs"]
    n, epochs = 20, 14_000
    ours = seconds(*words, epochs, "--seed", f"0..{n - 1}", "--workers", 1, "--out", "out", cwd=tmp_path)
    line = " ".join(map(str, [sys.executable, ROOT / "main.py", *words, epochs]))
    began = time.perf_counter()
    loop = f"for seed in $(seq 0 {n - 1}); do {line} --seed $seed; done"
    subprocess.run(loop, shell=True, cwd=tmp_path, check=True, capture_output=True)
    theirs = time.perf_counter() - began
    print(f"\n{n} jobs of {theirs / n:.1f} s: sweep {ours:.1f} s, shell loop {theirs:.1f} s")
    assert ours / theirs < 1.05


def test_a_job_that_is_tried_again_goes_on_from_its_checkpoint(data_file, tmp_path):
    """Each attempt but the last is stopped after half a second, for want of memory."""
    words = [
        "--model",
        "agem_closed",
        "--data_path",
        data_file.parent,
        "--data_file",
        data_file.name,
        "--n_memories",
        5,
    ]
    words += ["--batch_size", 1, "--n_epochs", 60, "--log_every", 500, "--checkpoint_every", 20, "--threads", 1]
    task = {"argv": list(map(str, words)), "root": str(ROOT), "memory": None}
    whole = process.run({**task, "cwd": str(tmp_path / "whole")})
    for _ in range(20):
        stopped = process.run({**task, "cwd": str(tmp_path / "parts"), "memory": 1})
        if list((tmp_path / "parts" / "results" / PLACE).glob("*/checkpoint")):
            break
    assert stopped["code"] is None and "memory" in stopped["reason"]
    retried = process.run({**task, "cwd": str(tmp_path / "parts")})
    assert retried["code"] == 0 and b"note: the run goes on at step " in retried["output"]
    grids = [json.loads(next(v for k, v in run["files"].items() if k.endswith(".json"))) for run in (whole, retried)]
    assert grids[0]["evolution"] == grids[1]["evolution"]
    assert not (tmp_path / "parts" / "results" / PLACE).exists()


def test_a_killed_job_is_tried_again_and_goes_on(data_file, tmp_path, monkeypatch):
    """By the kernel, say, for want of memory. The sweep is told nothing about checkpoints but how often to make them."""
    words = grid(data_file, "--model", "agem_closed", "--n_epochs", 300, "--log_every", 500, "--checkpoint_every", 200)
    truth = plain(words, monkeypatch, tmp_path)
    sweeping = start(*words, "--workers", 1, "--out", "killed", cwd=tmp_path)
    wait_for(lambda: list((tmp_path / "results" / PLACE).glob("*/checkpoint")))
    (job,) = (
        p for p in training(sweeping) if p.parent() in training(sweeping)
    )  # and not the process that it came from
    job.send_signal(signal.SIGKILL)
    said = sweeping.communicate(timeout=600)[0]
    assert sweeping.returncode == 0 and "failed (killed by signal 9), trying again: " in said
    (output,) = (tmp_path / "killed").glob("agem_closed-*/output")
    assert "\nnote: the run goes on at step " in f"\n{output.read_text()}"
    assert facts(tmp_path / "killed") == truth
    assert not (tmp_path / "results" / PLACE).exists()
