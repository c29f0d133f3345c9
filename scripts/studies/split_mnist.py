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
import json
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
from results.table import render

LOGGED = ROOT / "results" / "logged" / "seed_002.json"
SEEDS, OTHER_SEEDS = "0..4", "100..101"
COMMON = "--data_file mnist_split.pt --head shared --log_every 1000000 --probe sparsity"
# What the note leaves open, as `choice` has chosen it (docs/split_mnist.md).
PLAIN = "--optimizer adam --lr 0.001 --batch_size 64"
ORTHOGONAL = "--momentum 0.9 --lr 0.001 --batch_size 64"
MLP = "--hidden_sizes 120,84"
EPOCHS = "--n_epochs 4"
OGD = "--model ogd --ogd_mode loss_mean --task_sample 12000 --later_lr_factor 0.2 --n_epochs 29"


class Row(NamedTuple):
    """A row of the study: its flags without COMMON and the setting, and the name of the note's table, if it has one."""

    label: str
    flags: str
    note: str | None = None

    @property
    def orthogonal(self) -> bool:
        """Whether it has the setting of the rows with a small rate and a rule that stops a task."""
        return "--stop_at_accuracy" in self.flags

    @property
    def line(self) -> str:
        return f"{self.flags} {ORTHOGONAL if self.orthogonal else PLAIN} {COMMON}"


def _rows():
    joint, single = f"--model joint {EPOCHS} {MLP}", f"--model single {EPOCHS} {MLP}"
    yield Row("joint", joint, "plain MLP, all classes at once")
    yield Row("joint, batch norm", f"{joint} --norm batch", "batch normalisation, all at once")
    for l1 in ("0.001", "0.1", "1.0", "2.0"):
        note = f"L1 penalty {l1} on the hidden representations, all at once"
        yield Row(f"joint, L1 {l1}", f"{joint} --l1_activations {l1}", note)
    yield Row("joint, LeNet-5", f"--model joint {EPOCHS} --net lenet5")
    yield Row("sequential", single, "L1 penalty 0.0, task after task")
    yield Row("sequential, batch norm", f"{single} --norm batch", "batch normalisation, task after task")
    yield Row("sequential, layer norm", f"{single} --norm layer")
    yield Row("sequential, dropout 0.5", f"{single} --dropout 0.5", "dropout 0.5, task after task")
    yield Row("sequential, L1 1.0", f"{single} --l1_activations 1.0", "L1 penalty 1.0, task after task")
    yield Row("sequential, batch norm, L1 1.0", f"{single} --norm batch --l1_activations 1.0")
    yield Row("sequential, LeNet-5", f"--model single {EPOCHS} --net lenet5")
    ogd, bn = f"{OGD} {MLP}", f"{OGD} {MLP} --norm batch"
    note = "orthogonal gradient descent, one mean gradient a task, until 98 % training accuracy or 30 epochs"
    yield Row("OGD, stop at .98", f"{ogd} --stop_at_accuracy 0.98", note)
    note = "orthogonal gradient descent with batch normalisation"
    yield Row("OGD, batch norm, stop at .98", f"{bn} --stop_at_accuracy 0.98", note)
    yield Row(
        "OGD, batch norm, stop at .95", f"{bn} --stop_at_accuracy 0.95", f"{note}, until 95 % training accuracy, task 5"
    )
    stop = "--stop_at_accuracy 0.95"
    yield Row("the same, L1 5.0", f"{bn} --l1_activations 5.0 {stop}", "the same with L1 penalty 5.0")
    note = "orthogonal gradient descent, batch normalisation, dropout 0.2"
    yield Row("the same, dropout 0.2", f"{bn} --dropout 0.2 {stop}", f"{note} (until 95 %), task 5")
    yield Row(
        "the same, dropout 0.2, L1 5.0",
        f"{bn} --dropout 0.2 --l1_activations 5.0 {stop}",
        f"{note}, L1 penalty 5.0, task 5",
    )
    yield Row("the same, recorded in training mode", f"{bn} --ogd_record train {stop}")
    gtl = bn.replace("loss_mean", "gtl")
    yield Row("the same, 40 logit gradients a task", f"{gtl} --ogd_per_task 40 {stop}")
    yield Row("no OGD, the same steps", f"--model single --later_lr_factor 0.2 --n_epochs 29 {MLP} --norm batch {stop}")


ROWS = tuple(_rows())
# The candidates, and the rows by which they are judged.
PLAIN_CHOICES = [
    *(
        f"--optimizer adam --lr {lr} --batch_size {b}"
        for lr, b in itertools.product(("0.0003", "0.001"), (32, 64, 128))
    ),
    *(f"--momentum 0.9 --lr {lr} --batch_size 64" for lr in ("0.01", "0.03")),
]
ORTHOGONAL_CHOICES = [
    *(
        f"--momentum 0.9 --lr {lr} --batch_size {b}"
        for lr, b in itertools.product(("0.0003", "0.001", "0.003"), (16, 64))
    ),
    *(f"--momentum 0 --lr {lr} --batch_size 16" for lr in ("0.003", "0.01", "0.03")),
    *(f"--optimizer adam --lr {lr} --batch_size 64" for lr in ("0.0001", "0.0003")),
]
JUDGED = ("joint", "sequential", "OGD, batch norm, stop at .98", "OGD, batch norm, stop at .95")


def lines() -> str:
    """The command lines of all rows, for the sweep."""
    return "\n".join(f"{row.line} --seed {SEEDS}" for row in ROWS)


def candidates() -> str:
    """The command lines of the candidates, on seeds that the study does not report."""
    found = []
    for row in ROWS:
        if row.label in JUDGED:
            choices = ORTHOGONAL_CHOICES if row.orthogonal else PLAIN_CHOICES
            found += [f"{row.flags} {setting} {COMMON} --seed {OTHER_SEEDS}" for setting in choices]
    return "\n".join(found)


def parsed(flags: str) -> dict:
    """{flag: value} of a text of flags."""
    words = flags.split()
    return {
        name: FLAGS[name].parse(value)
        for name, value in zip([word.removeprefix("--") for word in words[::2]], words[1::2], strict=True)
    }


def settled(run, flags: str) -> bool:
    """Whether a run had these flags and else, of those that rows and candidates name, the defaults."""
    named = ("model", *SETTING, "hidden_sizes", "net", "norm", "dropout", "l1_activations", "later_lr_factor")
    named += ("stop_at_accuracy", "ogd_mode", "ogd_record")
    wanted = {name: FLAGS[name].default for name in named} | parsed(flags)
    del wanted["data_file"]
    args = run.record["args"]
    return all(args[name] == value for name, value in wanted.items() if name in named)


SETTING = ("optimizer", "momentum", "lr", "batch_size")


def note_of(row: Row) -> dict:
    """The note's numbers of a row: {"accuracy": [after each task that it prints], "sparsity": [...], "final", "zeros"}."""
    logged = json.loads(LOGGED.read_text())
    rows = next((table["rows"] for table in logged["tables"] if table["name"] == row.note), [])
    found = {
        name: [None if line[place] is None else float(line[place]) for line in rows]
        for name, place in (("accuracy", 6), ("sparsity", 7))
    }
    return found | {"final": _last(found["accuracy"]), "zeros": _last(found["sparsity"])}


def ours_of(run) -> dict:
    """The same of a run of ours."""
    record = run.record
    found = {"accuracy": record["so_far"], "sparsity": record.get("probes", {}).get("sparsity", {}).get("sparsity", [])}
    return found | {"final": _last(found["accuracy"]), "zeros": _last(found["sparsity"])}


def _last(values):
    return values[-1] if values else None


# ---------------------------------------------------------------- tables


def table(found) -> str:
    """Two tables: the end of every row, then accuracy and sparsity after each task of those that learn task after task."""
    body, tasks = [], []
    for row in ROWS:
        runs = [run for run in found if settled(run, row.line)]
        ours, note = [ours_of(run) for run in runs], note_of(row)
        seconds = inference.mean([run.record["seconds"]["total"] for run in runs]) if runs else None
        numbers = [
            *_beside(note["final"], [one["final"] for one in ours]),
            *_beside(note["zeros"], [one["zeros"] for one in ours]),
        ]
        stopped = [sum(run.record["stopping"]["epochs"]) for run in runs if "stopping" in run.record]
        epochs = f"{inference.mean(stopped):.0f}" if stopped else ""
        body.append([row.label, str(len(runs)), *numbers, epochs, "" if seconds is None else f"{seconds:.0f}"])
        if ours and "joint" not in row.flags:
            for name in ("accuracy", "sparsity"):
                tasks.append([f"{row.label}, {name}", *_by_task(note[name], [one[name] for one in ours])])
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
    notes = [_data(found)]
    after = render(["after task (note)", "1", "2", "3", "4", "5"], tasks, "markdown")
    return render(head, body, "markdown", notes=notes) + "\n" + after


def _beside(note, values) -> list[str]:
    """The note's number, ours with the standard deviation, and the difference."""
    values = [value for value in values if value is not None]
    theirs = "" if note is None else shown(note, 4)
    if not values:
        return [theirs, "X" if note is not None else "", ""]
    spread = f" ({shown(inference.deviation(values), 4)})" if len(values) > 1 else ""
    mean = inference.mean(values)
    return [theirs, f"{shown(mean, 4)}{spread}", "" if note is None else shown(mean - note, 4, sign=True)]


def _by_task(note, each) -> list[str]:
    """Our mean after each task, and the note's number in brackets where it prints all five."""
    cells_ = []
    for t in range(5):
        values = [one[t] for one in each if len(one) > t]
        theirs = f" ({note[t]:.3f})" if len(note) == 5 and note[t] is not None else ""
        cells_.append((f"{inference.mean(values):.3f}" if values else "X") + theirs)
    return cells_


def _data(found) -> str:
    files = sorted({run.record["protocol"]["data_file"] for run in found})
    said = f"Data: {', '.join(files)}."
    return said if files == ["mnist_split.pt"] else f"{said} The note's numbers are of MNIST."


def choice(found) -> str:
    """The candidates by their mean distance to the note, accuracies and sparsities of all judged rows and tasks alike."""
    texts = []
    for orthogonal, choices in ((False, PLAIN_CHOICES), (True, ORTHOGONAL_CHOICES)):
        judged = [row for row in ROWS if row.label in JUDGED and row.orthogonal == orthogonal]
        body = []
        for setting in choices:
            gaps, finals = [], []
            for row in judged:
                ours = [ours_of(run) for run in found if settled(run, f"{row.flags} {setting} {COMMON}")]
                finals.append(f"{inference.mean([one['final'] for one in ours]):.4f}" if ours else "X")
                gaps += _gaps(note_of(row), ours) if ours else [None]
            distance = None if None in gaps else inference.mean(gaps)
            body.append((distance, [setting, "X" if distance is None else f"{distance:.4f}", *finals]))
        body.sort(key=lambda pair: (pair[0] is None, pair[0]))
        texts.append(render(["setting", "distance", *(row.label for row in judged)], [b for _, b in body], "markdown"))
    return "\n".join(texts)


def _gaps(note, ours) -> list[float]:
    """|our mean - the note's number| of each number that the note prints of the row."""
    found = []
    for name in ("accuracy", "sparsity"):
        theirs = note[name] if len(note[name]) == 5 else note[name][-1:]
        for t, value in zip(range(-len(theirs), 0), theirs, strict=True):
            if value is not None:
                found.append(abs(inference.mean([one[name][t] for one in ours]) - value))
    return found


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
    found = [run for run in found if run.record and "so_far" in run.record]
    print(make(found))
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
