"""Who uses a flag and what role it plays is said once; what each tool makes of it follows."""

import pytest
import torch

import main
import model as methods
from model import UsageError, arguments
from model.arguments import FLAGS
from model.flags import Role
from results.comparing import cells, matching
from results.reading.run import Run
from scripts import side_by_side
from scripts.papers import targets
from scripts.sweeping import jobs, selection
from tests.conftest import DROPPED_IN, learn, net, parameters, suitable
from tests.results.records import make
from tests.scripts.papers.test_table import kept as paper_run
from tests.scripts.test_sweep import best, kept


def run(**changed):
    """A run of ``gem`` whose record has every argument, ``changed`` in its arguments and in its protocol."""
    record = make("gem")
    defaults = {flag.name: flag.default for flag in FLAGS.values()}
    record["args"] = {**defaults, **record["args"], **changed}
    record["protocol"] |= {"data_hash": None, "data_file": record["args"]["data_file"], "parity": False}
    record["protocol"] |= {name: changed[name] for name in changed if name in record["protocol"]}
    record["protocol"]["memory"] = record["args"]["n_memories"]
    return Run("", record=record, args=record["args"])


def another(flag):
    """A value of the flag that is not its default."""
    if flag.choices:
        return [choice for choice in flag.choices if choice != flag.default][-1]
    if isinstance(flag.default, bool):
        return not flag.default
    return {int: 3, float: 0.25, str: "0.25", type(None): 2}[type(flag.default)]


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_a_flag_that_a_row_does_not_name_changes_nothing(name):
    others = {flag.name: another(flag) for flag in FLAGS.values() if not arguments.uses(name, flag.name)}
    assert len(others) > 20
    train, own = suitable(name)
    given = {"n_memories": 5, "memory_strength": 0.5, "num_groups": 2, "cov_recompute_every": 2, **own}
    plain, changed = (learn(net(name, **{**given, **more}), train) for more in ({}, others))
    assert torch.equal(parameters(plain), parameters(changed))


def test_a_row_names_flags_that_there_are_and_that_not_every_method_uses():
    for name, method in methods.METHODS.items():
        for flag in method.flags:
            assert FLAGS[flag].methods is not None and name in FLAGS[flag].methods
        assert len(set(method.flags)) == len(method.flags)
    assert FLAGS["lr"].methods is None and FLAGS["beta"].methods == ("meralg1",)


@pytest.mark.parametrize("flag", FLAGS.values(), ids=lambda flag: flag.name)
def test_runs_differ_in_a_flag_if_and_only_if_it_decides_numbers(flag):
    """In comparison and in regression; the data file stands for its data here, where no hash is known."""
    one, two = run(), run(**{flag.name: "ewc" if flag.name == "model" else another(flag)})
    decisive = flag.role in (Role.SETTING, Role.PROTOCOL) and arguments.uses("gem", flag.name)
    decisive |= flag.name == "data_file"
    fields = [name for name in (*cells.PROTOCOL, *cells.settings(two)) if name != "n_tasks"]  # counted from the grid
    if flag.name not in ("n_tasks", "model"):
        assert bool(cells.differing([one, two], fields)) == bool(matching.differing(one, two)) == decisive


def test_a_row_alone_makes_every_tool_know_a_methods_flags(drop, monkeypatch):
    """A module of one's own and a line in the table, nothing else."""
    drop("from model.episodic import EpisodicLearner\n\n\nclass Net(EpisodicLearner):\n    pass\n")
    monkeypatch.setitem(methods.METHODS, DROPPED_IN, methods.Method("of a test", ("n_memories",)))
    one, two, three = (Run("", record=make(DROPPED_IN, **more)) for more in ({}, {"memory": 5}, {"memory_strength": 7}))
    assert cells.differing([one, two], cells.PROTOCOL) == {"memory": [10, 5]} and "n_memories" in matching.facts(one)
    assert cells.settings(one) == cells.settings(three) and matching.differing(one, three) == {}
    words = {"--model": [DROPPED_IN], "--n_memories": ["3", "4"], "--memory_strength": ["0", "1"]}
    assert len(jobs.read({}, words)[0]) == 2
    assert main.parse(["--model", DROPPED_IN, "--n_memories", "3", "--beta", "1"])[2] == ["beta"]
    with pytest.raises(UsageError, match=f"--n_memories 0: {DROPPED_IN} needs at least one memory per task"):
        main.parse(["--model", DROPPED_IN])
    assert DROPPED_IN in methods.describe() and "of a test" in methods.describe()


def test_a_logged_run_says_that_it_was_one_of_parity():
    """Its arguments do; there is no record beside them."""
    logged = Run("", args={"model": "gem", "seed": 0, "parity": "yes", "lr": "0.1"})
    assert matching.differing(logged, run(parity=False)) == {"parity": (True, False)}


def test_runs_with_other_heads_are_no_row_of_a_paper(tmp_path):
    paper_run(tmp_path)
    (row,) = [r for r in targets.read("gem") if (r["stream"], r["method"]) == ("permutations", "gem")]
    from scripts.papers.table import read

    one, two = (*read(tmp_path), *read(tmp_path))
    two["protocol"]["head"], two["args"]["head"], two["args"]["seed"] = "split", "split", 1
    assert [len(group) for group in targets.matching(row, [one, two])] == [1, 1]
    assert "--head split" in targets.differences(row, [two])


@pytest.mark.parametrize("more", [{"memory_strength": 7.0}, {"engine": "fast"}, {"cuda": True}])
def test_best_takes_as_one_setting_what_computes_the_same(tmp_path, capsys, more):
    for seed in (0, 1):
        kept(
            tmp_path, model="single", seed=seed, **{"memory_strength": 0.0, "engine": "auto", **(more if seed else {})}
        )
    assert "(the only setting)" in best(tmp_path, capsys)


def test_best_leaves_the_machine_as_it_was(tmp_path, capsys):
    kept(tmp_path, cuda=True, log_every=7, engine="auto")
    assert best(tmp_path, capsys).splitlines()[-1].endswith("--cuda yes --log_every 7 --lr 0.1 --first_task 3")


@pytest.mark.parametrize(
    ("more", "same"),
    [
        *(
            ({name: value}, True)
            for name, value in [("log_every", 7), ("threads", 2), ("save_path", "x/"), ("beta", 1.0)]
        ),
        *(
            ({name: value}, False)
            for name, value in [("seed", 4), ("lr", 0.2), ("n_tasks", 3), ("memory_strength", 1.0)]
        ),
    ],
)
def test_a_command_is_the_same_if_what_decides_its_numbers_is(more, same):
    """The A-GEM note's command and a record of ours."""
    (logged,) = list(side_by_side.runs([side_by_side.LOGGED]))[:1]
    args = {name: FLAGS[name].parse(str(value)) for name, value in logged.args.items()}
    ours = Run("", record=make("agem", args={**args, "model": "agem"} | more))
    assert side_by_side.same_command(logged, ours) == same


def test_what_is_held_out_is_of_the_protocol():
    assert set(selection.HELD_OUT) <= set(arguments.of_role(Role.PROTOCOL))
