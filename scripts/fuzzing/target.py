"""One entry of the table of what is fuzzed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """`read(path)` may return, or raise one of `refused`; everything else is a crash.

    `seeds()` are inputs that it reads; `words` are pieces worth putting into others; `follow` are the modules whose lines
    tell whether an input does something new; `name` is that of the file which holds the input.
    """

    read: Callable[[Path], object]
    refused: tuple
    seeds: Callable[[], list[bytes]]
    follow: tuple
    words: tuple[bytes, ...] = ()
    name: str = "input"
