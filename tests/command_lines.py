"""Runs of the random command lines of scripts/fuzzing/command_lines.py, and what must hold of each.

``python -m tests.command_lines N [FIRST]`` runs N of them and prints those that break a promise.
"""

import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from data import files
from scripts.fuzzing.command_lines import FILES, command
from tests.conftest import stream, text_file
from tests.forked import Done, Forks


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
