"""What selective forgetting does: python scripts/forgetting.py [--seeds 3] [arguments of main.py]

Each method that can forget learns 10 permutations of Fashion-MNIST (1,000 examples each, batch 1), then forgets tasks 0
and 5 in `--forgetting_resee_size 100` batches of every other task. Prints a row a method: accuracies before and after on
the forgotten tasks and on the others, mean and standard deviation over seeds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (
    "--n_tasks 10 --batch_size 1 --log_every 1000 --samples_per_task 1000 --threads 1 "
    "--data_file fashion_mnist_permutations_reduced.pt --forgetting_mode True --forgetting_task_ids 0,5"
).split()
METHODS = {
    "gem": "--lr 0.01 --n_memories 10 --memory_strength 0.5",
    "agem_closed": "--lr 0.01 --n_memories 10",
    "agem_meanqp": "--lr 0.01 --n_memories 10 --memory_strength 0.5",
    "ewc": "--lr 0.01 --n_memories 10 --memory_strength 3",
    "spg": "--lr 0.03",
    "ogd": "--lr 0.01 --ogd_per_task 20",
}


def run(method: str, flags: str, seed: int, rest: list[str]) -> dict:
    """The forgetting part of a run's record."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, str(ROOT / "main.py"), "--model", method, *flags.split(), "--seed", str(seed), *COMMAND]
        done = subprocess.run([*line, "--save_path", folder, *rest], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        return json.loads(next(Path(folder).glob("*.json")).read_text())["forgetting"]


def main() -> int:
    """Print a row a method as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options, rest = parser.parse_known_args()
    print(
        "| method | forgotten: before | after | others: before | after | fall of the forgotten less that of the others | n |"
    )
    print("|---|---|---|---|---|---|---|")
    for method, flags in METHODS.items():
        columns = [[], [], [], [], []]
        for seed in range(options.seeds):
            said = run(method, flags, seed, rest)
            row = []
            for tasks in (said["attacked"], [t for t in range(10) if t not in said["attacked"]]):
                row += [statistics.fmean(said[when][t] for t in tasks) for when in ("before", "after")]
            for column, value in zip(columns, [*row, (row[0] - row[1]) - (row[2] - row[3])], strict=True):
                column.append(value)
        cells = [f"{statistics.fmean(c):.3f} ({statistics.stdev(c):.3f})" for c in columns]
        print(f"| {method} | {' | '.join(cells)} | {options.seeds} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
