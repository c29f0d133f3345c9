"""The split-MNIST study: its command lines, and its tables from their records beside the note's numbers.

    python scripts/studies/split_mnist.py lines               the rows of the note, for the sweep
    python scripts/studies/split_mnist.py settings            candidates for what the note leaves open, on other seeds
    python scripts/studies/split_mnist.py table PATH...       note, ours, difference
    python scripts/studies/split_mnist.py choice PATH...      the candidates, the nearest to the note first
    python scripts/studies/split_mnist.py data [WORD...]      flags for the data that there is: none, or the digits'

Accuracies are over all classes seen so far, on the held-out images; sparsity is population sparsity. The note's numbers are
one run each. They come from results/logged/seed_002.json.
"""

import argparse
import itertools
import math
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if sys.path[0] != str(ROOT):
    sys.path[0] = str(ROOT)

from data import DataError, standard
from model.arguments import FLAGS
from results import console
from results.comparing import cells, inference
from results.comparing.measures import shown
from results.reading import training
from results.reading.probed import entry
from results.table import render
from scripts.studies.command import parsed

LOGGED = ROOT / "results" / "logged" / "seed_002.json"
LAST = 5  # tasks
SEEDS, OTHER_SEEDS = "0..4", "100..101"
COMMON = "--data_file mnist_split.pt --head shared --log_every 1000000"
# What the note leaves open, as `choice` has chosen it (docs/split_mnist.md).
PLAIN = "--optimizer adam --optimizer_state keep --lr 0.001 --batch_size 32"
ORTHOGONAL = "--momentum 0 --lr 0.01 --batch_size 256"
MLP = "--hidden_sizes 120,84"
ADAM = "--optimizer adam --lr 0.0001 --batch_size 256"
EPOCHS = "--n_epochs 4"
UNTIL = "--later_lr_factor 0.2 --n_epochs 29"
OGD = f"--model ogd --ogd_mode loss_mean --ogd_record train --task_sample 12000 {UNTIL}"  # as the note's code
PROBES = {
    "joint": "sparsity,epochs,confidence",
    "single": "sparsity,epochs,confidence,curve,updates",
    "ogd": "sparsity,epochs,confidence,drift",
    "lenet5": "sparsity",  # a convolution takes long
}


DRAWN = ("sequential", "sequential, batch norm", "OGD, batch norm, until .95")  # these have DRAWN_PROBES too
DRAWN_PROBES = ["curve", "updates", "latents"]
EVALUATION = "OGD, batch norm, until .95, recorded in evaluation mode"


class Row(NamedTuple):
    """A row of the study: its flags without COMMON and the setting, and the note's runs of it, the first for each number.

    The note prints accuracy and sparsity of some settings from different runs.
    """

    label: str
    flags: str
    notes: tuple = ()
    own: str = ""  # a setting of the row's own

    @property
    def orthogonal(self) -> bool:
        """Whether it has the setting of the rows with a small rate and a rule that stops a task."""
        return "--stop_at_accuracy" in self.flags

    @property
    def line(self) -> str:
        return self.under(self.own or (ORTHOGONAL if self.orthogonal else PLAIN))

    def under(self, setting: str, probes: str = "") -> str:
        """The row's command line under a setting of optimizer, rate and batch size."""
        model = "lenet5" if "lenet5" in self.flags else parsed(self.flags)["model"]
        usual = PROBES[model].split(",") + (DRAWN_PROBES if self.label in DRAWN else [])
        return f"{self.flags} {setting} {COMMON} --probe {probes or ','.join(dict.fromkeys(usual))}"


def _rows():
    joint, single = f"--model joint {EPOCHS} {MLP}", f"--model single {EPOCHS} {MLP}"
    yield Row("joint", joint, ("joint", "joint, L1 0.0"))
    yield Row("joint, batch norm", f"{joint} --norm batch", ("joint, batch norm",))
    for l1 in ("0.001", "0.1", "1.0", "2.0"):
        yield Row(f"joint, L1 {l1}", f"{joint} --l1_activations {l1}", (f"joint, L1 {l1}",))
    yield Row("sequential", single, ("sequential", "sequential, L1 0.0"))
    note = "sequential, batch norm"
    yield Row(note, f"{single} --norm batch", (note, f"{note}, once more"))
    yield Row("sequential, layer norm", f"{single} --norm layer")
    yield Row("sequential, dropout 0.5", f"{single} --dropout 0.5", ("sequential, dropout 0.5",))
    yield Row("sequential, L1 1.0", f"{single} --l1_activations 1.0", ("sequential, L1 1.0",))
    yield Row(f"{note}, L1 1.0", f"{single} --norm batch --l1_activations 1.0", (f"{note}, L1 1.0",))
    ogd, bn, stop = f"{OGD} {MLP}", f"{OGD} {MLP} --norm batch", "--stop_at_accuracy 0.95"
    yield Row("OGD, until .98", f"{ogd} --stop_at_accuracy 0.98", ("OGD, until .98",))
    note = "OGD, batch norm"
    for at in ("98", "95"):
        yield Row(f"{note}, until .{at}", f"{bn} --stop_at_accuracy 0.{at}", (f"{note}, until .{at}",))
    for at in ("9", "8"):
        yield Row(f"{note}, until .{at}0", f"{bn} --stop_at_accuracy 0.{at}")
    for label, more in (
        ("L1 5.0", "--l1_activations 5.0"),
        ("dropout 0.2", "--dropout 0.2"),
        ("dropout 0.2, L1 5.0", "--dropout 0.2 --l1_activations 5.0"),
    ):
        yield Row(f"{note}, {label}, until .95", f"{bn} {more} {stop}", (f"{note}, {label}, until .95",))
    yield Row(EVALUATION, f"{bn.replace('--ogd_record train', '--ogd_record eval')} {stop}")
    for projected in ("gradient", "displacement"):
        label = f"{note}, Adam, {projected} projected, until .95"
        yield Row(label, f"{bn} --ogd_projects {projected} {stop}", own=ADAM)
    gtl = bn.replace("--ogd_mode loss_mean --ogd_record train", "--ogd_mode gtl")
    yield Row("OGD gtl, 40 a task, batch norm, until .95", f"{gtl} --ogd_per_task 40 {stop}")
    yield Row("no OGD, batch norm, until .95", f"--model single {UNTIL} {MLP} --norm batch {stop}")
    yield Row("joint, LeNet-5", f"--model joint {EPOCHS} --net lenet5")
    yield Row("sequential, LeNet-5", f"--model single {EPOCHS} --net lenet5")


ROWS = tuple(_rows())
# The candidates, and the rows by which they are judged.
PLAIN_CHOICES = [
    *(
        f"--optimizer adam --optimizer_state {state} --lr {lr} --batch_size {b}"
        for state, lr, b in itertools.product(("clear", "keep"), ("0.001", "0.003"), (32, 64, 256))
    ),
    *(
        f"--momentum 0.9 --optimizer_state {state} --lr {lr} --batch_size 64"
        for state, lr in (("clear", "0.01"), ("clear", "0.02"), ("keep", "0.02"))
    ),
]
ORTHOGONAL_CHOICES = [
    *(
        f"--momentum 0.9 --lr {lr} --batch_size {b}"
        for lr, b in itertools.product(("0.0003", "0.001", "0.003"), (128, 256))
    ),
    *(f"--momentum 0 --lr {lr} --batch_size 256" for lr in ("0.003", "0.01", "0.03")),
    *(f"--optimizer adam --lr {lr} --batch_size 256" for lr in ("0.0001", "0.0003", "0.001")),
]
JUDGED = ("joint", "joint, L1 0.1", "sequential", "sequential, batch norm", "sequential, L1 1.0",
          "OGD, batch norm, until .98", "OGD, batch norm, until .95")  # fmt: skip


def lines() -> str:
    """The command lines of all rows, for the sweep."""
    return "\n".join(f"{row.line} --seed {SEEDS}" for row in ROWS)


def candidates() -> str:
    """The command lines of the candidates, on seeds that the study does not report."""
    found = []
    for row in ROWS:
        if row.label in JUDGED:
            choices = ORTHOGONAL_CHOICES if row.orthogonal else PLAIN_CHOICES
            probes = "sparsity,drift" if row.orthogonal else "sparsity"
            found += [f"{row.under(setting, probes)} --seed {OTHER_SEEDS}" for setting in choices]
    return "\n".join(found)


def settled(run, flags: str) -> bool:
    """Whether a run had these flags and else, of those that rows and candidates name, the defaults."""
    named = ("model", *SETTING, "hidden_sizes", "net", "norm", "dropout", "l1_activations", "later_lr_factor")
    named += ("stop_at_accuracy", "ogd_mode", "ogd_record", "ogd_projects")
    wanted = {name: FLAGS[name].default for name in named} | parsed(flags)
    del wanted["data_file"]
    args = run.record["args"]
    return all(args[name] == value for name, value in wanted.items() if name in named)


SETTING = ("optimizer", "optimizer_state", "momentum", "lr", "batch_size")


def logged() -> dict:
    """The note's runs by their labels."""
    return {run.label: run for run in cells.read([str(LOGGED)], "split_mnist")[0]}


def note_of(row: Row, note: dict) -> dict:
    """{"accuracy" or "sparsity": {task from 1 on: the note's number}} of a row; the first of its runs that prints it counts."""
    found = {"accuracy": {}, "sparsity": {}}
    for label in reversed(row.notes):
        for name, numbers in ours_of(note[label]).items():
            found[name].update(numbers)
    return found


def ours_of(run) -> dict:
    """The same of one run; a run on all classes at once has task 5 only."""
    found = {"accuracy": {}, "sparsity": {}}
    for task, trained in training.at_the_end(run).items():
        for name, numbers in found.items():
            if name in trained.values:
                numbers[LAST if task is None else task] = float(trained.values[name])
    return found


def cosine(run, task: int) -> float | None:
    """Cosine of what was stored of task 1 with its gradient now, when ``task`` (from 1) ended; mean over directions."""
    found = entry(run, "drift")
    if not found or not found["mean"]:
        return None
    ends = [row for row, after in zip(found["mean"], found["mean"][1:] + [[]], strict=True) if len(row) != len(after)]
    ends[-1] = found["mean"][-1]
    return ends[task - 1][0] if task <= len(ends) else None


# ---------------------------------------------------------------- tables


def table(found) -> str:
    """Two tables: the end of every row, then accuracy and sparsity after each task of those that learn task after task."""
    body, tasks, note = [], [], logged()
    for row in ROWS:
        runs = [run for run in found if settled(run, row.line)]
        ours, theirs = [ours_of(run) for run in runs], note_of(row, note)
        numbers = [cell for name in theirs for cell in _beside(theirs[name], [one[name] for one in ours])]
        stopped = [sum(run.record["stopping"]["epochs"]) for run in runs if "stopping" in run.record]
        seconds = [run.record["seconds"]["total"] for run in runs]
        each = [f"{inference.mean(values):.0f}" if values else "" for values in (stopped, seconds)]
        body.append([row.label, str(len(runs)), *numbers, *each])
        if ours and "joint" not in row.flags:
            for name in theirs:
                tasks.append([f"{row.label}: {name}", *_by_task(theirs[name], [one[name] for one in ours])])
    head = [
        "row",
        "n",
        "note",
        "ours (sd)",
        "difference",
        "note, zeros",
        "ours (sd)",
        "difference",
        "epochs",
        "seconds",
    ]
    after = render(["after task", *map(str, range(1, LAST + 1))], tasks, "markdown")
    notes = [_data(found), "Below: our mean after each task, and the note's number in brackets."]
    return render(head, body, "markdown", notes=notes) + "\n\n" + after


def _beside(note: dict, each: list[dict]) -> list[str]:
    """At the end: the note's number, ours with the standard deviation, and the difference."""
    theirs, values = note.get(LAST), [one[LAST] for one in each if LAST in one]
    shown_note = "" if theirs is None else shown(theirs, 4)
    if not values:
        return [shown_note, "" if theirs is None else "X", ""]
    spread = f" ({shown(inference.deviation(values), 4)})" if len(values) > 1 else ""
    mean = inference.mean(values)
    return [shown_note, f"{shown(mean, 4)}{spread}", "" if theirs is None else shown(mean - theirs, 4, sign=True)]


def _by_task(note: dict, each: list[dict]) -> list[str]:
    """Our mean after each task, and the note's number in brackets."""
    found = []
    for t in range(1, LAST + 1):
        values = [one[t] for one in each if t in one]
        found.append((f"{inference.mean(values):.3f}" if values else "X") + (f" ({note[t]:.3f})" if t in note else ""))
    return found


def _data(found) -> str:
    files = sorted({run.record["protocol"]["data_file"] for run in found})
    said = f"Data: {', '.join(files)}."
    return said if files == ["mnist_split.pt"] else f"{said} The note's numbers are of MNIST."


def choice(found) -> str:
    """The candidates by their mean distance to the note, accuracies and sparsities of all judged rows and tasks alike.

    Of rows with orthogonal gradient descent also the epochs, the seconds of training, and the cosine of what was stored of
    task 1 with its gradient at the end.
    """
    texts, note = [], logged()
    for orthogonal, choices in ((False, PLAIN_CHOICES), (True, ORTHOGONAL_CHOICES)):
        judged = [row for row in ROWS if row.label in JUDGED and row.orthogonal == orthogonal]
        body = []
        for setting in choices:
            gaps, finals = [], []
            for row in judged:
                runs = [run for run in found if settled(run, row.under(setting))]
                ours = [ours_of(run) for run in runs]
                finals.append(_mean([one["accuracy"].get(LAST) for one in ours], 4))
                if orthogonal:
                    finals.append(_mean([sum(run.record["stopping"]["epochs"]) for run in runs], 0))
                    finals.append(_mean([run.record["seconds"]["train"] for run in runs], 0))
                    finals.append(_mean([cosine(run, LAST) for run in runs], 2))
                gaps += _gaps(note_of(row, note), ours)
            known = bool(gaps) and None not in gaps
            body.append((inference.mean(gaps) if known else math.inf, [setting, *finals]))
        body.sort(key=lambda pair: pair[0])
        rows = [
            [setting, "X" if distance == math.inf else f"{distance:.4f}", *cells_]
            for distance, (setting, *cells_) in body
        ]
        more = ("epochs", "seconds", "cosine") if orthogonal else ()
        heads = [head for row in judged for head in (row.label, *more)]
        texts.append(render(["setting", "distance", *heads], rows, "markdown"))
    return "\n\n".join(texts)


def _mean(values: list, digits: int) -> str:
    """The mean of those that are known; X without any."""
    known = [value for value in values if value is not None]
    return shown(inference.mean(known), digits) if known else "X"


def _gaps(note: dict, ours: list[dict]) -> list:
    """|our mean - the note's number| of each number that the note prints of a row; None where we have none."""
    return [
        abs(inference.mean([one[name][t] for one in ours]) - value)
        if ours and all(t in one[name] for one in ours)
        else None
        for name in note
        for t, value in note[name].items()
    ]


# ---------------------------------------------------------------- commands


def data(words: list[str]) -> str:
    """Flags for the study: none where split MNIST is there, or can be built; else the digits', and a note says so."""
    p = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    p.add_argument("--data_path", default=ROOT / "data")
    p.add_argument("--raw_path")
    p.add_argument("--data_file")
    given, _ = p.parse_known_args(words)
    if given.data_file or {"-h", "--help"} & set(words):
        return ""
    try:
        standard.ensure(Path(given.data_path, "mnist_split.pt"), given.raw_path)
    except DataError as error:
        print(f"note: the study runs on digits_split.pt, without LeNet-5, since {error}", file=sys.stderr)
        return "--data_file digits_split.pt --only hidden_sizes"
    return ""


def _tell(paths, make) -> int:
    found, unread = cells.read(paths, "split_mnist")
    print(make([run for run in found if run.record]))
    return 1 if unread else 0


def main(argv=None) -> int:
    """Run the command; return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["data"]:
        print(data(argv[1:]))
        return 0
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("lines", "settings", "table", "choice"))
    p.add_argument("paths", nargs="*", metavar="PATH", help="records, or folders of them")
    args = p.parse_args(argv)
    if args.what in ("lines", "settings"):
        print(lines() if args.what == "lines" else candidates())
        return 0
    return console.command("split_mnist", lambda: _tell(args.paths, table if args.what == "table" else choice))


if __name__ == "__main__":
    sys.exit(main())
