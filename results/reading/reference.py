"""Runs in the reference's .pt files: (result_t, result_a, state_dict, stats, one_liner, args).

Read with torch's restricted unpickler: tensors, builtins and argparse.Namespace, which holds nothing but
what was put into it. A file that asks for anything else is refused, and nothing in it is executed.
"""

import argparse
import io
import pickletools
import re
import struct
import warnings
import zipfile

from results import RecordError
from results.reading import bounds, fields
from results.reading.grid import note_values
from results.reading.run import PRINTED, Run

END = b"PK\x05\x06"  # of a zip archive, with at most 64 kB of comment behind it
PICKLES = 5  # that torch before 1.6 wrote before the tensors


def parse_torch(path):
    """The one run of a .pt file, None if it holds something else; RecordError if it cannot be read."""
    import torch

    from metrics.metrics import split

    parts = _loaded(path)
    if not isinstance(parts, (tuple, list)) or len(parts) < 4:
        return None
    try:
        result_t, result_a = map(_numbers, parts[:2])
        baseline, grid, order = split(result_t.reshape(-1), result_a)
        stats = [float(_numbers(s) if isinstance(s, torch.Tensor) else s) for s in parts[3][:5]]
    except (TypeError, ValueError, RuntimeError, OverflowError) as e:
        reason, _, _ = str(e).partition("\n")
        raise RecordError(f"{path}: is not a run's .pt file ({reason:.200})") from None
    run = Run(str(path), baseline=baseline.tolist(), grid=grid.tolist(), order=order, exact=True)
    note_values(run)
    keys = list(PRINTED)[-len(stats) :] if len(stats) in (3, 4) else []
    run.printed = {key: repr(s) for key, s in zip(keys, stats, strict=False)}
    args = parts[5] if len(parts) > 5 else None
    args = vars(args) if isinstance(args, argparse.Namespace) else args
    run.args = fields.inside("args", args, f"{path}: ", run.problems)
    return run


def _loaded(path):
    """What a .pt file holds. RecordError if it is damaged, too large, or asks for something to be called."""
    import torch

    data = bounds.contents(path, bounds.TORCH)
    try:
        large = _zip_is_large(data) if data.startswith(b"PK\x03\x04") else _pickles_are_large(data)
        if not large:
            with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
                warnings.simplefilter("ignore")  # about the file's pickle protocol, which its reader cannot change
                return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        large = True
    except Exception as e:  # the unpickler fails on damaged files with almost any exception
        asked = re.search(r"GLOBAL (\S+)", str(e))
        reason = f"asks for `{asked[1]:.100}`, which is not read" if asked else "is damaged, or is no .pt file"
        raise RecordError(f"{path}: {reason}") from None
    raise RecordError(f"{path}: unpacks to more than a run's .pt file holds")


def _zip_is_large(data):
    """Whether an archive holds more than its own bytes, or more besides tensors than a run needs."""
    (index,) = struct.unpack_from("<L", data, data.rindex(END) + 12)
    if index > bounds.PICKLE:
        return True
    entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    if sum(entry.file_size for entry in entries) > len(data):
        return True
    return any(entry.file_size > bounds.PICKLE for entry in entries if "/data/" not in entry.filename)


def _pickles_are_large(data):
    """Whether the pickles at the start of a file of torch before 1.6 take more bytes than a run needs."""
    start = io.BytesIO(data[: bounds.PICKLE])
    try:
        for _ in range(PICKLES):
            for _ in pickletools.genops(start):
                pass
    except ValueError:
        if start.tell() < bounds.PICKLE:
            raise
        return True
    return False


def _numbers(value):
    """A tensor of plain numbers, not more than a grid may have. TypeError or ValueError if it is something else."""
    import torch

    plain = type(value) is torch.Tensor and value.layout == torch.strided and value.device.type == "cpu"
    if not plain or value.is_complex() or value.is_quantized:
        raise TypeError(f"{fields.told(value)} is no tensor of numbers")
    if value.numel() > bounds.VALUES:
        raise ValueError(f"{value.numel():,} accuracies")
    return value if value.dtype in (torch.float32, torch.float64) else value.double()
