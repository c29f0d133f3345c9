"""The command of a study that makes its tables from records: PATH... in, text out, exit statuses as in results.compare."""

import argparse
from collections.abc import Callable, Iterable

from model.arguments import FLAGS
from results import console
from results.comparing import cells, inference
from results.comparing.measures import with_interval


def tables(
    name: str, doc: str, text: Callable[[list], str], figures: Callable[[list, str], None] | None = None
) -> Callable[[list | None], int]:
    """The ``main`` of the study ``name``, which prints ``text(runs)``; ``doc`` is its help.

    With ``figures`` there is a flag --figures FOLDER, for which ``figures(runs, FOLDER)`` is called.
    """

    def main(argv: list | None = None) -> int:
        p = argparse.ArgumentParser(prog=name, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        p.add_argument("paths", nargs="+", metavar="PATH", help="records, or folders of them")
        if figures:
            p.add_argument("--figures", metavar="FOLDER", help="draw pictures into this folder")
        args = p.parse_args(argv)

        def tell() -> int:
            found, unread = cells.read(args.paths, name)
            print(text(found))
            if figures and args.figures:
                figures(found, args.figures)
            return 1 if unread else 0

        return console.command(name, tell)

    return main


def spread(values: Iterable[float], digits: int, sign: bool = True) -> str:
    """Mean and 95 % interval, as '+0.02 [-0.01, +0.05]', without plus signs if not ``sign``; X of nothing."""
    values = list(values)
    return with_interval(inference.mean(values), *inference.interval(values), digits, sign) if values else "X"


def parsed(flags: str) -> dict:
    """{flag: value} of a text of flags."""
    words = flags.split()
    return {
        name: FLAGS[name].parse(value)
        for name, value in zip([word.removeprefix("--") for word in words[::2]], words[1::2], strict=True)
    }
