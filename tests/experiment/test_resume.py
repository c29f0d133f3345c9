"""A run that was stopped anywhere and goes on ends with the same bits as one that was not."""

import itertools

import pytest

import main
from data import files
from model import METHODS, REFERENCE
from model.engine import fast
from scripts.kill_test import measured
from tests.conftest import file_for, stream
from tests.experiment.stopping import Stops, quickly, words

FORGETTING = {"forgetting_mode": True, "forgetting_task_ids": 1, "forgetting_resee_size": 6}
UNLEARNING = [name for name in METHODS if hasattr(main.methods.load(name).Net, "unlearn")]


@pytest.fixture
def compare(data_file, monkeypatch):
    """Runs a command as it is, and stopped so many steps on, again and again; returns the stops' places."""

    def compare(after, **flags):
        folder = data_file.parent
        file_for(flags["model"], data_file)
        main.main(words(folder, save_path=folder / "whole", **flags))
        stops = Stops(monkeypatch)
        stops.run(words(folder, save_path=folder / "parts", **flags), after)
        assert measured(folder / "parts") == measured(folder / "whole")
        assert sorted(path.suffix for path in (folder / "parts").iterdir()) == [".json", ".pt", ".txt"]
        return stops.places

    return compare


# Of 10 batches a task and an evaluation every 3: the first, one with an evaluation, around a task's end, the end.
PLACES = {"fast": [1, 3, 10, 11, 27, 30], "autograd": [3, 10, 25]}


@pytest.mark.parametrize("engine", ["fast", pytest.param("autograd", marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", METHODS)
def test_every_method_goes_on_wherever_it_was_stopped(compare, model, engine):
    if engine == "fast" and model not in main.methods.learning("images"):
        pytest.skip(f"{model} learns text with a Transformer, which only autograd knows")
    steps = [here - before for before, here in itertools.pairwise([0, *PLACES[engine]])]
    places = compare(steps, model=model, engine=engine, lca=model == "gem")
    assert places == [(False, step) for step in PLACES[engine]]


@pytest.mark.parametrize("model", quickly(REFERENCE, "gem", "meralg1"))
def test_the_references_digits_go_on(compare, model):
    assert compare([3, 8], model=model, parity=True, n_memories=4) == [(False, 3), (False, 11)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"model": "gem", "shuffle_tasks": "yes", "n_epochs": 2, "seed": 3},
        {"model": "agem_closed", "batch_size": 1, "n_hiddens": 100, "n_memories": 1},
        {"model": "ogd", "ogd_mode": "loss_mean"},
        {"model": "ogd", "ogd_max_basis": 10},
        {"model": "ncl", "ncl_momentum": 0.5, "threads": 2, "n_hiddens": 64},
        {"model": "agem_group", "agem_group_rule": "qp", "create_random_groups": True},
        {"model": "meralg7", "n_layers": 0},
    ],
    ids=str,
)
def test_other_streams_and_forms_go_on(compare, flags):
    assert len(compare([2, 9, 14], **flags)) == 3


@pytest.mark.parametrize("model", ["gem", "agem_closed", "ogd"])
def test_what_is_carried_along_is_computed_anew_at_the_same_steps(compare, monkeypatch, model):
    """Every fourth step in place of every thousandth."""
    monkeypatch.setattr(fast, "FOLD_EVERY", 4)
    assert len(compare([3, 8, 3, 7, 6], model=model)) == 5


def test_split_heads_go_on(compare, data_file):
    files.save(data_file, *stream(n_outputs=6, split=True))
    assert len(compare([3, 10, 8], model="spg")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gem", "agem_sampled", "ewc", "ogd", "spg"])
def test_a_resnet_goes_on(compare, data_file, model):
    """Its running statistics included."""
    files.save(data_file, *stream(n_tasks=2, n=4, n_inputs=3072, split=True))
    flags = {"batch_size": 2, "n_memories": 2, "lr": 0.01, "ogd_per_task": 2, "task_sample": 2, "log_every": 100}
    assert len(compare([1, 1, 1], model=model, **flags)) == 3


@pytest.mark.parametrize("model", quickly(UNLEARNING, "gem", "ewc", "ogd", "spg", "agem_group"))
def test_the_unlearning_phase_goes_on(compare, model):
    """From the end of training, from the phase's second step, and from a task's first batch."""
    assert compare([30, 1, 5], model=model, **FORGETTING) == [(False, 30), (True, 1), (True, 6)]


def test_a_batch_lies_in_memory_as_it_would_without_a_stop():
    """Where it begins decides how a product rounds: 12 inputs take 48 bytes, and an operand is best at a multiple of 64."""
    args, _, _ = main.parse(["--batch_size", "3", "--samples_per_task", "900"])
    data = stream(n=900)[0]
    batches = list(main.Continuum(data, args))
    assert len({x.data_ptr() % 64 for x, _, _ in batches}) > 1
    for place in (1, 7, 299, 300, 645):
        again = main.Continuum(data, args)
        again.position = place
        first = next(iter(again))[0]
        assert first.data_ptr() % 64 == batches[place][0].data_ptr() % 64
