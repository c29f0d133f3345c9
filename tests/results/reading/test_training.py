"""Training logs: the lines of the split-MNIST note, and what runs of ours have of the same."""

import json

import pytest

from results import regress, show
from results.reading.logs import parse
from results.reading.text import parse_text
from tests.results.records import make, write

LOGGED = "results/logged/seed_002.json"
NOTE = """\
## Orthogonal Gradient Descent

**task 1, [1, 2]**

10, train loss 0.069403, train acc 0.980684, val loss 0.072960, val acc 0.977480

registering gradients for the task

1 gradients stored

Sparcity analysis - population sparcity: 0.4305

**task 2, [3, 4]**

20, train loss 0.4, train acc 0.97, val loss 1.4, val acc 0.52

21, train loss 0.392691, train acc 0.980086, val loss 1.397583, val acc 0.513892

```
# a comment, and no heading
```

2 gradients stored

### Concurrent training

Epoch 4, train loss: 0.0117, val loss: 0.0357, train acc: 0.9786, val acc: 0.9646

**Regular net** --- **BN**

*task 2, val loss*: 11.244 --- 3.735

*task 1, [1, 2]*: val loss 0.012917, sparcity: 0.4987
"""


def test_lines_of_the_note():
    ogd, joint, table = parse_text(NOTE, "note")
    found = [(entry.line, entry.task, entry.epoch, entry.stored, entry.values.get("sparsity")) for entry in ogd.trained]
    assert found == [(5, 1, 10, 1, "0.4305"), (15, 2, 20, None, None), (17, 2, 21, 2, None)]
    assert ogd.trained[-1].values == {
        "train_loss": "0.392691", "train_accuracy": "0.980086", "loss": "1.397583", "accuracy": "0.513892"
    }  # fmt: skip
    assert (ogd.label, joint.label) == ("Orthogonal Gradient Descent", "Concurrent training")
    assert (joint.trained[0].task, joint.trained[0].values["accuracy"]) == (None, "0.9646")
    (entry,) = table.trained  # the line that compares runs is none of a run
    assert (entry.task, entry.values) == (1, {"loss": "0.012917", "sparsity": "0.4987"})


@pytest.mark.parametrize(
    ("second", "runs"),
    [
        ("task 1\n4, train loss 1.0, val acc 0.5", 2),  # a task that was there before
        ("task 2\n1, train loss 1.0, val acc 0.5", 1),
        ("5, train loss 1.0, val acc 0.5", 1),
        ("4, train loss 1.0, val acc 0.5", 2),  # an epoch that does not come after the last one
        ("**L1**\ntask 2\n5, train loss 1.0, val acc 0.5", 2),
    ],
)
def test_where_a_run_ends(second, runs):
    assert len(parse_text(f"task 1\n4, train loss 1.0, val acc 0.5\n{second}", "log")) == runs


def test_slips_are_told():
    text = "\n".join(
        f"With dropout of 0.2:\n**task 5, [9, 0]**\n13, train loss 0.5, val acc {acc}" for acc in (0.29, 1.27)
    )
    one, two = parse_text(text, "log")
    assert one.slips == [] and [slip.split(": ", 1)[1] for slip in two.slips] == [
        "the heading 'With dropout of 0.2' stood over the run of line 3 too",
        "val acc 1.27 is not a share",
    ]


def test_the_notes_runs_are_complete_and_read_again(tmp_path, capsys):
    """Lines 309, 315, 416-424, 434-442 and 702-712 of the note among them."""
    runs = parse(LOGGED)
    assert len(runs) == 23 and not any(run.problems for run in runs)
    logged = {value for run in runs for entry in run.trained for value in entry.values.values()}
    assert {"0.5369", "0.9236", "0.5421", "5.107574", "0.473100", "0.416500", "0.90260"} <= logged
    assert show.main([LOGGED]) == 0
    (tmp_path / "shown.log").write_text(shown := capsys.readouterr().out)
    again = [(e.task, e.epoch, e.stored, e.values) for run in parse(tmp_path / "shown.log") for e in run.trained]
    assert again == [(e.task, e.epoch, e.stored, e.values) for run in runs for e in run.trained]
    assert "! the note prints dropout 0.2 over this run" in shown and "! the note calls .3716" in shown


def measured(seed, loss=0.01, sparsity=0.5, **more):
    """A record of two tasks with what the probes measured of them."""
    epochs = {"task": [0, 0, 1], "epoch": [1, 2, 1], "train_loss": [1.0, 0.5, loss], "train_accuracy": [0.5, 0.9, 0.9],
              "loss": [1.0, 0.5, 4.0 + seed / 10], "accuracy": [0.5, 0.9, 0.49]}  # fmt: skip
    found = {"epochs": epochs, "sparsity": {"task": [0, 1], "sparsity": [0.4, sparsity + seed / 100]}}
    return make("single", seed=seed, seen=[0.91, 0.48 + seed / 1000], probes=found, **more)


def test_what_probes_measured_is_read_from_a_record(tmp_path):
    (run,) = parse(write(tmp_path / "r", measured(0)))
    ends = {(e.task, e.epoch): {key: float(value) for key, value in e.values.items()} for e in run.trained}
    assert ends[1, 1] == {"train_loss": 1.0, "train_accuracy": 0.5, "loss": 1.0, "accuracy": 0.5}
    assert ends[2, 1]["sparsity"] == 0.5 and ends[2, 1]["accuracy"] == 0.48 and ends[1, 2]["accuracy"] == 0.91


@pytest.mark.parametrize(
    "probes", [{"epochs": {"task": [0]}}, {"sparsity": {"task": [7], "sparsity": [1]}}, {"epochs": []}]
)
def test_what_no_run_leaves_is_told(tmp_path, probes):
    (run,) = parse(write(tmp_path / "r", make("single", probes=probes)))
    assert len(run.problems) == ("epochs" not in probes or bool(probes["epochs"])) and run.grid


@pytest.mark.parametrize(("loss", "status"), [("4.2", 0), ("11.2", 1)])
def test_losses_and_sparsity_are_checked(tmp_path, capsys, loss, status):
    text = f"task 2, [3, 4]\n4, train loss 0.01, val loss {loss}, val acc 0.482\npopulation sparsity: 0.52"
    fixture = tmp_path / "logged.json"
    entry = {"label": "sequential", "args": {"model": "single"}, "text": text.splitlines()}
    fixture.write_text(json.dumps({"logged": "", "runs": [entry]}))
    ours = write(tmp_path / "ours", *(measured(seed) for seed in range(4)))
    assert regress.main(["--against", str(fixture), ours]) == status
    out = capsys.readouterr().out
    assert f"measures of tasks: {status} of 4 deviate" in out
    assert ("val loss, task 2" in out) == bool(status)
