"""The table of flags: all there, the reference's defaults, values checked in one sentence."""

import argparse
import shlex

import pytest

import main
from model import METHODS, UsageError, arguments
from model.arguments import FLAGS

# Every flag of the A-GEM note's command, of the GEM code, of MER and of the group fork; then ours.
REQUIRED = shlex.split("""
model n_tasks n_layers n_hiddens finetune n_epochs batch_size lr n_memories memory_strength memories gamma beta s
batches_per_example replay_batch_size cuda seed log_every save_path data_path data_file samples_per_task shuffle_tasks
divergence num_groups if_output_cov cov_recompute_every cov_first_task_buffer create_random_groups create_group_per_unit
forgetting_mode forgetting_task_ids forgetting_resee_size sign_attacked gem_reverse gem_sub_mean gem_ignore_relatedness
ewc_reverse parity threads raw_path net
""")

# As the parsers of the GEM code, then of MER, then of the fork declare them.
REFERENCE_DEFAULTS = {
    **{"model": "single", "n_layers": 2, "n_hiddens": 100, "n_memories": 0, "memory_strength": 0.0, "n_epochs": 1},
    **{"batch_size": 10, "lr": 1e-3, "seed": 0, "log_every": 100, "samples_per_task": -1, "shuffle_tasks": "no"},
    **{"finetune": False, "cuda": False, "save_path": "results/", "data_path": "data/"},
    **{"data_file": "mnist_permutations.pt"},
    **{"memories": 5120, "gamma": 1.0, "beta": 1.0, "s": 1.0, "batches_per_example": 1, "replay_batch_size": 20},
    **{"num_groups": 5, "cov_first_task_buffer": 200, "if_output_cov": True},
}


def settled(*argv):
    args = arguments.parser().parse_args(argv)
    arguments.settle(args)
    return args


@pytest.mark.parametrize("name", REQUIRED)
def test_every_flag_is_there(name):
    assert name in FLAGS and FLAGS[name].help and FLAGS[name].origin


@pytest.mark.parametrize("name", REFERENCE_DEFAULTS)
def test_defaults_are_the_references(name):
    value, wanted = getattr(settled(), name), REFERENCE_DEFAULTS[name]
    assert value == wanted and type(value) is type(wanted)


@pytest.mark.parametrize("flag", [f for f in FLAGS.values() if f.kind is arguments.yes_no], ids=lambda f: f.name)
@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), ("True", True), ("TRUE", True), ("no", False), ("False", False), ("0", False)]
)
def test_both_ways_of_saying_yes_and_no(flag, text, value):
    assert getattr(settled(f"--{flag.name}", text), flag.name) is value


@pytest.mark.parametrize(("text", "word"), [("yes", "yes"), ("True", "yes"), ("no", "no"), ("False", "no")])
def test_shuffle_tasks_stays_the_references_word(text, word):
    assert settled("--shuffle_tasks", text).shuffle_tasks == word


def test_counts_may_be_written_as_floats():
    """MER declares some of its counts as floats."""
    args = settled("--memories", "200.0", "--seed", "4294967295", "--n_epochs", "1e1")
    assert (args.memories, args.seed, args.n_epochs) == (200, 4294967295, 10)
    assert all(type(value) is int for value in (args.memories, args.seed, args.n_epochs))


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("batch_size", "0", "a whole number, 1 or more"),
        ("batch_size", "-3", "a whole number, 1 or more"),
        ("batch_size", "2.5", "a whole number, 1 or more"),
        ("batch_size", "nan", "a whole number, 1 or more"),
        ("batch_size", "inf", "a whole number, 1 or more"),
        ("batch_size", "ten", "a whole number, 1 or more"),
        ("n_epochs", "0", "a whole number, 1 or more"),
        ("n_epochs", "nan", "a whole number, 1 or more"),
        ("log_every", "0", "a whole number, 1 or more"),
        ("log_every", "nan", "a whole number, 1 or more"),
        ("n_tasks", "0", "a whole number, 1 or more"),
        ("n_memories", "-1", "a whole number, 0 or more"),
        ("threads", "0", "a whole number, 1 or more"),
        ("seed", "-1", "a whole number from 0 to 4294967295"),
        ("seed", "4294967296", "a whole number from 0 to 4294967295"),
        ("lr", "0", "a number above 0"),
        ("lr", "-0.1", "a number above 0"),
        ("lr", "nan", "a number above 0"),
        ("lr", "inf", "a number above 0"),
        ("lr", "1e400", "a number above 0"),
        ("lr", "fast", "a number above 0"),
        ("memory_strength", "-1", "a number, 0 or more"),
        ("memory_strength", "nan", "a number, 0 or more"),
        ("sign_attacked", "-1.5", "a number from -1 to 1"),
        ("cuda", "perhaps", "yes or no"),
        ("shuffle_tasks", "2", "yes or no"),
        ("divergence", "KL", "one of von_Neumann, LogDet"),
        ("net", "vgg", "one of auto, mlp, resnet18, lenet5"),
        ("stop_at_accuracy", "0", "never or a number above 0 and up to 1"),
        ("stop_at_accuracy", "1.5", "never or a number above 0 and up to 1"),
        ("hidden_sizes", "120,0", "auto, or sizes such as 120,84"),
        ("hidden_sizes", "9" * 30, "auto, or sizes such as 120,84"),
        ("dropout", "1", "a number from 0 to 0.999"),
        ("later_lr_factor", "0", "a number above 0"),
    ],
)
def test_a_value_out_of_range_names_flag_value_and_remedy(name, text, remedy):
    with pytest.raises(UsageError) as mistake:
        settled(f"--{name}", text)
    sentence = str(mistake.value)
    assert sentence.startswith(f"--{name} {text}: ") and sentence.endswith(f"give {remedy}")


def test_a_wrong_command_line_is_one_sentence():
    with pytest.raises(UsageError, match=r"^Unrecognized arguments: --learning_rate 3; see main.py --help$"):
        settled("--learning_rate", "3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hidden_sizes", "1," * 1000 + "1"], "more than 1,000 layers"),
        (["--hidden_sizes", "9" * 300], "beyond what 64 bits hold"),
        (["--seed", "9" * 10**5], "not a whole number"),
        (["--" + "seed" * 10**5], "Unrecognized arguments: --seedseed"),
        (["word"] * 10**4, "Unrecognized arguments: word word"),
        (["--n" * 500] * 50, "Unrecognized arguments: "),
        (["--n=" + "x" * 10**5], "Ambiguous option"),
        (["--model", "x" * 10**5], "no such method"),
    ],
)
def test_of_a_long_word_only_the_beginning_is_repeated(words, said):
    """Numbers of hundreds of digits are no sizes either: nothing computes with them afterwards."""
    with pytest.raises(UsageError, match=said) as mistake:
        main.parse(words)
    assert len(str(mistake.value)) < 4000


def test_two_dashes_behind_an_equals_sign_are_a_value():
    """argparse makes an empty list of them."""
    assert settled("--data_file=--").data_file == "--"
    with pytest.raises(UsageError, match="--hidden_sizes --: not auto, or sizes"):
        settled("--hidden_sizes=--")


def test_settle_returns_the_flags_given():
    args = arguments.parser().parse_args(["--lr", "0.1", "--n_memories", "0"])
    assert sorted(arguments.settle(args)) == ["lr", "n_memories"]


def test_unused_flags_by_method():
    given = ["lr", "seed", "n_memories", "memory_strength", "beta", "agem_batch"]
    assert arguments.unused(given, "single") == ["n_memories", "memory_strength", "beta", "agem_batch"]
    assert arguments.unused(given, "agem_closed") == ["memory_strength", "beta", "agem_batch"]
    assert arguments.unused(given, "agem_sampled") == ["memory_strength", "beta"]
    assert arguments.unused(given, "gem") == ["beta", "agem_batch"]


def test_methods_in_the_table_exist():
    for flag in FLAGS.values():
        assert set(flag.methods or ()) <= set(METHODS), flag.name


def test_of_fills_in_what_a_foreign_main_did_not_pass():
    foreign = argparse.Namespace(lr=0.5, something="theirs")
    full = arguments.of(foreign)
    assert (full.lr, full.something, full.n_hiddens, full.parity) == (0.5, "theirs", 100, False)
    assert vars(foreign) == {"lr": 0.5, "something": "theirs"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("n_epochs", "default 1;"),
        ("n_memories", "default 0;"),
        ("seed", "default 0;"),
        ("beta", "default 1.0;"),
        ("cuda", "default no;"),
        ("if_output_cov", "default yes;"),
        ("gem_reverse", "default no;"),
        ("save_path", "default results/;"),
        ("lr", "default 0.001;"),
    ],
)
def test_help_shows_defaults_as_one_would_type_them(name, shown):
    (action,) = [action for action in arguments.parser()._actions if f"--{name}" in action.option_strings]
    assert shown in action.help
    assert len(action.help) > len(shown) + 10


def test_help_groups_every_flag():
    parser = arguments.parser()
    text = " ".join(parser.format_help().split())
    for title, flags in arguments.GROUPS.items():
        section = text.split(f" {title}: ")[1]
        assert all(f"--{flag.name} " in section and flag.help in section for flag in flags)
