"""Flags that a method uses, but that have no effect beside other flags, or on the data at hand: the one table of them.

A run says so in one line, together with the flags that its method does not use at all. The names of a sweep's jobs, and
what a record holds, do not depend on this table.
"""

from collections.abc import Callable
from typing import NamedTuple

from model import METHODS, networks, optimizer
from model.arguments import FLAGS, uses
from model.flags import Role


class Rule(NamedTuple):
    """``flags`` have no effect where ``holds(args, data)``; ``where`` says that behind their names."""

    flags: tuple[str, ...]
    where: str
    holds: Callable


def _of_images(args, data) -> bool:
    return data.problem.kind == "images"


def _resnet(args, data) -> bool:
    return _of_images(args, data) and args.model != "multimodal" and networks.means_resnet(data.n_inputs, args)


def _no_hidden_layer(args, data) -> bool:
    sized = args.n_layers == 0 and args.hidden_sizes == "auto" and args.net != "lenet5"
    return sized and _of_images(args, data) and not _resnet(args, data)


def _unrelated(args, data) -> bool:
    """Whether no step depends on how tasks are related, and nobody looks at it."""
    return args.gem_ignore_relatedness and "relatedness" not in args.probe


RELATEDNESS = (
    "divergence",
    "if_output_cov",
    "cov_recompute_every",
    "cov_first_task_buffer",
    "gem_reverse",
    "ewc_reverse",
)
GROUPING = ("num_groups", "group_xi", "create_random_groups", "create_group_per_unit")
GEM_GROUPS = ("gem_group", "agem_group")
RULES = (
    Rule(("n_hiddens", "norm", "dropout", "l1_activations", *GROUPING, *RELATEDNESS, "gem_sub_mean",
          "agem_group_scope"), "with --n_layers 0", _no_hidden_layer),
    Rule(("n_layers", "n_hiddens"), "in a ResNet18", _resnet),
    Rule(("n_layers", "n_hiddens", "pretrain_steps"), "with --backbone", lambda args, data: args.backbone),
    Rule(("pretrain_steps",), "with --start_from", lambda args, data: args.start_from),
    Rule(("pretrain_steps",), "on images", _of_images),
    Rule(("finetune_lr",), "without --finetune_epochs", lambda args, data: not args.finetune_epochs),
    Rule(("stop_at_accuracy",), "with --n_epochs 1", lambda args, data: args.n_epochs == 1),
    Rule(("later_lr_factor", "optimizer_state"), "with one task", lambda args, data: data.n_tasks == 1),
    Rule(("probe_batches",), "without --probe curve or updates",
         lambda args, data: "curve" not in args.probe and "updates" not in args.probe),
    Rule(("probe_memories",), "without --probe alignment", lambda args, data: "alignment" not in args.probe),
    Rule(("forgetting_task_ids", "forgetting_resee_size", "sign_attacked"), "without --forgetting_mode yes",
         lambda args, data: not args.forgetting_mode),
    Rule(("task_sample",), "without --forgetting_mode yes",
         lambda args, data: args.model in ("ewc", "ewc_group") and not args.forgetting_mode),
    Rule(("ewc_fisher",), "with --memory_strength 0", lambda args, data: args.memory_strength == 0),
    Rule(("ogd_record",), "without --ogd_mode loss_mean", lambda args, data: args.ogd_mode != "loss_mean"),
    Rule(("ogd_per_task",), "with --ogd_mode loss_mean", lambda args, data: args.ogd_mode == "loss_mean"),
    Rule(("ogd_projects",), "with plain SGD, whose step is the gradient",
         lambda args, data: not optimizer.asked_for(args)),
    Rule(("ncl_sum",), "with --ncl_diag yes", lambda args, data: args.ncl_diag),
    Rule(("das_temperature",), "with --das_contrast 0", lambda args, data: args.das_contrast == 0),
    Rule(("das_proxy", "das_proxy_data"), "with --das_initial no", lambda args, data: not args.das_initial),
    Rule(("num_groups", "group_xi", "create_random_groups"), "with --create_group_per_unit yes",
         lambda args, data: args.create_group_per_unit),
    Rule(("group_xi",), "with --create_random_groups yes", lambda args, data: args.create_random_groups),
    Rule((*RELATEDNESS, "gem_sub_mean"), "with --gem_ignore_relatedness yes",
         lambda args, data: args.model in GEM_GROUPS and _unrelated(args, data)),
    Rule(("gem_reverse", "use_fisher"), "with --fork_compat yes", lambda args, data: args.fork_compat),
    Rule(("ewc_reverse",), "without --fork_compat yes",
         lambda args, data: args.model in GEM_GROUPS and not args.fork_compat),
    Rule(("memory_strength",), "with --agem_group_rule closed",
         lambda args, data: args.model == "agem_group" and args.agem_group_rule == "closed"),
    Rule(("agem_group_scope",), "with --agem_group_rule mean_h", lambda args, data: args.agem_group_rule == "mean_h"),
)  # fmt: skip


def found(args, data) -> dict[str, str]:
    """The flags of settled ``args`` that differ from their defaults and have no effect, each with where that is so.

    ``data`` are the run's ``experiment.stream.Datasets``. A module that is not in the table of methods may read any
    setting; of its flags only those that ``main.py`` follows are told.
    """
    idle = {}
    for rule in RULES:
        if rule.holds(args, data):
            for name in rule.flags:
                flag = FLAGS[name]
                read = args.model in METHODS or flag.role is not Role.SETTING
                if read and uses(args.model, name) and getattr(args, name) != flag.default:
                    idle.setdefault(name, rule.where)
    return idle


def note(args, unused: list[str], data) -> list[str]:
    """A sentence that names the flags ``unused`` by the method and those without effect; none if there are none."""
    by_reason: dict[str, list[str]] = {"": unused} if unused else {}
    for name, where in found(args, data).items():
        by_reason.setdefault(where, []).append(name)
    parts = [" ".join([*(f"--{name}" for name in names), where]).rstrip() for where, names in by_reason.items()]
    return [f"{args.model} does not use {'; '.join(parts)}"] if parts else []
