"""From rows of tokens in a text to a run's baseline and grid; whatever is wrong with them is noted in the run."""

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass, field

from results import RecordError
from results.reading import bounds
from results.reading.run import decimals_of

DECIMAL = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d{1,2})?")
BARE = re.compile(r"[-+]?(?:[01]|nan|inf)", re.IGNORECASE)  # a number only among decimals


@dataclass
class Block:
    """Rows of tokens [(line, [token ...])], with the printed numbers that followed them."""

    rows: list = field(default_factory=list)
    baseline: tuple | None = None  # the row above the '|'
    label: str = ""
    printed: dict = field(default_factory=dict)
    order: list | None = None
    together: bool = False
    problems: list = field(default_factory=list)
    n: int = 0  # tokens in the rows

    @property
    def line(self):
        return (self.baseline or (self.rows or [(1, [])])[0])[0]

    @property
    def width(self):
        return len(self.baseline[1]) if self.baseline else None

    @property
    def growing(self):
        """Whether it has a baseline, and fewer rows than columns."""
        return self.baseline is not None and len(self.rows) < self.width and self.n < self.width**2

    def add(self, line, tokens):
        """Take up tokens of a line: a new row, or more of the last one."""
        if self.rows and self.rows[-1][0] == line:
            self.rows[-1][1].extend(tokens)
        else:
            self.rows.append((line, list(tokens)))
        self.n += len(tokens)
        if self.n > bounds.NUMBERS:
            raise RecordError(f"line {line}: more than {bounds.NUMBERS:,} numbers in a row, which no grid has")

    def pop(self):
        """The last row, taken out."""
        row = self.rows.pop()
        self.n -= len(row[1])
        return row


def looks_like_a_grid(block):
    """Whether a block without '|' and without printed numbers is a grid: square, of accuracies."""
    widths = {len(tokens) for _, tokens in block.rows}
    square = math.isqrt(block.n)
    values = [float(w) for _, tokens in block.rows for w in tokens if DECIMAL.fullmatch(w)]
    if not all(0 <= v <= 1 for v in values):
        return False
    if len(block.rows) == 1:
        return square >= 4 and square**2 == block.n
    return len(widths) == 1 and min(widths) >= 3 and len(block.rows) - min(widths) in (0, 1)


def fill(run, block):
    """Set the run's baseline and grid from the block's rows, and note what is wrong with them."""
    rows = list(block.rows)
    n = block.n
    if block.baseline is not None:
        width = block.width
        if len(rows) == 1 and n > width and n % width == 0:
            rows = _cut(rows, width)
    else:
        width = Counter(len(tokens) for _, tokens in rows).most_common(1)[0][0]
        if len(rows) - width not in (0, 1) or len(rows) == 1:
            side = math.isqrt(n)
            if n in (side * side, side * (side + 1)):  # side columns: T*T, or T*T + T with a baseline
                width = side
                rows = _cut(rows, width)
            elif len(rows) > 1 and all(len(tokens) == width for _, tokens in rows) and len(rows) < width:
                run.slips.append(f"{run.place}: {len(rows)} rows of {width}, taken for a grid that ends early")
            else:
                run.problems.append(f"{run.place}: {n} numbers, neither T*T nor T*T + T: no grid")
                return
    if len(rows) * width > bounds.NUMBERS:
        run.problems.append(f"{run.place}: {len(rows)} rows for a baseline of {width} numbers: no grid")
        return
    values = [_values(run, line, tokens, width) for line, tokens in rows]
    if block.baseline is not None:
        run.baseline = _values(run, *block.baseline, width)
        if len(values) == width + 1 and values[0] == run.baseline:
            run.slips.append(f"{run.place}: the baseline stands again as first row, which was left out")
            values, rows = values[1:], rows[1:]
    elif len(values) == width + 1:
        run.baseline, values, rows = values[0], values[1:], rows[1:]
    run.grid = values
    note_values(run, [block.line, *(line for line, _ in rows)])
    _note_digits(run, rows)


def note_values(run, lines=None):
    """Note what is wrong with a grid of any format: more rows than tasks, or entries that are no accuracies.

    Entries that sums cannot hold become nan.

    lines: the line numbers of the baseline and of each row in a text.
    """
    if len(run.grid) > (run.n_tasks or 0):
        run.problems.append(f"{run.place}: {len(run.grid)} rows for {run.n_tasks or 0} tasks")
    rows = [("baseline", run.baseline or []), *((f"row {i}", row) for i, row in enumerate(run.grid, start=1))]
    places = [f"{run.source}:{line}" for line in lines] if lines else [run.source] * len(rows)
    odd = (
        f"{place}: {name}, column {j}: {value} is not an accuracy"
        for place, (name, row) in zip(places, rows, strict=True)
        for j, value in enumerate(row, start=1)
        if not (0 <= value <= 1 or math.isnan(value))
    )
    run.slips += _first(odd, run)
    for _, row in rows:
        row[:] = [value if abs(value) <= bounds.LARGEST else math.nan for value in row]


def _cut(rows, width):
    """All tokens of the rows, in rows of width."""
    flat = [(line, w) for line, tokens in rows for w in tokens]
    cuts = [flat[i : i + width] for i in range(0, len(flat), width)]
    return [(cut[0][0], [w for _, w in cut]) for cut in cuts]


def _values(run, line, tokens, width):
    """A row's numbers; nan for a misprint, and for a whole row of the wrong length."""
    if len(tokens) != width:
        run.problems.append(f"{run.source}:{line}: {len(tokens)} numbers in a row of {width}")
        return [math.nan] * width
    values = []
    for token in tokens:
        if DECIMAL.fullmatch(token) or BARE.fullmatch(token):
            values.append(float(token))
        else:
            run.problems.append(f"{run.source}:{line}: {token!r:.40} is not a number")
            values.append(math.nan)
    return values


def _note_digits(run, rows):
    """Set how many decimals the grid has, and note entries with more than the others."""
    places = [
        (i, j, line, token)
        for i, (line, tokens) in enumerate(rows, start=1)
        for j, token in enumerate(tokens, start=1)
        if DECIMAL.fullmatch(token)
    ]
    counts = Counter(decimals_of(token) for *_, token in places)
    if not counts:
        return
    usual, times = counts.most_common(1)[0]
    run.decimals = max(usual if times >= 0.9 * len(places) else min(counts), 0)
    odd = (
        f"{run.source}:{line}: row {i}, column {j}: {token:.40} has {decimals_of(token)} digits after the point, "
        f"the others {run.decimals}"
        for i, j, line, token in places
        if decimals_of(token) > run.decimals and times >= 0.9 * len(places)
    )
    run.slips += _first(odd, run)


def _first(odd, run):
    """The first five of an iterator of sentences, and how many more there are."""
    first, rest = list(itertools.islice(odd, 5)), sum(1 for _ in odd)
    return first + ([f"{run.place}: {rest} more such entries"] if rest else [])
