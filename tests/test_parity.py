"""``--parity yes`` prints the reference's digits: three cases that the reference itself has run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import main

LOGGED = Path(main.__file__).parent / "results" / "logged"
COMMON = "--data_file digits.pt --batch_size 10 --n_epochs 2 --log_every 50 --samples_per_task 1000 --seed 0"
CASES = {
    "single": "--lr 0.05",
    "ewc": "--lr 0.05 --n_memories 50 --memory_strength 10",
    "gem": "--lr 0.05 --n_memories 20 --memory_strength 0.5",
}
# The reference's digits are those of the kernels it ran on.
same_kernels = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512",
    reason=f"the digits were made with AVX512 kernels, not {torch.backends.cpu.get_cpu_capability()}",
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The cases' data: the digits in one order drawn by numpy, under five pixel permutations drawn after it."""
    images, labels = load_digits(return_X_y=True)
    draw = np.random.RandomState(0)
    order = draw.permutation(len(labels))
    x, y = torch.from_numpy(images[order] / 16).float(), torch.from_numpy(labels[order])
    tasks = ([], [])
    for _ in range(5):
        seen = x[:, draw.permutation(64)]
        tasks[0].append(["random permutation", seen[:1297].clone(), y[:1297].clone()])
        tasks[1].append(["random permutation", seen[1297:].clone(), y[1297:].clone()])
    folder = tmp_path_factory.mktemp("parity")
    torch.save(list(tasks), folder / "digits.pt")
    return folder


def run(method, folder, tmp_path, *more):
    argv = [
        "--model",
        method,
        *CASES[method].split(),
        *COMMON.split(),
        "--data_path",
        str(folder),
        "--save_path",
        str(tmp_path),
    ]
    assert main.cli([*argv, *more]) == 0
    (written,) = tmp_path.glob("*.txt")
    return written.read_bytes()


@same_kernels
@pytest.mark.parametrize("method", CASES)
def test_the_references_digits(method, digits, tmp_path):
    logged = (LOGGED / f"parity_{method}_seed0.txt").read_bytes()
    assert run(method, digits, tmp_path, "--parity", "yes", "--threads", "2") == logged


@pytest.mark.parametrize("method", CASES)
def test_the_default_mends_the_defects(method, digits, tmp_path):
    """The last test example is scored, so every accuracy is a multiple of 1/500 and near the reference's."""
    ours, logged = run(method, digits, tmp_path).decode(), (LOGGED / f"parity_{method}_seed0.txt").read_text()
    assert ours != logged
    final, reference = (float(text.split("Final Accuracy:")[1].split()[0]) for text in (ours, logged))
    assert abs(final - reference) < 0.05


def test_parity_is_one_thread_whatever_is_asked(digits, tmp_path):
    args, _, _ = main.parse(["--parity", "yes", "--threads", "2"])
    assert args.threads == 1
