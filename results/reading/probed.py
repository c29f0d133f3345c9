"""What probes measured of a run: entries of its record, and the arrays in the .npz beside it."""

import zipfile
from pathlib import Path

import numpy as np

from results import RecordError, record
from results.reading import bounds


def entry(run, probe):
    """The record's entry of a probe, a dict; None if the run has none."""
    found = ((run.record or {}).get("probes") or {}).get(probe)
    return found if isinstance(found, dict) else None


def arrays(run, probe):
    """The arrays of a probe by name; {} if the run has none. RecordError if the file cannot be read, or is too large."""
    path = Path(run.source).with_suffix(record.ARRAYS)
    if entry(run, probe) is None or not path.is_file():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > bounds.ARRAYS:
                raise RecordError(f"{path}: unpacks to more than {bounds.ARRAYS // 10**6} MB, which no run leaves")
        with np.load(path, allow_pickle=False) as found:
            return {name.removeprefix(f"{probe}."): found[name] for name in found.files if name.startswith(f"{probe}.")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise RecordError(f"{path}: is damaged, or is no .npz file ({str(e)[:100]})") from None
