"""The quick runs of scripts/regress.sh, made and checked: python scripts/golden.py [--make [METHOD ...]]

The runs are the parity cases (scripts/parity.py), and every method on five permutations of scikit-learn's digits, 20
steps a task, with five seeds. Their records go to results/runs/regress/, which is emptied first, and are checked
against results/logged/. --make does not check. It stores the records of seed 0, of all methods or of those named, as
results/logged/golden_<method>.json. Use it only where the digits are meant to change.
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from model import learning
from results import record
from scripts import parity

METHODS = learning("images")  # text differs from one Python installation to the next
GOLDEN = (
    "--data_file digits_permutations.pt --n_tasks 5 --batch_size 10 --samples_per_task 200 --lr 0.1 --n_memories 10 "
    "--memory_strength 0.5 --log_every 1000 "
    "--memories 50 --replay_batch_size 5 --batches_per_example 2 --beta 0.5 --gamma 0.5 --s 2"
).split()
OWN = {
    "icarl": "--data_file cifar100.pt --net mlp --n_memories 100 --lr 0.03",  # tasks with own classes
    "eralg5": "--lr 0.03",  # its loss is a sum over tasks; at 0.1 the last bits decide the last row
}
SEEDS = range(5)


def golden(make):
    """Make every method's runs. Store the records of seed 0 of the methods in `make`."""
    for name in METHODS:
        results = [parity.run([*command(name), "--seed", str(seed)]) for seed in SEEDS]
        seconds = sum(result["seconds"]["total"] for result in results)
        print(
            f"{name}: final {results[0]['final']:.4f} with seed 0, {seconds:.1f} s for {len(SEEDS)} seeds", flush=True
        )
        if name in make:
            stored(name).write_text(record.to_json(results[0]), encoding="utf-8")


def command(name):
    """The flags of a method's runs, all but the seed."""
    own = OWN.get(name, "").split()
    return ["--model", name, *GOLDEN, *own, *parity.place(own)]


def stored(name):
    """The path of a method's logged record."""
    return parity.LOGGED / f"golden_{name}.json"


def main(make):
    """Make and check all runs; return the exit status. With methods in `make`, only make and store golden runs."""
    shutil.rmtree(ROOT / parity.FOLDER, ignore_errors=True)
    made, left_out = ([], []) if make else parity.every()
    golden(make)
    return 0 if make else parity.check([*made, *map(stored, METHODS)], left_out)


if __name__ == "__main__":
    store, *names = sys.argv[1:] or [None]
    if store not in (None, "--make") or not set(names) <= set(METHODS):
        sys.exit(__doc__)
    sys.exit(main((names or METHODS) if store else ()))
