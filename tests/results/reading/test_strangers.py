"""Logs come from strangers: nothing in them runs, what is no field of a run is told and left out, what is huge is refused."""

import argparse
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from data.strangers import one_line
from metrics import metrics
from results import RecordError, compare, show
from results.life import CURVE
from results.reading import bounds
from results.reading.logs import parse, records
from results.reading.records import read_json
from results.reading.text import parse_text

ROOT = Path(__file__).parents[3]
ARGS = {"model": "gem", "data_file": "d.pt", "seed": 3, "lr": 0.1}
RESULT_T = torch.tensor([0.0, 0, 1])
RESULT_A = torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.8, 0.7]])
STATS = metrics.confusion_matrix(RESULT_T, RESULT_A)
GRID = f"{metrics.grid_text(RESULT_A[0], RESULT_A[1:])}\n\n{metrics.stats_text(*STATS)}\n"


def one(found):
    assert len(found) == 1, found
    return found[0]


def as_text(folder, args):
    (folder / "x.txt").write_text(f"{GRID}results/x: {args!r} # 0.750 -0.050 0.050 # 1.0\n")
    return folder / "x.txt"


def as_pt(folder, args):
    torch.save((RESULT_T, RESULT_A, {}, STATS, "", args), folder / "x.pt")
    return folder / "x.pt"


def as_pickled_namespace(folder, args):
    return as_pt(folder, argparse.Namespace(**{str(key): value for key, value in args.items()}))


def as_fixture(folder, args):
    entry = {"text": GRID.splitlines(), "args": json.loads(json.dumps(args, default=list))}
    (folder / "x.json").write_text(json.dumps({"logged": "x", "runs": [entry]}))
    return folder / "x.json"


# Arguments of every format pass one gate

WRONG = [
    ({"seed": [1, 2]}, "'seed' is [1, 2], not text or a number"),
    ({"lr": [[0.1]]}, "'lr' is [[0.1]], not text, a number or a list of these"),
    ({"lr": {"a": 1}}, "'lr' is {'a': 1}, not text"),
    ({"model": 5}, "'model' is 5, not text of at most"),
    ({"model": "x" * 5000}, "'model' is 'xxxxx"),
]
ODD = [  # of Python alone
    ({"seed": {1, 2}}, "'seed' is {1, 2}, not text"),
    ({"lr": 1j}, "'lr' is 1j, not text"),
    ({"seed": 2 + 1j}, "'seed' is (2+1j), not text"),
    ({"lr": b"0.1"}, "'lr' is b'0.1', not text"),
    ({5: 0.1}, "the name 5 is not text"),
]


@pytest.mark.parametrize("write", [as_text, as_pt, as_pickled_namespace, as_fixture])
@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_field_of_a_wrong_kind_is_told_and_left_out(tmp_path, write, change, said):
    check(write(tmp_path, {**ARGS, **change}), change, said)


@pytest.mark.parametrize(
    ("write", "change", "said"),
    [
        *((as_text, *case) for case in ODD),
        *((as_pt, *case) for case in ODD if not isinstance(next(iter(case[0].values())), (set, bytes))),
        (as_pt, {"lr": torch.zeros(2)}, "'lr' is tensor([0., 0.]), not text"),
        (as_pickled_namespace, {"seed": torch.tensor(3)}, "'seed' is tensor(3), not text or a number"),
        (as_pt, {("a", "b"): 1}, "the name ('a', 'b') is not text"),
    ],
)
def test_what_only_python_can_write_is_told_too(tmp_path, write, change, said):
    check(write(tmp_path, {**ARGS, **change}), change, said)


def check(path, change, said):
    run = one(parse(path))
    assert said in one(run.problems) and len(run.problems[0]) < len(str(path)) + 150
    assert run.args == {key: value for key, value in ARGS.items() if key not in change}
    assert run.final == pytest.approx(0.75) and run.grid


def test_an_integer_that_python_does_not_print(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text(f"{GRID}x: {{'model': 'gem', 'seed': 0x{'f' * 5000}}} # 0.750 -0.050 0.050 # 1.0\n")
    run = one(parse(path))
    assert "'seed' is a int with too many digits" in one(run.problems) and run.args == {"model": "gem"}


@pytest.mark.parametrize("seed", ["1" * 5000, "\u0663" * 5000])
def test_a_seed_of_many_digits_as_text(tmp_path, seed, capsys):
    """Python refuses to make an integer of more than 4,300 digits."""
    run = one(parse(as_text(tmp_path, {**ARGS, "seed": seed})))
    assert "'seed' is '" in one(run.problems)
    for form in ("text", "json", "long"):
        assert compare.main([str(tmp_path), "--format", form]) == 1
    assert parse(as_text(tmp_path, {**ARGS, "seed": "1" * 900}))[0].problems == []
    assert compare.main([str(tmp_path), "--format", "json"]) == 0


def test_protocol_and_versions_of_a_fixture(tmp_path):
    content = {
        "logged": "x",
        "args": [1],
        "protocol": {"n_epochs": {}},
        "versions": 7,
        "runs": [{"text": GRID.split("\n")}],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    told, run = parse(tmp_path / "x.json")
    assert [p.partition(": ")[2] for p in told.problems] == [
        "'args' is [1], not an object",
        "in 'protocol' 'n_epochs' is {}, not text, a number or a list of these",
        "'versions' is 7, not an object",
    ]
    assert run.record == {"protocol": {}} and run.final == 0.75


@pytest.mark.parametrize("label", [5, ["a"], "x" * 5000])
def test_the_label_of_a_fixture(tmp_path, label):
    (tmp_path / "x.json").write_text(json.dumps({"logged": "x", "runs": [{"label": label, "text": [GRID]}]}))
    run = one(parse(tmp_path / "x.json"))
    assert "run 1: 'label' is" in one(run.problems) and run.label == ""


def test_numbers_that_sums_cannot_hold(tmp_path):
    text = "0.1 0.2\n|\n0.9 1e99.\n0.8 0.7\n".replace("1e99.", "1.0e99") + "Final Accuracy: 1.0e99\nBackward: -0.05\n"
    run = one(parse_text(text, "x"))
    assert "x:3: row 1, column 2: 1e+99 is not an accuracy" in run.slips
    assert str(run.grid) == "[[0.9, nan], [0.8, 0.7]]" and run.final is None
    (tmp_path / "x.json").write_text(
        json.dumps({"format": 1, "model": "gem", "final": 1e99, "seconds": {"total": 1e99}})
    )
    assert ["'final' is 1e+99, not a number" in p for p in parse(tmp_path)[0].problems][:1] == [True]


# The tensors of a .pt file


def in_file(path, *parts):
    torch.save((*parts, {}, STATS, "", ARGS)[:6], path)
    return path


@pytest.mark.parametrize(
    ("t", "a"),
    [
        (RESULT_T, RESULT_A.to(torch.complex64)),
        (RESULT_T.to(torch.complex64), RESULT_A),
        (RESULT_T, RESULT_A.to_sparse()),
        (RESULT_T, RESULT_A.to("meta")),
        (RESULT_T, torch.zeros(1).expand(3, 10**9)),
        (torch.zeros(1).expand(10**9), torch.zeros(1).expand(10**9, 2)),
        (RESULT_T, RESULT_A.tolist()),
        ("abc", RESULT_A),
        (RESULT_T, torch.tensor(0.5)),
    ],
)
def test_tensors_that_are_no_accuracies(tmp_path, t, a):
    run = one(parse(in_file(tmp_path / "x.pt", t, a)))
    assert run.empty and "x.pt: is not a run's .pt file (" in one(run.problems) and len(run.problems[0]) < 400


@pytest.mark.parametrize("stats", [7, {"a": 1}, "abc", [1j, 2, 3], torch.zeros(3, dtype=torch.complex64), [None] * 3])
def test_stats_that_are_no_numbers(tmp_path, stats):
    torch.save((RESULT_T, RESULT_A, {}, stats, "", ARGS), tmp_path / "x.pt")
    assert "is not a run's .pt file" in one(one(parse(tmp_path / "x.pt")).problems)


def test_lists_that_share_their_parts(tmp_path):
    """2^60 numbers in a file of 1 kB."""
    row = [0.5]
    for _ in range(60):
        row = [row, row]
    in_file(tmp_path / "x.pt", RESULT_T, row)
    torch.save((RESULT_T, RESULT_A, {}, STATS, "", {**ARGS, "lr": row}), tmp_path / "y.pt")
    assert "is no tensor of numbers" in one(one(parse(tmp_path / "x.pt")).problems)
    assert "'lr' is [[[[" in one(one(parse(tmp_path / "y.pt")).problems)


# Bounds


@pytest.mark.parametrize(
    ("name", "content", "bound", "said"),
    [
        ("x.json", json.dumps({"format": 1, "final": 0.5, "x": "y" * 5000}), {"JSON": 1000}, "x.json: is larger than the 0 MB"),
        ("x.json", json.dumps({"format": 1, "final": 0.5, "x": [[]] * 5000}), {"LARGE": 1000}, "more values than any record"),
        ("x.json", json.dumps({"format": 1, "final": 0.5, "x": [1] * 5000}), {"VALUES": 1000}, "more values than any record"),
        ("x.json", '{"format": 1, "x": "' + "é" * 5000 + '"}', {"OTHER_JSON": 1000}, "x.json: is larger than the 0 MB"),
        ("x.txt", GRID * 50, {"TEXT": 1000}, "x.txt: is larger than the 0 MB"),
        ("x.txt", GRID + "0.5" * 1000, {"LINE": 1000}, "x.txt: line 9: more than 1,000 characters"),
        ("x.txt", "0.5\n" * 2000, {"NUMBERS": 1000}, "x.txt: line 1001: more than 1,000 numbers in a row"),
        ("x.txt", "x: {} # .5 .1 .2 # 1.0\n" * 20, {"RUNS": 10}, "x.txt: line 11: more than 10 runs"),
        ("x.pt", "x" * 5000, {"TORCH": 1000}, "x.pt: is larger than the 0 MB"),
    ],
)  # fmt: skip
def test_what_is_larger_than_a_log_is_refused(tmp_path, monkeypatch, name, content, bound, said):
    (tmp_path / name).write_text(content)
    for key, value in bound.items():
        monkeypatch.setattr(bounds, key, value)
    assert said in one(one(parse(tmp_path / name)).problems)


def test_the_largest_record_is_inside_the_bounds(tmp_path):
    """Grids and curve of many tasks, as main.py writes them; half as many in this test."""
    T = 1001
    rows = [[0.5] * T] * T
    content = {
        "format": 1,
        "baseline": rows[0],
        "grid": rows,
        "evolution": {"step": [0] * T, "task": [0] * T, "accuracy": rows},
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "x.json") == content
    assert 2 * bounds.TASKS**2 + CURVE + 10**6 < bounds.VALUES


def test_arguments_that_are_too_long_are_not_cut(tmp_path):
    """A prefix of a dictionary can be a dictionary too."""
    args = "{'lr': 0.1, " + "'a': 1, " * 15000
    run = one(parse_text(f"x: {args[: bounds.ARGUMENTS]}}} # .5 .1 .2 # 1.0\n", "x"))
    assert run.args == {"lr": 0.1, "a": 1} or run.problems
    run = one(parse_text(f"x: {args}}} # .5 .1 .2 # 1.0\n", "x"))
    assert run.args is None and "the arguments before ' # ' cannot be read" in one(run.problems)


def test_a_device_without_end(tmp_path):
    (tmp_path / "x.log").symlink_to("/dev/zero")
    assert "x.log: is larger than the 32 MB" in one(one(parse(tmp_path / "x.log")).problems)
    assert "no run in it" in one(one(parse(tmp_path)).problems)


def test_deep_json(tmp_path):
    for name, depth in (("a.json", 900), ("b.json", 100_000)):
        (tmp_path / name).write_text('{"format": 1, "final": 0.5, "args": {"lr": ' + "[" * depth + "]" * depth + "}}")
    deep, deeper = parse(tmp_path)
    assert "'lr' is [[[[" in one(deep.problems) and "is not JSON" in one(deeper.problems)


def packed(path, bomb):
    """A .pt file whose entry that ends in `bomb` is 10 MB of zeros, compressed to 10 kB."""
    torch.save((RESULT_T, RESULT_A, {"w": torch.ones(3)}, STATS, "", ARGS), path)
    with zipfile.ZipFile(path) as whole:
        entries = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, bytes(10**7) if name.endswith(bomb) else content)
    assert path.stat().st_size < 20_000
    return path


@pytest.mark.parametrize("bomb", ["/data.pkl", "/data/0", "/data/2", "byteorder"])
def test_bombs(tmp_path, bomb):
    run = one(parse(packed(tmp_path / "x.pt", bomb)))
    assert run.empty and one(run.problems) == f"{tmp_path}/x.pt: unpacks to more than a run's .pt file holds"


def test_a_pickle_that_is_large_or_has_a_large_index(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "PICKLE", 10_000)
    torch.save((RESULT_T, RESULT_A, {}, STATS, "", {"x": list(range(5_000))}), tmp_path / "x.pt")
    assert "unpacks to more" in one(one(parse(tmp_path / "x.pt")).problems)
    torch.save((RESULT_T, RESULT_A, {}, STATS, "", {"x": list(range(5_000))}), tmp_path / "y.pt",
               _use_new_zipfile_serialization=False)  # fmt: skip
    assert "unpacks to more" in one(one(parse(tmp_path / "y.pt")).problems)
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as archive:
        for i in range(200):
            archive.writestr(f"x/data/{i}", b"")
    assert "unpacks to more" in one(one(parse(tmp_path / "z.pt")).problems)


# Payloads


class Planted:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.json", "x.txt", "x.log", "x.out", "x.err"])
@pytest.mark.parametrize("how", ["zip", "old", "pickle", "python", "magic"])
def test_nothing_planted_is_executed(tmp_path, name, how):
    trace, path = str(tmp_path / "executed"), tmp_path / "r" / name
    path.parent.mkdir()
    parts = (RESULT_T, RESULT_A, {"w": Planted(trace)}, STATS, Planted(trace), argparse.Namespace(x=Planted(trace)))
    if how in ("zip", "old"):
        torch.save(parts, path, _use_new_zipfile_serialization=how == "zip")
    elif how == "pickle":
        path.write_bytes(pickle.dumps(parts))
    elif how == "python":
        call = f"__import__('os').mkdir({trace!r})"
        path.write_text(f"{GRID}x: {{'model': {call}}} # 0.750 -0.050 0.050 # 1.0\n")
    else:
        path.write_text(f'{{"__reduce__": ["os.mkdir", "{trace}"], "py/object": "os.mkdir", "$ref": "file://{trace}"}}')
    for given in (path, path.parent):
        found = parse(given)
        assert all(run.problems or run.args is None for run in found)
    assert show.main([str(path.parent)]) in (0, 1) and not os.path.exists(trace)


# Folders


def refuse(monkeypatch, *, folder=None, file=None):
    """The system does not let this folder be listed, or this file be looked at."""
    scandir, look = os.scandir, os.stat

    def listed(path="."):
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    def looked(path, *args, **kwargs):
        if not isinstance(path, int) and os.fspath(path) == str(file):
            raise PermissionError(13, "Permission denied", path)
        return look(path, *args, **kwargs)

    monkeypatch.setattr(os, "scandir", listed)
    monkeypatch.setattr(os, "stat", looked)


def two(folder):
    (folder / "sub").mkdir(parents=True)
    as_pt(folder, ARGS)
    return as_pt(folder / "sub", {**ARGS, "seed": 4})


def test_a_subfolder_that_cannot_be_listed_is_told(tmp_path, monkeypatch, capsys):
    two(tmp_path / "r")
    refuse(monkeypatch, folder=tmp_path / "r" / "sub")
    assert compare.main([str(tmp_path / "r"), "--metric", "final"]) == 1
    out, err = capsys.readouterr()
    assert (
        "gem    1  0.7500" in out and err == f"results.compare: {tmp_path}/r/sub: cannot be read (Permission denied)\n"
    )
    with pytest.raises(RecordError, match="sub: cannot be read"):
        records(tmp_path / "r")
    monkeypatch.undo()
    assert compare.main([str(tmp_path / "r"), "--metric", "final"]) == 0


def test_a_file_that_cannot_be_looked_at_is_told(tmp_path, monkeypatch):
    """As in a folder that may be listed and not searched."""
    path = two(tmp_path / "r")
    refuse(monkeypatch, file=path)
    found = parse(tmp_path / "r")
    assert [run.problems for run in found] == [[], [f"{path}: cannot be read (Permission denied)"]]
    with pytest.raises(RecordError, match=r"sub/x.pt: cannot be read \(Permission denied\)"):
        parse(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0, stat.S_IRUSR])
def test_a_subfolder_without_permission(tmp_path, mode):
    path = two(tmp_path / "r")
    path.parent.chmod(mode)
    try:
        assert "cannot be read (Permission denied)" in parse(tmp_path / "r")[-1].problems[0]
    finally:
        path.parent.chmod(0o700)


def test_links_in_a_folder(tmp_path):
    two(tmp_path / "r")
    two(tmp_path / "other")
    (tmp_path / "r" / "inside").symlink_to("sub")
    (tmp_path / "r" / "loop").symlink_to(".")
    assert [run.problems for run in parse(tmp_path / "r")] == [[], []]
    (tmp_path / "r" / "out").symlink_to(tmp_path / "other")
    (tmp_path / "r" / "gone.json").symlink_to("nowhere")
    assert parse(tmp_path / "r")[-1].problems == [
        f"{tmp_path}/r/out: is a link to another folder; name it to read it",
        f"{tmp_path}/r/gone.json: cannot be read (No such file or directory)",
    ]


def test_a_fixture_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "y.log")
    for name in ("y.log", "absent.log", "..", ".", "/dev/zero"):
        (tmp_path / "x.json").write_text(json.dumps({"logged": "x", "runs": [{"file": name}]}))
        assert "run 1" in one(one(parse(tmp_path / "x.json")).problems)


def test_names_that_are_no_paths():
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(RecordError, match=r"cannot be read|no such file"):
            parse(name)


# Time


@pytest.mark.slow
def test_reading_takes_no_longer_than_the_file_is_long(tmp_path):
    """Each of these took the square of its length: minutes."""
    wide = " ".join(["0.5"] * 20_000)
    (tmp_path / "a.txt").write_text(f"{wide}\n|\n" + "0.5 0.5\n\n" * 20_000)
    entries = [{"text": [f"x{i}: {{}} # .5 .1 .2 # 1.0"]} for i in range(8_000)]
    (tmp_path / "b.json").write_text(json.dumps({"logged": "x", "runs": entries}, indent=1))
    code = f"import sys; from results.reading.logs import parse; parse({str(tmp_path)!r}); print('read')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout == "read\n", done.stderr


def test_names_are_shown_on_one_line_without_control_characters():
    assert one_line("a\x1b[31m\nb\tc\x9b\u202e\ud800\u2028é±") == r"a\x1b[31m b c\x9b\u202e\ud800 é±"
