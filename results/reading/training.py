"""Training logs: an epoch's losses and accuracies, population sparsity and stored gradients, task by task.

The lines are those of the split-MNIST note, and of `results.show`:

    **task 2, [3, 4]**
    21, train loss 0.392691, train acc 0.980086, val loss 1.397583, val acc 0.513892
    2 gradients stored
    Sparcity analysis - population sparcity: 0.4125
    *task 1, [1, 2]*: val loss 0.012917, sparcity: 0.4987

A run ends at a heading, at a task that was there before, and at an epoch that does not come after the last one.
"""

import math
import re
from dataclasses import dataclass, field

from results import RecordError
from results.reading import bounds
from results.reading.run import Run

MEASURES = {  # of a task: what the log calls it
    "train_loss": "train loss",
    "train_accuracy": "train acc",
    "loss": "val loss",
    "accuracy": "val acc",
    "sparsity": "sparsity",
}
NUMBER = r"(?:\d+\.?\d*(?:[eE][-+]?\d{1,2})?|nan|inf)(?![\w.]\d)"
VALUE = re.compile(rf"\b(train|val)(?:idation)?[ _](loss|acc)(?:uracy)?\b:?\s*({NUMBER})", re.IGNORECASE)
SPARSITY = re.compile(rf"\b(?:sparsity|sparcity)\s*:?\s*({NUMBER})", re.IGNORECASE)
STORED = re.compile(r"\b(\d{1,9}) gradients? stored\b", re.IGNORECASE)
TASK = re.compile(r"\W*task\s+(\d{1,9})\b(?:,?\s*\[[\d,\s]*\])?\W*", re.IGNORECASE)
EPOCH = re.compile(r"\W*(?:epoch\s*)?(\d{1,9})\s*,\s*", re.IGNORECASE)
HEADING = re.compile(r"#+\s.*|(?P<mark>\*{1,3})(?!\*|task\b).*(?P=mark):?\s*|lambda\b.*")
SHOWN = re.compile(r"from \S.*:\d+(?: \(.*\))?")  # the second line of a run that results.show prints
CAPTION = re.compile(r"[A-Z][^:]*\d[^:]*:\s*")  # such as "With dropout of 0.2:", of the run that follows
LEFT = re.compile(r"\d+\.\d")  # a number that has no name


@dataclass
class Trained:
    """What a log says of a task at the end of an epoch. ``values``: of MEASURES, as texts; ``task``: from 1, None if unknown."""

    line: int
    task: int | None = None
    epoch: int | None = None
    values: dict = field(default_factory=dict)
    stored: int | None = None  # gradients


class Reader:
    """Collects the lines of training logs into runs; ``keep(run)`` takes each up."""

    def __init__(self, source, keep):
        self.source, self.keep = source, keep
        self.headings = ["", ""]  # the last '#' heading, and the last one below it
        self.run = self.task = None  # the task that is being told about
        self.furthest, self.slips = None, set()  # the largest task of the run, and what looks wrong in it
        self.last = ("", 0)  # the label and the line of the run before
        self.code = False  # inside a block of code

    def read(self, line, piece):
        """Take up a line; True if it is one of a training log."""
        if piece.startswith("```"):
            self.code = not self.code
        if self.code:
            return False
        lowered = piece.lower()
        if any(word in lowered for word in ("val", "train", "spar", "stored")) and self._measured(line, piece):
            return True
        if found := TASK.fullmatch(piece):
            self._begin_task(int(found[1]))
        elif HEADING.fullmatch(piece):
            text = piece.strip(" \t*#:")[:80]
            self.headings = [text, ""] if piece.startswith("#") else [self.headings[0], text]
            self.finish()
        elif SHOWN.fullmatch(piece):
            self.finish()
        elif CAPTION.fullmatch(piece):
            self.headings[1] = piece.strip(" \t:")[:80]
        return False

    def finish(self):
        """End the run that is being read."""
        self._end()
        self.task = None

    def _end(self):
        """End the run; the next one may begin in the same task."""
        if self.run is not None:
            self.keep(self.run)
        self.run, self.furthest, self.slips = None, None, set()

    def _begin_task(self, task):
        if self.run is not None and self.furthest is not None and self.furthest >= task:
            self._end()
        self.task = task

    def _measured(self, line, piece):
        """Take up a line of measurements; False if it is something else."""
        values = {f"{'train_' * (m[1].lower() == 'train')}{_name(m[2])}": m[3] for m in VALUE.finditer(piece)}
        sparsity, stored = SPARSITY.search(piece), STORED.search(piece)
        task = TASK.match(piece)
        rest = piece[task.end() :] if task else piece
        epoch = EPOCH.match(rest) if values else None
        unnamed = STORED.sub("", SPARSITY.sub("", VALUE.sub("", rest[epoch.end() if epoch else 0 :])))
        if LEFT.search(unnamed) or not (sparsity or stored or (values and (task or epoch))):
            return False
        if task and not (epoch and self.run is not None and self.run.trained[-1].task == int(task[1])):
            self._begin_task(int(task[1]))
        if values:
            self._add(line, int(epoch[1]) if epoch else None)
        elif self.run is None or self.run.trained[-1].task != self.task:
            self._add(line, None)
        entry = self.run.trained[-1]
        entry.values |= values
        if sparsity:
            entry.values["sparsity"] = sparsity[1]
        entry.stored = int(stored[1]) if stored else entry.stored
        self._check(line, entry)
        return True

    def _add(self, line, epoch):
        before = self.run.trained[-1] if self.run is not None else None
        if before and before.task == self.task and (epoch is None or before.epoch is None or epoch <= before.epoch):
            self._end()
        if self.run is None:
            label = " / ".join(filter(None, self.headings))
            self.run = Run(self.source, line, label)
            if label and label == self.last[0]:
                self.run.slips.append(
                    f"{self.source}:{line}: the heading {label!r} stood over the run of line {self.last[1]} too"
                )
            self.last = (label, line)
        if len(self.run.trained) >= bounds.NUMBERS:
            raise RecordError(f"line {line}: more than {bounds.NUMBERS:,} epochs, which no run has")
        self.run.trained.append(Trained(line, self.task, epoch))
        if self.task is not None:
            self.furthest = max(self.furthest or 0, self.task)

    def _check(self, line, entry):
        for name, text in entry.values.items():
            if "loss" not in name and not 0 <= float(text) <= 1 and not math.isnan(float(text)):
                sentence = f"{self.source}:{line}: {MEASURES[name]} {text:.40} is not a share"
                if sentence not in self.slips:
                    self.slips.add(sentence)
                    self.run.slips.append(sentence)


def _name(word):
    return "loss" if word.lower() == "loss" else "accuracy"


def of_record(found, run):
    """Fill in the tasks of a record: accuracy over all tasks seen, and what the probes `epochs` and `sparsity` measured.

    found: its fields (fields.of_record). What is not as a run leaves it is named in the run's problems.
    """
    order = (found.get("protocol") or {}).get("task_order") or []
    place = {task: i + 1 for i, task in enumerate(order)}
    seen, probes = found.get("seen") or [], found.get("probes") or {}
    entries = []
    try:
        epochs, sparsity = probes.get("epochs") or {"task": []}, probes.get("sparsity") or {"task": []}
        for i, task in enumerate(epochs["task"]):
            entries.append(Trained(1, place[task], int(epochs["epoch"][i]), _numbers(epochs, i)))
        ends = {entry.task: entry for entry in entries}
        for table in ({"task": order[: len(seen)], "accuracy": seen}, sparsity):
            for i, task in enumerate(table["task"]):
                if place[task] not in ends:
                    ends[place[task]] = Trained(1, place[task])
                    entries.append(ends[place[task]])
                ends[place[task]].values |= _numbers(table, i)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as e:
        run.problems.append(f"{run.source}: what its probes measured cannot be read ({type(e).__name__}: {e})")
    else:
        run.trained = sorted(entries, key=lambda entry: entry.task)


def _numbers(table, i):
    """The measures in row i of a probe's table, as texts with all digits."""
    return {key: repr(float(table[key][i])) for key in MEASURES if key in table and table[key][i] is not None}


def at_the_end(run):
    """The last entry of each task: dict task (from 1; None if the log does not say it) -> Trained."""
    return {entry.task: entry for entry in run.trained}
