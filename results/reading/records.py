"""A run's record (.json) as a Run."""

import json
import math
from pathlib import Path

from metrics.metrics import REFERENCE_KEYS
from results import RecordError, record
from results.reading import bounds, fields, training
from results.reading.grid import note_values
from results.reading.run import Run


def read(path):
    """The record of a run, given any of its three files: the .json's content, without guessing.

    A .txt or .pt with no .json beside it (the reference's) is not a record: logs.parse reads those.
    """
    path = Path(path)
    beside = path.with_name(path.name[: -len(path.suffix)] + ".json") if path.suffix in record.SUFFIXES else path
    return checked(read_json(beside), beside)


def read_json(path):
    """A JSON file's content; RecordError says what is wrong, and in which line."""
    try:
        data = bounds.contents(path, bounds.JSON)
        if len(data) > bounds.OTHER_JSON and not data.isascii():
            raise RecordError(
                f"{path}: is larger than the {bounds.OTHER_JSON // 10**6} MB that are read of such a file"
            )
        large = data.count(b"[") + data.count(b"{") + data.count(b'"') // 2
        if data.count(b",") > bounds.VALUES or large > bounds.LARGE:
            raise RecordError(f"{path}: holds more values than any record does (results/reading/bounds.py)")
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        del data  # as large as the text
        return json.loads(text)
    except OSError as e:
        raise RecordError(f"{path}: cannot be read ({e.strerror or e})") from None
    except json.JSONDecodeError as e:
        raise RecordError(f"{path}:{e.lineno}: is not JSON ({e.msg})") from None
    except (ValueError, RecursionError) as e:  # not text, a number too long, nested too deep
        raise RecordError(f"{path}: is not JSON ({e})") from None


def checked(content, path):
    """content, if it is a record that this program can read; else RecordError."""
    if not isinstance(content, dict) or "format" not in content:
        raise RecordError(f"{path}: is not a run's record (it has no 'format')")
    if content["format"] != record.FORMAT:
        raise RecordError(f"{path}: has format {content['format']!r}; this program reads format {record.FORMAT}")
    return content


def from_record(content, path):
    """A record (dict) as a Run. Fields of the wrong kind are left out, and named in its problems."""
    run = Run(str(path), label=Path(path).stem, exact=True)
    found = fields.of_record(content, path, run.problems)
    _fill(run, content)
    run.printed = {key: repr(float(v)) for key in REFERENCE_KEYS if (v := found.get(key)) is not None}
    if not (run.grid or run.baseline or run.printed):
        run.problems.append(f"{path}: has no grid and no numbers")
        return run
    run.record, run.args = found, found.get("args")
    run.order = (found.get("protocol") or {}).get("task_order") or None
    run.seconds = (found.get("seconds") or {}).get("total")
    training.of_record(found, run)
    return run


def _fill(run, content):
    """Set the run's baseline and grid from the record's."""
    baseline, grid = content.get("baseline"), content.get("grid")
    try:
        run.grid = [_accuracies(row) for row in grid or []]
        run.baseline = None if baseline is None else _accuracies(baseline)
        widths = {len(row) for row in run.grid} | ({len(run.baseline)} if run.baseline is not None else set())
        if len(widths) > 1:
            raise ValueError(f"rows of {min(widths)} to {max(widths)} numbers")
    except (TypeError, ValueError) as e:
        run.grid, run.baseline = [], None
        run.problems.append(f"{run.source}: grid or baseline is not rows of numbers ({e})")
    note_values(run)


def _accuracies(row):
    if not isinstance(row, list):
        raise TypeError(f"{fields.told(row)} is not a row")
    if not all(v is None or fields.NUMBER.fits(v) for v in row):
        raise TypeError(f"{fields.told(row)} are not all numbers")
    return [math.nan if v is None else float(v) for v in row]
