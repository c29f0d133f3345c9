"""What a flag of the command line is: its type, range and default, who uses it, and what role it plays."""

import argparse
import math
from dataclasses import dataclass
from enum import StrEnum

from model import METHODS, UsageError, shown

SMALLEST, LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # of the normal numbers of float32
LAYERS = 1000  # hidden layers at most


class Role(StrEnum):
    """What a flag is to a run. Every tool that treats flags differently does so by their role."""

    RUN = "run"  # which run it is: the method, the seed, the data
    SETTING = "setting"  # of the method or its network: decides the numbers
    PROTOCOL = "protocol"  # of the experiment: decides the numbers too, and must agree where methods are compared
    MACHINE = "machine"  # how it is computed and watched: what is measured stays, rounding and times may change
    PLACE = "place"  # where things lie, and what is left there: changes nothing


def yes_no(text: str) -> bool:
    """'yes'/'no', 'True'/'False', '1'/'0', without regard to case."""
    lowered = str(text).lower()
    if lowered in ("yes", "true", "1"):
        return True
    if lowered in ("no", "false", "0"):
        return False
    raise ValueError(text)


def yes_no_word(text: str) -> str:
    """As ``yes_no``, but returns the word 'yes' or 'no', as the reference's ``--shuffle_tasks`` holds it."""
    return "yes" if yes_no(text) else "no"


def median_or_number(text: str) -> str | float:
    """'median', or a number."""
    return "median" if text.lower() == "median" else real(text)


def real(text: str) -> float:
    """A number that float32, in which networks compute, can tell from 0 and from infinity."""
    number = float(text)
    if math.isfinite(number) and number and not SMALLEST <= abs(number) <= LARGEST:
        raise argparse.ArgumentTypeError(f"beyond what float32 holds, {SMALLEST:.1e} to {LARGEST:.1e}")
    return number


def whole(text: str) -> int:
    """An integer; '10.0' is one too (MER declares some of its counts as floats)."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    exact = int(text) if text.lstrip("+-").isdigit() else int(number)
    if abs(exact) >= 2**63:
        raise argparse.ArgumentTypeError("beyond what 64 bits hold")
    return exact


def never_or_number(text: str) -> str | float:
    """'never', or a number."""
    return "never" if text.lower() == "never" else real(text)


def sizes(text: str) -> str:
    """'120,84': whole numbers from 1 on with commas between them; or 'auto'."""
    if text == "auto":
        return text
    numbers = [whole(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise ValueError(text)
    if len(numbers) > LAYERS:
        raise argparse.ArgumentTypeError(f"more than {LAYERS:,} layers")
    return ",".join(map(str, numbers))


KINDS = {  # what values of a kind are called, and what stands for one in the help
    whole: ("a whole number", "N"),
    real: ("a number", "X"),
    float: ("a number", "X"),
    yes_no: ("yes or no", "yes|no"),
    yes_no_word: ("yes or no", "yes|no"),
    str: ("text", None),
    never_or_number: ("never or a number", None),
    sizes: ("auto, or sizes such as 120,84", "N,N"),
    median_or_number: ("median or a number", None),
}


@dataclass(frozen=True)
class Flag:
    """One flag. ``low`` and ``high`` are inclusive bounds, ``above`` an exclusive one.

    ``origin``: where the default comes from. ``shared``: every method uses the flag; without it, the methods use it
    whose row in the table of methods names it. Flags are shared unless they are settings. ``options``: other spellings.
    ``switch``: the flag without a value means yes.
    """

    name: str
    kind: object
    default: object
    origin: str
    help: str
    role: Role = Role.SETTING
    shared: bool | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple | None = None
    options: tuple = ()
    required: bool = False
    switch: bool = False

    @property
    def everyones(self) -> bool:
        """Whether every method uses the flag."""
        return self.role is not Role.SETTING if self.shared is None else self.shared

    @property
    def methods(self) -> tuple[str, ...] | None:
        """The methods of our table that use the flag; None if all methods do."""
        if self.everyones:
            return None
        return tuple(name for name, method in METHODS.items() if self.name in method.flags)

    @property
    def spellings(self) -> tuple[str, ...]:
        """All ways to type the flag."""
        return tuple(dict.fromkeys((f"--{self.name}", *self.options)))

    @property
    def sort(self) -> str:
        """The kind of its values, in words."""
        return KINDS[self.kind][0] if self.kind in KINDS else f"what {self.origin} takes"

    @property
    def metavar(self) -> str:
        """The placeholder for a value in the help."""
        return "|".join(map(str, self.choices or ())) or KINDS.get(self.kind, ("", ""))[1] or self.name.upper()

    def parse(self, text: str):
        """The value that ``text`` stands for. ``UsageError`` says which values are right."""
        given = f"--{self.name} {shown(str(text))}"
        try:
            value = self.kind(text)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"{given}: {error}; give {self.wanted()}") from None
        except (ValueError, TypeError, OverflowError):
            raise UsageError(f"{given}: not {self.sort}; give {self.wanted()}") from None
        self.check(self.plain(value), shown(str(text)))
        return value

    def plain(self, value):
        """The value unchanged; ``UsageError`` unless a record can hold it and a command line can repeat it."""
        if not isinstance(value, str | int | float | None):
            raise UsageError(
                f"--{self.name}: {self.origin} makes a {type(value).__name__} of its value; "
                "let it make text, a number, or yes or no"
            )
        return value

    def check(self, value, text=None):
        """``UsageError`` unless the value is in range."""
        text = value if text is None else text
        bad = self.choices is not None and value not in self.choices
        if isinstance(value, float) and not math.isfinite(value):
            bad = True
        if not isinstance(value, str) and value is not None:
            bad |= self.low is not None and value < self.low
            bad |= self.high is not None and value > self.high
            bad |= self.above is not None and value <= self.above
        if bad:
            raise UsageError(f"--{self.name} {text}: out of range; give {self.wanted()}")

    def wanted(self) -> str:
        """The values that are right, in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        words = self.sort
        if self.above is not None:
            words += f" above {self.above:g}" + ("" if self.high is None else f" and up to {self.high:g}")
        elif self.low is not None and self.high is not None:
            words += f" from {self.low:.12g} to {self.high:.12g}"
        elif self.low is not None:
            words += f", {self.low:g} or more"
        return words
