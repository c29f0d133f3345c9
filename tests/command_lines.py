"""Random command lines over the whole table of flags, good values and bad ones; and what must hold of each run.

``python -m tests.command_lines N [FIRST]`` runs N of them and prints those that break a promise.
"""

import random
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from data import files
from model import ALIASES, METHODS, UsageError, arguments
from model.arguments import FLAGS
from model.flags import Flag, median_or_number, never_or_number, real, sizes, whole, yes_no, yes_no_word
from tests.conftest import stream, text_file
from tests.forked import Done, Forks

ODD = ["", " ", "nan", "inf", "-inf", "é", "٣", "1_0", "0x10", "1e", "None", "[1]", "{}", "\udcff", "a\nb", "\x1b[2J", "'", "%s",
       "-", "--", "-1e", "True", "x" * 303, "漢" * 120, "1" * 400, "1" * 5000]  # fmt: skip
WHOLE = ["1.0", "1.5", "1e1", "+5", " 5 ", "-0", "-1", "1e9", "1e18", "1e19", "1e300", "1e999", 2**31, 2**32, 2**53, 2**63 - 1,
         2**63, -(2**63), 10**7, 10**12]  # fmt: skip
REAL = ["0", "-0.0", "1e-45", "1.1e-38", "1.2e-38", "1e-30", "1e-20", "1e-9", "0.01", "0.3", "1", "30", "1e3", "1e6", "1e10",
        "1e19", "1e25", "1e30", "3.4e38", "3.5e38", "1e39", "1e308", "1e309", "-1", "-1e-30", "0,5"]  # fmt: skip
FILES = {"tiny.pt": False, "split.pt": True, "text.pt": None}  # whether each task has classes of its own; None: text
YES_NO = ["yes", "no", "True", "False", "1", "0", "YES", "maybe", "2"]
NAMES = ["", ".", "..", "r", "new", "new/below", "tiny.pt", "tiny.pt/below", "é", "a b", "a'b\"", "\udcff", "a\nb", "~", "-x",
         "$x", "/dev/null", "/dev/full", "/proc/none", "x" * 255, "x" * 303, "漢" * 100, "r/" * 2000]  # fmt: skip
# Flags whose large good values take long or much, as they should; the absurd ones come from WHOLE.
SMALL = {
    "n_epochs": [1, 2, 3],
    "n_hiddens": [1, 2, 5, 8, 100],
    "n_layers": [0, 1, 2, 3, 40, 1001],
    "threads": [1, 2, 3, 64, 65, 100_000],
    "log_every": [1, 2, 7, 100],
    "batch_size": [1, 2, 7, 40, 1000],
    "n_tasks": [1, 2, 3, 4],
    "first_task": [0, 1, 2, 3],
    "validation": [0, 1, 39, 40],
    "pretrain_steps": [0, 1, 5],
    "probe": ["", "sparsity", "curve,updates", "alignment,latents", "confidence", "drift", "none"],
    "n_memories": [0, 1, 2, 5, 40, 1000],
    "forgetting_task_ids": ["0", "0,1", "0,1,2", "1,1", "3", "-1", "0,", ",", "x", "0.0", "1e0", " 1", "0;1"],
}
PLACES = ("data_path", "data_file", "save_path", "tensorboard", "raw_path", "cuda", "forgetting_task_ids")
HUGE = {"n_epochs": 10**8, "n_hiddens": 10**6, "n_layers": 1001}  # below, a good value of WHOLE would take long


def values(flag: Flag) -> list:
    """Values to try for a flag: inside its range, at its edges, beyond them, and of other kinds."""
    if flag.name == "model":
        return [
            *METHODS,
            *METHODS,
            *ALIASES,
            "Gem",
            "memory",
            "common",
            "numeric",
            "os",
            "__init__",
            "model.gem",
            "../gem",
            "import",
        ]
    if flag.name == "data_file":
        return [*NAMES, "tiny.pt", "../tiny.pt", "mnist.pt"]
    if flag.kind is str and not flag.choices:
        return SMALL.get(flag.name, NAMES)
    edges = [value for edge in (flag.low, flag.high) if edge is not None for value in (edge - 1, edge, edge + 1)]
    if flag.kind is whole:
        wide = [value for value in [*edges, *WHOLE] if not 1 < float(value) < HUGE.get(flag.name, 0)]
        return [*3 * SMALL.get(flag.name, [1, 2, 3, 10, 50, 200]), *wide]
    if flag.kind is sizes:
        return ["auto", "8", "8,4", "0", "8,,4", "-1,2", "1000000000", *ODD]
    if flag.kind in (real, median_or_number, never_or_number):
        return [*REAL, *edges, flag.default]
    return YES_NO if flag.kind in (yes_no, yes_no_word) else [*3 * flag.choices]


def right(flag: Flag, value) -> bool:
    """Whether the table takes the value."""
    try:
        flag.parse(str(value))
    except UsageError:
        return False
    return True


def command(number: int) -> list[str]:
    """The command line of this number: the small data file, a method, and some flags.

    Those of even numbers have values that the table takes, mostly of flags that the method uses: they are to run.
    """
    draw, tame = random.Random(number), number % 2 == 0
    model = draw.choice(list(METHODS) if tame or draw.random() < 0.9 else values(FLAGS["model"]))
    given = {
        **{"data_path": ".", "data_file": "tiny.pt" if draw.random() < 0.8 and model != "icarl" else "split.pt"},
        **({"data_file": "text.pt"} if model == "das" else {}),
        **{"save_path": "r", "threads": 1, "model": model, "n_hiddens": 8},
        **{"n_memories": draw.choice([1, 5, 50]), "lr": draw.choice(["0.01", "0.1", "1"])},
    }
    if draw.random() < 0.2:
        given |= {"forgetting_mode": "yes", "forgetting_task_ids": draw.choice(["0", "0,1", "2"])}
    own = [name for name in FLAGS if model in METHODS and name in METHODS[model].flags]
    others = [name for name in FLAGS if arguments.uses(model, name)] if tame else list(FLAGS)
    for name in draw.choices([*others, *6 * own, *6 * ["lr"]], k=draw.randint(0, 6)):
        flag = FLAGS[name]
        value = draw.choice(ODD) if not tame and draw.random() < 0.1 else draw.choice(values(flag))
        if name != "model" and (not tame or (right(flag, value) and name not in PLACES)):
            given[name] = value
    argv = []
    for name, value in given.items():
        argv += [f"--{name}={value}"] if draw.random() < 0.1 else [f"--{name}", str(value)]
    if not tame and draw.random() < 0.05:
        argv.insert(draw.randrange(len(argv)), draw.choice([*ODD, "--unheard_of", "-h", "--n_mem", "@file"]))
    if not tame and draw.random() < 0.05:
        del argv[draw.randrange(len(argv))]
    return argv


def broken(done: Done, folder: Path) -> str:
    """The promise that a run in ``folder`` broke, in words; "" if it kept all."""
    said = [line for line in done.err.splitlines() if line.startswith("main.py: ")]
    left = [path.name for path in folder.rglob("*.tmp")]
    if done.status not in (0, 2, 3):
        return f"exit status {done.status} after {done.seconds:.1f} s"
    if "Traceback" in done.err or re.search(r"\.py:\d+: \w*Warning", done.err):
        return "a traceback, or a raw warning"
    if done.peak > 1024:
        return f"{done.peak:.0f} MB"
    if left:
        return f"leaves {left}"
    if done.status and len(said) != 1:
        return f"{len(said)} sentences"
    if done.status == 2 and ("Final Accuracy" in done.out or list(folder.glob("r/*.json"))):
        return "a result of a command that was refused"
    if not done.status and "usage:" not in done.out and "Final Accuracy: 0." not in done.out.replace("1.0", "0."):
        return "no result"
    return ""


def tried(forks: Forks, number: int, limit: float = 60) -> tuple[list[str], Done, str]:
    """Run the command of this number in a new folder: the command, how it ended, and the promise it broke, if any."""
    argv = command(number)
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above, "here")
        folder.mkdir()
        for place in (folder, Path(above)):
            for name in FILES:
                shutil.copy(forks.folder / name, place)
        done = forks(*argv, cwd=folder, limit=limit, memory=800)
        promise = broken(done, folder)
        for name in FILES:
            good = (forks.folder / name).read_bytes()
            if any(Path(place, name).read_bytes() != good for place in (folder, above)):
                promise = "a file was overwritten"
        return argv, done, promise


def prepare(forks: Forks) -> Forks:
    for name, split in FILES.items():
        if split is None:
            text_file(forks.folder / name, 3)
        else:
            files.save(forks.folder / name, *stream(n_outputs=6, split=split))
    return forks


def _main(n: int, first: int = 0) -> int:
    with tempfile.TemporaryDirectory() as folder:
        forks, wrong, slowest, peak, statuses = prepare(Forks(folder)), 0, 0.0, 0.0, {}
        for number in range(first, first + n):
            argv, done, promise = tried(forks, number)
            slowest, peak = max(slowest, done.seconds), max(peak, done.peak)
            statuses[done.status] = statuses.get(done.status, 0) + 1
            if promise:
                wrong += 1
                print(f"{number}: {promise}\n  {ascii(shlex.join(argv))[:1500]}\n  {done.err[-1500:]}", flush=True)
        forks.close()
    print(f"{n} commands from {first}: {wrong} break a promise; exit statuses {statuses}; "
          f"slowest {slowest:.1f} s, largest {peak:.0f} MB")  # fmt: skip
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(_main(*map(int, sys.argv[1:])))
