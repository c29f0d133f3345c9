"""A run that was stopped anywhere and goes on ends with the same bits as one that was not."""

import pytest

import main
from model import METHODS
from tests.experiment.stopping import Stops, measured, words

FORGETTING = {"forgetting_mode": True, "forgetting_task_ids": 1, "forgetting_resee_size": 6}
UNLEARNING = [name for name in METHODS if hasattr(main.methods.load(name).Net, "unlearn")]


@pytest.fixture
def compare(data_file, monkeypatch):
    """Runs a command as it is, and stopped so many steps on, again and again; returns the stops' places."""

    def compare(after, **flags):
        folder = data_file.parent
        main.main(words(folder, save_path=folder / "whole", **flags))
        whole, parameters = measured(folder / "whole")
        stops = Stops(monkeypatch)
        stops.run(words(folder, save_path=folder / "parts", **flags), after)
        found, ours = measured(folder / "parts")
        assert found == whole and ours == parameters
        assert sorted(path.suffix for path in (folder / "parts").iterdir()) == [".json", ".pt", ".txt"]
        return stops.places

    return compare


# Of 20 batches a task and an evaluation every 7: the first, before and at an evaluation, around a task's end, the end.
AFTER = [1, 5, 1, 12, 1, 1, 1, 20, 17, 1]
PLACES = [1, 6, 7, 19, 20, 21, 22, 42, 59, 60]


@pytest.mark.parametrize("engine", ["fast", "autograd"])
@pytest.mark.parametrize("model", METHODS)
def test_every_method_goes_on_wherever_it_was_stopped(compare, model, engine):
    places = compare(AFTER, model=model, engine=engine, lca=model == "gem")
    assert places == [(False, step) for step in PLACES]


@pytest.mark.parametrize("model", UNLEARNING)
def test_the_unlearning_phase_goes_on(compare, model):
    """From the end of training, from the phase's second step, within a task, and from a task's first batch."""
    places = compare([60, 1, 3, 1, 1], model=model, **FORGETTING)
    assert places == [(False, 60), (True, 1), (True, 4), (True, 5), (True, 6)]
