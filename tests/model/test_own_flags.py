"""Flags that a method's module brings along count like ours: help, messages, grids, defaults, records, tables."""

import argparse
import json
import sys

import pytest

import main
import model as methods
from model import UsageError, arguments, own_flags
from results import compare
from results.comparing import cells, matching
from results.comparing.frames import frame
from results.comparing.measures import MEASURES
from results.reading import fields
from results.reading.run import Run
from results.reading.text import parse_text
from scripts.papers import targets
from scripts.sweeping import jobs, selection
from tests.conftest import DROPPED_IN as NAME
from tests.conftest import learn, net, parameters, stream
from tests.results.records import make, write

METHOD = """
from model.learner import Learner


class Net(Learner):
    def observe(self, x, t, y):
        if t != self.task:
            self.begin(t)
        self.engine.gradients(x, y, t).descend(self.lr * self.args.pace)


def add_arguments(parser):
    parser.add_argument("--pace", type=float, default=0.5, help="factor of the rate, 100%% is 1")
"""
KINDS = """
    parser.add_argument("--how-deep", "-d", type=int, default="3", help="metres (%(default)s)")
    parser.add_argument("--wild", action="store_true")
    parser.add_argument("--side", choices=["left", "right"], default="left")
    parser.add_argument("--level", type=int, choices=[1, 2])
    parser.add_argument("--bare", type=bool, default=True)
    parser.add_argument("--even", type=even, default="2")


def even(text):
    if int(text) % 2:
        raise ValueError(text)
    return int(text)
"""


def declaring(line):
    return METHOD.split("def add_arguments")[0] + f"def add_arguments(parser):\n    {line}\n"


def parsed(*words):
    return vars(main.parse(["--model", NAME, *words])[0])


def test_they_are_in_the_help(drop, capsys):
    drop(METHOD + KINDS)
    with pytest.raises(SystemExit):
        main.cli(["--model", NAME, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    section = text.split(f"of {NAME} alone: ")[1]
    assert f"--pace X factor of the rate, 100% is 1 (default 0.5; model/{NAME}.py)" in section
    assert "--how_deep N, --how-deep N, -d N metres (3) (default 3;" in section
    assert "--wild [yes|no] (default no;" in section and "--side left|right" in section and "--level 1|2" in section
    with pytest.raises(SystemExit):
        main.cli(["--help"])
    assert "--pace" not in capsys.readouterr().out and f"model.{NAME}" in sys.modules


def test_a_bare_percent_in_a_help(drop, capsys):
    """Plain argparse takes it, and fails at --help alone."""
    drop(declaring('parser.add_argument("--share", type=float, default=0.5, help="100% of alpha")'))
    assert parsed("--share", "0.25")["share"] == 0.25
    with pytest.raises(SystemExit):
        main.cli(["--model", NAME, "--help"])
    assert "--share X 100% of alpha (default 0.5;" in " ".join(capsys.readouterr().out.split())


def test_values_and_defaults(drop):
    drop(METHOD + KINDS)
    default = {"pace": 0.5, "how_deep": 3, "wild": False, "side": "left", "level": None, "bare": True, "even": 2}
    assert parsed().items() >= default.items()
    given = parsed("--pace=2", "-d", "5", "--wild", "--side", "right", "--level", "2", "--bare", "False", "--even", "4")
    other = {"pace": 2.0, "how_deep": 5, "wild": True, "side": "right", "level": 2, "bare": False, "even": 4}
    assert given.items() >= other.items()
    assert parsed("--how-deep", "5", "--wild", "no").items() >= {"how_deep": 5, "wild": False}.items()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--pace x", "--pace x: not a number; give a number"),
        ("--pace nan", "--pace nan: out of range; give a number"),
        ("--how-deep 1.5", "--how_deep 1.5: not a whole number; give a whole number"),
        ("--wild perhaps", "--wild perhaps: not yes or no; give yes or no"),
        ("--side up", "--side up: out of range; give one of left, right"),
        ("--level 3", "--level 3: out of range; give one of 1, 2"),
        ("--even 3", f"--even 3: not what model/{NAME}.py takes; give what model/{NAME}.py takes"),
    ],
)
def test_a_wrong_value_is_one_sentence(drop, words, said):
    drop(METHOD + KINDS)
    with pytest.raises(UsageError) as mistake:
        parsed(*words.split())
    assert str(mistake.value) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("parser.add_argument('--lr', type=float)", "declares --lr, a flag of main.py; use that one"),
        ("parser.add_argument('--data-file')", "declares --data_file, a flag of main.py"),
        ("parser.add_argument('-h', '--height')", "declares -h, a flag of main.py"),
        ("raise SystemExit('no')", "fails (SystemExit: no); mend it"),
        ("parser.add_argument('sizes')", "fails (TypeError: sizes is neither a flag with one value nor a switch"),
        ("parser.add_argument('--sizes', nargs='+')", "fails (TypeError: --sizes is neither a flag with one value"),
        ("parser.add_argument('--off', action='store_false')", "fails (TypeError: --off is neither a flag"),
        ("parser.add_argument('--a', type=int, default='x')", "fails (UsageError: --a x: not a whole number"),
        ("parser.add_argument('--a', kind=int)", "fails (TypeError: "),
        (
            "parser.add_argument('--a', type=lambda t: t.split(','), default='1,2')",
            f"fails (UsageError: --a: model/{NAME}.py makes a list of its value; let it make text, a number, or yes or no)",
        ),
        ("parser.add_argument('--a', type=float, default=[1, 2])", "fails (UsageError: --a: "),
        ("parser.set_defaults(lr=0.3)", "sets a default for --lr, which it does not declare; leave that out"),
        ("1 / 0", "fails (ZeroDivisionError: division by zero); mend it"),
    ],
)
def test_what_cannot_be_an_entry_of_the_table_is_refused(drop, capsys, line, said):
    drop(declaring(line))
    assert main.cli(["--model", NAME]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"main.py: --model '{NAME}': add_arguments of model/{NAME}.py {said}")


def test_one_that_is_required(drop, capsys):
    drop(declaring("parser.add_argument('--pace', type=float, required=True)"))
    assert main.cli(["--model", NAME]) == 2
    assert "required: --pace" in capsys.readouterr().err
    assert parsed("--pace", "3")["pace"] == 3
    assert "pace" not in vars(main.parse(["--model", "single"])[0])


def test_a_program_that_does_not_know_them_gets_their_defaults(drop):
    """As under the reference's main.py, or in our own tests."""
    drop(METHOD)
    default, half, whole = (learn(net(NAME, **given), stream()[0]) for given in ({}, {"pace": 0.5}, {"pace": 1.0}))
    assert default.args.pace == 0.5 and (parameters(default) == parameters(half)).all()
    assert (parameters(whole) == parameters(learn(net("single"), stream()[0]))).all()


def test_a_run_records_them_and_its_seeds_are_not_averaged_over_them(drop, data_file, tmp_path, capsys):
    """Six runs are two rows of three, or a refusal; never one row of three."""
    drop(METHOD)
    argv = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(tmp_path / "r")]
    for pace in ("0.3", "1"):
        for seed in ("0", "1", "2"):
            main.main([*argv, "--model", NAME, "--pace", pace, "--seed", seed])
    main.main([*argv, "--model", "single"])
    sys.modules.pop(f"model.{NAME}")
    capsys.readouterr()
    assert compare.main([str(tmp_path / "r"), "--metric", "final"]) == 2
    assert f"runs of {NAME} differ in pace: 0.3, 1; they are not averaged" in capsys.readouterr().err
    assert compare.main([str(tmp_path / "r"), "--metric", "final", "--by", "model,pace"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [[NAME, "0.3", "3"], [NAME, "1", "3"], ["single", "-", "1"]]
    assert f"model.{NAME}" not in sys.modules  # a table needs the records, not the method


FIELDS = sorted({*fields.NAMES, *MEASURES, "source"} - {*arguments.FLAGS})


def test_all_that_a_record_may_have_is_known_by_name(drop, data_file, tmp_path):
    drop(METHOD)
    words = ["--data_path", str(data_file.parent), "--data_file", "tiny.pt", "--save_path", str(tmp_path / "r")]
    asked = ["--lca", "yes", "--probe", "epochs", "--stop_at_accuracy", "1", "--n_epochs", "2"]
    record = main.main([*words, "--model", NAME, *asked])
    assert not {*record, *record["protocol"]} - {*fields.NAMES, *arguments.FLAGS}


@pytest.mark.parametrize("name", FIELDS)
def test_one_that_is_called_like_a_field_of_a_record_is_neither_taken_for_it_nor_forgotten(tmp_path, capsys, name):
    records = [make(NAME, seed) for seed in range(3)]
    for record, value in zip(records, (1, 0, 0.01), strict=True):
        record["args"][name] = value
    folder = write(tmp_path / "r", *records, make("single"))
    assert compare.main([folder, "--metric", "final"]) == 2
    said = f"runs of {NAME} differ in args.{name}: 0, 0.01, 1; they are not averaged (--by model,args.{name} keeps"
    assert said in capsys.readouterr().err
    assert compare.main([folder, "--metric", "final", "--by", f"model,args.{name}"]) == 0
    rows = [line.split()[:4] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [[NAME, value, "1", "0.7500"] for value in ("0", "0.01", "1")] + [["single", "-", "1", "0.7500"]]
    assert compare.main([folder, "--metric", "final", "--allow", f"args.{name}"]) == 0
    (row, _) = capsys.readouterr().out.splitlines()[1:]
    assert row.split()[:2] == [NAME, "3"]
    (one, two) = (Run("", record=record, args=record["args"]) for record in records[:2])
    assert matching.differing(one, two) == {f"args.{name}": (1.0, 0.0)}
    assert cells.differing([one, two], [*cells.PROTOCOL, "status", "device"]) == {}


@pytest.mark.parametrize("name, value", [("memory", "large"), ("status", "diverged"), ("task_order", 3), ("device", 1)])
def test_one_of_a_log_is_no_fact_of_the_run(name, value):
    args = {"model": NAME, "seed": 0, "n_memories": 5, name: value}
    (run,) = parse_text(f"x: {args} # 0.750 -0.050 0.050 # 1.0\n", "log")
    assert not run.problems and run.fact(name) is None
    assert cells.field(run, "memory") == 5 and cells.settings(run) == {f"args.{name}": value}


def test_a_frame_has_a_column_for_each(tmp_path):
    pytest.importorskip("pandas")
    record = make(NAME)
    record["args"] |= {"final": 3, "memory": 0.5, "pace": 2.0}
    (row,) = frame(write(tmp_path / "r", record)).to_dict("records")
    assert (row["final"], row["memory"]) == (0.75, 10)
    assert (row["args.final"], row["args.memory"], row["pace"]) == (3, 0.5, 2.0)


@pytest.mark.parametrize("text", [None, "1 / 0\nclass Net: pass\n"])
def test_tables_of_a_method_that_is_absent_or_broken(drop, tmp_path, capsys, text):
    if text:
        drop(text)
    records = [make(NAME, seed, 0.5 + pace / 10) for seed in (0, 1) for pace in (1, 2)]
    for pace, record in zip((1, 2, 1, 2), records, strict=True):
        record["args"]["pace"] = pace
    assert compare.main([write(tmp_path / "r", *records), "--by", "model,pace", "--metric", "final"]) == 0
    assert [line.split()[2:4] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["2", "0.6000"],
        ["2", "0.7000"],
    ]
    one, two = (Run("", record=record, args=record["args"]) for record in records[:2])
    assert matching.differing(one, two) == {"pace": (1.0, 2.0)}
    assert matching.differing(Run("", args={**one.args, "pace": "1.0"}), one) == {}


def test_a_paper_table_names_them(tmp_path):
    record = make(NAME, args={"model": NAME, "pace": 0.3, "lr": 0.1, "n_memories": 10})
    row = {"method": NAME, "select": "", "protocol": "lr=0.1 n_memories=10 batch_size=? n_epochs=?"}
    assert targets.differences(row, [record]) == ["--pace 0.3"]
    assert targets.differences({**row, "protocol": f"{row['protocol']} pace=0.3"}, [record]) == []


def test_a_grid_over_several_methods(drop):
    """A flag of one of them serves it alone; the others run once, and a note says so, as with ours."""
    drop(METHOD + KINDS)
    words = ["--model", NAME, "gem", "--n_memories", "3", "--pace", "0.3", "1", "--wild", "no", "yes", "--seed", "0..1"]
    found, notes = jobs.read({}, jobs.grouped(words))
    assert [job.args["model"] for job in found] == [NAME] * 8 + ["gem"] * 2
    assert notes[0].startswith("6 command lines left out")
    assert "pace" not in found[-1].args and {job.args["pace"] for job in found[:8]} == {0.3, 1.0}


def test_a_job_is_what_it_computes(drop):
    drop(METHOD + KINDS)

    def name(*words):
        return jobs.of_line(["--model", NAME, *words]).name

    same = [[], ["--pace", "0.50"], ["--pace=5e-1"], ["--wild", "no"], ["--how-deep", "3"], ["--how_deep=3"]]
    assert len({name(*words) for words in same}) == 1
    assert len({name(*words) for words in ([], ["--pace", "1"], ["--wild", "yes"], ["--how-deep", "4"])}) == 4
    drop(METHOD)  # a flag that its module has got since then leaves the names of older jobs as they are
    sys.modules.pop(f"model.{NAME}")
    assert name() == name("--pace", "0.5")
    before = name("--pace", "2")
    drop(METHOD + KINDS)
    sys.modules.pop(f"model.{NAME}")
    assert name("--pace", "2") == before


def test_the_best_setting_has_them(drop, tmp_path, capsys):
    drop(METHOD + KINDS)
    for seed in ("0", "1"):
        for pace, final in (("0.3", 0.5), ("1", 0.9), ("3", 0.2)):
            args = parsed("--pace", pace, "--seed", seed, "--n_tasks", "3", "--wild", "--how-deep", "4")
            record = {"format": 1, "status": "done", "model": NAME, "args": args, "final": final}
            (tmp_path / f"{pace}-{seed}.json").write_text(json.dumps({**record, "protocol": {"data_hash": "h"}}))
    assert selection.main([str(tmp_path)]) == 0
    *_, command = lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "#   0.9000, sd 0.0000  --pace 1.0  <- chosen" and "--pace 1.0" in command
    (job,), _ = jobs.read({"best": command}, {})
    assert job.args.items() >= {"pace": 1.0, "wild": True, "how_deep": 4, "first_task": 3}.items()


def test_a_spelling_that_two_methods_have_is_that_of_the_one_that_runs(drop, tmp_path):
    drop(METHOD + KINDS)
    (tmp_path / "model" / f"{NAME}_too.py").write_text(
        declaring("parser.add_argument('-d', '--depth'); parser.add_argument('--pacing', dest='pace')")
    )
    args, _, unused = main.parse(["--model", NAME, "-d", "4", "--depth", "7"])
    assert args.how_deep == 4 and unused == ["depth"]
    sys.modules.pop(f"model.{NAME}_too")
    vars(methods).pop(f"{NAME}_too")


def test_a_broken_module_hides_no_other_and_is_not_asked_without_need(drop, capsys):
    drop("1 / 0\nclass Net: pass\ndef add_arguments(parser): parser.add_argument('--pace')\n")
    assert main.cli(["--model", "single", "--pace", "1"]) == 2
    assert "Unrecognized arguments: --pace 1" in capsys.readouterr().err
    drop(METHOD)
    main.parse(["--model", "single", "--lr", "0.1"])
    with pytest.raises(UsageError, match=r"Unrecognized arguments: --p\.ce 1"):
        main.parse(["--model", "single", "--p.ce", "1"])  # a word, not a pattern that modules are searched for
    assert f"model.{NAME}" not in sys.modules
    assert main.parse(["--model", "single", "--pace", "1"])[2] == ["pace"]


def test_none_of_ours_has_any():
    assert not any(own_flags.of(methods.load(name)) for name in methods.METHODS)
    assert own_flags.of(argparse) == {} == own_flags.of(None)
