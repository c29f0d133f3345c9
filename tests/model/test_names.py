"""Names of methods: without regard to case, aliases, the nearest name, modules that are none."""

import sys

import pytest

import model as methods
from model import UsageError


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_every_name_has_a_line_and_a_net(name):
    assert hasattr(methods.load(methods.resolve(name)), "Net")
    assert [line for line in methods.describe().splitlines() if line.split()[0] == name and len(line.split()) > 4]


@pytest.mark.parametrize(
    ("typed", "name"),
    [("Agem", "agem"), ("AGEM_closed", "agem_closed"), ("gdp", "agem_closed"), ("GDP", "agem_closed"),
     ("EWC", "ewc"), ("online", "single")],
)  # fmt: skip
def test_case_and_aliases(typed, name):
    assert methods.resolve(typed) == name


@pytest.mark.parametrize(
    ("typed", "near"),
    [("agme", "agem"), ("agem_close", "agem_closed"), ("gen", "gem"), ("singel", "single"), ("ecw", "ewc")],
)
def test_an_unknown_name_gets_the_nearest_and_all(typed, near):
    with pytest.raises(UsageError) as mistake:
        methods.resolve(typed)
    text = str(mistake.value)
    assert text.startswith(f"--model {typed!r}: no such method; did you mean {near!r}?")
    assert [line.split()[0] for line in text.splitlines()[1:]] == methods.names()


@pytest.mark.parametrize("typed", ["", "None", "12", "a b", "ge m", "qqqqqqqq", "ümlaut"])
def test_what_is_no_name_lists_the_names(typed):
    with pytest.raises(UsageError, match=r"no such method; .*The names are:\n  single "):
        methods.resolve(typed)


@pytest.mark.parametrize("typed", ["model/gem.py", "../gem", "gem.py", "model.gem", "/etc/passwd", "a\\b"])
def test_a_path_is_not_a_name(typed):
    with pytest.raises(UsageError, match="a method's name, not a path; put the file into model/"):
        methods.resolve(typed)


@pytest.mark.parametrize(
    "helper", ["arguments", "common", "engine", "flags", "memory", "numeric", "learner", "episodic"]
)
def test_helpers_are_not_methods(helper):
    assert helper not in methods.names()
    with pytest.raises(UsageError, match=rf"--model '{helper}': .*no class Net"):
        methods.load(methods.resolve(helper))


def test_the_package_itself_is_not_a_method():
    with pytest.raises(UsageError, match="no such method"):
        methods.resolve("__init__")
    assert "model.__init__" not in sys.modules
