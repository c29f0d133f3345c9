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
        with np.load(path, allow_pickle=False) as archive:
            own = [name for name in archive.files if name.startswith(f"{probe}.")]
            found = {name.removeprefix(f"{probe}."): archive[name] for name in own}
        for name, array in found.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
                raise TypeError(f"{name} is no array of numbers")
    except RecordError:
        raise
    except Exception as e:  # numpy and zipfile stumble over damage in many ways
        reason = " ".join(str(e).split())[:100]
        raise RecordError(f"{path}: is damaged, or is no .npz file ({reason})") from None
    return found
