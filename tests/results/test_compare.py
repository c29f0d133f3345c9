"""python -m results.compare: means, paired differences, refusals, formats; and the statistics below it."""

import argparse
import csv
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats

from model.arguments import decides
from results import RecordError, compare, table
from results.comparing import cells, comparable
from results.comparing.measures import MEASURES
from tests.results.records import make, write

ROOT = Path(compare.__file__).parents[1]
OURS, THEIRS = [0.71, 0.74, 0.69, 0.80, 0.75], [0.60, 0.66, 0.61, 0.65, 0.70]


def test_the_learning_curve_area_of_the_runs_that_measured_it(tmp_path, capsys):
    """--lca decides what is measured, not what comes out: runs with and without it are averaged."""
    runs = [make("gem", seed, metrics={"lca": 0.4 + seed / 10 if seed else None}) for seed in range(3)]
    for record, asked in zip(runs, (False, True, True), strict=True):
        record["args"]["lca"] = asked
    write(tmp_path, *runs, make("single", 0))
    assert compared(tmp_path, "--metric", "final,lca") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["model", "n", "ACC", "LCA"]
    assert out[1].endswith("0.5500 ± 0.0707 (n 2)") and out[2].split()[-1] == "X"


def compared(tmp_path, *arguments):
    return compare.main([str(tmp_path), *arguments])


def five(tmp_path):
    records = [make("gem", s, v) for s, v in enumerate(OURS)] + [make("single", s, v) for s, v in enumerate(THEIRS)]
    return write(tmp_path, *records)


def test_table(tmp_path, capsys):
    five(tmp_path)
    assert compared(tmp_path, "--baseline", "Single", "--metric", "final,violations,step") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "model   n              ACC  violations   us/step\n"
        "gem     5  0.7380 ± 0.0421       5 ± 2  1000 ± 0\n"
        "single  5  0.6440 ± 0.0404       5 ± 2  1000 ± 0\n"
        "\n"
        "Mean difference to single over common seeds [95% interval]\n"
        "\n"
        "model  n              ACC - single's  us/step - single's\n"
        "gem    5  +0.0940 [+0.0470, +0.1410]         +0 [+0, +0]\n"
    )


def test_formats(tmp_path, capsys):
    five(tmp_path)
    compared(tmp_path, "--format", "json", "--baseline", "single")
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["by"] == {"model": "gem"} and rows[0]["measures"]["final"]["mean"] == pytest.approx(0.738)
    assert rows[0]["paired"]["final"]["n"] == 5 and rows[1]["paired"] is None
    compared(tmp_path, "--format", "csv", "--metric", "final", "--baseline", "single")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(rows[0]["final_mean"]) == pytest.approx(0.738) and rows[1]["final_difference"] == "X"
    assert math.isclose(float(rows[0]["final_low"]), stats.ttest_rel(OURS, THEIRS).confidence_interval().low)
    compared(tmp_path, "--format", "markdown", "--metric", "final")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["| model | n | ACC |", "| --- | --: | --: |", "| gem | 5 | 0.7380 ± 0.0421 |",
                     "| single | 5 | 0.6440 ± 0.0404 |"]  # fmt: skip
    compared(tmp_path, "--format", "latex", "--metric", "final")
    assert "gem & 5 & 0.7380 $\\pm$ 0.0421 \\\\" in capsys.readouterr().out


RULES = [  # cell, how it is printed in each form
    ("-0.1983 ± 0.0206", "latex", r"$-$0.1983 $\pm$ 0.0206"),
    ("+0.0940 [-0.0470, +0.1410]", "latex", r"$+$0.0940 [$-$0.0470, $+$0.1410]"),
    ("1e-05", "latex", r"$1 \times 10^{-5}$"),
    ("-2.5e+20", "latex", r"$-2.5 \times 10^{20}$"),
    ("ACC - single's", "latex", "ACC $-$ single's"),
    ("agem-2, -, 3-5, --lr, 12e456789012, v1.-2", "latex", "agem-2, -, 3-5, --lr, 12e456789012, v1.-2"),
    (r"a_b & 50% <i> |x| \y", "latex", r"a\_b \& 50\% $<$i$>$ $|$x$|$ \textbackslash{}y"),
    ("[0, 1]", "latex", "{}[0, 1]"),
    ("*", "latex", "{}*"),
    ("a|b <script> `c` **d** 1 < 2", "markdown", r"a\|b &lt;script> `c` **d** 1 &lt; 2"),
    (" [2cm]", "latex", "{} [2cm]"),
    (r"a\|b \ c", "markdown", r"a\\\|b \\ c"),
    ("[x](javascript:alert(1)) ![y](http://z) [0, 1]", "markdown", r"[x\](javascript:alert(1)) ![y\](http://z) [0, 1]"),
    ("[x][y] [x]: z", "markdown", r"[x\][y] [x\]: z"),
    ("&lt;b&gt; &#60; a & b", "markdown", "&amp;lt;b&amp;gt; &amp;#60; a & b"),
    ("a\x1b[31m\x9b\u202e\ud800\x00b", "text", r"a\x1b[31m\x9b\u202e\ud800\x00b"),
    ("a\x1b\u2028b", "latex", r"a\textbackslash{}x1b b"),
    ("\t=1+1", "csv", "'=1+1"),
    (" =1+1", "csv", "' =1+1"),
    ("＝1+1", "csv", "'＝1+1"),
    ("two\nlines\tand a tab", "markdown", "two lines and a tab"),
    ("two\nlines", "text", "two lines"),
    ("two\nlines", "csv", "two lines"),
    ("=SUM(A1)", "csv", "'=SUM(A1)"),
    ("@x", "csv", "'@x"),
    ("+x", "csv", "'+x"),
    ("-x", "csv", "'-x"),
    ("-0.5", "csv", "-0.5"),
    ("-1e-05", "csv", "-1e-05"),
    ("-", "csv", "-"),
    ("-0.1983 ± 0.0206", "markdown", "-0.1983 ± 0.0206"),
]


@pytest.mark.parametrize("cell, form, printed", RULES)
def test_what_a_cell_holds_does_not_break_the_table(cell, form, printed):
    text = table.render(["head"], [[cell]], form)
    line = {"latex": f"{printed} \\\\", "markdown": f"| {printed} |"}.get(form, printed)
    assert line in text.splitlines() and len(text.splitlines()) == {"latex": 7, "markdown": 3}.get(form, 2)


def test_title_and_notes():
    printed = {
        form: table.render(["a", "b"], [["1", "2"]], form, "A\ntitle", ["One <b>.", "Two."]) for form in table.FORMATS
    }
    assert printed["text"] == "A title\n\na  b\n1  2\n\nOne <b>.\nTwo."
    assert printed["markdown"] == "A title\n\n| a | b |\n| --- | --: |\n| 1 | 2 |\n\nOne &lt;b>.\n\nTwo."
    assert printed["csv"] == "a,b\n1,2"
    assert printed["latex"].splitlines()[0] == "% A title" and printed["latex"].endswith("\n% One <b>.\n% Two.")
    assert table.render(["a", "b"], [["1", "2"]], "text", left=2) == "a  b\n1  2"


def test_other_data_is_told_by_its_file(tmp_path, capsys):
    write(tmp_path, make(seed=0), make(seed=1, data_hash="b" * 64, data_file="c.pt"))
    assert compared(tmp_path) == 2
    err = capsys.readouterr().err
    assert (
        "differ in data_file: c.pt, d.pt;" in err and "(--by model,data_file keeps them apart, --allow data_file" in err
    )
    for allowed in (("--by", "model,data_file"), ("--allow", "data_hash"), ("--allow", "data_file")):
        assert compared(tmp_path, *allowed) == 0


def typed_back(err):
    """The two remedies that a refusal names, as one would type them."""
    return [words.split() for words in re.findall(r"--(?:by|allow) \S+", err)]


@pytest.mark.parametrize("same_file", [False, True])
def test_all_fields_that_differ_are_named_at_once(tmp_path, capsys, same_file):
    changed = {"lr": 0.03, "batch_size": 10, "data_hash": "b" * 64, "data_file": "d.pt" if same_file else "c.pt"}
    write(tmp_path, make(seed=0), make(seed=1, **changed), make(seed=2, n_epochs=2))
    assert compared(tmp_path) == 2
    err = capsys.readouterr().err
    data = f"data_hash: {'a' * 12}, {'b' * 12}" if same_file else "data_file: c.pt, d.pt"
    assert f"runs of gem differ in {data}; n_epochs: 1, 2; batch_size: 1, 10; lr: 0.03, 0.1; they are not" in err
    assert err.count("\n") == 1 and len(typed_back(err)) == 2
    for remedy in typed_back(err):
        assert compared(tmp_path, *remedy) == 0, remedy


def test_all_fields_of_the_stream_that_differ_are_named_at_once(tmp_path, capsys):
    changed = {"batch_size": 10, "data_hash": "b" * 64, "data_file": "c.pt", "n_epochs": 2}
    write(tmp_path, make(seed=0), make("single", 0, **changed))
    assert compared(tmp_path, "--baseline", "single") == 2
    err = capsys.readouterr().err
    assert "gem and single differ in data_file: d.pt, c.pt; n_epochs: 1, 2; batch_size: 1, 10; no difference" in err
    assert compared(tmp_path, "--baseline", "single", *typed_back(err)[0]) == 0


def test_of_many_values_the_first_are_named(tmp_path, capsys):
    write(tmp_path, *(make(seed=0, lr=i) for i in range(40)))
    assert compared(tmp_path) == 2
    assert "differ in lr: 0, 1, 2, 3, 4, 5 and 34 more; they are not averaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("data_hash", {"data_hash": "b" * 64}, "data_hash: aaaaaaaaaaaa, bbbbbbbbbbbb"),
        ("samples_per_task", {"samples_per_task": [9, 9]}, "samples_per_task: 2 x 7, 2 x 9"),
        ("n_epochs", {"n_epochs": 2}, "n_epochs: 1, 2"),
        ("batch_size", {"batch_size": 10}, "batch_size: 1, 10"),
        ("memory", {"memory": 5}, "memory: 5, 10"),
        ("head", {"head": "split"}, "head: shared, split"),
        ("lr", {"lr": 0.03}, "lr: 0.03, 0.1"),
        ("memory_strength", {"memory_strength": 10}, "memory_strength: 0.5, 10"),
    ],
)
def test_refuses_to_average(tmp_path, capsys, name, changed, said):
    write(tmp_path, make(seed=0), make(seed=1, **changed))
    assert compared(tmp_path) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"runs of gem differ in {said}; they are not averaged" in err
    assert compared(tmp_path, "--allow", name) == 0
    assert compared(tmp_path, "--by", f"model,{name}") == 0
    assert capsys.readouterr().out.count("\ngem") == 3


def test_no_difference_across_protocols(tmp_path, capsys):
    write(tmp_path, make(seed=0), make("single", 0, batch_size=10))
    assert compared(tmp_path) == 0
    assert compared(tmp_path, "--baseline", "single") == 2
    assert "gem and single differ in batch_size: 1, 10; no difference is taken" in capsys.readouterr().err
    assert compared(tmp_path, "--baseline", "single", "--allow", "batch_size") == 0


def test_a_flag_that_a_method_does_not_use_tells_nothing_apart(tmp_path, capsys):
    write(tmp_path, make("agem_closed", 0), make("agem_closed", 1, memory_strength=10), make("single", 1, memory=0))
    assert compared(tmp_path, "--by", "model,memory_strength", "--metric", "final") == 0
    assert "agem_closed                -  2" in capsys.readouterr().out


def test_identity_diverged_repeated_and_missing(tmp_path, capsys):
    """A record's file name says nothing; of runs with one seed the last counts; diverged ones are counted apart."""
    last = make(seed=1, final=0.5, started="2027")
    broken = make(seed=2, status="diverged", grid=[], backward=None, forward=None)
    write(tmp_path, make(seed=1, final=0.9), last, broken, make("Agem", 0, counts={}))
    assert compared(tmp_path, "--metric", "final,violations") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["agem", "1", "0.7500", "±", "X", "X"]
    assert lines[2].split() == ["gem", "1", "(1", "diverged)", "0.5000", "±", "X", "4", "±", "X"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "accuracy"], "--metric accuracy: the metrics are final, backward"),
        (["--baseline", "ewc"], "--baseline ewc: no run of it; the methods are gem"),
        (["--baseline", "gem", "--by", "seed"], "--by must name model"),
        (["--by", "model,colour"], "--by colour: no run has this field; give model, seed, a flag or one of data_hash"),
        (["--confidence", "95"], "--confidence 95: give a number between 0 and 1"),
    ],
)
def test_wrong_commands(tmp_path, capsys, arguments, said):
    write(tmp_path, make())
    assert compared(tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err


def test_malformed_input(tmp_path, capsys):
    assert compare.main([str(tmp_path / "nothing")]) == 2
    write(tmp_path, make())
    (tmp_path / "broken.json").write_text('{"format": 1, "grid": [[0.1, "x"]]}')
    (tmp_path / "note.txt").write_text("0.5000 0.1000\n|\n0.9000 0.2000\n0.8000 0.7000\n\nFinal Accuracy: 0.7500\n")
    assert compared(tmp_path, "--metric", "final") == 1
    out, err = capsys.readouterr()
    assert "broken.json: grid or baseline is not rows of numbers" in err
    assert "note.txt:1: does not say which method it is; left out" in err
    assert out.splitlines()[1].split()[:3] == ["gem", "1", "0.7500"]
    with pytest.raises(RecordError, match="no run in it that says which method"):
        cells.read([str(tmp_path / "note.txt")], "x")


def reference(path, seed, data_file, n_tasks=2, model="gem"):
    """A file as the reference writes it, with no hash of its data in it."""
    args = argparse.Namespace(model=model, seed=seed, data_file=data_file, lr=0.1, batch_size=10)
    accuracies = torch.rand(n_tasks + 1, n_tasks)
    torch.save((torch.tensor([0, *range(n_tasks)]), accuracies, {}, [0.5, 0.0, 0.0], "x", args), path)


@pytest.mark.parametrize(
    ("other", "said"),
    [({"data_file": "b.pt"}, "data_file: a.pt, b.pt"), ({"n_tasks": 3}, "n_tasks: 2, 3")],
)
def test_without_a_hash_the_files_and_tasks_must_agree(tmp_path, capsys, other, said):
    reference(tmp_path / "0.pt", 0, "a.pt")
    reference(tmp_path / "1.pt", 1, **{"data_file": "a.pt", **other})
    reference(tmp_path / "2.pt", 1, **{"data_file": "a.pt", **other}, model="single")
    assert compared(tmp_path) == 2
    assert f"runs of gem differ in {said};" in capsys.readouterr().err
    (tmp_path / "1.pt").unlink()
    assert compared(tmp_path, "--baseline", "single") == 2


def test_allow_averages_all_of_them(tmp_path, capsys):
    for strength, final in ((0, 0.1), (0.5, 0.5), (10, 0.9)):
        records = [make(seed=s, final=final, memory_strength=strength) for s in range(3)]
        write(tmp_path, *records, *([make("single", s, final=0.2) for s in range(3)] if not strength else []))
    arguments = "--metric", "final", "--allow", "memory_strength", "--baseline", "single"
    assert compared(tmp_path, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["gem", "9", "0.5000"]
    assert lines[7].split() == ["gem", "3", "+0.3000", "[+0.3000,", "+0.3000]"]  # a seed's runs are one of the pair


def test_no_difference_between_other_tasks(tmp_path, capsys):
    write(tmp_path, make(seed=0), make("single", 0, first_task=3))
    assert compared(tmp_path, "--baseline", "single") == 2
    assert "gem and single differ in first_task: unknown, 3; no difference is taken" in capsys.readouterr().err


def test_n_is_said_where_a_number_has_fewer(tmp_path, capsys):
    write(tmp_path, make(seed=0), make(seed=1, counts={}), make("single", 0, peak_memory_mb=None))
    assert compared(tmp_path, "--metric", "final,violations,memory_mb", "--baseline", "single") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "(n 1)" in lines[1] and lines[2].split()[-1] == "X"
    assert compared(tmp_path, "--metric", "violations", "--baseline", "single", "--confidence", "0.995") == 0
    assert "over common seeds" not in capsys.readouterr().out
    assert compared(tmp_path, "--metric", "final", "--baseline", "single", "--confidence", "0.995") == 0
    assert "[99.5% interval]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "model,counts"], "--by counts: is not one value a run"),
        (["--allow", "memory_strenght"], "--allow memory_strenght: no run has this field"),
    ],
)
def test_fields_that_are_none(tmp_path, capsys, arguments, said):
    write(tmp_path, make())
    assert compared(tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err
    assert compared(tmp_path, "--by", " model , lr ") == 0


def test_a_console_log_beside_its_record_is_the_same_run(tmp_path, capsys):
    write(tmp_path, make(seed=0), make(seed=1))
    (tmp_path / "log").write_text("results/000: {'model': 'gem', 'seed': 0} # 0.75 -0.075 0.05 # 1.0\n")
    assert compared(tmp_path, "--metric", "final") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["gem", "2"]


def test_a_printed_number_that_its_grid_belies_is_said(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(
        "0.1000 0.1000\n|\n0.9000 0.2000\n0.8000 0.7000\n\nFinal Accuracy: 0.9500\n"
        "x: {'model': 'gem', 'seed': 0} # 0.95 -0.05 0.05 # 1.0\n"
    )
    assert compared(tmp_path, "--metric", "final") == 0
    out, err = capsys.readouterr()
    assert "0.7500" in out and "prints Final Accuracy 0.95" in err and "its grid gives 0.7500, which counts" in err


def test_the_reader_may_leave(tmp_path):
    write(tmp_path, make())
    for rest, status in (("| true", 0), ("> /dev/full", 2)):
        command = (
            f"PYTHONIOENCODING=ascii {sys.executable} -m results.compare {tmp_path} {rest}; exit ${{PIPESTATUS[0]}}"
        )
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status and "Traceback" not in done.stderr


# -- rows that are not comparable --------------------------------------------------------------------------

THREE = {
    "samples_per_task": [7] * 3,
    "grid": [[0.9, 0.2, 0.1]] * 3,
    "baseline": [0.1] * 3,
    "evolution": None,
    "final": 0.4,
    "forward": 0.1 / 3,
}
STREAM = [
    ("data_hash", {"data_hash": "b" * 64, "data_file": "c.pt"}, "data_file: d.pt (gem), c.pt (single)"),
    ("data_hash", {"data_hash": "b" * 64}, f"data_file: d.pt {'a' * 12} (gem), d.pt {'b' * 12} (single)"),
    ("n_tasks", THREE, "n_tasks: 2 (gem), 3 (single)"),
    ("first_task", {"first_task": 3}, "first_task: unknown (gem), 3 (single)"),
    ("validation", {"validation": 500}, "validation: unknown (gem), 500 (single)"),
    ("shuffle_tasks", {"shuffle_tasks": "yes"}, "shuffle_tasks: unknown (gem), yes (single)"),
    ("samples_per_task", {"samples_per_task": [9, 9]}, "samples_per_task: 7 a task (gem), 9 a task (single)"),
    ("samples_per_task", {"samples_per_task": [7, 9]}, "samples_per_task: 7 a task (gem), [7, 9] (single)"),
    ("n_epochs", {"n_epochs": 2}, "n_epochs: 1 (gem), 2 (single)"),
    ("batch_size", {"batch_size": 10}, "batch_size: 1 (gem), 10 (single)"),
    ("head", {"head": "split"}, "head: shared (gem), split (single)"),
    ("parity", {"parity": True}, "parity: False (gem), True (single)"),
]


@pytest.mark.parametrize("name, changed, said", STREAM)
def test_a_table_says_which_rows_are_not_comparable(tmp_path, capsys, name, changed, said):
    """Every field for which --baseline refuses; in each form, and where the form has no place for it on stderr."""
    write(tmp_path, make(seed=0), make("single", 0, **changed))
    field, values = said.split(": ", 1)
    sentence = f"not comparable: {field} differs: {values}"
    for form, line in (("text", sentence), ("markdown", sentence), ("latex", f"% {sentence}")):
        assert compared(tmp_path, "--metric", "final", "--format", form) == 0
        out, err = capsys.readouterr()
        assert line in out.splitlines() and err == ""
    for form in ("csv", "json"):
        assert compared(tmp_path, "--metric", "final", "--format", form) == 0
        out, err = capsys.readouterr()
        assert "comparable" not in out and err == f"results.compare: {sentence}\n"
    assert compared(tmp_path, "--baseline", "single") == 2
    err = capsys.readouterr().err
    assert f"gem and single differ in {field}: " in err and f"(--allow {field} takes it" in err
    assert compared(tmp_path, "--baseline", "single", "--allow", name, "--metric", "final") == 0
    assert capsys.readouterr().out.splitlines()[-1] == sentence


@pytest.mark.parametrize("name", comparable.stream())
def test_no_field_of_the_stream_is_forgotten(tmp_path, capsys, name):
    changed = next((changed for known, changed, _ in STREAM if known == name), {name: "other"})
    write(tmp_path, make(), make("single", **changed))
    assert compared(tmp_path, "--metric", "final") == 0
    assert "\nnot comparable: " in capsys.readouterr().out


def test_rows_that_the_table_tells_apart_are_no_surprise(tmp_path, capsys):
    other = {"data_hash": "b" * 64, "data_file": "c.pt", "samples_per_task": [9, 9]}
    write(tmp_path, make(), make("single"), make(**other), make("single", **other))
    assert compared(tmp_path, "--by", "model,data_file", "--metric", "final") == 0
    assert "comparable" not in capsys.readouterr().out
    write(tmp_path, make("ewc", batch_size=10), make("ewc", **other))
    assert compared(tmp_path, "--by", "data_file,model", "--metric", "final") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "not comparable: batch_size differs: 10 (d.pt ewc), 1 (d.pt gem, d.pt single)"
    )


def test_a_label_hides_what_the_fields_would_tell(tmp_path, capsys):
    write(tmp_path, make(), make(data_hash="b" * 64, data_file="c.pt"))
    labels = ["--label", "data_file=d.pt", "ours", "--label", "data_file=c.pt", "theirs"]
    assert compared(tmp_path, "--by", "model,data_file", "--metric", "final", *labels) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "not comparable: data_file differs: c.pt (theirs), d.pt (ours)"


def test_data_are_the_same_under_another_name(tmp_path, capsys):
    write(tmp_path, make(), make("single", data_file="copy.pt"))
    assert compared(tmp_path, "--metric", "final", "--baseline", "single") == 0
    assert "comparable" not in capsys.readouterr().out


def test_the_memory_may_differ_and_many_rows_are_counted(tmp_path, capsys):
    lrs = [round(0.1 * i, 1) for i in range(1, 7)]
    write(tmp_path, *(make(lr=lr) for lr in lrs), make("ewc", memory=200), make("ncl", n_epochs=2))
    assert compared(tmp_path, "--by", "model,lr", "--metric", "final") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "not comparable: n_epochs differs: 1 (ewc 0.1, gem 0.1, gem 0.2, gem 0.3 and 3 more), 2 (ncl 0.1)"
    )


def test_a_row_that_averages_other_streams_says_so(tmp_path, capsys):
    write(tmp_path, make(), make(seed=1, batch_size=10), make("single"))
    assert compared(tmp_path, "--allow", "batch_size", "--metric", "final") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "not comparable: batch_size differs: 1 and 10 (gem), 1 (single)"
    )


def test_runs_that_a_later_one_replaces_are_counted(tmp_path, capsys):
    write(tmp_path, make(started="1"), make(started="2"), make(started="3"), make("single"))
    assert compared(tmp_path, "--metric", "final") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "left out: 2 runs whose seed was begun again with the same settings"
    )


# -- what a study needs ------------------------------------------------------------------------------------


def test_a_baseline_of_its_own_method(tmp_path, capsys):
    """Engines beside each other: each method against itself."""
    for model, ahead in (("gem", 0.01), ("single", 0.03)):
        for seed, final in enumerate((0.5, 0.6, 0.7)):
            write(
                tmp_path, make(model, seed, final, engine="autograd"), make(model, seed, final + ahead, engine="fast")
            )
    write(tmp_path, make("ewc", engine="fast"))
    arguments = ("--by", "model,engine", "--baseline", "engine=autograd", "--metric", "final")
    assert compared(tmp_path, *arguments) == 0
    lines = capsys.readouterr().out.split("\n\n")
    assert lines[1] == "Mean difference to engine=autograd over common seeds [95% interval]"
    assert [line.split() for line in lines[2].splitlines()] == [
        ["model", "engine", "n", "ACC", "-", "engine=autograd's"],
        ["ewc", "fast", "0", "X"],  # never against another method
        ["gem", "fast", "3", "+0.0100", "[+0.0100,", "+0.0100]"],
        ["single", "fast", "3", "+0.0300", "[+0.0300,", "+0.0300]"],
    ]


def test_without_common_seeds(tmp_path, capsys):
    write(tmp_path, *(make("gem", s, v) for s, v in enumerate(OURS)))
    write(tmp_path, *(make("single", 10 + s, v) for s, v in enumerate(THEIRS)))
    assert compared(tmp_path, "--baseline", "single", "--metric", "final") == 0
    out = capsys.readouterr().out
    reference = stats.ttest_ind(OURS, THEIRS, equal_var=False).confidence_interval(0.95)
    assert f"gem    0  +0.0940 [{reference.low:+.4f}, {reference.high:+.4f}]\n" in out
    assert out.endswith("\nn 0: no seed is common; difference of the two means, with Welch's interval\n")
    assert compared(tmp_path, "--baseline", "single", "--metric", "final", "--format", "csv") == 0
    (row, _) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["final_pairs"] == "0" and float(row["final_low"]) == pytest.approx(reference.low)


def test_seeds_that_nobody_told_are_no_pairs(tmp_path, capsys):
    for i, model in enumerate(("gem", "gem", "single", "single")):
        reference(tmp_path / f"{i}.pt", None, "a.pt", model=model)
    assert compared(tmp_path, "--baseline", "single", "--metric", "final") == 0
    assert "n 0: no seed is common" in capsys.readouterr().out


def test_labels(tmp_path, capsys):
    write(tmp_path, make("gem", lr=0.1), make("gem", lr=0.03), make("single"), make("ewc", n_epochs=2))
    labels = ["--label", "model=gem,lr=0.10", "GEM, 0.1", "--label", "single", "SGD"]
    for arguments in ([], ["--baseline", "model=gem,lr=0.03"]):
        assert (
            compared(tmp_path, "--by", "model,lr", "--metric", "final", "--allow", "n_epochs", *labels, *arguments) == 0
        )
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines[:5]] == ["row", "GEM, 0.1", "SGD", "ewc 0.1", "gem 0.03"]
        assert lines[-1] == "not comparable: n_epochs differs: 2 (ewc 0.1), 1 (gem 0.03, GEM, 0.1, SGD)"
    assert lines[9].split()[:4] == ["GEM,", "0.1", "1", "+0.0000"]
    assert compared(tmp_path, "--by", "model,lr", "--metric", "final", "--label", "gem", "G") == 0
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:3]] == [
        "G (gem 0.03)",
        "G (gem 0.1)",
    ]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--label", "ogd", "O"], "--label ogd: fits no row; the rows are gem"),
        (["--label", "lr=0.1", "O"], "--label lr=0.1: names lr, so --by must name lr"),
        (["--label", ",", "O"], "--label ',': names no cell; give a method or FIELD=VALUE,.."),
        (["--baseline", "lr=0.1"], "--baseline lr=0.1: names lr, so --by must name lr"),
        (["--baseline", "gdp,lr=0.1", "--by", "model,lr"], "--baseline gdp,lr=0.1: no run of it; the rows are gem 0.1"),
        (["--baseline", "lr=0.3", "--by", "model,lr"], "--baseline lr=0.3: no run of it; the rows are gem 0.1"),
    ],
)
def test_wrong_cells(tmp_path, capsys, arguments, said):
    write(tmp_path, make())
    assert compared(tmp_path, *arguments) == 2
    assert capsys.readouterr().err == f"results.compare: {said}\n"


def test_title_and_protocol(tmp_path, capsys):
    write(tmp_path, make(seed=0), make(seed=2), make(seed=10))
    assert compared(tmp_path, "--title", "A study", "--protocol", "--metric", "final", "--format", "markdown") == 0
    out = capsys.readouterr().out
    assert out.startswith("A study\n\n| model |")
    told = out.splitlines()[-1].split("; ")
    assert {"data file d.pt", "data hash aaaaaaaaaaaa", "n tasks 2", "samples per task 2 x 7", "threads 1"} <= set(told)
    assert out.endswith("; seeds 0 2 10. Mean ± standard deviation (divisor n - 1) over n runs.\n")


def test_unlearning(tmp_path, capsys):
    said = {"attacked": [0], "before": [0.8, 0.6], "after": [0.3, 0.5], "effect": 0.5, "retention": -0.1}
    write(tmp_path, make(forgetting=said), make("single"))
    metrics = "attacked_before,attacked_after,kept_before,kept_after,selectivity"
    assert compared(tmp_path, "--metrics", metrics) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[2:] == "0.8000 ± X 0.3000 ± X 0.6000 ± X 0.5000 ± X 0.4000 ± X".split()
    assert lines[2].split() == ["single", "1", *"XXXXX"]
    write(tmp_path, make(seed=1, forgetting={**said, "attacked": [2]}))
    assert compared(tmp_path, "--metrics", metrics) == 1
    assert "'forgetting' is " in capsys.readouterr().err


def finetuned(seed, epochs=10, lr=0.001, model="gem"):
    record = make(model, seed, finetuning={"mean_accuracy": 0.5 + lr, "mean_f1": 0.4} if epochs else None)
    record["args"] |= {"finetune_epochs": epochs, "finetune_lr": lr}
    return record


@pytest.mark.parametrize("metric", ["finetuned", "final,finetuned_f1"])
def test_what_decides_one_measure_alone_is_a_setting_where_that_is_asked_for(tmp_path, capsys, metric):
    write(tmp_path, finetuned(0), finetuned(1, lr=0.1), finetuned(2, epochs=3))
    assert compared(tmp_path, "--metric", metric) == 2
    assert "gem differ in finetune_epochs: 3, 10; finetune_lr: 0.001, 0.1; they are not" in capsys.readouterr().err
    assert compared(tmp_path, "--metric", metric, "--allow", "finetune_epochs,finetune_lr") == 0
    assert compared(tmp_path, "--metric", metric, "--by", "model,finetune_lr,finetune_epochs") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + 4
    assert compared(tmp_path, "--metric", "final") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["gem", "3"]


def test_what_decides_one_measure_alone_is_nothing_to_runs_without_it(tmp_path, capsys):
    write(tmp_path, finetuned(0), finetuned(1), finetuned(2, epochs=0, lr=0.1), make("gem", 3), make("single", 0))
    assert compared(tmp_path, "--metric", "final,finetuned", "--baseline", "single") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].endswith("0.5010 ± 0.0000 (n 2)") and "comparable" not in out and not err


def test_rows_whose_measure_was_decided_by_other_flags_are_not_comparable(tmp_path, capsys):
    write(tmp_path, finetuned(0), finetuned(0, lr=0.1, model="single"))
    assert compared(tmp_path, "--metric", "finetuned") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "not comparable: finetune_lr differs: 0.001 (gem), 0.1 (single)"
    assert compared(tmp_path, "--metric", "finetuned", "--baseline", "single") == 2
    assert "gem and single differ in finetune_lr: 0.001, 0.1; no difference is taken" in capsys.readouterr().err
    assert compared(tmp_path, "--metric", "final", "--baseline", "single") == 0
    assert "comparable" not in capsys.readouterr().out


def test_each_flag_that_decides_one_measure_alone_is_a_flag_that_decides_no_other():
    flags = {flag for measure in MEASURES.values() for flag in measure.flags}
    assert flags and not any(decides("single", flag) for flag in flags)
