"""Run many command lines of main.py, on all cores or on a cluster; the same command continues after any crash.

    python scripts/sweep.py --model gem agem_closed --seed 0..4 --lr 0.01 0.03 --n_memories 10    a grid
    python scripts/sweep.py jobs.txt --seed 0..4          each line of the file with each of the seeds; - is stdin
    python scripts/sweep.py best results/sweep            the best setting of each method (see best --help)

Every flag of main.py may have several values; 0..4 is 0 1 2 3 4. A job whose record is in the folder of --out is not
run again. Exit status: 0 all jobs are finished (a run that diverged is); 1 some failed; 2 a mistake in the command,
or the scheduler was lost; 130 interrupted.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        from model import UsageError, shown

        raise UsageError(f"{shown(message, 200)}; see sweep.py --help")


def parser() -> argparse.ArgumentParser:
    """The sweep's own flags; all others are main.py's."""
    p = _Parser(
        prog="sweep.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    p.add_argument("files", nargs="*", metavar="FILE", help="command lines of main.py, one a line; - is stdin")
    p.add_argument("--out", default="results/sweep", metavar="DIR", help="folder of the records (%(default)s)")
    p.add_argument("--print", action="store_true", help="only list the jobs, and which are finished")
    p.add_argument("--retries", type=int, default=1, metavar="N", help="how often a failed job is tried again (1)")
    p.add_argument("--workers", type=int, metavar="N", help="jobs at a time (default: the cores; SLURM: 4)")
    p.add_argument("--gpus", type=int, metavar="N", help="GPUs of this machine, one job each (default: those it has)")
    p.add_argument(
        "--memory_limit", metavar="SIZE", help="of one job, such as 4GB (default: this machine's by workers; no limit)"
    )
    p.add_argument("--scheduler", metavar="ADDRESS", help="of a running dask cluster, such as tcp://10.0.0.1:8786")
    p.add_argument("--slurm", nargs="*", metavar="KEY=VALUE", help="SLURM jobs as workers: queue=cpu walltime=02:00:00")
    return p


def split(argv: list[str], own: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Split the command line into the words for the sweep's own parser and those of the grid."""
    ours, grid, target = [], [], None
    known = set(own._option_string_actions)
    for word in argv:
        if word.startswith("-") and not re.fullmatch(r"-(\d.*|\.\d.*)?", word):
            target = ours if word.partition("=")[0] in known else grid
        (ours if target is None else target).append(word)
    return ours, grid


def settle(args):
    """Check the sweep's own flags, and fill in defaults that depend on this machine, in place."""
    from model import UsageError, shown
    from scripts.sweeping import clusters

    local = not args.scheduler and args.slurm is None
    workers = max(64, clusters.cores()) if local else 10_000
    for name, low, high in (("retries", 0, 1000), ("workers", 1, workers), ("gpus", 0, 1000)):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name} {shown(str(value))}: out of range; give a number from {low} to {high}")
    if args.scheduler and args.slurm is not None:
        raise UsageError("--scheduler and --slurm: workers come from one of them; give one")
    if args.slurm is not None:
        pairs = [option.partition("=") for option in args.slurm]
        if not all(key and equals for key, equals, _ in pairs):
            raise UsageError(f"--slurm {' '.join(args.slurm)}: give KEY=VALUE pairs, such as queue=cpu")
        args.slurm = {key: value for key, _, value in pairs}
    if not args.out:
        raise UsageError("--out '': no folder; give one, such as results/sweep")
    args.workers = args.workers or (clusters.cores() if local else 4)
    if args.memory_limit is not None:
        args.memory_limit = size(args.memory_limit, args.files)
    elif local:
        args.memory_limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // args.workers
    return args


def size(text: str, files: list[str]) -> int:
    """--memory_limit in bytes. ``files``: the words read as files; a unit typed after a space is among them."""
    from model import UsageError, shown

    for word in files:
        if re.fullmatch(r"[KMGT]?I?B", word.upper()) and not Path(word).exists():
            raise UsageError(f"--memory_limit {text} {word}: has a space in it; give {text}{word}")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", text.upper())
    n_bytes = float(match[1]) * UNITS[match[2]] if match else 0
    if not 1 <= n_bytes < 2**63:
        raise UsageError(f"--memory_limit {shown(text)}: not a size of memory; give one such as 4GB")
    return int(n_bytes)


def read_jobs(args, grid: list[str]):
    """The jobs of the command, and notes on what was left out."""
    from model import UsageError
    from results.reading import bounds
    from scripts.sweeping import jobs

    texts = {}
    for name in args.files:
        try:
            text = bounds.contents(0 if name == "-" else name, bounds.TEXT).decode("utf-8")
            texts["stdin" if name == "-" else name] = text.removeprefix("\ufeff")  # a byte-order mark
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
        if "\0" in text:
            raise UsageError(f"{name}: is no text; give a file of command lines of main.py")
    found, notes = jobs.read(texts, jobs.grouped(grid))
    if not found:
        raise UsageError("no jobs: give files of command lines, or flags of main.py such as --model gem --seed 0..4")
    return found, notes


def gpus_for(args, jobs) -> int:
    """How many workers get a GPU: 0 if no job asks for one, or, which is then said, if this machine has none."""
    if not any(job.args["cuda"] for job in jobs):
        return 0
    if args.scheduler or args.slurm is not None:
        return 1
    import torch

    n = torch.cuda.device_count() if args.gpus is None else args.gpus
    if n < 1:
        print("note: --cuda yes: torch sees no GPU here, so these jobs run on the CPU", file=sys.stderr)
        return 0
    return min(n, args.workers)


def sweep(argv: list[str]) -> int:
    """Run the command line after ``sweep.py``; return the exit status."""
    from scripts.sweeping import clusters, execute
    from scripts.sweeping.store import Store

    own = parser()
    ours, grid = split(argv, own)
    args = settle(own.parse_intermixed_args(ours))
    jobs, notes = read_jobs(args, grid)
    store = Store(args.out)
    states = {job.name: store.status(job) for job in jobs}
    todo = [job for job in jobs if not states[job.name]]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if args.print:
        for job in jobs:
            print(f"{job.command}  # {job.name} {states[job.name] or 'to do'}")
        return 0
    found = len(jobs) - len(todo)
    began = time.monotonic()
    store.prepare()
    failures, counts = [], {"done": 0, "diverged": 0}
    if todo:
        print(f"{len(jobs)} jobs, {found} finished before; records go to {args.out}", file=sys.stderr, flush=True)
        gpus = gpus_for(args, todo)
        with clusters.client(args.scheduler, args.slurm, args.workers, gpus, args.memory_limit) as client:
            counts, failures = execute.run(todo, store, client, args.retries, args.memory_limit, str(ROOT), gpus)
    for job, result in failures:
        print(f"\nfailed, {execute.why(result)}: {job.command}\n{execute.tail(result)}", file=sys.stderr, end="")
        print(f"  all of its output: {store.path(job.name)}.failed", file=sys.stderr)
    diverged = counts["diverged"] + sum(state == "diverged" for state in states.values())
    print(
        f"{len(jobs)} jobs: {found} finished before, {sum(counts.values())} now, {len(failures)} failed"
        f"{f'; {diverged} diverged' if diverged else ''}; {time.monotonic() - began:.1f} s; records in {args.out}"
    )
    return 1 if failures else 0


def cli(argv: list[str] | None = None) -> int:
    """``sweep`` or ``best``, with exit statuses instead of exceptions."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv in (["-h"], ["--help"]):
        parser().print_help()
        return 0 if argv else 2
    from data import DataError
    from model import UsageError
    from results import RecordError, console

    status = int(argv[0] != "best" and "--print" not in argv)  # the status if the reader stops before the end
    try:
        if argv[0] == "best":
            from scripts.sweeping import selection

            status = selection.main(argv[1:])
        else:
            status = sweep(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # as after `| head`
        console.leave()
    except (UsageError, DataError, RecordError) as mistake:
        print(f"sweep.py: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep.py: interrupted; the same command continues", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(cli())
