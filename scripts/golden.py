"""The quick runs of scripts/regress.sh, made and checked: python scripts/golden.py [--make [METHOD ...]]

The parity cases (scripts/parity.py), and every method on five permutations of scikit-learn's digits, 20 steps a task, with
five seeds; records go to results/runs/regress/, which is emptied first, and are checked against results/logged/. --make
stores seed 0's records, or those of the methods named, as results/logged/golden_<method>.json instead of checking: do so
only where a change of the digits is meant.
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from model import METHODS
from results import record
from scripts import parity

GOLDEN = (
    "--data_file digits_permutations.pt --n_tasks 5 --batch_size 10 --samples_per_task 200 --lr 0.1 --n_memories 10 "
    "--memory_strength 0.5 --log_every 1000"
).split()
SEEDS = range(5)


def golden(make):
    """Every method's runs; seed 0's of the methods in `make` are stored."""
    for name in METHODS:
        results = [parity.run(["--model", name, *GOLDEN, "--seed", str(seed)]) for seed in SEEDS]
        seconds = sum(result["seconds"]["total"] for result in results)
        print(
            f"{name}: final {results[0]['final']:.4f} with seed 0, {seconds:.1f} s for {len(SEEDS)} seeds", flush=True
        )
        if name in make:
            stored(name).write_text(record.to_json(results[0]), encoding="utf-8")


def stored(name):
    """Where a method's logged record is."""
    return parity.LOGGED / f"golden_{name}.json"


def main(make):
    """All runs and their check, whose exit status is returned; with names of methods in `make` the golden runs alone."""
    shutil.rmtree(ROOT / parity.FOLDER, ignore_errors=True)
    made, left_out = ([], []) if make else parity.every()
    golden(make)
    return 0 if make else parity.check([*made, *map(stored, METHODS)], left_out)


if __name__ == "__main__":
    store, *names = sys.argv[1:] or [None]
    if store not in (None, "--make") or not set(names) <= set(METHODS):
        sys.exit(__doc__)
    sys.exit(main((names or METHODS) if store else ()))
