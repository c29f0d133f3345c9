"""Flags that a method's module brings along: what its ``add_arguments(parser)`` declares, as entries of our table.

They are settings of that method, and count like ours in help, messages, grids, defaults, records and tables.
"""

import argparse
import dataclasses
import functools
import re

import model as methods
from model import UsageError
from model.arguments import FLAGS
from model.flags import Flag, whole, yes_no

KINDS = {None: str, int: whole, bool: yes_no}  # a module's `type` -> ours, which says what is wrong in one sentence


@functools.cache
def of(module) -> dict[str, Flag]:
    """The flags that a module declares, by name; {} if it declares none.

    A flag takes one value, or is a switch (``action="store_true"``). A switch also takes ``yes`` or ``no``, so that a
    grid may have both. ``UsageError`` if a declaration fails, is of another kind, or takes the name of one of our
    flags.
    """
    if not hasattr(module, "add_arguments"):
        return {}
    name = module.__name__.rpartition(".")[2]
    where = f"--model {name!r}: add_arguments of model/{name}.py"
    parser = argparse.ArgumentParser(add_help=False)
    try:
        module.add_arguments(parser)
        found = {action.dest: _flag(parser, action, f"model/{name}.py") for action in parser._actions}
    except (Exception, SystemExit) as error:
        raise UsageError(f"{where} fails ({type(error).__name__}: {error}); mend it") from error
    for flag in found.values():
        for option in flag.spellings:
            if option.lstrip("-").replace("-", "_") in {*FLAGS, "h", "help"}:
                raise UsageError(f"{where} declares {option}, a flag of main.py; use that one, or give another name")
    alien = sorted(set(parser._defaults) - set(found))
    if alien:
        raise UsageError(f"{where} sets a default for --{alien[0]}, which it does not declare; leave that out")
    return found


def _help(parser, action) -> str:
    """The help of a declaration, with argparse's %(default)s and its like filled in; as it stands if it has other percents."""
    if action.help in (None, argparse.SUPPRESS):
        return ""
    try:
        return parser._get_formatter()._expand_help(action)
    except (TypeError, ValueError, KeyError):  # plain argparse fails at --help only
        return action.help


def _flag(parser, action, origin: str) -> Flag:
    """One declaration as an entry of our table."""
    switch = isinstance(action, argparse._StoreTrueAction)
    if not action.option_strings or not (
        switch or (isinstance(action, argparse._StoreAction) and action.nargs is None)
    ):
        what = " ".join(action.option_strings) or action.dest
        raise TypeError(f"{what} is neither a flag with one value nor a switch, action='store_true'")
    text = _help(parser, action)
    default = None if action.default is argparse.SUPPRESS else action.default
    flag = Flag(
        action.dest,
        yes_no if switch else KINDS.get(action.type, action.type),
        default,
        origin,
        text,
        shared=True,
        choices=None if action.choices is None else tuple(action.choices),
        options=tuple(action.option_strings),
        required=action.required,
        switch=switch,
    )
    written = isinstance(default, str)  # as on the command line
    return dataclasses.replace(flag, default=flag.parse(default) if written else flag.plain(default))


def elsewhere(argv: list[str], known: dict[str, Flag]) -> dict[str, Flag]:
    """The flags in ``argv`` that are not ``known`` and that another method's module declares, by name.

    Only modules whose text mentions such a flag are imported. A module that cannot be imported is passed over.
    """
    spelled = {option for flag in known.values() for option in flag.spellings}
    wanted = {word.partition("=")[0] for word in argv if re.match(r"--[a-zA-Z]", word)} - spelled
    patterns = [re.sub(r"\\-|_", "[-_]", re.escape(word)) + r"\b" for word in wanted]
    found: dict[str, Flag] = {}
    for name in methods.names() if wanted else ():
        try:
            text = methods.source(name)
            mentioned = "add_arguments" in text and any(re.search(pattern, text) for pattern in patterns)
            flags = of(methods.load(name)).values() if mentioned else ()
        except (Exception, SystemExit):
            continue
        for flag in flags:
            spellings = wanted & set(flag.spellings)  # the others may be those of a flag that is known
            if spellings and flag.name not in known:
                found[flag.name] = dataclasses.replace(flag, options=tuple(spellings))
    return found
