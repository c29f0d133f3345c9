"""Kill real runs at random moments, resume them until they are done, and compare with runs that nobody disturbed.

    python scripts/kill_test.py                                       every method, 20 kills each
    python scripts/kill_test.py --model gem ogd --kills 5 --n_hiddens 50

Other flags go to main.py. A run is a process of its own: a copy of this one, which has loaded torch. It is killed after a
random time (SIGKILL, SIGTERM, SIGINT, or SIGINT twice), or by SIGKILL at a random one of the calls that writing a
checkpoint, writing the record or removing the checkpoint makes. Methods that can unlearn do so at the end. Compared are the
records, without what varies from run to run, and the parameters bit for bit.

Exit status: 0; 1 if a run differs, or a file is half-written or left behind; 2 if the command is wrong.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

import torch

import main as program
import model as methods
from data import DataError, standard
from experiment import checkpoints
from experiment.store import PLACE, Damaged, Store, remove_left_behind
from results import process, record
from results.table import render

COMMAND = (
    "--data_file digits_permutations.pt --save_path r --n_tasks 3 --samples_per_task 100 --batch_size 5 --lr 0.05 "
    "--n_memories 10 --memory_strength 0.5 --log_every 20 --lca yes --checkpoint_every 4 --resume yes --threads 1 "
    "--task_sample 40 --ogd_per_task 40 --agem_batch 20 --memories 50 --replay_batch_size 5 --cov_recompute_every 5"
).split()
OWN = {  # what a method needs instead
    "joint": "--lca no".split(),
    "icarl": "--data_file digits_split.pt --n_memories 20".split(),
    "das": "--data_file text_domains.pt --samples_per_task 60 --n_layers 1 --n_hiddens 16 --task_sample 8 --lca no "
    "--pretrain_steps 20".split(),
}
UNLEARN = "--forgetting_mode True --forgetting_task_ids 1 --forgetting_resee_size 10".split()
VARY = ("seconds", "peak_memory_mb", "started", "git", "command")  # entries of a record that differ from run to run
SIGNALS = {"kill": [signal.SIGKILL], "term": [signal.SIGTERM], "int": [signal.SIGINT], "twice": [signal.SIGINT] * 2}
WRITERS = {"checkpoint": (Store, "write"), "record": (record, "write"), "removal": (Store, "remove")}
KINDS = (*SIGNALS, *WRITERS)
STOPPED = (-signal.SIGKILL, -signal.SIGTERM, 130, 143)  # how a run ends that was killed
ENDING = 10.0  # seconds in which a command that a killed run had begun, such as git, comes to its own end
LEFT = 7_200  # seconds by which files are made older, so that a later run takes them for left behind


class Ended(NamedTuple):
    """How a process ended: its number, its exit status (negative: the signal), and after how many seconds."""

    pid: int
    status: int
    seconds: float


def start(argv: list[str], folder: Path, before=lambda: None) -> int:
    """The number of a new process that runs ``main.py argv`` in ``folder``, with ``before()`` first."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, process.SIGNALS)  # until the new process heeds them as main.py does
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        return pid
    status = 99
    try:
        os.setsid()
        os.chdir(folder)
        out = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(out, number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        process.prepare("main.py")
        before()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        status = process.run("main.py", lambda: program.cli(argv))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def wait(pid: int, begun: float) -> Ended:
    """Wait for the end of a process."""
    return Ended(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), time.monotonic() - begun)


def watched(kind: str, at_call: int, n_calls: int):
    """Code for a new process: SIGKILL at the call number ``n_calls`` inside the ``at_call``-th writing of this kind.

    Without ``n_calls`` the calls of each writing are counted instead, and their number goes to the file of that name.
    """
    owner, name = WRITERS[kind]
    write, state = getattr(owner, name), {"writings": 0, "calls": 0}

    def profile(*_):
        state["calls"] += 1
        if state["calls"] == n_calls and state["writings"] == at_call:
            os.kill(os.getpid(), signal.SIGKILL)

    def writing(*given, **named):
        state["writings"], state["calls"] = state["writings"] + 1, 0
        sys.setprofile(profile)
        try:
            return write(*given, **named)
        finally:
            sys.setprofile(None)
            if not n_calls:
                Path(kind).write_text(str(state["calls"]))

    return lambda: setattr(owner, name, writing)


def undisturbed(argv: list[str], folder: Path) -> tuple[float, dict]:
    """Make a run in ``folder``; its seconds, and the calls that writing takes, by kind."""
    hooks = [watched(kind, 0, 0) for kind in WRITERS]
    begun = time.monotonic()
    ended = wait(start(argv, folder, lambda: [hook() for hook in hooks]), begun)
    if ended.status:
        raise SystemExit(f"kill_test.py: {' '.join(argv)}:\n{(folder / 'output').read_text()}")
    return ended.seconds, {kind: int((folder / kind).read_text()) for kind in WRITERS}


def disturbed(argv: list[str], folder: Path, kind: str, seconds: float, calls: dict, draw: random.Random) -> Ended:
    """Start or resume the run in ``folder`` and kill it as ``kind`` says; it may end before."""
    begun = time.monotonic()
    if kind in WRITERS:
        at_call = draw.randint(1, 3) if kind == "checkpoint" else 1  # a run writes one record
        return wait(start(argv, folder, watched(kind, at_call, draw.randint(1, calls[kind]))), begun)
    pid = start(argv, folder)
    handle = os.pidfd_open(pid)
    try:
        time.sleep(draw.uniform(0, seconds))
        for number in SIGNALS[kind]:
            signal.pidfd_send_signal(handle, number)
            time.sleep(draw.uniform(0, 0.005))
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return wait(pid, begun)


def done(folder: Path) -> bool:
    """Whether the run in ``folder`` has its record and needs no checkpoint any more; a kill may have come even later."""
    return any((folder / "r").glob("*.json")) and not any((folder / "r" / PLACE).glob("*/checkpoint"))


def damaged(folder: Path) -> list[str]:
    """The files that a killed run left under their final names and that are not whole."""
    found = []
    for path in (folder / "r").glob("*.*"):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".pt":
                torch.load(path, weights_only=True)
            elif path.suffix == ".txt" and "Forward" not in path.read_text():
                raise ValueError
        except Exception:
            found.append(str(path))
    for file in (folder / "r" / PLACE).glob("*/checkpoint"):
        try:
            Store(folder / "r", file.parent.name).read()
        except Damaged:
            found.append(str(file))
    return found


def left_behind(folder: Path, pids: list[int]) -> list[str]:
    """Files beside the one record, once a later run has begun; and processes of the sessions of those that were killed."""
    for path in [*(folder / "r").glob(".*"), *(folder / "r" / PLACE).rglob("*")]:
        os.utime(path, (time.time() - LEFT,) * 2)
    record.check_writable(folder / "r")
    remove_left_behind(folder / "r")
    files = [path.name for path in (folder / "r").iterdir()]
    bases = {name.rsplit(".", 1)[0] for name in files}
    left = [] if len(files) == 3 and len(bases) == 1 else sorted(files)
    until = time.monotonic() + ENDING
    while (running := of_sessions(pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return [*left, *(f"process {pid}" for pid in running)]


def of_sessions(pids: list[int]) -> list[str]:
    """The processes whose session is one of ``pids``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            if int(entry.read_text().rpartition(")")[2].split()[3]) in pids:
                found.append(entry.parent.name)
    return found


def measured(folder: Path) -> tuple[dict, dict, str]:
    """The one record in a folder without what varies, its parameters as bytes, and its text file."""
    (path,) = folder.glob("*.json")
    found = json.loads(path.read_text())
    state = torch.load(path.with_suffix(".pt"), weights_only=True)[2]
    tensors = {key: (value.dtype, value.shape, value.numpy(force=True).tobytes()) for key, value in state.items()}
    found = {name: value for name, value in found.items() if name not in VARY}
    del found["args"]["save_path"]
    return found, tensors, path.with_suffix(".txt").read_text()


def test(name: str, argv: list[str], n_kills: int, folder: Path, draw: random.Random) -> tuple[Counter, list[str]]:
    """Kill runs of ``argv`` until there were ``n_kills`` kills; what was counted, and what was wrong."""
    whole = folder / "whole"
    whole.mkdir()
    seconds, calls = undisturbed(argv, whole)
    expected = measured(whole / "r")
    counted, wrong = Counter(runs=0), []
    kinds: list[str] = []
    while counted["kills"] < n_kills:
        own = folder / f"{counted['runs']}"
        own.mkdir()
        killed = []
        while not done(own):
            kinds = kinds or draw.sample(KINDS, len(KINDS))
            kind = kinds.pop()
            ended = disturbed(argv, own, kind, seconds, calls, draw)
            counted["resumed"] += "the run goes on" in (own / "output").read_text()
            (own / "output").unlink()
            if ended.status not in (0, *STOPPED):
                wrong.append(f"{name}: {kind}: exit status {ended.status}, see {own}")
                break
            if ended.status:
                killed.append(ended.pid)
                counted["kills"] += 1
                counted[kind] += 1
                half = damaged(own)
                counted["half-written"] += len(half)
                wrong += [f"{name}: {kind}: {file} is half-written" for file in half]
        counted["runs"] += 1
        left = left_behind(own, killed)
        counted["orphans"] += len(left)
        if done(own) and measured(own / "r") != expected:
            counted["differences"] += 1
            wrong.append(f"{name}: {own} differs from {whole}")
        wrong += [f"{name}: {own}: {each} is left" for each in left]
        if not any(str(own) in text for text in wrong):
            shutil.rmtree(own)
    return counted, wrong


def main(argv: list[str]) -> int:
    """Run the command line ``argv``; return the exit status."""
    p = argparse.ArgumentParser(
        prog="kill_test.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--model", nargs="+", default=list(methods.METHODS), help="methods (default: all)")
    p.add_argument("--kills", type=int, default=20, metavar="N", help="kills of each method (%(default)s)")
    p.add_argument("--random", type=int, default=0, metavar="SEED", help="of the moments (%(default)s)")
    args, flags = p.parse_known_args(argv)
    torch.set_num_threads(1)
    checkpoints.program()
    columns = ("runs", "kills", *KINDS, "resumed", "differences", "half-written", "orphans")
    rows, mistakes = [], []
    folder = Path(tempfile.mkdtemp(prefix="kill_test-"))
    common = [*COMMAND, "--data_path", str(ROOT / "data"), *flags]
    for name in args.model:
        words = ["--model", name, *common, *OWN.get(name, [])]
        try:
            settled, module, _ = program.parse(words)
            standard.ensure(os.path.join(settled.data_path, settled.data_file), settled.raw_path)
        except (methods.UsageError, DataError) as mistake:
            print(f"kill_test.py: {mistake}", file=sys.stderr)
            return 2
        words += UNLEARN if hasattr(module.Net, "unlearn") else []
        own = folder / name
        own.mkdir()
        counted, wrong = test(name, words, args.kills, own, random.Random(f"{args.random} {name}"))
        rows.append([name, *(str(counted[column]) for column in columns)])
        mistakes += wrong
        print(f"{name}: " + ", ".join(f"{counted[column]} {column}" for column in columns), file=sys.stderr, flush=True)
    total = [str(sum(int(row[i + 1]) for row in rows)) for i in range(len(columns))]
    print(render(["method", *columns], [*rows, ["total", *total]], "text"))
    for wrong in mistakes:
        print(wrong)
    if not mistakes:
        shutil.rmtree(folder)
    return int(bool(mistakes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
