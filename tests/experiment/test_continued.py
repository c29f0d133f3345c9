"""A run that starts from the state of another one goes on as one run over both streams would."""

import hashlib
import io
import json
import zipfile

import pytest
import torch

import main
from data import files
from experiment import store
from model import UsageError, learning
from results import compare
from scripts.kill_test import measured
from tests.conftest import stream
from tests.experiment.stopping import Stops, quickly, words


@pytest.fixture
def parts(data_file):
    """The tasks of tiny.pt in two files: the first two, and the last one."""
    train, test = stream()
    folder = data_file.parent
    files.save(folder / "first.pt", train[:2], test[:2])
    files.save(folder / "last.pt", train[2:], test[2:])
    return folder


def split_heads(folder):
    """The same three files with tasks of own classes, twice two of them; the first have the largest labels."""
    train, test = (tasks[::-1] for tasks in stream(n_tasks=4, n_outputs=8, split=True))
    files.save(folder / "tiny.pt", train, test)
    files.save(folder / "first.pt", train[:2], test[:2])
    files.save(folder / "last.pt", train[2:], test[2:])


def run(folder, save_path, **flags):
    return main.main(words(folder, save_path=folder / save_path, resume=False, **flags))


def record_of(folder):
    (path,) = folder.glob("*.json")
    return path


def test_a_method_that_cannot_grow_is_refused(parts):
    run(parts, "one", model="independent", data_file="first.pt", save_state=True)
    with pytest.raises(
        UsageError, match=r"independent cannot go on with more tasks: the width .*; give another --model"
    ):
        run(parts, "two", model="independent", data_file="last.pt", start_from=record_of(parts / "one"))


# Not das: the masks of its text depend on the place in the stream, which begins anew.
GROWING = [name for name in learning("images") if name != "independent"]


@pytest.mark.parametrize("model", quickly(GROWING, "gem", "ewc", "ogd", "spg", "ncl", "agem_group", "meralg1"))
def test_two_runs_are_one(parts, monkeypatch, model):
    """To rounding: what a first layer or a basis carries along begins anew. Methods draw from generators that go on."""
    if model == "icarl":
        split_heads(parts)
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))  # examples in the order of the file
    monkeypatch.setattr("random.shuffle", lambda _: None)
    whole = run(parts, "whole", model=model)
    run(parts, "one", model=model, data_file="first.pt", save_state=True)
    record = record_of(parts / "one")
    assert record.with_suffix(".state").exists()
    two = run(parts, "two", model=model, data_file="last.pt", start_from=record)
    first = json.loads(record.read_text())["protocol"]["data_hash"]
    assert (
        two["protocol"]["start_from"].startswith(f"{first[:12]}:")
        and two["counts"]["steps"] == whole["counts"]["steps"] - 20
    )
    if model == "multimodal":  # its initial values depend on the number of tasks
        return
    assert two["grid"][-1] == pytest.approx(whole["grid"][-1][2:], abs=0.026)
    assert two["baseline"] == pytest.approx(whole["grid"][1][2:], abs=0.026)
    ours, theirs = (torch.load(record_of(parts / p).with_suffix(".pt"), weights_only=True)[2] for p in ("two", "whole"))
    assert all(torch.allclose(ours[key], theirs[key], rtol=1e-3, atol=1e-4) for key in theirs)


def test_a_chain_of_three_and_a_stop_within(parts, monkeypatch):
    run(parts, "one", model="gem", data_file="first.pt", save_state=True)
    run(parts, "two", model="gem", data_file="last.pt", start_from=record_of(parts / "one"), save_state=True)
    flags = {"model": "gem", "start_from": record_of(parts / "two").with_suffix("")}
    main.main(words(parts, save_path=parts / "whole", **flags))
    Stops(monkeypatch).run(words(parts, save_path=parts / "parts", **flags), [3, 9, 11])
    assert measured(parts / "whole") == measured(parts / "parts")
    assert len(measured(parts / "whole")[0]["protocol"]["start_from"].split()) == 2


FLAGS = {"n_epochs": 2, "batch_size": 5, "samples_per_task": 20, "validation": 10, "n_tasks": 1, "shuffle_tasks": True}


def averaged(parts, *earlier):
    """Whether runs that went on from these, with a seed each, are averaged; what is said if they are not."""
    for seed, record in enumerate(earlier):
        run(parts, "two", model="gem", data_file="last.pt", start_from=record, seed=seed)
    return compare.main([str(parts / "two"), "--metric", "final"]) == 0


@pytest.mark.parametrize("name", FLAGS)
def test_what_went_on_from_runs_of_another_protocol_is_not_averaged(parts, capsys, name):
    run(parts, "one", model="gem", data_file="first.pt", save_state=True)
    run(parts, "other", model="gem", data_file="first.pt", save_state=True, **{name: FLAGS[name]})
    assert not averaged(parts, record_of(parts / "one"), record_of(parts / "other"))
    assert "runs of gem differ in start_from: " in capsys.readouterr().err


def test_what_went_on_from_runs_of_other_seeds_is_averaged(parts, capsys):
    """Where the earlier runs lie, what their data file is called and how they were typed is no protocol either."""
    files.save(parts / "same.pt", *(tasks[:2] for tasks in stream()))
    flags = {
        "seed": 7,
        "data_file": "same.pt",
        "n_tasks": 2,
        "head": "shared",
        "samples_per_task": 1000,
        "log_every": 3,
    }
    run(parts, "one", model="gem", data_file="first.pt", save_state=True)
    run(parts, "other", model="gem", save_state=True, **flags)
    assert averaged(parts, record_of(parts / "one"), record_of(parts / "other"))
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["gem", "2"]


def test_a_chain_tells_the_protocol_of_each_of_its_runs(parts):
    told = []
    for n_epochs in (1, 2):
        place = parts / str(n_epochs)
        run(parts, place / "one", model="gem", data_file="first.pt", n_epochs=n_epochs, save_state=True)
        start = record_of(place / "one")
        run(parts, place / "two", model="gem", data_file="last.pt", start_from=start, save_state=True)
        three = run(parts, place / "three", model="gem", data_file="last.pt", start_from=record_of(place / "two"))
        told.append(three["protocol"]["start_from"].split())
    (first, second), (other, same) = told
    assert first.split(":")[0] == other.split(":")[0] and first != other and second == same


def test_a_state_of_an_older_program_tells_its_data_alone(parts):
    one = run(parts, "one", model="gem", data_file="first.pt", save_state=True)
    file = record_of(parts / "one").with_suffix(".state")
    header, state = store.read(file)
    store.write(file, header | {"learned": [one["protocol"]["data_hash"]]}, state)
    two = run(parts, "two", model="gem", data_file="last.pt", start_from=file)
    assert two["protocol"]["start_from"] == one["protocol"]["data_hash"][:12]


def test_split_heads_go_on(data_file):
    folder = data_file.parent
    files.save(data_file, *stream(n_outputs=6, split=True))
    one = run(folder, "one", model="agem_closed", save_state=True)
    two = run(folder, "two", model="agem_closed", start_from=record_of(folder / "one"))
    assert two["protocol"]["head"] == "split" and len(two["grid"]) == 3
    assert two["baseline"] == one["grid"][-1]


@pytest.mark.parametrize(
    "flags, said",
    [
        (
            {"start_from": "nothing.json"},
            r"--start_from nothing.json: there is no nothing.state; make that run again with",
        ),
        ({"n_hiddens": 9}, "that run had --n_hiddens 8, this one has 9; give the same"),
        ({"lr": 0.2}, "that run had --lr 0.1, this one has 0.2"),
        ({"model": "single"}, "that run had --model gem, this one has single"),
        ({"data_file": "wide.pt"}, "its data have 12 inputs, these have 13; give other data"),
        ({"data_file": "more.pt"}, "its network has 4 outputs, and the labels of these data go to 4; give data with"),
        ({"forgetting_mode": True, "forgetting_task_ids": 1}, "only tasks of one run can be unlearned"),
    ],
)
def test_what_does_not_fit_is_told(parts, flags, said):
    files.save(parts / "wide.pt", *stream(n_inputs=13))
    files.save(parts / "more.pt", *stream(n_outputs=5))
    run(parts, "one", model="gem", data_file="first.pt", save_state=True)
    with pytest.raises(UsageError, match=said):
        run(parts, "two", **{"model": "gem", "start_from": record_of(parts / "one"), **flags})


def test_a_damaged_state_is_told(parts):
    run(parts, "one", model="single", data_file="first.pt", save_state=True)
    state = record_of(parts / "one").with_suffix(".state")
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(UsageError, match=r"cannot be read \(its checksum is wrong\); give another record"):
        run(parts, "two", model="single", start_from=state)


def _saved(value, **how):
    torch.save(value, buffer := io.BytesIO(), **how)
    return buffer.getvalue()


def _with(content, more=None, **attributes):
    """The state with other attributes, and with ``more`` beside them."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    state["attributes"][""] |= attributes
    return _saved({**state, **(more or {})})


def _cycle():
    items = []
    items.append(items)
    return items


def _nested(depth=60):
    """2 ** depth lists, if each is counted as often as it is met."""
    found = [1]
    for _ in range(depth):
        found = [found, found]
    return found


def _compressed(content):
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(new := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for entry in old.namelist():
            archive.writestr(entry, old.read(entry))
    return new.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda header, state: (b"[]", state),
        lambda header, state: (b"{}", state),
        lambda header, state: (b"[" * 10**5, state),
        lambda header, state: (json.dumps({**header, "settings": []}), state),
        lambda header, state: (json.dumps({**header, "sizes": {}}), state),
        lambda header, state: (json.dumps({**header, "learned": [1]}), state),
        lambda header, state: (
            json.dumps({**header, "sizes": {"n_inputs": 12, "n_outputs": 4, "n_tasks": 2, "task_sizes": []}}),
            state,
        ),
        lambda header, state: (json.dumps({**header, "sizes": {**header["sizes"], "n_tasks": "2"}}), state),
        lambda header, state: (json.dumps({**header, "sizes": {**header["sizes"], "outputs": [[None]]}}), state),
        lambda header, state: (json.dumps({**header, "sizes": {**header["sizes"], "n_outputs": 2**70}}), state),
        lambda header, state: (json.dumps(header), b"}u."),
        lambda header, state: (json.dumps(header), _saved([])),
        lambda header, state: (json.dumps(header), _saved({})),
        lambda header, state: (json.dumps(header), _saved({"parameters": 1, "attributes": {"": {"lr": "fast"}}})),
        lambda header, state: (json.dumps(header), _compressed(_saved({"bomb": torch.zeros(10**6)}))),
        lambda header, state: (json.dumps(header), _saved({"bomb": torch.zeros(1).expand(10**12)})),
        lambda header, state: (json.dumps(header), _with(state, lr="fast")),
        lambda header, state: (json.dumps(header), _with(state, lr=_cycle())),
        lambda header, state: (json.dumps(header), _with(state, lr=_nested())),
        lambda header, state: (json.dumps(header), _with(state, observe="fast")),
        lambda header, state: (json.dumps(header), _with(state, args={"lr": 1})),
    ],
)
def test_a_state_that_no_run_leaves_is_told(parts, change):
    """States come from strangers too, who can compute a checksum."""
    run(parts, "one", model="single", data_file="first.pt", save_state=True)
    file = record_of(parts / "one").with_suffix(".state")
    _, header, state = file.read_bytes().split(b"\n", 2)
    header, state = change(json.loads(header), state)
    content = (header if isinstance(header, bytes) else header.encode()) + b"\n" + state
    file.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    with pytest.raises(
        UsageError,
        match=r"--start_from .*\.state( has the format| says of| holds what no run leaves| cannot be read)|does not fit",
    ):
        run(parts, "two", model="single", data_file="last.pt", start_from=file)


def test_tasks_that_never_were_are_told(parts):
    run(parts, "one", model="gem", n_memories=3, data_file="first.pt", save_state=True)
    file = record_of(parts / "one").with_suffix(".state")
    _, header, state = file.read_bytes().split(b"\n", 2)
    content = header + b"\n" + _with(state, seen=[0, 10**9])
    file.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    with pytest.raises(UsageError, match=r"\.state holds what no run leaves \(IndexError"):
        run(parts, "two", model="gem", n_memories=3, data_file="last.pt", start_from=file)


@pytest.mark.parametrize("more", [_cycle, _nested])
def test_what_nobody_asks_for_hangs_nothing(parts, more):
    run(parts, "one", model="single", data_file="first.pt", save_state=True)
    file = record_of(parts / "one").with_suffix(".state")
    _, header, state = file.read_bytes().split(b"\n", 2)
    content = header + b"\n" + _with(state, {"more": more()}, later=more())
    file.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    assert run(parts, "two", model="single", data_file="last.pt", start_from=file)["status"] == "done"


def test_a_long_state_is_not_read_into_memory_before_its_checksum_is_right(parts):
    import resource

    run(parts, "one", model="single", data_file="first.pt", save_state=True)
    file = record_of(parts / "one").with_suffix(".state")
    with open(file, "r+b") as opened:
        opened.truncate(4 * 10**8)  # sparse
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match="its checksum is wrong"):
        run(parts, "two", model="single", data_file="last.pt", start_from=file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000  # kB
