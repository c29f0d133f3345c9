"""Runs in the reference's .pt files: (result_t, result_a, state_dict, stats, one_liner, args).

Read with torch's restricted unpickler: tensors, builtins and argparse.Namespace, which holds nothing but
what was put into it. A file that asks for anything else is refused, and nothing in it is executed.
"""

import argparse

from results import RecordError
from results.run import PRINTED, Run


def parse_torch(path):
    """The one run of a .pt file, None if it holds something else; RecordError if it cannot be read."""
    import torch

    from metrics.metrics import split

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            parts = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # the unpickler fails on damaged files with almost any exception
        reason = " ".join(str(e).split())[:160] or type(e).__name__
        raise RecordError(f"{path}: cannot be read as a run's .pt file ({reason})") from None
    if not isinstance(parts, (tuple, list)) or len(parts) < 4:
        return None
    try:
        result_t = torch.as_tensor(parts[0]).reshape(-1)
        baseline, grid, order = split(result_t, torch.as_tensor(parts[1]))
        stats = [float(s) for s in parts[3]]
    except (TypeError, ValueError, RuntimeError, OverflowError) as e:
        raise RecordError(f"{path}: is not a run's .pt file ({' '.join(str(e).split())[:160]})") from None
    run = Run(str(path), baseline=baseline.tolist(), grid=grid.tolist())
    if order != sorted(order):
        run.order = order
    keys = list(PRINTED)[-len(stats) :] if len(stats) in (3, 4) else []
    run.printed = {key: repr(s) for key, s in zip(keys, stats, strict=False)}
    args = parts[5] if len(parts) > 5 else None
    if isinstance(args, argparse.Namespace):
        args = vars(args)
    run.args = args if isinstance(args, dict) else None
    return run
