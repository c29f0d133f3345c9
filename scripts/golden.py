"""The quick runs that scripts/regress.sh checks: python scripts/golden.py [--make [METHOD ...]]

The parity cases of results/logged/parity.json, and every method on five permutations of scikit-learn's digits, 20 steps
a task, with five seeds; records go to results/runs/regress/, which is emptied first. --make stores seed 0's records, or
those of the methods named, as results/logged/golden_<method>.json: do so only where a change of the digits is meant.
"""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import main
from model import METHODS
from results import record

LOGGED = ROOT / "results" / "logged"
FOLDER = "results/runs/regress/"
COMMON = f"--data_file digits_permutations.pt --n_tasks 5 --batch_size 10 --threads 1 --save_path {FOLDER}".split()
GOLDEN = "--samples_per_task 200 --lr 0.1 --n_memories 10 --memory_strength 0.5 --log_every 1000".split()
PARITY = "--parity yes --n_epochs 2 --samples_per_task 1000 --lr 0.05 --log_every 50 --seed 0".split()
SEEDS = range(5)


def parity_cases():
    """The command line of each parity case."""
    for run in json.loads((LOGGED / "parity.json").read_text(encoding="utf-8"))["runs"]:
        yield [*PARITY, *(word for name, value in run["args"].items() for word in (f"--{name}", str(value)))]


def run(flags):
    """One run in this process; its record. What it prints is shown only if it fails."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return main.main([*flags, *COMMON])
    except Exception:
        print(said.getvalue(), file=sys.stderr)
        raise


def every(make):
    """Make all runs; store the golden ones of the methods in `make`."""
    shutil.rmtree(ROOT / FOLDER, ignore_errors=True)
    for flags in parity_cases():
        result = run(flags)
        print(f"parity {result['model']}: final {result['final']:.4f}, {result['seconds']['total']:.1f} s", flush=True)
    for name in METHODS:
        results = [run(["--model", name, *GOLDEN, "--seed", str(seed)]) for seed in SEEDS]
        seconds = sum(result["seconds"]["total"] for result in results)
        print(
            f"{name}: final {results[0]['final']:.4f} with seed 0, {seconds:.1f} s for {len(SEEDS)} seeds", flush=True
        )
        if name in make:
            (LOGGED / f"golden_{name}.json").write_text(record.to_json(results[0]), encoding="utf-8")


if __name__ == "__main__":
    store, *names = sys.argv[1:] or [None]
    if store not in (None, "--make") or not set(names) <= set(METHODS):
        sys.exit(__doc__)
    every((names or METHODS) if store else ())
