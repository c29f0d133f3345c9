"""Reading logs of every format: what is in them is found, what is wrong is said, nothing raises."""

import argparse
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiment.store import PLACE
from metrics import metrics
from results import RecordError, record
from results.reading.logs import parse, records, runs
from results.reading.run import Run
from results.reading.text import parse_text

LOGGED = Path(__file__).parents[3] / "results" / "logged"
A_GEM_NOTE = json.loads((LOGGED / "seed_004.json").read_text())
ARGS = {"model": "gem", "data_file": "d.pt", "seed": 3, "lr": 0.1, "samples_per_task": 1000, "cuda": False}
RESULT_T = torch.tensor([0.0, 0, 1])
RESULT_A = torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.8, 0.7]])
STATS = metrics.confusion_matrix(RESULT_T, RESULT_A)  # .75, -.05, .05


def content(**more):
    baseline, grid, _ = metrics.split(RESULT_T, RESULT_A)
    numbers = dict(zip(("final", "backward", "forward"), STATS, strict=True))
    return {
        "format": 1,
        "status": "done",
        "model": "gem",
        "args": ARGS,
        "grid": grid.tolist(),
        "baseline": baseline.tolist(),
        **numbers,
        **more,
    }


def write(folder, name="gem_d.pt_x", **more):
    line = record.one_liner(ARGS, STATS)
    return record.write(folder, name, content(**more), RESULT_T, RESULT_A, {"w": torch.zeros(2)}, line)


def one(found):
    assert len(found) == 1, found
    return found[0]


def document():
    """A note with the A-GEM note's grids, flattened to a line each, among prose and code, as it was handed round."""
    text = ["There are three ways of AGEM:", "", "```", "def project2cone2(gradient, memories, margin=0.5):"]
    text += ["   h = np.zeros(t) + margin", "   P = P + np.eye(P.shape[0])*(1e-3)", "```", ""]
    for i, entry in enumerate(A_GEM_NOTE["runs"]):
        rows, printed = entry["text"][:-1], entry["text"][-1]
        text += [f"{entry['label']}:", "", "Use the average, of shape [41, 89610]", "", "Result:", "", "```"]
        text += [" ".join(rows), "", printed] if i == 1 else [" ".join(rows) + " " + printed]
        text += ["```", ""]
    return "\n".join(
        [
            *text,
            "All use the same call:",
            "```",
            A_GEM_NOTE["command"],
            "```",
            "The error is Killed:9.",
            "(5) Conclusion:",
        ]
    )


# The A-GEM note


def check_seed_004(found):
    assert [run.n_tasks for run in found] == [10, 10, 10]
    assert [len(run.grid) for run in found] == [10, 10, 10]
    assert [run.baseline for run in found] == [None] * 3
    assert [(run.final, run.backward, run.forward) for run in found] == [
        (0.4992, -0.1820, 0.0152),
        (0.6100, -0.0781, 0.0161),
        (0.5804, -0.1134, 0.0081),
    ]
    assert [round(run.recomputed["final"], 4) for run in found] == [0.4997, 0.6100, 0.5804]
    assert [round(run.recomputed["backward"], 4) for run in found] == [-0.1815, -0.0781, -0.1062]
    assert [len(run.disagreements()) for run in found] == [2, 0, 1]
    assert "prints Final Accuracy 0.4992, its grid gives 0.4997" in found[0].disagreements()[0]
    assert "prints Backward -0.1134, its grid gives -0.1062" in found[2].disagreements()[0]
    assert [len(run.slips) for run in found] == [0, 0, 1]
    assert "row 8, column 6: 0.55118 has 5 digits" in found[2].slips[0]
    assert found[2].grid[7][5] == 0.55118
    assert not any(run.problems for run in found)
    for run in found:
        # The same seed, so the same untrained network: the three forward numbers must imply one baseline.
        ahead = sum(run.grid[j - 1][j] for j in range(1, 10)) / 9
        assert run.baseline_mean() == pytest.approx(ahead - run.forward * 10 / 9)
        assert run.baseline_mean() == pytest.approx(0.1156, abs=1e-4)


def test_seed_004_fixture():
    found = parse(LOGGED / "seed_004.json")
    check_seed_004(found)
    assert [run.fact("model") for run in found] == ["agem", "agem_closed", "agem_meanqp"]
    assert {run.fact("seed") for run in found} == {3}
    lines = (LOGGED / "seed_004.json").read_text().split("\n")
    assert all(lines[run.line - 1].strip().startswith('"0.7113') for run in found)
    assert "0.55118" in lines[int(found[2].slips[0].split(":")[1]) - 1]


def test_a_document_with_numbers_in_prose(tmp_path):
    (tmp_path / "note.txt").write_text(document())
    found = parse(tmp_path / "note.txt")
    check_seed_004(found)
    assert [run.label for run in found] == [entry["label"] for entry in A_GEM_NOTE["runs"]]
    lines = document().split("\n")
    assert all(lines[run.line - 1].startswith("0.7113") for run in found)


# The ways in which a file is named


def test_a_run_counts_once_however_it_is_named(tmp_path, monkeypatch):
    text = (LOGGED / "parity_gem_seed0.txt").read_text()
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns" / "a.txt").write_text(text)
    (tmp_path / "link").symlink_to("ns")
    monkeypatch.chdir(tmp_path)
    named = ["ns/a.txt", "./ns/a.txt", "ns", "link/a.txt", str(tmp_path), tmp_path / "ns", "ns/../ns"]
    assert one(list(runs(named))).source == "ns/a.txt"
    base = write(tmp_path / "r")
    assert one(list(runs([base + ".txt", "r"]))).source == base + ".txt"


def test_a_pipe_in_a_folder_is_passed_over(tmp_path):
    os.mkfifo(tmp_path / "x.log")
    os.mkfifo(tmp_path / "y.json")
    code = f"from results.reading.logs import parse; print(parse({str(tmp_path)!r})[0].problems)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=LOGGED.parents[1]
    )
    assert "no run in it" in done.stdout


def test_pth_files_of_a_folder(tmp_path):
    torch.save((RESULT_T, RESULT_A, {}, STATS, "", ARGS), tmp_path / "a.pth")
    assert one(parse(tmp_path)).final == pytest.approx(STATS[0])


# Our records


@pytest.mark.parametrize("suffix", [".json", ".pt", ".txt"])
def test_record(tmp_path, suffix):
    base = write(tmp_path)
    run = one(parse(base + suffix))
    assert (run.problems, run.slips, run.disagreements()) == ([], [], [])
    assert run.grid == [pytest.approx([0.9, 0.3]), pytest.approx([0.8, 0.7])]
    assert run.baseline == pytest.approx([0.1, 0.2])
    assert (run.final, run.backward, run.forward) == pytest.approx(tuple(STATS))
    if suffix != ".txt":
        assert (run.fact("model"), run.fact("seed")) == ("gem", 3)
    assert (run.record is not None) == (suffix == ".json")


def test_a_runs_three_files_count_once(tmp_path):
    first, second = write(tmp_path, "a"), write(tmp_path / "deep" / "er", "b")
    (tmp_path / "notes.md").write_text("0.1 0.2")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / ".hidden.json").write_text("{")
    write(tmp_path / PLACE / "0123456789abcdef", "unfinished")
    found = parse(tmp_path)
    assert [run.source for run in found] == [first + ".json", second + ".json"]
    assert not any(run.problems for run in found)
    named = list(runs([first + ".txt", first + ".json", first + ".pt"]))
    assert one(named).source == first + ".json"
    os.remove(first + ".json")
    assert parse(tmp_path)[0].source == first + ".pt"


def test_a_damaged_record_is_read_from_its_other_files(tmp_path):
    base = write(tmp_path)
    Path(base + ".json").write_text('{\n"format": 1,\n"grid": [[0.1,\n')
    run = one(parse(tmp_path))
    assert run.source == base + ".pt"
    assert one(run.problems).startswith(f"{base}.json:")
    Path(base + ".pt").write_bytes(Path(base + ".pt").read_bytes()[:300])
    run = one(parse(tmp_path))
    assert run.source == base + ".txt"
    assert len(run.problems) == 2
    os.remove(base + ".txt")
    run = one(parse(tmp_path))
    assert run.empty
    assert len(run.problems) == 2


def test_shuffled_tasks(tmp_path):
    order, t = [1, 0], torch.tensor([0.0, 1, 0])
    baseline, grid, found = metrics.split(t, RESULT_A)
    numbers = metrics.summary(baseline, grid, order)
    assert found == order
    given = content(protocol={"task_order": order}, **{k: numbers[k] for k in ("final", "backward", "forward")})
    base = record.write(tmp_path, "x", given, t, RESULT_A, {}, "")
    for suffix in (".json", ".pt"):
        run = one(parse(base + suffix))
        assert run.order == order
        assert run.disagreements() == []
        assert run.recomputed["backward"] == pytest.approx(numbers["backward"])


def test_diverged(tmp_path):
    t, a = RESULT_T[:2], RESULT_A[:2]
    given = content(status="diverged", grid=a[1:], final=None, backward=None, forward=0.05)
    base = record.write(tmp_path, "x", given, t, a, {}, "")
    for suffix in (".json", ".pt", ".txt"):
        run = one(parse(base + suffix))
        assert run.grid == [pytest.approx([0.9, 0.3])]
        assert run.final is None
        assert run.problems + run.disagreements() == []
    given = content(status="diverged", grid=[], final=None, backward=None, forward=None)
    base = record.write(tmp_path, "y", given, t[:1], a[:1], {}, "")
    for suffix in (".json", ".pt", ".txt"):
        run = one(parse(base + suffix))
        assert (run.grid, run.baseline, run.problems) == ([], pytest.approx([0.1, 0.2]), [])


def test_a_record_that_contradicts_itself(tmp_path):
    run = one(parse(write(tmp_path, backward=-0.06) + ".json"))
    assert "prints Backward -0.06, its grid gives -0.0500" in one(run.disagreements())


@pytest.mark.parametrize("wrong", [0.7, 0.75001, math.nan, math.inf])
def test_a_summary_of_few_digits_is_exact_in_a_record(tmp_path, wrong):
    (tmp_path / "x.json").write_text(json.dumps(content(final=wrong)))
    stats = [wrong, *STATS[1:]]
    torch.save((RESULT_T, RESULT_A, {}, stats, "", ARGS), tmp_path / "y.pt")
    for name in ("x.json", "y.pt"):
        told = one(one(parse(tmp_path / name)).disagreements())
        assert told.endswith(f"prints Final Accuracy {wrong}, its grid gives 0.7500")
    run = one(parse_text(f"0.10 0.20\n|\n0.90 0.30\n0.80 0.70\nFinal Accuracy: 0.75\nBackward: {wrong}\n", "x"))
    assert one(run.disagreements()).endswith(f"prints Backward {wrong}, its grid gives -0.0500")


@pytest.mark.parametrize(
    "wrong",
    [
        {"grid": [[0.1], [0.2, 0.3]]},
        {"grid": "abc"},
        {"grid": [["a", 1], [2, 3]]},
        {"grid": 7},
        {"baseline": {"a": 1}},
        {"baseline": [1, 2, 3]},
        {"final": "high"},
        {"format": 99},
    ],
)
def test_records_of_a_wrong_shape(tmp_path, wrong):
    (tmp_path / "x.json").write_text(record.to_json(content(**wrong)))
    run = one(parse(tmp_path / "x.json"))
    assert one(run.problems).startswith(str(tmp_path / "x.json"))
    run.disagreements()


def curve(step=(0, 7), task=(0, 1), accuracy=((0.1, 0.2), (0.9, 0.3))):
    return {"evolution": {"step": step, "task": task, "accuracy": accuracy}}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        *(({key: 5}, "is 5, not an object") for key in ("protocol", "versions", "counts", "metrics", "seconds")),
        ({"args": 5}, "'args' is 5, not an object"),
        ({"args": [1]}, "'args' is [1], not an object"),
        ({"args": {"seed": []}}, "in 'args' 'seed' is [], not text or a number"),
        ({"args": {"lr": {}}}, "in 'args' 'lr' is {}, not text, a number or a list of these"),
        ({"seed": []}, "'seed' is [], not text or a number"),
        ({"model": 5}, "'model' is 5, not text"),
        ({"protocol": {"task_order": "ab"}}, "in 'protocol' 'task_order' is 'ab', not a list of task ids"),
        ({"seconds": {"train": "x"}}, "in 'seconds' 'train' is 'x', not a finite number"),
        ({"final": 10**400}, "'final' is 1000"),
        ({"peak_memory_mb": 10**400}, "'peak_memory_mb' is 1000"),
        ({"counts": {"steps": 10**400}}, "in 'counts' 'steps' is 1000"),
        ({"grid": [[10**400, 0.3], [0.8, 0.7]]}, "grid or baseline is not rows of numbers"),
        ({"grid": [[0.9, 0.3]] * 3}, "3 rows for 2 tasks"),
        ({"evolution": 5}, "'evolution' is 5, not steps with a task and a row of accuracies each"),
        (curve(accuracy=[[0.1, None], [0.9, 0.3]]), "'evolution' is"),
        (curve(accuracy=[[0.1, math.nan], [0.9, 0.3]]), "'evolution' is"),
        (curve(accuracy=[[0.1, 10**400], [0.9, 0.3]]), "'evolution' is"),
        (curve(accuracy=[[0.1], [0.9, 0.3]]), "'evolution' is"),
        (curve(accuracy=[[0.1, 0.2]]), "'evolution' is"),
        (curve(accuracy=[1, 2]), "'evolution' is"),
        (curve(accuracy=[[], []]), "'evolution' is"),
        (curve(task=[0, 2]), "'evolution' is"),
        (curve(step=[0, "a"]), "'evolution' is"),
    ],
)
def test_a_field_of_a_wrong_kind_is_left_out_and_told(tmp_path, wrong, said):
    (tmp_path / "x.json").write_text(json.dumps(content(**wrong)))
    run = one(parse(tmp_path / "x.json"))
    assert said in one(run.problems)
    assert len(one(run.problems)) < len(str(tmp_path)) + 150
    assert run.fact("status") == "done" and run.printed
    assert "grid" in wrong or run.record != content(**wrong)
    run.disagreements()


def test_a_record_with_a_curve(tmp_path):
    run = one(from_json(tmp_path, **curve()))
    assert run.problems == [] and run.record["evolution"]["step"] == [0, 7]


def from_json(folder, **more):
    (folder / "good.json").write_text(json.dumps(content(**more)))
    return parse(folder / "good.json")


@pytest.mark.parametrize("value", [math.inf, -0.1, 7])
def test_entries_of_a_record_that_are_no_accuracies(tmp_path, value):
    run = one(from_json(tmp_path, grid=[[0.9, 0.3], [0.8, value]], baseline=[value, 0.2]))
    assert run.slips == [
        f"{tmp_path}/good.json: baseline, column 1: {float(value)} is not an accuracy",
        f"{tmp_path}/good.json: row 2, column 2: {float(value)} is not an accuracy",
    ]


def test_a_record_without_numbers(tmp_path):
    base = write(tmp_path)
    Path(base + ".json").write_text('{"format": 1}')
    run = one(parse(tmp_path))
    assert run.source == base + ".pt"
    assert one(run.problems) == f"{base}.json: has no grid and no numbers"
    run = one(parse(base + ".json"))
    assert run.empty and run.problems


# The reference's files


def test_the_references_pt(tmp_path):
    """A Namespace and 0-d tensors inside."""
    args = argparse.Namespace(**ARGS)
    stats = [torch.tensor(s) for s in STATS]
    torch.save((RESULT_T, RESULT_A, {"w": torch.zeros(3)}, stats, "one line", args), tmp_path / "a.pt")
    run = one(parse(tmp_path / "a.pt"))
    assert run.args == ARGS
    assert run.final == pytest.approx(STATS[0])
    assert run.problems + run.disagreements() == []
    parts = (RESULT_T, RESULT_A, {}, [torch.tensor(0.8), *stats], "one line", args)
    torch.save(parts, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    run = one(parse(tmp_path / "b.pt"))  # with the diagonal first, in the old file format
    assert run.final == pytest.approx(STATS[0])
    assert run.disagreements() == []


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("new_format", [True, False])
def test_pickled_code_is_not_executed(tmp_path, new_format):
    trace = tmp_path / "executed"
    args = argparse.Namespace(model=Malicious(str(trace)))
    parts = (RESULT_T, RESULT_A, {}, STATS, "", args)
    torch.save(parts, tmp_path / "x.pt", _use_new_zipfile_serialization=new_format)
    run = one(parse(tmp_path / "x.pt"))
    assert run.empty
    assert one(run.problems) == f"{tmp_path}/x.pt: asks for `{os.mkdir.__module__}.mkdir`, which is not read"
    (tmp_path / "y.pt").write_bytes(pickle.dumps(parts))
    assert one(parse(tmp_path / "y.pt")).empty
    assert not trace.exists()


@pytest.mark.parametrize(
    "parts",
    [
        7,
        {"a": 1},
        (RESULT_T, RESULT_A),
        (RESULT_T, RESULT_A[0], {}, STATS),
        (RESULT_T[:2], RESULT_A, {}, STATS),
        ("a", "b", {}, STATS),
        (RESULT_T, RESULT_A, {}, ["a"]),
        (RESULT_T, RESULT_A, {}, None),
        (RESULT_T * math.nan, RESULT_A, {}, STATS),
    ],
)
def test_pt_files_of_something_else(tmp_path, parts):
    torch.save(parts, tmp_path / "x.pt")
    run = one(parse(tmp_path / "x.pt"))
    assert run.empty
    assert str(tmp_path / "x.pt") in one(run.problems)


@pytest.mark.parametrize("data", [b"", b"words", b"PK\x03\x04 and no more"])
def test_damaged_pt_files(tmp_path, data):
    (tmp_path / "x.pt").write_bytes(data)
    assert one(one(parse(tmp_path / "x.pt")).problems) == f"{tmp_path}/x.pt: is damaged, or is no .pt file"


@pytest.mark.parametrize("case", ["single", "ewc", "gem"])
def test_the_references_txt(case):
    run = one(parse(LOGGED / f"parity_{case}_seed0.txt"))
    assert (len(run.grid), run.n_tasks, run.decimals) == (5, 5, 4)
    assert run.problems + run.slips + run.disagreements() == []
    assert run.final == pytest.approx(run.recomputed["final"], abs=1e-6)


def test_mers_txt():
    text = (LOGGED / "parity_gem_seed0.txt").read_text().replace("Final", "Diagonal Accuracy: 0.8996\nFinal")
    run = one(parse_text(text, "mer.txt"))
    assert run.printed["learning_accuracy"] == "0.8996"
    assert run.disagreements() == []
    run = one(parse_text(text.replace("0.8996", "0.9996"), "mer.txt"))
    assert "Diagonal Accuracy" in one(run.disagreements())


def test_the_references_txt_of_shuffled_tasks():
    """Its baseline is labelled task 0, and so stands again as a row of its own."""
    run = one(parse_text("0.1 0.2\n|\n0.1 0.2\n0.3 0.9\n0.8 0.7\n\nFinal Accuracy: 0.2\n", "x.txt"))
    assert run.grid == [[0.3, 0.9], [0.8, 0.7]]
    assert "first row" in one(run.slips)


@pytest.mark.parametrize(
    ("encoding", "newline"), [("utf-8", "\r\n"), ("utf-8-sig", "\n"), ("utf-16", "\r\n"), ("utf-8-sig", "\r\n")]
)
def test_text_as_windows_writes_it(tmp_path, encoding, newline):
    text = (LOGGED / "parity_gem_seed0.txt").read_text()
    (tmp_path / "x.txt").write_bytes(text.replace("\n", newline).encode(encoding))
    run, plain = one(parse(tmp_path / "x.txt")), one(parse_text(text, "x"))
    assert (run.grid, run.baseline, run.printed) == (plain.grid, plain.baseline, plain.printed)
    assert run.problems + run.slips == []


def test_blank_lines_in_a_grid_that_is_not_whole():
    text = "0.10 0.20\n|\n\n0.90 0.30\n\n0.80 0.70\n\nFinal Accuracy: 0.75\n"
    run = one(parse_text(text, "x"))
    assert (run.baseline, run.grid, run.problems) == ([0.1, 0.2], [[0.9, 0.3], [0.8, 0.7]], [])


def test_a_grid_that_ended_early_before_another():
    first, second = parse_text("0.1 0.2\n|\n0.9 0.3\n\n0.3 0.4\n|\n0.8 0.1\n0.7 0.6\nFinal Accuracy: 0.65", "x")
    assert (first.baseline, first.grid) == ([0.1, 0.2], [[0.9, 0.3]])
    assert (second.baseline, second.grid) == ([0.3, 0.4], [[0.8, 0.1], [0.7, 0.6]])


@pytest.mark.parametrize("wrong", ["0.O560", "?", "O.o"])
def test_a_misprint_in_a_small_grid(wrong):
    text = f"0.10 0.20 0.30\n|\n0.90 {wrong} 0.20\n0.80 0.70 0.30\n0.80 0.70 0.90\nFinal Accuracy: 0.80"
    run = one(parse_text(text, "x"))
    assert one(run.problems) == f"x:3: {wrong!r} is not a number"
    assert (len(run.grid), run.final) == (3, 0.8)


def test_words_end_a_small_grid():
    assert one(parse_text("0.1 0.2\n|\n0.9 0.3\nlr 0.1\n", "x")).grid == [[0.9, 0.3]]


def test_numbers_as_word_processors_and_markdown_write_them():
    grid = "0.10 0.20\n|\n0.90 0.30\n0.80 0.70\n"
    for printed in (
        "**Final Accuracy:** 0.75\n**Backward:** \u22120.05\n",
        "**Final Accuracy**: 0.75\n- `Backward`: **\u22120.05**\n",
        "Final Accuracy:\xa00.75\nBackward:\xa0\u22120.05\n",
    ):
        run = one(parse_text(grid + printed, "x"))
        assert (run.printed, run.problems) == ({"final": "0.75", "backward": "-0.05"}, [])


# Console logs


def console(base="results/gem_d.pt_x"):
    grid = metrics.grid_text([0.1, 0.2], [[0.9, 0.3], [0.8, 0.7]])
    line = record.one_liner(ARGS, STATS)
    return (
        "note: gem does not use --beta\r\n\x1b[2K 50%|####  | 5/10 [00:01<00:01, 312.5 it/s]\r100%|####| 10/10\n"
        f"step 100 loss 0.693 task 0\n{grid}\n\n{metrics.stats_text(*STATS)}\n{base}: {line} # 12.345\n"
    )


def test_a_console_log():
    run = one(parse_text(console(), "log"))
    assert run.grid == [[0.9, 0.3], [0.8, 0.7]]
    assert run.baseline == [0.1, 0.2]
    assert (run.args, run.seconds) == (ARGS, 12.345)
    assert run.problems + run.slips + run.disagreements() == []


@pytest.mark.parametrize("stamp", ["2026-01-02 10:11:12", "[2026-01-02T10:11:12,345]", "2026-01-02T10:11:12.3+01:00:"])
def test_a_console_log_with_time_stamps(stamp):
    text = metrics.grid_text([0.1, 0.2], [[0.9, 0.3], [0.8, 0.7]]) + "\n\n" + metrics.stats_text(*STATS)
    run = one(parse_text("".join(f"{stamp} {line}\n" for line in text.split("\n")), "log"))
    assert (run.baseline, run.grid, run.final) == ([0.1, 0.2], [[0.9, 0.3], [0.8, 0.7]], 0.75)
    assert run.problems == []


def test_several_runs_in_a_console_log():
    other = console().replace("0.8000 0.7000", "0.6000 0.5000")  # its one-line result is then another run's
    found = parse_text(console() + other.replace("0.7500", "0.5500"), "log")
    assert [bool(run.grid) for run in found] == [True, True, False]
    assert [run.args is None for run in found] == [False, True, False]


def test_one_liners_alone():
    line = f"results/gem_x: {ARGS} # 0.817 -0.056 0.010 # 123.4"
    found = parse_text(f"epoch 1\n{line}\n2024-01-01 INFO {line.replace('0.817', '0.900 0.817')}\n", "log")
    assert [run.final for run in found] == [0.817, 0.817]
    assert found[1].printed["learning_accuracy"] == "0.900"
    assert [run.line for run in found] == [2, 3]
    assert found[0].label == "results/gem_x"
    assert all(run.args == ARGS and run.grid == [] and run.n_tasks is None for run in found)


@pytest.mark.parametrize(
    "args", ["{'device': device(type='cpu')}", "{'a': 1", "{" * 5000, "{1, 2}", "{'a': __import__('os')}"]
)
def test_one_liner_with_unreadable_arguments(args):
    text = f"x: {args}}} # 0.5 0.1 0.2 # 1.0\n" if not args.endswith("}") else f"x: {args} # 0.5 0.1 0.2 # 1.0\n"
    run = one(parse_text("\n" + text, "log"))
    if args == "{'a': 1":
        assert run.args == {"a": 1}
    else:
        assert run.args is None
        assert one(run.problems).startswith("log:2: the arguments")
    assert run.final == 0.5


def test_layouts_of_a_pasted_grid():
    grid = "0.91 0.12 0.13\n0.81 0.92 0.23\n0.71 0.82 0.93"
    rows = [[float(v) for v in line.split()] for line in grid.split("\n")]
    printed = "\nFinal Accuracy: 0.82 Backward: -0.10"
    for text in (
        grid + printed,
        grid.replace("\n", " ") + printed,
        "Result: " + grid.replace("\n", ", ") + " as above." + printed,
        str(rows) + "\n\nThen:" + printed.replace(":", " ="),
        grid + "\n\nsome words\n" + printed,
        grid,
    ):
        run = one(parse_text(text, "x"))
        assert run.grid == rows, text
        assert run.baseline is None
    for text in ("0.1 0.1 0.1\n" + grid + printed, "0.1 0.1 0.1 " + grid.replace("\n", " ") + printed):
        run = one(parse_text(text, "x"))
        assert (run.baseline, run.grid) == ([0.1] * 3, rows)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no numbers",
        "loss 0.5 0.4 0.3\nlr 0.1",
        "0.5\n0.4\n0.3\n0.2",
        "|\n|\n",
        "1 2 3 4 5 6 7 8 9",
        "3.5 1.2 9.9 4.1",
    ],
)
def test_text_without_a_run(text):
    assert parse_text(text, "x") == []


def test_a_grid_of_one_task():
    run = one(parse_text("0.1000\n|\n0.9000\n\nFinal Accuracy: 0.9000\nBackward: 0.0000\nForward:  0.0000\n", "x"))
    assert run.problems + run.disagreements() == []


@pytest.mark.parametrize(
    ("change", "said", "rows"),
    [
        (("0.6960 0.7240 0.8240 0.8940", "0.6960 0.7240"), "x:7: 3 numbers in a row of 5", 5),
        (("0.7180 0.6940", "0.7180 O.6940"), "x:5: 'O.6940' is not a number", 5),
        (("0.7720 0.8920", "0.7720 0.8920 0.5000"), "x:4: 6 numbers in a row of 5", 5),
        (("Final Accuracy: 0.7640", "Final Accuracy: high"), "x:9: 'high' after 'Final Accuracy'", 5),
        (("0.9060 0.0880 0.0800 0.1480 0.1080\n", "0.9 0.1 0.1 0.1 0.1\n" * 2), "x:1: 6 rows for 5 tasks", 6),
    ],
)
def test_malformed_txt_names_the_line_and_keeps_the_rest(change, said, rows):
    text = (LOGGED / "parity_gem_seed0.txt").read_text()
    assert change[0] in text
    run = one(parse_text(text.replace(*change), "x"))
    assert said in one(run.problems)
    assert len(run.grid) == rows
    assert run.forward == -0.0132
    assert sum(all(map(math.isfinite, row)) for row in run.grid) >= 4


def test_truncated_txt():
    text = (LOGGED / "parity_gem_seed0.txt").read_text()
    cut = text[: text.index("Final")]
    assert "no 'Final Accuracy' after the grid" in one(one(parse_text(cut, "x")).problems)


def test_a_count_that_is_no_grid():
    run = one(parse_text("intro\n" + " ".join(["0.5"] * 99) + "\nFinal Accuracy: 0.5", "x"))
    assert "x:2: 99 numbers" in one(run.problems)
    assert (run.grid, run.final) == ([], 0.5)


def test_odd_entries():
    text = "0.50 0.50 0.50\n|\n0.50 0.50 0.50\n0.50 1.70 0.50\n0.50 0.50 0.50\nFinal Accuracy: 0.5"
    assert "x:4: row 2, column 2: 1.7 is not an accuracy" in one(one(parse_text(text, "x")).slips)
    assert len(one(parse_text(text.replace("0.50", "7.50"), "x")).slips) == 6


@given(st.integers(1, 6), st.integers(7, 3000), st.randoms(use_true_random=False), st.booleans())
def test_no_printed_file_is_called_wrong(T, n, random, with_args):
    """Whatever the number of test examples: rounding to four decimals is never a disagreement."""
    a = torch.tensor([[random.randint(0, n) / n for _ in range(T)] for _ in range(T + 1)])
    stats = metrics.confusion_matrix(torch.tensor([0, *range(T)]), a)
    text = f"{metrics.grid_text(a[0], a[1:])}\n\n{metrics.stats_text(*stats)}\n"
    if with_args:
        text += f"x: {record.one_liner(ARGS, stats)} # 1.0\n"
    run = one(parse_text(text, "x"))
    assert run.problems + run.slips + run.disagreements() == []
    assert (run.args == ARGS) == with_args


# Anything at all

pieces = st.sampled_from(
    ["0.5", " ", "\n", "|", "nan", "Final Accuracy:", "Backward: -0.1", "Forward:", "{'a': 1} # 0.1 0.2 0.3 # 4",
     "1", "0.1234 0.4321 0.5 0.6", "x: {", "} # ", "\r", "1e99", "-", "inf", "(1) words", "0.7x3",
     "[[0.1, 0.2], [0.3, 0.4]]"]
)  # fmt: skip


@settings(max_examples=150)
@given(st.one_of(st.text(), st.lists(pieces).map("".join), st.lists(pieces).map("\n".join)))
def test_any_text_is_read(text):
    for run in parse_text(text, "x"):
        assert isinstance(run, Run)
        assert not run.empty
        run.disagreements()
        run.baseline_mean()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([".json", ".pt", ".txt", ".log"]), st.binary(max_size=300))
def test_any_bytes_are_read(tmp_path, suffix, data):
    (tmp_path / f"x{suffix}").write_bytes(data)
    for run in parse(tmp_path / f"x{suffix}"):
        assert run.problems or not run.empty


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([".json", ".pt", ".txt"]), st.floats(0, 0.999), st.data())
def test_truncated_and_altered_files_are_read(tmp_path, suffix, share, data):
    whole = Path(write(tmp_path / "whole") + suffix).read_bytes()
    at = int(len(whole) * share)
    cut = data.draw(st.sampled_from([whole[:at], whole[:at] + b"\x07" + whole[at + 1 :]]))
    path = tmp_path / f"x{suffix}"
    path.write_bytes(cut)
    found = parse(path)
    assert all(isinstance(run, Run) for run in found)
    for run in found:
        run.disagreements()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["grid", "baseline", "final", "protocol", "args", "seconds", "logged", "runs"]), json_values
    )
)
def test_any_json_is_read(tmp_path, values):
    (tmp_path / "x.json").write_text(json.dumps({"format": 1, **values}))
    for run in parse(tmp_path / "x.json"):
        run.disagreements()
        run.fact("model")
        run.baseline_mean()


def test_a_missing_path(tmp_path):
    with pytest.raises(RecordError, match="no such file"):
        parse(tmp_path / "absent")


def test_a_folder_without_runs(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    torch.save([1, 2], tmp_path / "data.log")
    torch.save({"a": 1}, tmp_path / "checkpoint.pt")
    assert "no run in it" in one(one(parse(tmp_path)).problems)


def test_an_empty_file_that_a_run_has_left(tmp_path):
    name = "gem_d.pt_2026_01_02_03_04_05_" + "0" * 32 + ".txt"
    (tmp_path / name).write_text("")
    assert name in one(parse(tmp_path)[0].problems)


# -- folders of a project ----------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    """A user's results/ with the logged numbers in it, as the default --save_path has them, and one run of the user's."""
    shutil.copytree(LOGGED, tmp_path / "results" / "logged")
    write(tmp_path / "results")
    return tmp_path


@pytest.mark.parametrize("given", ["results", "results/", ".", "results/../results"])
def test_logged_numbers_are_not_among_the_users_runs(project, monkeypatch, given):
    monkeypatch.chdir(project)
    assert one(parse(given)).label == "gem_d.pt_x"
    monkeypatch.chdir("results")
    assert one(parse(".")).label == "gem_d.pt_x"


def test_logged_numbers_are_read_where_they_are_named(project, monkeypatch):
    n = len(parse(LOGGED))
    assert n > 10
    monkeypatch.chdir(project)
    assert len(parse("results/logged")) == len(parse("results/logged/.")) == n
    assert len(list(runs(["results", "results/logged"]))) == n + 1
    assert len(parse("results/logged/seed_004.json")) == 3
    monkeypatch.chdir("results/logged")
    assert len(parse(".")) == n


def test_a_folder_that_holds_nothing_but_logged_numbers_says_so(project):
    for path in (project / "results").glob("*.*"):
        path.unlink()
    run = one(parse(project / "results"))
    assert run.problems == [f"{project}/results: no run in it; {project}/results/logged is read if it is named"]


def test_every_tool_passes_them_over(project, capsys):
    from results import compare, plot_results, regress, report, show

    folder = str(project / "results")
    assert show.main([folder]) == 0
    assert capsys.readouterr().out.count("\nfrom ") == 1
    assert compare.main([folder, "--metric", "final"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert report.main([folder, "-o", str(project / "x.html")]) == 0
    assert (project / "x.html").read_text().count("<li>") == 1
    assert plot_results.main([folder, "--output", str(project / "figures"), "--only", "bars"]) == 0
    assert regress.main(["--against", str(project / "results" / "logged" / "golden_gem.json"), folder]) == 2
    assert " against seeds 3\n" in capsys.readouterr().out  # the golden run is not held against itself


def test_records_of_a_folder(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", protocol={"data_hash": None})
    (tmp_path / "log.txt").write_text("x: {'model': 'gem', 'seed': 0} # 0.75 -0.075 0.05 # 1.0\n")
    assert [run.record["model"] for run in records(tmp_path, "args.seed", "model")] == ["gem", "gem"]
    with pytest.raises(RecordError, match=r"a/gem_d.pt_x.json: has no 'protocol.data_hash'; it is not a whole record"):
        records(tmp_path, "protocol.data_hash")
    (tmp_path / "b" / "gem_d.pt_x.json").write_text("{")
    with pytest.raises(RecordError, match=r"b/gem_d.pt_x.json:1: is not JSON .*; it is not a whole record"):
        records(tmp_path)
    (tmp_path / "empty").mkdir()
    assert records(tmp_path / "empty") == []
    with pytest.raises(RecordError, match="nowhere: no such folder"):
        records(tmp_path / "nowhere")
