"""Runs one by one, for notebooks and other tools: as a pandas DataFrame, imported only when it is asked for, or as CSV.

from results.comparing.frames import frame
frame("results/runs/digits").groupby("model")["final"].describe()
"""

import os

from results import RecordError
from results.comparing import cells
from results.comparing.measures import MEASURES
from results.table import render

FIRST = ("model", "seed", "status", "data_file")  # columns before the protocol's, the settings' and the measures'


def frame(paths):
    """The runs of records, logs and folders as a DataFrame with a row for each run, several of one seed included.

    paths: one, or several. Columns: FIRST, the fields of the protocol, the settings of all methods, the measures (keys
    of MEASURES), and `source`, the file. Values are missing where a run does not tell them, and where its method does
    not use a setting. RecordError if a path does not exist, or nothing can be read; problems of single logs go to
    stderr.
    """
    found, _ = cells.read([paths] if isinstance(paths, (str, os.PathLike)) else paths, "results.frame")
    return framed(found)


def framed(found):
    """The DataFrame of a list of Run."""
    try:
        import pandas
    except ImportError:
        raise RecordError("a frame of runs needs pandas: pip install -r requirements-results.txt") from None
    settings = dict.fromkeys(name for run in found for name in cells.settings(run))
    fields = list(dict.fromkeys((*FIRST, *cells.PROTOCOL, *settings)))
    rows = [
        {
            **{name: _told(cells.field(run, name)) for name in fields},
            **{name: measure.value(run) for name, measure in MEASURES.items()},
            cells.SOURCE: run.source,
        }
        for run in found
    ]
    return pandas.DataFrame(rows, columns=[*fields, *MEASURES, cells.SOURCE])


def long(found, by, metrics):
    """A list of Run as CSV in long form, without pandas: a row with the fields `by` for each run and measure it has."""
    fields = list(dict.fromkeys(("model", *by, "seed", "status")))
    rows = []
    for run in found:
        facts = [_told(cells.field(run, name)) for name in fields]
        values = {name: value for name in metrics if (value := MEASURES[name].value(run)) is not None}
        rows += [
            [*("" if v is None else str(v) for v in facts), run.source, name, str(v)] for name, v in values.items()
        ]
    return render([*fields, cells.SOURCE, "measure", "value"], rows, "csv")


def _told(value):
    """A field's value; None for a flag that is not used, and a tuple for a list, so that it can be grouped by."""
    return None if value == cells.UNUSED else tuple(value) if isinstance(value, list) else value
