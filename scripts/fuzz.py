"""Damaged inputs for everything that reads files of others: python scripts/fuzz.py [TARGET ...] [--seconds 60] [--keep yes]

An input is made from one that reached new lines before (scripts/fuzzing/). A target (scripts/fuzzing/targets.py) may
read it or refuse it. Anything else counts: a crash is another exception or a signal, among them want of memory beyond
1 GB, and a hang takes more than 10 seconds. Inputs that crash or hang go to --out; exit status 1 if there are any.
--keep yes adds the inputs that reached new lines to tests/corpus/<target>/, from where every later hunt and the tests
start, and deletes those from it that smaller ones make needless. Put an input that broke something there as
crash_<what it was>.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.fuzzing import hunt
from scripts.fuzzing.targets import TARGETS

CORPUS = ROOT / "tests" / "corpus"
EVER = 10**12


def corpus(target: str) -> list[bytes]:
    """The inputs that a hunt starts from: the target's seeds, and those kept."""
    kept = sorted((CORPUS / target).glob("*"), key=lambda path: path.name)
    return [*TARGETS[target].seeds(), *(path.read_bytes() for path in kept)]


def prune(name: str, scratch: str) -> None:
    """Delete from a target's corpus what reaches nothing that the seeds and smaller inputs do not reach.

    Inputs named crash_<what> stay: they broke something once.
    """
    hunted = hunt.Hunt(TARGETS[name], TARGETS[name].seeds(), Path(scratch))
    for path in sorted((CORPUS / name).glob("*"), key=lambda path: (path.stat().st_size, path.name)):
        if not hunted.attempt(path.read_bytes()) and not path.name.startswith("crash_"):
            path.unlink()


def worker(name: str, seconds: float, inputs: int, seed: int, scratch: str, keep: bool) -> None:
    """One hunt in this process; prints a line of JSON."""
    hunt.bound_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hunted = hunt.Hunt(TARGETS[name], corpus(name), Path(scratch), seed)
    for data in hunted.go_on(seconds, inputs):
        if keep:
            (CORPUS / name).mkdir(parents=True, exist_ok=True)
            (CORPUS / name / hunt.name(data)).write_bytes(data)
    if keep:
        prune(name, scratch)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    failures = {what: data.hex() for what, data in hunted.failures.items()}
    print(json.dumps([hunted.inputs, len(hunted.corpus), len(hunted.seen), more, hunted.slowest, failures]))


def hunted(name: str, options) -> dict:
    """Hunt in a process of its own, which a signal may end; returns {what went wrong: input}."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        flags = [
            "--seconds",
            options.seconds,
            "--inputs",
            options.inputs,
            "--seed",
            options.seed,
            "--keep",
            options.keep,
        ]
        command = [sys.executable, __file__, name, *map(str, flags), "--scratch", scratch]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            held = Path(scratch, TARGETS[name].name)
            print(f"{name}: ended by status {done.returncode}", flush=True)
            return {f"status {done.returncode}": held.read_bytes() if held.exists() else b""}
    n, kept, edges, megabytes, slowest, failures = json.loads(done.stdout)
    hangs = sum(what.startswith("Hang") for what in failures)
    print(
        f"{name}: {n:,} inputs, {kept} in the corpus, {edges} steps from line to line, {len(failures) - hangs} crashes, "
        f"{hangs} hangs, slowest {slowest:.2f} s, {megabytes:.0f} MB more at the peak",
        flush=True,
    )
    return {what: bytes.fromhex(data) for what, data in failures.items()}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all by default: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=60, help="of each target (default: %(default)s)")
    parser.add_argument("--inputs", type=int, default=EVER, help="of each target at most")
    parser.add_argument("--seed", type=int, default=0, help="of the random changes (default: %(default)s)")
    parser.add_argument("--keep", choices=("yes", "no"), default="no", help="add to the corpus (default: %(default)s)")
    parser.add_argument("--out", default="fuzzed", help="folder of inputs that crash or hang (default: %(default)s)")
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    for name in options.targets:
        if name not in TARGETS:
            parser.error(f"{name}: no such target; there are {', '.join(TARGETS)}")
    if options.scratch:
        keep = options.keep == "yes"
        worker(*options.targets, options.seconds, options.inputs, options.seed, options.scratch, keep)
        return 0
    status = 0
    for name in options.targets or TARGETS:
        for what, data in hunted(name, options).items():
            status = 1
            path = Path(options.out, name, hunt.name(data))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"  {what}: {path}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
