"""Predictions that differ from float64's, from the records of `scripts/study.sh exact_evaluation`.

    python scripts/studies/exact_evaluation.py PATH... [--images N]

The parameters beside each record predict the test images of its data file. The scorer of main.py's evaluation is given
float64's predictions as labels: it has to call each of them right. It is asked for floats, and for bytes where the
processor multiplies them fast. The exit status is 1 if a prediction differs, or if a record cannot be read.
"""

import argparse
import itertools
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

import torch
from tqdm import tqdm

from data import files, pixels
from model.common import TaskOutputs
from model.engine.scoring import Scorer
from model.numeric import integers
from results import console
from results.comparing import cells
from results.table import render

CHUNK = 2_500  # images at a time


def layers(record: Path) -> list:
    """W (o, i) and b (o,) of each layer of the trained network beside a record."""
    state = torch.load(record.with_suffix(".pt"), weights_only=True)[2]
    weights = [value for name, value in state.items() if name.startswith("net.")]
    return list(zip(weights[::2], weights[1::2], strict=True))


def predictions(network, x) -> torch.Tensor:
    """The first largest logit of each image, as the dtype of the network has it."""
    for i, (W, b) in enumerate(network):
        x = torch.addmm(b, x.relu() if i else x, W.t())
    return x.argmax(1)


def count(network, tests, images: int) -> Counter:
    """Of one network: images, differing predictions of each way of counting, examples computed again."""
    found, outputs = Counter(), TaskOutputs(len(network[-1][1]))
    double = [(W.double(), b.double()) for W, b in network]
    bytewise = integers.quick() and integers.exact(network[0][0].shape[1], network[0][0].shape[0])
    scorers = {"floats": Scorer(network, outputs, pixels.floats)}
    if bytewise:
        scorers["bytes"] = Scorer(network, outputs, pixels.floats)
    for _, stored, _ in tests:
        for x in stored[:images].split(CHUNK):
            floats = pixels.floats(x)
            truth = predictions(double, floats.double())
            found["plain"] += int((predictions(network, floats) != truth).sum())
            found["images"] += len(x)
            for way, scorer in scorers.items():
                given = pixels.signed(x) if way == "bytes" else x
                found[way] += len(x) - scorer.right(given, truth, 0)
    for way, scorer in scorers.items():
        found[f"{way} again"] += scorer.again
        found[f"{way} singly"] += scorer.singly
    found["networks"] += 1
    found["bytewise"] += bytewise
    return found


def table(counts: dict) -> str:
    """A row a method, and one of all."""
    rows = []
    for name, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        whole = found["bytewise"] == found["networks"]
        share = [f"{found[f'{way} again'] / found['images']:.1%}" for way in ("floats", "bytes")]
        row = [name, found["networks"], f"{found['images']:,}", found["plain"], found["floats"], share[0]]
        rows.append([*row, *([found["bytes"], share[1]] if whole else ["-", "-"])])
    head = ["method", "networks", "images", "plain float32 differs", "floats differ", "again"]
    rows = [[str(cell) for cell in row] for row in rows]
    return render([*head, "bytes differ", "again"], rows, "markdown")


def _print(paths, images) -> int:
    found, unread = cells.read(paths, "exact_evaluation")
    counts, tests = {}, {}
    for run in tqdm(found, unit="network", disable=None):
        path = str(Path(run.args["data_path"], run.args["data_file"]))
        if path not in tests:
            tests[path] = files.load(path).test
        n_tasks = len(run.grid[0])
        more = count(layers(Path(run.source)), itertools.islice(tests[path], n_tasks), images)
        counts[cells.method(run)] = counts.get(cells.method(run), Counter()) + more
    print(table(counts))
    differing = sum(found["floats"] + found["bytes"] for found in counts.values())
    return 1 if unread or differing else 0


def main(argv=None) -> int:
    """Run the command; return its exit status."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("paths", nargs="+", metavar="PATH", help="records, or folders of them")
    p.add_argument("--images", type=int, default=10_000, metavar="N", help="of each task (%(default)s)")
    args = p.parse_args(argv)
    return console.command("exact_evaluation", lambda: _print(args.paths, args.images))


if __name__ == "__main__":
    sys.exit(main())
