"""Runs in a text: the reference's .txt files, MER's and the fork's, console logs, numbers pasted into prose.

A text is cut into events: rows of accuracies, the '|' under a baseline row, the printed numbers with their
labels, the reference's one-line results, blank lines, words. Rows with nothing but line ends between them
make a block; a block with a '|', or with a printed number after it, is a run's grid.
"""

import ast
import codecs
import io
import math
import re

from metrics.metrics import IN_ORDER, TOGETHER
from results import RecordError
from results.reading import bounds, fields, training
from results.reading.grid import BARE, DECIMAL, Block, fill, looks_like_a_grid
from results.reading.run import PRINTED, Run, decimals_of

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
NAME = "|".join(sorted(LABELS, key=len, reverse=True))
LABEL = re.compile(rf"\b({NAME})[*`]*[ \t]*[:=][*`]*[ \t]*[*`]*(\S*)", re.IGNORECASE)  # bold or code in Markdown
BETWEEN = re.compile(r"[\s,;|\[\](){}]+")
ORDER = re.compile(rf"{IN_ORDER}((?: \d{{1,9}})+)")
HEADING = re.compile(r"\s*(?:\(\w{1,3}\)|#+|\d{1,3}[.)])\s+\S")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
TYPED = str.maketrans("\u2212\xa0", "- ")  # a word processor's minus and blank
STAMP = re.compile(r"\s*\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:?\d\d)?\]?:?(?=\s|$)")


def parse_file(path):
    """All runs of a text file, in order: list of Run. It is in UTF-8, or in UTF-16 if it has its mark, as PowerShell's."""
    data = bounds.contents(path, bounds.TEXT)
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf_16 else "utf-8-sig"
    return _parse(io.TextIOWrapper(io.BytesIO(data), encoding, errors="replace", newline=""), str(path), 1)


def parse_text(text, source, first=1):
    """All runs of a text, in order: list of Run. first: the number of its first line in `source`."""
    return _parse(io.StringIO(text, newline=""), source, first)


def _parse(text, source, number):
    """text: a stream of characters whose line ends are as they were. RecordError if it is larger than bounds allow."""
    reader, overwritten = _Reader(source), False
    try:
        while line := text.readline(bounds.LINE + 1):  # ends at \r too: a progress bar writes over its own line
            if len(line) > bounds.LINE:
                raise RecordError(f"line {number}: more than {bounds.LINE:,} characters, which no line of a log has")
            piece = ESCAPES.sub("", line.rstrip("\r\n")).translate(TYPED)
            stamp = STAMP.match(piece)
            if piece or not overwritten:  # nothing after a \r is no blank line
                reader.read(number, piece[stamp.end() :] if stamp else piece)
            number, overwritten = number + line.endswith("\n"), line.endswith("\r")
        reader.finish()
    except RecordError as e:
        raise RecordError(f"{source}: {e}") from None
    return reader.runs


class _Reader:
    """Collects events: `block` is still growing, `waiting` is whole and takes the printed numbers."""

    def __init__(self, source):
        self.source, self.runs = source, []
        self.block = self.waiting = None
        self.heading = ""
        self.training = training.Reader(source, self.keep)

    def read(self, line, piece):
        if self.training.read(line, piece):
            self.close()
            return
        if piece.strip() == "|":
            self.bar()
            return
        if not piece.strip():
            if not (self.block and self.block.growing):
                self.close()
            return
        if "} # " in piece and self.one_liner(line, piece):
            return
        if self.learned(piece.strip()):
            return
        at = 0
        for match in LABEL.finditer(piece):
            self.tokens(line, piece[at : match.start()])
            self.printed(line, match[1], match[2])
            at = match.end()
        self.tokens(line, piece[at:])

    def bar(self):
        """Take up a '|': the row above it is the baseline of a new block."""
        if self.block and self.block.rows:
            baseline = self.block.pop()
            if self.block.baseline:
                self.close()
            self.block = Block(baseline=baseline, label=self.heading)

    def tokens(self, line, piece):
        """Take up a stretch of text without labels: a row of numbers, or words, which end a block."""
        words = [w for w in BETWEEN.split(piece) if w]
        if not words:
            return
        decimal = [bool(DECIMAL.fullmatch(w)) for w in words]
        n = sum(decimal)
        odd = [w for w, d in zip(words, decimal, strict=True) if not d and not BARE.fullmatch(w)]
        inside = self.block is not None
        if self.misprinted(words, n, odd) if odd else n or inside:
            self.row(line, words)
        else:
            self.close()
            for w, d in zip(words, decimal, strict=True):
                if d:
                    self.row(line, [w])
                else:
                    self.close()
            if HEADING.match(piece):
                self.heading = piece.strip().rstrip(":")[:80]

    def misprinted(self, words, n, odd):
        """Whether words, n of them decimals and `odd` no numbers, are a row with misprints, which grid.fill notes."""
        if not n:
            return False
        digits = all(re.search(r"\d", w) for w in odd)
        if self.block and self.block.growing and len(words) == self.block.width:
            return digits or len(odd) * 2 < len(words)
        return digits and n >= 3 and len(odd) * 4 <= n

    def row(self, line, words):
        if self.block is None:
            self.block = Block(label=self.heading)
        self.block.add(line, words)

    def close(self):
        """End the growing block. It waits for printed numbers if it can be a grid; else it is dropped."""
        block, self.block = self.block, None
        if block is not None and (block.baseline or block.n >= 4):
            self.flush()
            self.waiting = block

    def printed(self, line, label, value):
        self.close()
        key, value = LABELS[label.lower()], value.rstrip(".,;)]`*")
        if self.waiting is None or key in self.waiting.printed:
            self.flush()
            self.waiting = Block(label=self.heading)
            self.waiting.add(line, [])
        if DECIMAL.fullmatch(value) or BARE.fullmatch(value):
            self.waiting.printed[key] = value
        elif value != "X" and (self.waiting.baseline or self.waiting.n):
            self.waiting.problems.append(f"{self.source}:{line}: {value!r:.60} after {label!r} is not a number")

    def learned(self, piece):
        """A line on how the tasks of the grid above it were learned; True if it is one."""
        order = ORDER.fullmatch(piece)
        if not order and piece != TOGETHER:
            return False
        self.close()
        if self.waiting:
            self.waiting.order = [int(task) for task in order[1].split()] if order else None
            self.waiting.together = not order
        return True

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
        keys = list(PRINTED)[-len(stats) :]  # of four numbers the first is the mean of the diagonal
        printed = dict(zip(keys, stats, strict=True))
        start = head.index("{")
        args, problems = None, []
        try:
            if len(head) - start > bounds.ARGUMENTS:
                raise ValueError("too long")
            args = ast.literal_eval(head[start:] + "}")
            if not isinstance(args, dict):
                raise ValueError("not a dict")
            args = fields.inside("args", args, f"{self.source}:{line}: ", problems)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            args = None
            problems.append(f"{self.source}:{line}: the arguments before ' # ' cannot be read")
        run = self.finished(self.waiting) if self.waiting and self.waiting.n else None
        if run is not None:
            run.args = args  # which say whether the tasks were shuffled
        if run is not None and _same_numbers(run, printed):
            self.waiting = None
        else:
            self.flush()
            run = Run(self.source, line, head[:start].rstrip(": \t")[-bounds.NAME :] or self.heading, printed=printed)
        run.args, run.seconds = args, float(seconds) if DECIMAL.fullmatch(seconds) else None
        run.problems += problems
        self.keep(run)
        return True

    def finish(self):
        self.close()
        self.flush()
        self.training.finish()

    def flush(self):
        block, self.waiting = self.waiting, None
        if block is not None:
            run = self.finished(block)
            if run is not None:
                self.keep(run)

    def keep(self, run):
        self.runs.append(run)
        if len(self.runs) > bounds.RUNS:
            raise RecordError(f"line {run.line}: more than {bounds.RUNS:,} runs, which no log has")

    def finished(self, block):
        """The block as a Run; None if it is not a grid."""
        run = Run(self.source, block.line, block.label, printed=dict(block.printed))
        run.order, run.together = block.order, block.together
        run.problems += block.problems
        if not block.n and block.baseline is None:
            return run if "final" in run.printed else None
        if block.baseline is None and not block.printed and not looks_like_a_grid(block):
            return None
        fill(run, block)
        if not block.printed:
            note = f"{run.place}: no {PRINTED['final']!r} after the grid"
            (run.problems if block.baseline else run.slips).append(note)
        return run


def _same_numbers(run, printed):
    """Whether a one-line result can belong to this run: each number agrees to its own digits."""
    for key, text in printed.items():
        theirs = float(text)
        ours = float(run.printed[key]) if key in run.printed else run.recomputed[key]
        ours = math.nan if ours is None else ours
        if math.isfinite(theirs) != math.isfinite(ours):
            return False
        if math.isfinite(theirs) and abs(theirs - ours) > 10.0 ** -decimals_of(text):
            return False
    return True
