"""scripts/studies/exact_evaluation.py: the networks beside records, and what is counted of their predictions."""

import pytest

import main
from model.engine.scoring import Scorer
from scripts.studies import exact_evaluation


@pytest.fixture
def records(data_file, tmp_path):
    words = ["--data_path", data_file.parent, "--data_file", data_file.name, "--n_memories", 5, "--n_hiddens", 8]
    for model in ("single", "gem"):
        main.main(["--model", model, *words, "--save_path", tmp_path / "records"])
    return str(tmp_path / "records")


def test_no_prediction_differs(records, capsys):
    capsys.readouterr()
    assert exact_evaluation.main([records, "--images", "30"]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    counts = [[cell.strip() for cell in row[:5]] for row in rows]
    assert counts == [["gem", "1", "90", "0", "0"], ["single", "1", "90", "0", "0"], ["all", "2", "180", "0", "0"]]


def test_a_prediction_that_differs_is_counted(records, capsys, monkeypatch):
    right = Scorer.right
    monkeypatch.setattr(Scorer, "right", lambda *given: right(*given) - 1)
    assert exact_evaluation.main([records]) == 1
    assert "| all | 2 | 240 | 0 | 6 |" in capsys.readouterr().out
