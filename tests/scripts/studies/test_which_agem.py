"""scripts/studies/which_agem.py: the document is made from records, and says what they say."""

import os

from scripts.studies import which_agem
from tests.results.records import make, write

GRID = [[0.5] * 10] * 10


def several(model, margin, final, seeds=range(3), **more):
    grids = {s: [*GRID[:9], [final + s / 100] * 10] for s in seeds}
    return [make(model, s, memory_strength=margin, grid=g, baseline=[0.1] * 10, **more) for s, g in grids.items()]


def test_document(tmp_path, capsys):
    folder = write(tmp_path / "r", *several("agem", 10, 0.3), *several("agem_closed", 10, 0.6),
                   *several("agem_meanqp", 10, 0.58, seeds=(0, 1)))  # fmt: skip
    assert which_agem.main([folder, "--output", str(tmp_path / "docs" / "x.md")]) == 0
    text = (tmp_path / "docs" / "x.md").read_text()
    assert "its final accuracy is 0.310 ± 0.010 (n 3), a mean difference to way (2) of -0.300 [-0.300, -0.300]" in text
    assert "| agem | 10 | 3 | 0.3100 ± 0.0100 |" in text.replace("| - ", "").replace(" - |", " |")
    assert "| (1) `agem` | ACC | 0.4997 | 0.3100 ± 0.0100 (n 3) | [0.2603, 0.3597] | **outside** |" in text
    assert "| (2) `agem_closed` | ACC | 0.6100 | 0.6100 ± 0.0100 (n 3) | [0.5603, 0.6597] | inside |" in text
    assert "Not all runs have been made yet" in text
    assert "gave final accuracies of 0.300 (seed 0), 0.310 (seed 1), 0.320 (seed 2)" in text


def test_what_is_no_file_is_not_replaced(tmp_path, capsys):
    os.mkfifo(tmp_path / "x.md")
    assert which_agem.main([write(tmp_path / "r", *several("agem", 10, 0.3)), "--output", str(tmp_path / "x.md")]) == 2
    said = f"--output {tmp_path / 'x.md'}: cannot be written (is there and is no regular file); give another name"
    assert capsys.readouterr().err.endswith(f"which_agem: {said}\n") and (tmp_path / "x.md").is_fifo()


def test_the_readings_of_the_trigger(tmp_path):
    """Runs as good as the logged one do not exclude a reading; runs that end .3 below do."""
    folder = write(
        tmp_path / "r",
        *several("agem_closed", 10, 0.59),
        *several("agem_closed", 10, 0.3, agem_trigger="any"),
        *several("agem_meanqp", 10, 0.57),
    )
    assert which_agem.main([folder, "--output", str(tmp_path / "x.md")]) == 0
    text = (tmp_path / "x.md").read_text()
    assert "| (2) `agem_closed` | the mean is violated | ACC | 0.6100 | 0.6000 ± 0.0100 (n 3) | 0.477 |" in text
    assert "| (2) `agem_closed` | any task is violated | ACC | 0.6100 | 0.3100 ± 0.0100 (n 3) | 0.001 |" in text
    assert "| (3) `agem_meanqp` | any task is violated | ACC | 0.5804 | X | X |" in text
    assert "way (2) corrected where any task is violated **is excluded** (least likely: " in text
    assert text.count("when all 4 numbers are counted") == 3


def test_without_records(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert which_agem.main([str(tmp_path / "empty"), "--output", str(tmp_path / "x.md")]) == 2
    assert "no run in it" in capsys.readouterr().err and not (tmp_path / "x.md").exists()
