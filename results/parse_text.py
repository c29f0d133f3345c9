"""Runs in a text: the reference's .txt files, MER's and the fork's, console logs, numbers pasted into prose.

A text is cut into events: rows of accuracies, the '|' under a baseline row, the printed numbers with their
labels, the reference's one-line results, blank lines, words. Rows with nothing but line ends between them
make a block; a block with a '|', or with a printed number after it, is a run's grid.
"""

import ast
import math
import re
from collections import Counter
from dataclasses import dataclass, field

from results.run import PRINTED, Run, decimals_of

LABELS = {
    "final accuracy": "final",
    "retained accuracy": "final",
    "diagonal accuracy": "learning_accuracy",
    "learning accuracy": "learning_accuracy",
    "backward": "backward",
    "backward transfer": "backward",
    "forward": "forward",
    "forward transfer": "forward",
}
LABEL = re.compile(rf"\b({'|'.join(sorted(LABELS, key=len, reverse=True))})[ \t]*[:=][ \t]*(\S*)", re.IGNORECASE)
DECIMAL = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d{1,2})?")
BARE = re.compile(r"[-+]?(?:[01]|nan|inf)", re.IGNORECASE)  # a number only among decimals
BETWEEN = re.compile(r"[\s,;|\[\](){}]+")
HEADING = re.compile(r"\s*(?:\(\w{1,3}\)|#+|\d{1,3}[.)])\s+\S")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def parse_text(text, source):
    """All runs of a text, in order: list of Run."""
    reader = _Reader(source)
    for number, line in enumerate(text.split("\n"), start=1):
        for piece in ESCAPES.sub("", line).split("\r"):  # a progress bar writes over its own line
            reader.read(number, piece)
    reader.finish()
    return reader.runs


@dataclass
class Block:
    """Rows of tokens [(line, [token ...])], with the printed numbers that followed them."""

    rows: list = field(default_factory=list)
    baseline: tuple | None = None  # the row above the '|'
    label: str = ""
    printed: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)

    @property
    def line(self):
        return (self.baseline or (self.rows or [(1, [])])[0])[0]

    def count(self):
        return sum(len(tokens) for _, tokens in self.rows)


class _Reader:
    """Collects events: `block` is still growing, `waiting` is whole and takes the printed numbers."""

    def __init__(self, source):
        self.source, self.runs = source, []
        self.block = self.waiting = None
        self.heading = ""

    def read(self, line, piece):
        if piece.strip() == "|":
            if self.block and self.block.rows:
                self.block = Block(baseline=self.block.rows[-1], label=self.heading)
            return
        if not piece.strip():
            self.close()
            return
        if "} # " in piece and self.one_liner(line, piece):
            return
        at = 0
        for match in LABEL.finditer(piece):
            self.tokens(line, piece[at : match.start()])
            self.printed(line, match[1], match[2])
            at = match.end()
        self.tokens(line, piece[at:])

    def tokens(self, line, piece):
        """A stretch of text without labels: a row of numbers, or words, which end a block."""
        words = [w for w in BETWEEN.split(piece) if w]
        if not words:
            return
        decimal = [bool(DECIMAL.fullmatch(w)) for w in words]
        n = sum(decimal)
        odd = [w for w, d in zip(words, decimal, strict=True) if not d and not BARE.fullmatch(w)]
        inside = self.block is not None
        if (n or inside) and not odd:
            self.row(line, words)
        elif n >= 3 and len(odd) * 4 <= n and all(re.search(r"\d", w) for w in odd):
            self.row(line, words)  # a row with a misprint: _values() reports it
        else:
            self.close()
            for w, d in zip(words, decimal, strict=True):
                if d:
                    self.row(line, [w])
                else:
                    self.close()
            if HEADING.match(piece):
                self.heading = piece.strip().rstrip(":")[:80]

    def row(self, line, words):
        if self.block is None:
            self.block = Block(label=self.heading)
        rows = self.block.rows
        if rows and rows[-1][0] == line:
            rows[-1][1].extend(words)
        else:
            rows.append((line, list(words)))

    def close(self):
        """The block is whole: it waits for printed numbers if it can be a grid, else it is dropped."""
        block, self.block = self.block, None
        if block is not None and (block.baseline or block.count() >= 4):
            self.flush()
            self.waiting = block

    def printed(self, line, label, value):
        self.close()
        key, value = LABELS[label.lower()], value.rstrip(".,;)]`*")
        if self.waiting is None or key in self.waiting.printed:
            self.flush()
            self.waiting = Block(label=self.heading)
            self.waiting.rows.append((line, []))
        if DECIMAL.fullmatch(value) or BARE.fullmatch(value):
            self.waiting.printed[key] = value
        elif value != "X" and (self.waiting.baseline or self.waiting.count()):
            self.waiting.problems.append(f"{self.source}:{line}: {value!r} after {label!r} is not a number")

    def one_liner(self, line, piece):
        """The reference's '<file>: {arguments} # final backward forward # seconds'; True if it is one."""
        head, _, tail = piece.rpartition("} # ")
        stats, _, seconds = tail.partition("#")
        stats, seconds = stats.split(), seconds.strip()
        if "{" not in head or len(stats) not in (3, 4):
            return False
        if not all(DECIMAL.fullmatch(s) or BARE.fullmatch(s) for s in stats):
            return False
        self.close()
        keys = list(PRINTED)[-len(stats) :]  # four: the diagonal comes first
        printed = dict(zip(keys, stats, strict=True))
        start = head.index("{")
        args, problems = None, []
        try:
            args = ast.literal_eval(head[start:] + "}")
            if not isinstance(args, dict):
                raise ValueError("not a dict")
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            args = None
            problems.append(f"{self.source}:{line}: the arguments before ' # ' cannot be read")
        run = self.finished(self.waiting) if self.waiting and self.waiting.count() else None
        if run is not None and _same_numbers(run, printed):
            self.waiting = None
        else:
            self.flush()
            run = Run(self.source, line, head[:start].rstrip(": \t") or self.heading, printed=printed)
        run.args, run.seconds = args, float(seconds) if DECIMAL.fullmatch(seconds) else None
        run.problems += problems
        self.runs.append(run)
        return True

    def finish(self):
        self.close()
        self.flush()

    def flush(self):
        block, self.waiting = self.waiting, None
        if block is not None:
            run = self.finished(block)
            if run is not None:
                self.runs.append(run)

    def finished(self, block):
        """The block as a Run, or None if it is none."""
        run = Run(self.source, block.line, block.label, printed=dict(block.printed))
        run.problems += block.problems
        if not block.count() and block.baseline is None:
            return run if "final" in run.printed else None
        if block.baseline is None and not block.printed and not _looks_like_a_grid(block):
            return None
        _fill(run, block)
        if not block.printed:
            note = f"{run.place}: no {PRINTED['final']!r} after the grid"
            (run.problems if block.baseline else run.slips).append(note)
        return run


def _looks_like_a_grid(block):
    """Whether a block without '|' and without printed numbers is a grid: square, of accuracies."""
    widths = {len(tokens) for _, tokens in block.rows}
    square = math.isqrt(block.count())
    values = [float(w) for _, tokens in block.rows for w in tokens if DECIMAL.fullmatch(w)]
    if not all(0 <= v <= 1 for v in values):
        return False
    if len(block.rows) == 1:
        return square >= 4 and square**2 == block.count()
    return len(widths) == 1 and min(widths) >= 3 and len(block.rows) - min(widths) in (0, 1)


def _fill(run, block):
    """Set the run's baseline and grid from the block's rows, with what is wrong with them."""
    rows = list(block.rows)
    n = block.count()
    if block.baseline is not None:
        width = len(block.baseline[1])
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
    values = [_values(run, line, tokens, width) for line, tokens in rows]
    if block.baseline is not None:
        run.baseline = _values(run, *block.baseline, width)
        if len(values) == width + 1 and values[0] == run.baseline:
            run.slips.append(f"{run.place}: the baseline stands again as first row, which was left out")
            values, rows = values[1:], rows[1:]
    elif len(values) == width + 1:
        run.baseline, values, rows = values[0], values[1:], rows[1:]
    run.grid = values
    if len(values) > width:
        run.problems.append(f"{run.place}: {len(values)} rows for {width} tasks")
    _note_odd_entries(run, rows)


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
            run.problems.append(f"{run.source}:{line}: {token!r} is not a number")
            values.append(math.nan)
    return values


def _note_odd_entries(run, rows):
    """How many decimals the grid has; entries with more than the others, or that are no accuracies."""
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
    run.decimals = usual if times >= 0.9 * len(places) else min(counts)
    odd = []
    for i, j, line, token in places:
        where = f"{run.source}:{line}: row {i}, column {j}: {token}"
        if decimals_of(token) > run.decimals and times >= 0.9 * len(places):
            odd.append(f"{where} has {decimals_of(token)} digits after the point, the others {run.decimals}")
        if not 0 <= float(token) <= 1:
            odd.append(f"{where} is not an accuracy")
    run.slips += odd[:5] + ([f"{run.place}: {len(odd) - 5} more such entries"] if len(odd) > 5 else [])


def _same_numbers(run, printed):
    """Whether a one-line result can be of this run: each number agrees to its own digits."""
    for key, text in printed.items():
        theirs = float(text)
        ours = float(run.printed[key]) if key in run.printed else run.recomputed[key]
        ours = math.nan if ours is None else ours
        if math.isfinite(theirs) != math.isfinite(ours):
            return False
        if math.isfinite(theirs) and abs(theirs - ours) > 10.0 ** -decimals_of(text):
            return False
    return True
