"""EWC, its group form, OGD, SPG and NCL beside `single`: final accuracy by learning rate, and whether the best beats it.

    python scripts/other_methods.py [--out results/runs/other_methods.jsonl] [--data_path data/] [--only ogd,spg]

Permuted Fashion-MNIST, 10 tasks, 1,000 examples each, one epoch, 784-100-100-10, three seeds, one thread; batch 10 and
the rates below, unless --batch_size and --rates (0.001,0.003, say) tell otherwise, with an --out of their own. The
stream, the networks and the accuracies are those of main.py, evaluated once, at the end. A line of JSON is written for
each run, and what stands there already is not run again. The table goes to standard output.
"""

import argparse
import json
import math
import os
import random
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import main

RATES = ("0.01", "0.03", "0.1", "0.2", "0.3")
SEEDS = ("0", "1", "2")
COMMON = (
    "--data_file fashion_mnist_permutations_reduced.pt --n_tasks 10 --samples_per_task 1000 --n_epochs 1 "
    "--n_layers 2 --n_hiddens 100 --threads 1"
)
METHODS = {
    "single": "--model single",
    "ewc": "--model ewc --n_memories 10 --memory_strength 3",  # GEM's for permutations
    "ewc_empirical": "--model ewc --n_memories 200 --memory_strength 3 --ewc_fisher empirical",
    "ewc_group": "--model ewc_group --n_memories 10 --memory_strength 3 --num_groups 20 --if_output_cov False",
    "spg": "--model spg",
    "spg_no_chi": "--model spg --spg_chi no",
    "ncl": "--model ncl",
    "ncl_diag": "--model ncl --ncl_diag yes",
    "ogd_loss_mean": "--model ogd --ogd_mode loss_mean",
    "ogd_20": "--model ogd --ogd_per_task 20",
    "ogd": "--model ogd",
}


def life(argv: list[str], data) -> dict:
    """Train as main.py does; the final accuracy, or None where training diverged, and the seconds of training."""
    args, module, _ = main.parse(argv)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    random.seed(args.seed)
    continuum = main.Continuum(data.train, args)
    handed_on = argparse.Namespace(**vars(args), task_outputs=data.outputs)
    model = module.Net(data.n_inputs, data.n_outputs, data.n_tasks, handed_on)
    begun, current, final = time.perf_counter(), None, None
    try:
        for x, t, y in continuum:
            if current not in (None, t):
                getattr(model, "finish_task", lambda: None)()
            current = t
            model.observe(x, t, y)
        seconds = time.perf_counter() - begun
        final = statistics.fmean(main.eval_tasks(model, data.test, args))
    except FloatingPointError:
        seconds = time.perf_counter() - begun
    return {"final": final, "seconds": round(seconds, 2), "counts": model.counts}


def table(runs: list[dict]) -> str:
    """Means over seeds at each rate; at the best, mean, spread and number; and the lead over the best of `single`."""
    cells: dict[str, dict[str, list]] = {}
    for run in runs:
        cells.setdefault(run["method"], {}).setdefault(run["lr"], []).append(run["final"])
    means = {m: {lr: statistics.fmean(v) for lr, v in c.items() if None not in v} for m, c in cells.items()}
    best = {m: cells[m][max(by_rate, key=by_rate.get)] for m, by_rate in means.items() if by_rate}
    rates = sorted({run["lr"] for run in runs}, key=float)
    lines = [f"| method | {' | '.join('lr ' + r for r in rates)} | best (sd), n | above single, in standard errors |"]
    lines.append("|---" * (len(rates) + 3) + "|")
    for method in [m for m in METHODS if m in best]:
        row = [f"{means[method][lr]:.3f}" if lr in means[method] else "X" for lr in rates]
        top, base = best[method], best.get("single", [])
        lead = "-"
        if method != "single" and len(top) > 1 and len(base) > 1:
            error = math.sqrt(statistics.variance(top) / len(top) + statistics.variance(base) / len(base))
            ahead = statistics.fmean(top) - statistics.fmean(base)
            lead = f"{ahead:+.3f}, {ahead / error:.1f}"
        spread = statistics.stdev(top) if len(top) > 1 else math.nan
        row += [f"{statistics.fmean(top):.3f} ({spread:.3f}), {len(top)}", lead]
        lines.append(f"| {method} | {' | '.join(row)} |")
    return "\n".join(lines)


def sweep() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/runs/other_methods.jsonl"))
    parser.add_argument("--data_path", default="data/")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--rates", type=lambda text: text.split(","), default=list(RATES))
    parser.add_argument("--batch_size", default="10")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    runs = [json.loads(line) for line in lines]
    done = {(run["method"], run["lr"], run["seed"]) for run in runs}
    torch.set_num_threads(1)
    data = None
    for seed in SEEDS:
        for lr in given.rates:
            for method in given.only:
                if (method, lr, seed) in done:
                    continue
                flags = f"{METHODS[method]} {COMMON} --batch_size {given.batch_size} --lr {lr} --seed {seed}"
                argv = [*flags.split(), "--data_path", given.data_path]
                data = data or main.load_datasets(main.parse(argv)[0])
                run = {"method": method, "lr": lr, "seed": seed, **life(argv, data), "flags": flags}
                runs.append(run)
                with given.out.open("a") as file:
                    file.write(json.dumps(run) + "\n")
    print(table(runs))


if __name__ == "__main__":
    sweep()
