"""A sweep of short runs, against the same commands started one by one."""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import main
from scripts.benching.stopwatch import Bench, table

ROOT = Path(main.__file__).parent
RUNS, WORKERS = 100, 2
RUN = "--model single --data_file digits_permutations.pt --n_tasks 10 --samples_per_task 100 --threads 1".split()


def sweeps(bench: Bench) -> dict:
    """Seconds of 100 runs of 1,000 steps on two workers: by scripts/sweep.py, and as processes of main.py."""
    where = ["--data_path", bench.options.data_path]
    words = [sys.executable, str(ROOT / "main.py"), *RUN, *where]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*words, "--save_path", folder], check=True, capture_output=True)  # builds the data file

        def plain(seed):
            command = [*words, "--seed", str(seed), "--save_path", str(Path(folder, "plain"))]
            subprocess.run(command, check=True, capture_output=True)
            bench.bar.update()

        begun = time.perf_counter()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(plain, range(RUNS)))
        one_by_one = time.perf_counter() - begun
        own = ["--seed", f"0..{RUNS - 1}", "--workers", str(WORKERS), "--out", str(Path(folder, "sweep"))]
        begun = time.perf_counter()
        command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), *RUN, *where, *own]
        subprocess.run(command, check=True, capture_output=True)
        swept = time.perf_counter() - begun
    table(
        f"{RUNS} runs of 1,000 steps on the digits, {WORKERS} at a time",
        ["processes of main.py", "scripts/sweep.py", "ratio"],
        [[f"{one_by_one:.0f} s", f"{swept:.0f} s", f"{swept / one_by_one:.2f}"]],
    )
    return {"one by one": one_by_one, "sweep": swept, "ratio": swept / one_by_one}
