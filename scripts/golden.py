"""The quick runs of scripts/regress.sh, made and checked: python scripts/golden.py [--make]

The parity cases (scripts/parity.py), and every method on five permutations of scikit-learn's digits, 20 steps a task, with
five seeds; records go to results/runs/regress/, which is emptied first, and are checked against results/logged/. --make
stores seed 0's records as results/logged/golden_<method>.json instead of checking: do so only where a change of the digits
is meant.
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
    """Every method's runs; with `make`, seed 0's are stored."""
    for name in METHODS:
        results = [parity.run(["--model", name, *GOLDEN, "--seed", str(seed)]) for seed in SEEDS]
        seconds = sum(result["seconds"]["total"] for result in results)
        print(
            f"{name}: final {results[0]['final']:.4f} with seed 0, {seconds:.1f} s for {len(SEEDS)} seeds", flush=True
        )
        if make:
            stored(name).write_text(record.to_json(results[0]), encoding="utf-8")


def stored(name):
    """Where a method's logged record is."""
    return parity.LOGGED / f"golden_{name}.json"


def main(make):
    """All runs and their check, whose exit status is returned; with `make` the golden runs alone."""
    shutil.rmtree(ROOT / parity.FOLDER, ignore_errors=True)
    made, left_out = ([], []) if make else parity.every()
    golden(make)
    return 0 if make else parity.check([*made, *map(stored, METHODS)], left_out)


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--make"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:] == ["--make"]))
