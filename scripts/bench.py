"""Speed, as ratios within one run: python scripts/bench.py [--only PART ...] [--repeats N] [--cuda] [--json FILE]

The yardstick is one training step of a plain `torch.nn.Sequential` MLP, 784-100-100-10, with `CrossEntropyLoss`,
`zero_grad()` and `torch.optim.SGD`, batch 1, one thread. It is timed before and after everything measured in
yardsticks, because a shared machine's speed drifts. Every figure is the median of `--repeats` runs.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

import torch

import model as methods
from data import DataError, temporary
from results import RecordError, console
from scripts.benching.directions import directions
from scripts.benching.evaluation import evaluation
from scripts.benching.machine import processor
from scripts.benching.replay import replay
from scripts.benching.resnet import images, resnet
from scripts.benching.runs import command, paper
from scripts.benching.stopwatch import Bench
from scripts.benching.sweeps import sweeps
from scripts.benching.training import drift, memories, steps, tasks

PARTS = {
    part.__name__: part
    for part in (steps, tasks, memories, replay, directions, evaluation, command, paper, sweeps, resnet, images, drift)
}


def cli(argv=None) -> int:
    """Run the parts asked for; 2 for a mistake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="parts to run (default: all)")
    parser.add_argument("--methods", nargs="+", choices=methods.learning("images"), help="methods of the part steps")
    parser.add_argument("--repeats", type=int, default=3, help="runs behind each median")
    parser.add_argument("--steps", type=int, default=1000, help="steps a task in the part steps")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads for evaluations")
    parser.add_argument(
        "--cpu_time",
        action="store_true",
        help="in the parts steps, tasks, memories, replay, resnet and images, count processor time, for a busy machine",
    )
    parser.add_argument("--data_path", default=str(ROOT / "data"))
    parser.add_argument("--raw_path")
    parser.add_argument("--cuda", action="store_true", help="time on the GPU")
    parser.add_argument("--json", help="write all numbers to this file")
    options = parser.parse_args(argv)
    if options.cuda and not torch.cuda.is_available():
        print("bench.py: --cuda: this torch sees no GPU", file=sys.stderr)
        return 2
    try:
        if options.json:
            with console.writing(f"--json {options.json}"):
                temporary.require_writable(options.json)
        bench = Bench(options)
    except (DataError, RecordError) as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 2
    device = torch.cuda.get_device_name() if options.cuda else processor()
    print(f"{device}, {options.threads} threads, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    print(f"yardstick {statistics.median(bench.yardstick() for _ in range(5)) * 1e6:.0f} us; repeats {options.repeats}")
    result = {name: part(bench) for name, part in PARTS.items() if not options.only or name in options.only}
    if options.json:
        temporary.write(options.json, json.dumps(result, indent=1).encode())
    return 0


if __name__ == "__main__":
    sys.exit(cli())
