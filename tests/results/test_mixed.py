"""Every command of results/ in every form, over folders in which everything lies about: a sentence, and no traceback."""

import argparse
import copy
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results import compare, plot_results, regress, report, show
from results.table import FORMATS
from tests.results.records import make, write

LOGGED = Path(__file__).parents[2] / "results" / "logged"
NAMES = [
    "$x^$",
    "a|b\\",
    "<img src=x onerror=alert(1)>",
    "\x1b[31mred",
    "\ud800",
    "=1+1",
    "[2cm]",
    "../../etc/passwd",
    "arguments",
]
ALLOWED = "data_file,lr,memory,seed,head,der_alpha,n_tasks,samples_per_task,n_epochs,batch_size,parity"
UNLEARNED = {"attacked": [0], "before": [0.8, 0.6], "after": [0.2, 0.7], "effect": 0.6, "retention": 0.1}
T, A = torch.tensor([0.0, 0, 1]), torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.8, 0.7]])


def seeded(seed):
    record = make("gem")
    record["args"]["seed"] = seed
    return record


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Several data files, ends and methods, the reference's files, logs with hostile arguments, and damage of any kind."""
    folder = tmp_path_factory.mktemp("mixed") / "r"
    other = {"data_file": "c.pt", "data_hash": "b" * 64}
    whole = [
        *(make(m, s) for m in ("gem", "single") for s in range(2)),
        make("gem", 0, **other),
        make("ewc", status="diverged", grid=[], final=None, backward=None, forward=None),
        make("agem", forgetting=UNLEARNED),
        make("spg", head="split"),
        make("der", der_alpha=0.3),
        *(make(name) for name in NAMES),
        seeded("1" * 5000),
        seeded([1, 2]),
        make("ogd", lr=float("nan"), memory=float("inf"), final=1e300),
    ]
    write(folder, *whole)
    (folder / "cut.json").write_text(json.dumps(whole[0])[:300])
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "other.json").write_text('{"format": 99}')
    for name, args in (
        ("ns", argparse.Namespace(model="ncl", seed=torch.tensor(3))),
        ("odd", {"model": "gem", "seed": 1j, 5: 6}),
    ):
        torch.save(
            (T, A, {}, [0.75, -0.05, 0.05], "", args),
            folder / f"{name}.pt",
            _use_new_zipfile_serialization=name == "ns",
        )
    (folder / "code.pt").write_bytes(pickle.dumps(os.mkdir))
    (folder / "bytes.pt").write_bytes(bytes(range(256)))
    for name, args in (
        ("one", "{'model': 'gem', 'seed': {1, 2}, 'lr': [[0.1]]}"),
        ("two", "{'model': 'ncl', 'seed': 0x" + "f" * 5000 + "}"),
    ):
        (folder / f"{name}.log").write_text(f"x: {args} # 0.75 -0.05 0.05 # 1.0\n")
    (folder / "latin.txt").write_bytes(b"0.5 \xff 0.5\n|\n0.5 0.5\nFinal Accuracy: \xfe\n")
    shutil.copy(LOGGED / "parity_gem_seed0.txt", folder)
    os.mkfifo(folder / "pipe.log")
    (folder / "a\x1b[2Jb.json").write_text("{")
    return folder


def ended(command, arguments, capsys):
    """The exit status of a command that neither raised nor wrote a control character."""
    status = command(list(map(str, arguments)))
    out, err = capsys.readouterr()
    controls = [c for c in out + err if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"]
    assert "Traceback" not in err and not controls
    assert status in (0, 1) or err.count("\n") >= 1
    assert all(line.startswith("results.") for line in err.splitlines())
    return status


@pytest.mark.parametrize("by", ["model", "model,data_file,lr,seed", "data_hash", "memory,head", "der_alpha"])
@pytest.mark.parametrize("form", [*FORMATS, "json", "long"])
def test_compare(mixed, capsys, form, by):
    allowed = ["--allow", ALLOWED]
    assert ended(compare.main, [mixed, "--format", form, "--by", by, *allowed], capsys) == 1
    assert ended(compare.main, [mixed, "--format", form, "--by", by], capsys) in (1, 2)
    if form != "long":
        assert ended(compare.main, [mixed, "--format", form, *allowed, "--baseline", "single"], capsys) in (1, 2)


def test_show_and_regress(mixed, capsys):
    assert ended(show.main, [mixed], capsys) == 1
    for mode in ("auto", "exact", "statistical"):
        assert ended(regress.main, ["--against", mixed, mixed, "--mode", mode], capsys) == 1
        assert ended(regress.main, ["--against", LOGGED / "golden_gem.json", mixed, "--mode", mode], capsys) in (1, 2)


def test_page_and_figures(mixed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plot_results, "save", lambda *_: [])
    for by in ("model,data_file,seed", "model"):
        arguments = [mixed, "--by", by, "--allow", ALLOWED]
        assert ended(report.main, [*arguments, "-o", tmp_path / "x.html"], capsys) == 1
        assert ended(plot_results.main, [*arguments, "--output", tmp_path], capsys) == 1
    text = (tmp_path / "x.html").read_text()
    assert "<img" not in text and text.count("<script") == 2 and "\x1b" not in text


values = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(-(2**70), 2**70), st.text(max_size=4), st.just("x" * 2000),
    st.sampled_from([[], {}, [[]], [{}], 1e308, -1e308, 5e-324, 2**1022, "\ud800", "$x^$", [0.5] * 30, [None], {"a": 1}]),
)  # fmt: skip


def places(content, before=()):
    """The paths of all entries of nested dicts and lists."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        yield (*before, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*before, key))


PLACES = list(places(make(forgetting=UNLEARNED)))


def altered(content, changes):
    content = copy.deepcopy(content)
    for (*way, last), value in changes:
        part = content
        try:
            for key in way:
                part = part[key]
            part[last] = value
        except (KeyError, IndexError, TypeError):  # an earlier change took it away
            pass
    return content


def every_tool(folder, capsys):
    for command, arguments in (
        (show.main, []), (regress.main, ["--against", folder]), (compare.main, ["--format", "json", "--baseline", "gem"]),
        (compare.main, ["--by", "model,lr,seed,memory", "--metric", ",".join(compare.MEASURES), "--format", "latex"]),
        (compare.main, ["--format", "long"]),
    ):  # fmt: skip
        ended(command, [folder, *arguments], capsys)


given_changes = given(st.lists(st.tuples(st.sampled_from(PLACES), values), min_size=1, max_size=4))
shared = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


@settings(max_examples=40, **shared)
@given_changes
def test_records_with_any_entries(tmp_path, capsys, changes):
    run_altered(tmp_path, capsys, changes)


@pytest.mark.slow
@settings(max_examples=3000, **shared)
@given_changes
def test_records_with_any_entries_at_length(tmp_path, capsys, changes):
    run_altered(tmp_path, capsys, changes)


def run_altered(tmp_path, capsys, changes):
    folder = tmp_path / "r"
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, make(forgetting=UNLEARNED), altered(make(seed=1, forgetting=UNLEARNED), changes), make("single"))
    every_tool(str(folder), capsys)


def test_a_thousand_records(tmp_path, capsys):
    """Of a method that is not here, which was looked for on disk 64,000 times."""
    folder = write(tmp_path / "r", *(make("of_another_checkout", seed) for seed in range(1000)))
    assert ended(compare.main, [folder, "--metric", "final"], capsys) == 0
