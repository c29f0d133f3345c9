"""Flags that have no effect beside others: they are named, and have none."""

import glob
import os

import pytest
import torch

import main
import model as methods
from data import files
from model import idle
from model.arguments import FLAGS
from tests.conftest import DROPPED_IN, stream

MLP = "--n_hiddens 20"
GROUPS = f"{MLP} --n_memories 10 --memory_strength 0.5 --num_groups 4 --cov_recompute_every 3"
IGNORED = "--divergence LogDet --if_output_cov no --cov_recompute_every 2 --cov_first_task_buffer 7"
UNLEARNING = "--forgetting_task_ids 0 --forgetting_resee_size 3 --sign_attacked 0.5"
CASES = [  # a command, flags that have no effect in it, and why
    ("single --n_layers 0", "--dropout 0.5 --norm batch --l1_activations 1 --n_hiddens 7", "with --n_layers 0"),
    ("multimodal --n_layers 0", "--dropout 0.5 --norm layer --n_hiddens 7", "with --n_layers 0"),
    ("gem_group --n_layers 0 --n_memories 10", "--num_groups 2 --group_xi 0.01 --divergence LogDet --gem_sub_mean no",
     "with --n_layers 0"),
    (f"agem_group {GROUPS}", "--memory_strength 4", "with --agem_group_rule closed"),
    (f"agem_group {GROUPS} --agem_group_rule mean_h", "--agem_group_scope global", "with --agem_group_rule mean_h"),
    (f"agem_group {GROUPS} --agem_group_rule qp --gem_ignore_relatedness yes", f"--gem_reverse yes {IGNORED}",
     "with --gem_ignore_relatedness yes"),
    (f"gem_group {GROUPS} --gem_ignore_relatedness yes", f"--gem_sub_mean no --gem_reverse yes {IGNORED}",
     "with --gem_ignore_relatedness yes"),
    (f"gem_group {GROUPS}", "--ewc_reverse yes", "without --fork_compat yes"),
    (f"gem_group {GROUPS} --fork_compat yes", "--gem_reverse yes", "with --fork_compat yes"),
    (f"ewc_group {GROUPS} --fork_compat yes", "--use_fisher no", "with --fork_compat yes"),
    (f"gem_group {GROUPS} --create_group_per_unit yes", "--num_groups 2 --group_xi 0.01 --create_random_groups yes",
     "with --create_group_per_unit yes"),
    (f"gem_group {GROUPS} --create_random_groups yes", "--group_xi 0.01", "with --create_random_groups yes"),
    ("ncl --ncl_diag yes", "--ncl_sum additive", "with --ncl_diag yes"),
    ("ogd", "--ogd_record train", "without --ogd_mode loss_mean"),
    ("ogd", "--ogd_projects displacement", "with plain SGD, whose step is the gradient"),
    ("ogd --ogd_mode loss_mean", "--ogd_per_task 20", "with --ogd_mode loss_mean"),
    ("ewc --n_memories 10 --memory_strength 1", f"--task_sample 7 {UNLEARNING}", "without --forgetting_mode yes"),
    ("ewc --n_memories 10", "--ewc_fisher sampled", "with --memory_strength 0"),
    ("single", "--probe_batches 3", "without --probe curve or updates"),
    ("single", "--probe_memories 3", "without --probe alignment"),
    ("single", "--stop_at_accuracy 0.3", "with --n_epochs 1"),
    ("single", "--finetune_lr 0.5", "without --finetune_epochs"),
    ("single", "--pretrain_steps 3", "on images"),
    ("single --n_tasks 1", "--later_lr_factor 0.1", "with one task"),
]  # fmt: skip


def words(folder, command):
    given = f"--data_path {folder} --data_file tiny.pt --save_path {folder}/r --threads 1 --lr 0.1 --log_every 5"
    return [*given.split(), "--batch_size", "4", "--model", *command.split()]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What a command leaves behind: its accuracies, and the parameters at the end. Each command runs once."""
    folder, known = tmp_path_factory.mktemp("idle"), {}
    files.save(folder / "tiny.pt", *stream(n=60))

    def measure(command):
        if command not in known:
            result = main.main(words(folder, command))
            latest = max(glob.glob(f"{folder}/r/*.pt"), key=os.path.getmtime)
            known[command] = result["evolution"], torch.load(latest)[2]
        return known[command]

    return measure


@pytest.mark.parametrize(("command", "flags", "where"), CASES, ids=lambda part: part[:40])
def test_a_flag_without_effect_is_named_and_has_none(measured, capsys, command, flags, where):
    evolution, parameters = measured(command)
    capsys.readouterr()
    again, same = measured(f"{command} {flags}")
    name, names = command.split()[0], set(flags.split()[::2])
    (note,) = [line for line in capsys.readouterr().err.splitlines() if "does not use" in line]
    said = note.removeprefix(f"note: {name} does not use ").removesuffix(f" {where}")
    assert set(said.split()) == names and note.endswith(f" {where}")
    assert again == evolution and same.keys() == parameters.keys()
    assert all(torch.equal(same[key], value) for key, value in parameters.items())


@pytest.mark.parametrize("command", [f"agem_group {GROUPS} --agem_group_rule qp --memory_strength 2",
                                     f"gem_group {GROUPS} --group_xi 0.01 --divergence LogDet --gem_reverse yes",
                                     "ewc --n_memories 10 --memory_strength 1 --ewc_fisher sampled --norm layer",
                                     "single --hidden_sizes 9 --dropout 0.5",
                                     "single --n_epochs 2 --stop_at_accuracy 0.3 --probe updates --probe_batches 3",
                                     "ogd --ogd_projects displacement --momentum 0.5"])  # fmt: skip
def test_a_flag_that_counts_is_not_named(measured, capsys, command):
    measured(command)
    assert "does not use" not in capsys.readouterr().err


def test_all_flags_without_effect_stand_in_one_line(data_file, capsys):
    main.main(
        [*words(data_file.parent, "single --n_layers 0"), "--norm", "batch", "--probe_batches", "3", "--beta", "1"]
    )
    assert capsys.readouterr().err == (
        "note: single does not use --beta; --norm with --n_layers 0; --probe_batches without --probe curve or updates\n"
    )


def test_defaults_are_not_named(data_file, capsys):
    main.main(
        [*words(data_file.parent, "single --n_layers 0"), "--norm", "none", "--n_hiddens", "100", "--dropout", "0"]
    )
    assert capsys.readouterr().err == ""


def test_a_module_of_ones_own_may_read_any_setting(data_file, drop, capsys):
    drop("from model.single import Net\n")
    command = f"{DROPPED_IN} --n_layers 0 --n_hiddens 7 --probe_batches 3"
    main.main(words(data_file.parent, command))
    assert "does not use --probe_batches without --probe curve or updates\n" in capsys.readouterr().err


def test_the_table_names_flags_that_a_method_uses():
    for rule in idle.RULES:
        for name in rule.flags:
            assert FLAGS[name].everyones or any(name in method.flags for method in methods.METHODS.values())
