"""The same command gives the same bytes: twice, in processes of their own, and with one thread or two."""

import json

import pytest
import torch

from data import files
from model import METHODS, learning, load
from tests.conftest import file_for, stream

NEED_CLASSES = ("icarl",)  # of each task's own
TIMES = ("seconds", "peak_memory_mb", "started")


def left(folder, *but):
    """What a run left in the folder: the bytes of .txt and .pt, and the record but for times and the entries ``but``.

    With ``but`` the .pt, which holds the arguments too, is compared by its measurements and parameters alone.
    """
    (path,) = folder.glob("*.json")
    record = {key: value for key, value in json.loads(path.read_text()).items() if key not in (*TIMES, *but)}
    pt = path.with_suffix(".pt").read_bytes()
    if but:
        *measured, state, stats, _, _ = torch.load(path.with_suffix(".pt"), weights_only=True)
        pt = [tensor.numpy().tobytes() for tensor in (*measured, *state.values())], list(state), stats
    return record, path.with_suffix(".txt").read_bytes(), pt


@pytest.fixture
def bytes_of(forks, tmp_path):
    """Runs a command in a new process; returns what it left, but for the entries named."""

    def run(*argv, but=()):
        run.n += 1
        folder = tmp_path / str(run.n)
        folder.mkdir()
        (folder / "tiny.pt").symlink_to(tmp_path / "tiny.pt")
        done = forks("--data_path", ".", "--data_file", "tiny.pt", "--save_path", "r", *argv, cwd=folder, limit=600)
        assert done.status == 0, done
        return left(folder / "r", *but)

    run.n = 0
    return run


@pytest.mark.parametrize("method", METHODS)
def test_the_same_command_twice(method, bytes_of, data_file):
    argv = f"--model {method} --n_memories 6 --memory_strength 0.5 --lr 0.1 --batch_size 3 --shuffle_tasks yes".split()
    argv += "--n_hiddens 8 --cov_recompute_every 3 --seed 5 --threads 2".split()
    file_for(method, data_file)
    if hasattr(load(method).Net, "unlearn"):
        argv += ["--forgetting_mode", "yes", "--forgetting_task_ids", "1", "--forgetting_resee_size", "5"]
    assert bytes_of(*argv) == bytes_of(*argv)


WIDE = {"n_inputs": 784, "n_outputs": 9, "n": 400}
THREADS = ("args", "threads", "command")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("batch_size", [1, 10, 100])
@pytest.mark.parametrize("method", learning("images"))
def test_one_thread_or_two(method, batch_size, engine, bytes_of, tmp_path):
    """With matrices so large that torch and BLAS share them out among threads."""
    files.save(tmp_path / "tiny.pt", *stream(**WIDE, split=method in NEED_CLASSES))
    argv = ["--model", method, "--n_memories", "256", "--memory_strength", "0.5", "--lr", "0.1", "--engine", engine]
    samples = {1: 50, 10: 150, 100: 400}[batch_size]
    argv += ["--samples_per_task", samples, "--batch_size", batch_size, "--cov_recompute_every", "5"]
    one, two, again = (bytes_of(*argv, "--threads", n, but=THREADS) for n in (1, 2, 2))
    assert one == two == again


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("method", ["single", "ewc", "gem", "agem", "agem_sampled", "ogd", "spg"])
def test_a_resnet_with_the_same_number_of_threads(method, threads, bytes_of, tmp_path):
    """With another number its digits may differ: oneDNN adds up gradients in as many parts."""
    files.save(tmp_path / "tiny.pt", *stream(n_inputs=3072, n_outputs=10, n=30, n_tasks=2))
    argv = ["--model", method, "--n_memories", "10", "--lr", "0.01", "--threads", threads, "--ogd_max_basis", "5"]
    assert bytes_of(*argv) == bytes_of(*argv)
