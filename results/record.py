"""The one writer of a run's record: <base>.txt, <base>.pt and <base>.json; results.reading reads it.

.txt   the reference's text file: baseline row, '|', the grid, the three numbers (metrics.text)
.pt    the reference's 6-tuple (result_t (E,), result_a (E, T), state_dict, stats, one_liner, args), builtins
       and tensors only, args a dict: torch.load(weights_only=True) reads it
.json  everything, format 1; this is what tools read
.npz   only where a probe has arrays: those, by name (docs/probes.md)

The .json is renamed into place last: where it stands, the record is complete.
"""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

from data import temporary
from results import RecordError

FORMAT = 1
SUFFIXES = (".json", ".pt", ".txt")  # in the order in which a reader prefers them
ARRAYS = ".npz"  # the ending of a fourth file, for what probes measured
ROOT = Path(__file__).resolve().parent.parent


def name(model, data_file, uid, when):
    """The reference's file name without suffix: <model>_<data_file>_<YYYY_MM_DD_HH_MM_SS>_<uid>.

    Long names are cut, and what cannot be printed becomes "_".
    """
    return f"{_short(model, 70)}_{_short(os.path.basename(data_file), 120)}_{when:%Y_%m_%d_%H_%M_%S}_{uid}"


def _short(text, n_bytes):
    """``text`` with "_" for characters that cannot be printed, cut to so many bytes as a file's name counts them."""
    text = "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else "_" for c in text)
    while len(os.fsencode(text)) > n_bytes:
        text = text[:-1]
    return text


def folder(save_path):
    """The folder of a run's record: --save_path, unless a sweep collects it elsewhere ($SWEEP_RECORDS).

    A sweep sets an environment variable and no flag, so that the record holds the command line as the user gave it.
    """
    return os.environ.get("SWEEP_RECORDS") or save_path


def in_a_sweep():
    """Whether this run is a job of a sweep."""
    return bool(os.environ.get("SWEEP_RECORDS"))


def check_writable(save_path, flag="--save_path"):
    """Create the folder that ``flag`` named and find out, before any training, that a record can be written into it."""
    folder = Path(save_path)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise RecordError(f"{flag} {save_path}: is a file; give a folder")
    try:
        temporary.make_folder(folder)
        temporary.remove_left_over(folder)
        temporary.try_out(folder)
    except OSError as e:
        raise RecordError(
            f"{flag} {save_path}: cannot be written ({e.strerror or e}); give a folder that can"
        ) from None


def write(save_path, file_name, record, result_t, result_a, state_dict, one_liner, args=None, arrays=None):
    """Write the three files of a run and return their common path without suffix.

    result_t (E,), result_a (E, T): tensors as for metrics.split(); args: the run's arguments, the record's
    own by default; one_liner: as one_liner() makes it; arrays: those of probes, by name, for a fourth file.
    All files are complete under temporary names before the first is renamed, so that a failure leaves
    whatever stood there before.
    """
    import torch

    from metrics import metrics, unlearning

    base = Path(save_path) / file_name
    args = record["args"] if args is None else args
    args = plain(args if isinstance(args, dict) else vars(args))
    state = {key: v.detach().clone() if isinstance(v, torch.Tensor) else v for key, v in state_dict.items()}
    suffixes = (*reversed(SUFFIXES[1:]), *([ARRAYS] if arrays else []), SUFFIXES[0])
    try:
        temporary.make_folder(save_path)
        with temporary.replacing(*(base.with_name(base.name + suffix) for suffix in suffixes)) as opened:
            files = dict(zip(suffixes, opened, strict=True))
            text = metrics.text(*metrics.split(result_t, result_a), stats(record), "joint" in record)
            if record.get("forgetting"):
                text += f"\n{unlearning.text(record['forgetting'])}\n"
            files[".txt"].write(text.encode())
            torch.save((result_t, result_a, state, stats(record), str(one_liner), args), files[".pt"])
            if arrays:
                import numpy as np

                np.savez_compressed(files[ARRAYS], **arrays)
            files[".json"].write(to_json(record).encode())
    except (OSError, RuntimeError) as e:
        reason = getattr(e, "strerror", None) or e
        raise RecordError(
            f"{base}: the record cannot be written ({reason}); make room, or give another folder"
        ) from None
    return str(base)


def stats(record):
    """The three numbers that the reference prints, of a record; nan for what was not measured, or means nothing."""
    from metrics.metrics import REFERENCE_KEYS

    return [math.nan if record[key] is None else record[key] for key in REFERENCE_KEYS]


def one_liner(args, stats):
    """'<str(vars(args))> # final backward forward', the numbers with three decimals."""
    args = args if isinstance(args, dict) else vars(args)
    return f"{args} # {' '.join(f'{math.nan if stat is None else stat:.3f}' for stat in stats)}"


def to_json(record):
    """The record as JSON text with one top-level entry a line; ``plain`` converts what JSON cannot hold."""
    entries = [f"{json.dumps(str(k))}: {json.dumps(plain(v), allow_nan=False)}" for k, v in record.items()]
    return "{\n" + ",\n".join(entries) + "\n}\n"


def plain(value):
    """value as builtins that JSON can hold: tensors and arrays as lists, nan and infinity as None."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # tensors, arrays and numpy's scalars
        return plain(value.tolist())
    return str(value)


def versions():
    """The versions that can change a run's digits, and the CPU kernels that torch chose."""
    import torch

    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("numpy", "quadprog"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return {**found, "cpu_capability": torch.backends.cpu.get_cpu_capability()}


def git_revision():
    """Commit of the checkout this file is in, with '-dirty' if tracked files differ; None outside one."""

    def git(*command):
        done = subprocess.run(
            ["git", "-C", str(ROOT), *command], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return None  # this is a copy inside another project's repository
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory_mb():
    """Largest resident memory of this process so far, in MB of 2^20 bytes; None where it is not known."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return round(next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 2**10, 1)
    except (OSError, StopIteration):
        pass  # not Linux, where getrusage would begin with what the process that started this one had
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
