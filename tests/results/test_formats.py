"""A run says the same in each of its formats: the three files of its record and what it prints."""

from pathlib import Path

import pytest
import torch

import main
from results import record, show
from results.comparing.measures import MEASURES
from results.reading.logs import parse

CUT = {"format": 1, "status": "diverged", "args": {"model": "single"}, **dict.fromkeys(("final", "backward"))}
NUMBERS = ("final", "backward", "forward", "backward_paper", "forward_paper", "forgetting", "learning_accuracy")


@pytest.fixture
def formats(data_file, tmp_path, capsys):
    """A function: a run with these flags as {format: its Run}."""

    def made(*flags):
        folder = tmp_path / "_".join(["r", *flags])
        argv = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(folder)]
        capsys.readouterr()
        main.main([*argv, *flags])
        (folder / "console.log").write_text(capsys.readouterr().out)
        (json,) = folder.glob("*.json")
        files = {suffix: json.with_suffix(suffix) for suffix in (".json", ".pt", ".txt")}
        files["log"] = folder / "console.log"
        found = {name: parse(file) for name, file in files.items()}
        assert all(len(runs) == 1 and not runs[0].problems for runs in found.values())
        return {name: run for name, (run,) in found.items()}

    return made


def told(run):
    return {name: MEASURES[name].value(run) for name in NUMBERS}


def approximately(numbers):
    return {name: value if value is None else pytest.approx(value, abs=1.1e-4) for name, value in numbers.items()}


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_of_shuffled_tasks(formats, seed):
    found = formats("--shuffle_tasks", "yes", "--seed", seed, "--lr", "0.1")
    order = found[".json"].record["protocol"]["task_order"]
    assert order != [0, 1, 2]
    for run in found.values():
        assert run.order == order and run.disagreements() == []
        assert told(run) == approximately(told(found[".json"]))
        assert f"Learned in the order {' '.join(map(str, order))}" in show.format_run(run)


def test_of_shuffled_tasks_of_which_an_older_log_does_not_say_the_order(formats):
    found = formats("--shuffle_tasks", "yes", "--lr", "0.1")
    log = Path(found["log"].source)
    log.write_text("".join(line for line in log.open() if "order" not in line or "{" in line))
    (run,) = parse(log)
    assert run.args["shuffle_tasks"] == "yes" and run.order is None and run.disagreements() == []
    printed, exact = told(run), told(found[".json"])
    known = ("final", "backward", "forward")
    assert {name: printed[name] for name in known} == approximately({name: exact[name] for name in known})
    assert {printed[name] for name in NUMBERS if name not in known} == {None}
    assert run.baseline_mean() is None


def test_of_tasks_learned_together(formats):
    found = formats("--model", "joint", "--lr", "0.1")
    for run in found.values():
        assert told(run) == approximately({**dict.fromkeys(NUMBERS), "final": found[".json"].record["final"]})
        assert run.disagreements() == []


def test_of_tasks_learned_together_by_an_older_program(formats):
    """Which left numbers between tasks in the .pt."""
    run = formats("--model", "joint", "--lr", "0.1")[".pt"]
    parts = list(torch.load(run.source, weights_only=True))
    parts[3] = [run.final, 0.0693, 0.0827]
    torch.save(tuple(parts), run.source)
    (run,) = parse(run.source)
    assert (run.final, run.backward, run.forward) == (parts[3][0], None, None)
    assert [MEASURES[name].value(run) for name in ("backward", "forward")] == [None, None]


def test_of_a_run_whose_first_tasks_are_in_ascending_order(formats):
    """It diverged in its last task, the first: what it learned is 1, 2 and not 0, 1."""
    run = formats("--shuffle_tasks", "yes", "--seed", "1", "--lr", "0.1")[".pt"]
    tasks, accuracies, state, *_ = torch.load(run.source, weights_only=True)
    known = tasks != 0
    known[0] = True  # the baseline
    numbers = {"forward": run.recomputed["forward"]}
    record.write(run.source + "_cut", "x", CUT | numbers, tasks[known], accuracies[known], state, "")
    (cut,) = parse(run.source + "_cut/x.pt")
    assert cut.order == [1, 2] and len(cut.grid) == 2 and cut.disagreements() == []
    assert cut.recomputed["forward"] == pytest.approx(numbers["forward"])
