"""The fuzzer finds what is planted; and every parser survives the kept corpus and a few inputs made from it."""

import random
import sys

import pytest

from data import stored
from scripts import fuzz
from scripts.fuzzing import hunt, mutations, targets

MODULE = """
import time

class Refused(Exception):
    pass

def read(path):
    data = path.read_bytes()
    if data[:1] != b"f":
        raise Refused
    if data[1:2] != b"u":
        return
    if data[2:3] == b"z":
        raise KeyError("crash")
    if data[2:3] == b"h":
        time.sleep(9)
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A target with a crash and a hang behind three bytes that must be right, one after the other."""
    (tmp_path / "planted_by_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(stored, "TICK", stored.TICK)
    import planted_by_a_test as module

    yield targets.Target(module.read, (module.Refused,), lambda: [b"abc"], (module.__name__,), (b"u", b"z", b"h"))
    del sys.modules[module.__name__]


def test_it_finds_a_crash_and_a_hang_step_by_step(planted, tmp_path):
    found = hunt.Hunt(planted, planted.seeds(), tmp_path, limit=0.05)
    new = []
    while len(found.failures) < 2 and found.inputs < 50_000:
        new += found.go_on(60, found.inputs + 20)
    assert {what.partition(" ")[0] for what in found.failures} == {"KeyError", "Hang"}
    assert found.failures[next(what for what in found.failures if "KeyError" in what)].startswith(b"fuz")
    assert len(new) >= 3 and any(data.startswith(b"f") for data in new)


def test_the_same_seed_gives_the_same_inputs():
    made = [[mutations.mutated(b"abcdef", b"xyz", (b"word",), random.Random(s)) for s in range(50)] for _ in range(2)]
    assert made[0] == made[1] and len(set(made[0])) > 30


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_corpus_and_what_comes_of_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "TICK", stored.TICK)
    kept = fuzz.corpus(name)
    found = hunt.Hunt(targets.TARGETS[name], kept, tmp_path, seed=1)
    list(found.go_on(60, len(kept) + 30))
    assert not found.failures
    seeds = len(targets.TARGETS[name].seeds())
    assert seeds and len(kept) >= seeds


@pytest.mark.slow
@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_hunt_of_a_minute(name, tmp_path, capsys):
    assert fuzz.main([name, "--seconds", "60", "--out", str(tmp_path)]) == 0, capsys.readouterr().out
