"""Runs as a DataFrame, and in long form: nothing is averaged, and nothing is left out."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest

from results import RecordError, compare
from results.comparing import cells, inference
from results.comparing.frames import frame
from results.comparing.measures import MEASURES
from tests.results.records import make, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """Runs that results.compare would not average, one that diverged, and one whose seed was begun again."""
    several = [make("gem", s, 0.7 + s / 50) for s in range(3)] + [make("gem", 0, 0.8, lr=0.3, started="9")]
    broken = make("ewc", 1, None, status="diverged", grid=[], backward=None, forward=None, evolution=None)
    return write(tmp_path / "r", *several, make("single", 0, 0.5), make("gem", 0, 0.75, started="9"), broken)


def test_a_row_a_run(folder):
    table = frame(folder)
    assert len(table) == 7 and not table.columns.duplicated().any()
    assert {"model", "seed", "status", "data_hash", "lr", "source", *MEASURES} <= set(table.columns)
    runs = [cells.read([path], "x")[0][0] for path in table["source"]]
    for name, measure in MEASURES.items():
        values = [measure.value(run) for run in runs]
        assert [None if v != v else v for v in table[name]] == values
    gem = table[(table["model"] == "gem") & (table["lr"] == 0.1)]
    assert gem["final"].std() == pytest.approx(inference.deviation(list(gem["final"])), abs=1e-12)
    assert table.groupby(["model", "samples_per_task"]).size()["single", (7, 7)] == 1
    assert table.loc[table["model"] == "single", "memory_strength"].isna().all()  # a flag that it does not use
    assert len(frame([folder, folder])) == 7


def test_long_form(folder, capsys):
    assert compare.main([folder, "--format", "long", "--by", "model,lr", "--metric", "final,violations"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["model", "lr", "seed", "status", "source", "measure", "value"]
    table = frame(folder).melt(["source"], ["final", "violations"], "measure").dropna()
    assert {(r["source"], r["measure"], float(r["value"])) for r in rows} == set(
        table.itertuples(index=False, name=None)
    )
    assert [r["status"] for r in rows if r["model"] == "ewc"] == [
        "diverged"
    ]  # its violations: it has no final accuracy
    assert compare.main([folder, "--format", "long", "--baseline", "gem"]) == 2
    assert "--format long: has a line for each run" in capsys.readouterr().err


def test_what_cannot_be_read(tmp_path, capsys):
    with pytest.raises(RecordError, match="nowhere: no such file or folder"):
        frame(tmp_path / "nowhere")
    write(tmp_path, make())
    (tmp_path / "broken.json").write_text('{"format": 1, "grid": [[')
    assert len(frame(tmp_path)) == 1
    assert "broken.json:1: is not JSON" in capsys.readouterr().err


def test_without_pandas(folder, hide, capsys):
    hide("pandas")
    with pytest.raises(RecordError, match="a frame of runs needs pandas: pip install -r requirements-results"):
        frame(folder)
    assert compare.main([folder, "--format", "long"]) == 0


def test_pandas_is_imported_only_when_asked_for():
    code = "import sys, results.compare, results.comparing.frames; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"
