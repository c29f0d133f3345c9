"""Make and check the parity cases, commands that the reference itself has run: python scripts/parity.py

Each command of results/logged/parity_<data>_<kernels>.json, for this machine's kernels, is run with `--parity yes`.
Records go to results/runs/regress/, which is emptied first. results.regress checks them digit by digit, and gives the
exit status. Cases are left out if their data file cannot be built, or if the reference was never run on such kernels. A
message names them.
"""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

import main
from data import DataError, files
from results import regress

LOGGED = ROOT / "results" / "logged"
FOLDER = "results/runs/regress/"
SPLIT_HEADS = ROOT / "data" / "parity" / "cifar100.pt"  # the reference splits heads by the file's name


def fixtures():
    """The logged cases whose kernels are this machine's."""
    return sorted(LOGGED.glob(f"parity_*_{torch.backends.cpu.get_cpu_capability().lower()}.json"))


def commands(fixture):
    """The command line of each case."""
    content = json.loads(fixture.read_text(encoding="utf-8"))
    for case in content["runs"]:
        args = {**content["args"], **case["args"]}
        yield [word for name, value in args.items() for word in (f"--{name}", str(value))]


def place(flags):
    """The flags that say where a command's data file is. The file of the split heads is written if it is missing."""
    if SPLIT_HEADS.name not in flags:
        return []
    if not SPLIT_HEADS.exists():
        split_heads(SPLIT_HEADS)
    return ["--data_path", str(SPLIT_HEADS.parent)]


def split_heads(path):
    """A small file in the shape of CIFAR-100's: 20 tasks of 5 classes, each class noise around a centre of its own.

    50 training and 25 test images a task, 3,072 numbers each.
    """
    draw = np.random.RandomState(0)
    centres = draw.randint(40, 216, (100, 3072))

    def tasks(examples):
        for t in range(20):
            y = np.arange(5 * t, 5 * t + 5).repeat(examples)
            x = (centres[y] + draw.randint(-80, 81, (len(y), 3072))).clip(0, 255)
            yield [f"classes {5 * t} to {5 * t + 4}", torch.from_numpy(x.astype(np.float32) / 255), torch.from_numpy(y)]

    files.save(path, list(tasks(10)), list(tasks(5)))


def run(flags):
    """Make one run in this process; return its record. The run's output is shown only if it fails."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return main.main([*flags, "--threads", "1", "--save_path", FOLDER])
    except DataError:
        raise
    except Exception:
        print(said.getvalue(), file=sys.stderr)
        raise


def every():
    """Make all cases: the fixtures that can be checked, and a sentence for each one that was left out."""
    made, left_out = [], []
    for fixture in fixtures():
        try:
            for flags in commands(fixture):
                result = run([*flags, *place(flags)])
                seconds = result["seconds"]["total"]
                print(f"{fixture.stem} {result['model']}: final {result['final']:.4f}, {seconds:.1f} s", flush=True)
            made.append(fixture)
        except DataError as error:
            left_out.append(f"{fixture.stem}: left out, its data cannot be had: {error}")
    if not made and not left_out:
        kernels = torch.backends.cpu.get_cpu_capability()
        left_out.append(f"parity: left out, nobody has run the reference on {kernels} kernels")
    return made, left_out


def check(logged, left_out):
    """Check the runs against the files `logged`; return the exit status. The cases left out are named at the end."""
    print(flush=True)
    status = regress.main([*(word for path in logged for word in ("--against", str(path))), FOLDER]) if logged else 0
    for sentence in left_out:
        print(sentence, flush=True)
    return status


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    shutil.rmtree(ROOT / FOLDER, ignore_errors=True)
    sys.exit(check(*every()))
