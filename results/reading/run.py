"""One run as read from a log of any format, and where its printed numbers disagree with its own grid."""

from dataclasses import dataclass, field
from functools import cached_property

from metrics.metrics import KEYS, of_the_end, summary
from results.reading import bounds
from results.reading.fields import is_other

# The printed numbers: key in Run.printed and metrics.summary() -> how the reference's text file calls it.
PRINTED = {
    "learning_accuracy": "Diagonal Accuracy",
    "final": "Final Accuracy",
    "backward": "Backward",
    "forward": "Forward",
}


@dataclass
class Run:
    """What one log says about one run.

    source, line: the file, and where in it the run begins (1 for files that hold one run); label: its heading
    or file name. baseline (T,) or None; grid (K, T), nan where an entry could not be read, [] if there is
    none; order: task ids in the order of learning, None if the log does not say it; together: it says that
    all tasks were learned together. printed: the summary numbers as the log prints them (text, so that its
    digits are known). decimals: how many the grid was printed with, None if it is exact. exact: the printed
    numbers are not rounded either. args, seconds, record: None where the log has none. trained: what it says
    of tasks and epochs (training.Trained).
    problems: what could not be read, with file and line. slips: what was read but looks wrong.
    """

    source: str
    line: int = 1
    label: str = ""
    baseline: list | None = None
    grid: list = field(default_factory=list)
    order: list | None = None
    together: bool = False
    printed: dict = field(default_factory=dict)
    decimals: int | None = None
    exact: bool = False
    args: dict | None = None
    seconds: float | None = None
    record: dict | None = None
    trained: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    slips: list = field(default_factory=list)

    @property
    def final(self):
        return self.number("final")

    @property
    def backward(self):
        return self.number("backward")

    @property
    def forward(self):
        return self.number("forward")

    @property
    def empty(self):
        """Whether nothing could be read from the log."""
        return not (self.grid or self.baseline or self.printed or self.record or self.trained)

    @property
    def n_tasks(self):
        row = self.baseline or (self.grid[0] if self.grid else None)
        return len(row) if row else None

    @property
    def place(self):
        return f"{self.source}:{self.line}"

    @property
    def joint(self):
        """Whether all tasks were learned together, so that no number between tasks means anything."""
        return self.together or self.fact("model") == "joint"

    @property
    def unordered(self):
        """Whether it is not known which task a row of the grid belongs to."""
        return self.joint or (self.order is None and self.fact("shuffle_tasks") == "yes")

    @property
    def flags(self):
        """The run's arguments; {} if the log has none."""
        return (self.record or {}).get("args") or self.args or {}

    def fact(self, key):
        """'model', 'data_file', 'seed', 'status' ...: from the record or the arguments, else None."""
        record = self.record or {}
        for where in (record, record.get("protocol"), {} if is_other(key) else self.flags):
            if isinstance(where, dict) and where.get(key) is not None:
                return where[key]
        return None

    @cached_property
    def recomputed(self):
        """metrics.summary() of the grid, as far as its rows' tasks are known; all None where its shape allows none."""
        try:
            found = summary(self.baseline, self.grid, self.order)
            return of_the_end(found) if self.unordered else found
        except ValueError:
            return dict.fromkeys(KEYS)

    def disagreements(self):
        """One sentence for each printed number that cannot have come from this grid.

        Three errors are allowed for: half a unit of the number's last printed digit, unless it is exact; the grid's
        own rounding, half a unit for an accuracy and so one unit for a difference of two; and 1e-6 for float32.
        """
        found = []
        for key, text in self.printed.items():
            ours = self.recomputed.get(key)
            if ours is None:
                continue
            rounding = 0.0 if self.decimals is None else 10.0**-self.decimals
            if key in ("final", "learning_accuracy"):
                rounding /= 2
            if not self.exact:
                rounding += 0.5 * 10.0 ** -decimals_of(text)
            if not abs(float(text) - ours) <= rounding + 1e-6:  # written so that a printed nan disagrees
                found.append(f"{self.place}: prints {PRINTED[key]} {text}, its grid gives {ours:.4f}")
        return found

    def baseline_mean(self):
        """Mean of a baseline row that is missing, over all tasks but the first learned; None if unknown.

        From the printed forward number f: f * T / (T - 1) = mean_i R[i-1, order[i]] - mean of the baseline.
        """
        tasks = self.n_tasks
        if self.baseline is not None or self.forward is None or self.unordered or not tasks or tasks < 2:
            return None
        try:
            ahead = summary([0.0] * tasks, self.grid, self.order)["forward_paper"]
        except ValueError:
            return None
        return None if ahead is None else ahead - self.forward * tasks / (tasks - 1)

    def number(self, key):
        """A summary number as printed; None if it is not, or means nothing."""
        text = self.printed.get(key)
        value = None if text is None or not abs(float(text)) <= bounds.LARGEST else float(text)
        return of_the_end({key: value})[key] if self.joint else value


def decimals_of(text):
    """Digits after the point of a number as printed: 4 for '-0.1820', 3 + 2 for '1.234e-2'."""
    mantissa, _, exponent = text.lower().partition("e")
    return len(mantissa.partition(".")[2]) - int(exponent or 0)
