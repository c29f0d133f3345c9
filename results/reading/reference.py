"""Runs in the reference's .pt files: (result_t, result_a, state_dict, stats, one_liner, args).

Read with torch's restricted unpickler: tensors, builtins and argparse.Namespace, which holds nothing but
what was put into it. A file that asks for anything else is refused, and nothing in it is executed.
"""

import argparse
import re

from results import RecordError
from results.reading.grid import note_values
from results.reading.run import PRINTED, Run


def parse_torch(path):
    """The one run of a .pt file, None if it holds something else; RecordError if it cannot be read."""
    import torch

    from metrics.metrics import split

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            parts = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as e:  # the unpickler fails on damaged files with almost any exception
        asked = re.search(r"GLOBAL (\S+)", str(e))
        reason = f"asks for `{asked[1]}`, which is not read" if asked else "is damaged, or is no .pt file"
        raise RecordError(f"{path}: {reason}") from None
    if not isinstance(parts, (tuple, list)) or len(parts) < 4:
        return None
    try:
        result_t = torch.as_tensor(parts[0]).reshape(-1)
        baseline, grid, order = split(result_t, torch.as_tensor(parts[1]))
        stats = [float(s) for s in parts[3]]
    except (TypeError, ValueError, RuntimeError, OverflowError) as e:
        reason, _, _ = str(e).partition("\n")
        raise RecordError(f"{path}: is not a run's .pt file ({reason})") from None
    run = Run(str(path), baseline=baseline.tolist(), grid=grid.tolist(), exact=True)
    note_values(run)
    if order != sorted(order):
        run.order = order
    keys = list(PRINTED)[-len(stats) :] if len(stats) in (3, 4) else []
    run.printed = {key: repr(s) for key, s in zip(keys, stats, strict=False)}
    args = parts[5] if len(parts) > 5 else None
    if isinstance(args, argparse.Namespace):
        args = vars(args)
    run.args = args if isinstance(args, dict) else None
    return run
