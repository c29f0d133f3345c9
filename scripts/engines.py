"""Do the engines agree? python scripts/engines.py [--seeds 5] [--methods ...] [arguments of main.py]

Every method by the fast and by the autograd engine on permuted Fashion-MNIST, seed 004's command with a margin of 0.5 and
one evaluation a task. Their digits differ (sums are taken in another order), so final accuracies are compared: the
difference of the means over the seeds, in standard errors. Exit status 1 if one is beyond 2.3.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from model import METHODS

COMMAND = (
    "--n_tasks 10 --lr 0.01 --n_memories 10 --memory_strength 0.5 --batch_size 1 --log_every 1000 "
    "--samples_per_task 1000 --data_file fashion_mnist_permutations_reduced.pt --threads 1"
).split()
BOUND = 2.3


def final(method: str, engine: str, seed: int, rest: list[str]) -> float:
    """The final accuracy of one run in a process of its own; 0 if it diverged."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, str(ROOT / "main.py"), "--model", method, "--engine", engine, "--seed", str(seed)]
        done = subprocess.run([*line, *COMMAND, "--save_path", folder, *rest], capture_output=True, text=True)
        if done.returncode not in (0, 3):
            sys.exit(done.stderr)
        return json.loads(next(Path(folder).glob("*.json")).read_text())["final"] or 0.0


def main() -> int:
    """Print a row a method as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    options, rest = parser.parse_known_args()
    print(
        "| method | fast: mean | sd | autograd: mean | sd | n | difference / standard error |\n|---|---|---|---|---|---|---|"
    )
    worst = 0.0
    for method in options.methods:
        both = [[final(method, engine, s, rest) for s in range(options.seeds)] for engine in ("fast", "autograd")]
        (a, sa), (b, sb) = ((statistics.mean(runs), statistics.stdev(runs)) for runs in both)
        error = math.sqrt((sa**2 + sb**2) / options.seeds)
        distance = abs(a - b) / error if error else 0.0
        worst = max(worst, distance)
        print(f"| {method} | {a:.4f} | {sa:.4f} | {b:.4f} | {sb:.4f} | {options.seeds} | {distance:.2f} |", flush=True)
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())
