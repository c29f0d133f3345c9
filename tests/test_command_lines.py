"""Random command lines: status 0, 2 or 3, one sentence where one is due, no traceback, no hang, less than 1 GB."""

import itertools
import shlex

import pytest

from scripts.fuzzing import command_lines as generator
from tests import command_lines

SLOW = 2000


@pytest.fixture(scope="module")
def prepared(forks):
    return command_lines.prepare(forks)


@pytest.mark.parametrize("first", range(0, 30, 10))
def test_ten_command_lines(first, prepared):
    check(prepared, range(first, first + 10))


@pytest.mark.slow
def test_many_command_lines(prepared):
    check(prepared, range(1000, 1000 + SLOW))


def check(forks, numbers):
    for number in numbers:
        argv, done, promise = command_lines.tried(forks, number)
        assert not promise, (number, shlex.join(argv), done)


def test_the_generator_reaches_every_flag_and_method():
    """With values that the table takes, and with values that it does not."""
    commands = [generator.command(number) for number in range(4000)]
    flags = generator.FLAGS
    given = [
        (word.lstrip("-").partition("=")[0], after) for argv in commands for word, after in itertools.pairwise(argv)
    ]
    taken = {name for name, value in given if name in flags and generator.right(flags[name], value)}
    refused = {name for name, value in given if name in flags and not generator.right(flags[name], value)}
    texts = {name for name, flag in flags.items() if flag.kind is str and not flag.choices}  # any text passes the table
    assert taken == set(flags) and refused >= set(flags) - texts
    assert {value for name, value in given if name == "model"} > set(generator.METHODS)


@pytest.mark.parametrize("n", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_many_are_settled_or_refused_in_a_sentence(n):
    """Without their runs, which take a second each."""
    settled = sum(generator.require_an_end(generator.command(number)) for number in range(10_000, 10_000 + n))
    assert n / 4 < settled < n


def test_what_the_check_finds(tmp_path):
    """It is no check if nothing fails it."""
    good = command_lines.Done(0, "Final Accuracy: 0.5", "", 1.0, 200.0)
    for done, said in (
        (good, ""),
        (good._replace(status=1), "exit status 1"),
        (good._replace(status=-9), "exit status -9"),
        (good._replace(err="Traceback (most recent call last):"), "a traceback"),
        (good._replace(err="model/grouped.py:84: UserWarning: no"), "a traceback"),
        (good._replace(peak=1100.0), "1100 MB"),
        (good._replace(out="data: "), "no result"),
        (good._replace(out="Final Accuracy: nan"), "no result"),
        (good._replace(status=2, out=""), "0 sentences"),
        (good._replace(status=2, err="main.py: a\nmain.py: b"), "2 sentences"),
        (good._replace(status=2, err="main.py: a"), "a result"),
    ):
        assert command_lines.broken(done, tmp_path).startswith(said) and bool(said) == bool(
            command_lines.broken(done, tmp_path)
        )
    (tmp_path / ".x.1.tmp").touch()
    assert command_lines.broken(good, tmp_path).startswith("leaves")
