"""Command lines of a sweep: their words, and how long they take to read."""

import shlex
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model import UsageError
from scripts.sweeping import jobs


def attempted(split, line):
    try:
        return split(line)
    except ValueError:
        return None


@settings(max_examples=1000)
@given(st.text(" \t\r\na'\"\\#\xe9\x0b\xa0-=", max_size=12))
@example("''")
@example('a"b\\"c\\d"\\e')
def test_words_are_those_of_a_shell(line):
    assert attempted(jobs.split, line) == attempted(shlex.split, line)


def test_a_long_line_is_refused_and_a_long_word_is_quick():
    with pytest.raises(UsageError, match="f:1: a command line of more than 200,000 characters"):
        list(jobs.lines("--model gem --data_file " + "x" * 10**7, "f"))
    with pytest.raises(UsageError, match="f:1: a command line of more than"):
        list(jobs.lines("a\\\n" * 10**6, "f"))
    began = time.process_time()
    assert len(jobs.split("--data_file " + "x" * 10**6)[1]) == 10**6
    assert time.process_time() - began < 2  # shlex: 20 s


def test_a_grid_builds_its_parser_once():
    """A parser of all flags takes several times as long as parsing with it."""
    import main

    main._parser.cache_clear()
    grid = {"--model": ["gem"], "--n_memories": ["10"], "--seed": ["0..199"]}
    assert len(jobs.read({}, grid)[0]) == 200
    assert main._parser.cache_info().misses == 1
