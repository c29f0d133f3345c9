"""The one table of all command-line flags: type, range, default and where the default comes from, role.

Which methods use a flag follows from the table of methods (model/__init__.py); which flags a tool counts, keeps or
ignores follows from their roles (model/flags.py). Where a flag has no effect beside others: model/idle.py. Flags that a
method's module brings along: model/own_flags.py.

Origins: *GEM* is the public GEM code, *MER* its fork, *fork* the group/relatedness fork of MER, *here* is ours. Where
their defaults differ, GEM's hold and the help names the other.
"""

import argparse
import difflib
import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from model import METHODS, UsageError, shown
from model.flags import LAYERS, Flag, Role, median_or_number, never_or_number, real, sizes, whole, yes_no, yes_no_word

RUN, PROTOCOL, MACHINE, PLACE = Role.RUN, Role.PROTOCOL, Role.MACHINE, Role.PLACE

GROUPS = {
    "network": (
        Flag("model", str, "single", "GEM", "the method (below); without regard to case", RUN),
        Flag("n_layers", whole, 2, "GEM", "hidden layers of the MLP; layers of the Transformer", shared=True, low=0, high=LAYERS),
        Flag("n_hiddens", whole, 100, "GEM", "units in each hidden layer; width of the Transformer", shared=True, low=1),
        Flag("net", str, "auto", "here", "of images; auto: ResNet18 if 3,072 inputs, else MLP", shared=True,
             choices=("auto", "mlp", "resnet18", "lenet5")),
        Flag("hidden_sizes", sizes, "auto", "here", "units of each hidden layer, such as 120,84; auto: n_layers of n_hiddens",
             shared=True),
        Flag("norm", str, "none", "here", "normalisation before each ReLU", shared=True, choices=("none", "batch", "layer")),
        Flag("dropout", real, 0.0, "here", "share of each hidden layer's activations zeroed in training", shared=True,
             low=0, high=0.999),
        Flag("l1_activations", real, 0.0, "here", "weight in the loss of each hidden layer's mean absolute activation",
             shared=True, low=0),
        Flag("pretrain_steps", whole, 2000, "here", "of text: steps on general text before the first task, 4 passes at most",
             PROTOCOL, low=0),
        Flag("backbone", str, "", "here", "of text: a masked language model of transformers, by name or folder, as the network",
             PROTOCOL),
        Flag("finetune_epochs", whole, 0, "here", "of text: at the end, passes of a classifier of each domain over its labels",
             MACHINE, low=0),
        Flag("finetune_lr", real, 1e-3, "here", "of these classifiers and their copies of the network", MACHINE, above=0),
        Flag("head", str, "auto", "here", "auto: shared where tasks have the same labels, split where disjoint, else refused",
             PROTOCOL,
             choices=("auto", "shared", "split")),
        Flag("finetune", yes_no, False, "GEM; MER: yes", "independent nets start from the last task's"),
    ),
    "optimisation": (
        Flag("n_epochs", whole, 1, "GEM", "passes over each task's samples", PROTOCOL, low=1),
        Flag("batch_size", whole, 10, "GEM; MER: 1", "examples a step", PROTOCOL, low=1),
        Flag("lr", real, 1e-3, "GEM", "learning rate", shared=True, above=0),
        Flag("later_lr_factor", real, 1.0, "here", "of the learning rate in every task but the first", shared=True, above=0),
        Flag("optimizer", str, "sgd", "GEM", "what makes a step of a gradient", shared=True, choices=("sgd", "adam")),
        Flag("optimizer_state", str, "clear", "here", "of Adam or momentum, where a task begins", shared=True,
             choices=("clear", "keep")),
        Flag("momentum", real, 0.0, "GEM", "of SGD", shared=True, low=0, high=0.999),
        Flag("weight_decay", real, 0.0, "here", "of Adam, apart from the gradient, which is AdamW", shared=True, low=0),
        Flag("stop_at_accuracy", never_or_number, "never", "here",
             "end a task after the epoch whose training accuracy reaches it", PROTOCOL, above=0, high=1),
    ),
    "memory": (
        Flag("n_memories", whole, 0, "GEM", "examples stored per task", PROTOCOL, shared=False, low=0),
        Flag("memory_strength", real, 0.0, "GEM", "margin of the GEM family, penalty of EWC", low=0),
        Flag("agem_trigger", str, "mean", "here", "correct where the mean of the past gradients is violated, or any one of them",
             choices=("mean", "any")),
        Flag("agem_batch", whole, 256, "here", "stored examples drawn for each step's reference gradient", low=1),
        Flag("ewc_fisher", str, "batch", "here", "batch: squared batch-mean gradient, as GEM's code; empirical; sampled",
             choices=("batch", "empirical", "sampled")),
    ),
    "orthogonal gradients, soft masks, natural gradients": (
        Flag("task_sample", whole, 200, "here", "examples kept for a task's end, and to forget it", low=0),
        Flag("ogd_mode", str, "gtl", "paper", "stored gradients: of the mean loss, or the true, mean or all logits",
             choices=("loss_mean", "gtl", "ave", "all")),
        Flag("ogd_per_task", whole, 200, "paper", "examples of each task whose gradients are stored", low=1),
        Flag("ogd_max_basis", whole, None, "here", "directions stored at most (default: 10,000; 2,000 as dense vectors)", low=1),
        Flag("ogd_record", str, "eval", "here", "mode in which loss_mean's gradient is taken; train: batch by batch, as the note",
             choices=("eval", "train")),
        Flag("ogd_projects", str, "gradient", "the split-MNIST note", "what is made orthogonal where steps are not plain SGD's",
             choices=("gradient", "displacement")),
        Flag("spg_chi", yes_no, True, "paper", "importance for older heads too"),
        Flag("spg_chi_loss", yes_no, False, "here", "yes: older heads' logits in the training loss, as two notes have it"),
        Flag("ncl_data_size", whole, None, "here", "examples of a task, N; the prior is I/N (default: the run's)",
             low=1),
        Flag("ncl_momentum", real, 0.0, "here; tachukao/ncl: 0.9", "heavy ball, cleared at a task's end",
             low=0, high=0.999),
        Flag("ncl_lambda", real, 1.0, "paper", "weight of the prior; 1 is Bayes' rule", low=0),
        Flag("ncl_alpha", real, 1e-6, "tachukao/ncl", "damping of the precision's factors before inversion", low=0),
        Flag("ncl_sum", str, "kl", "tachukao/ncl", "how sums of Kronecker products become one product",
             choices=("kl", "additive", "frobenius")),
        Flag("ncl_fisher", str, "sample", "tachukao/ncl", "labels of the Fisher: one drawn, all weighed, the data's",
             choices=("sample", "all", "empirical")),
        Flag("ncl_radius", real, None, "the gradient-direction note", "longest step in the norm of the precision", above=0),
        Flag("ncl_diag", yes_no, False, "here", "a diagonal precision, for any network"),
    ),
    "soft-masking of a language model (DAS)": (
        Flag("das_proxy", str, "output", "paper", "initial importance: what two passes with dropout are compared by",
             choices=("output", "representation")),
        Flag("das_proxy_data", str, "general", "paper", "initial importance: on general text, or on that of the first domain",
             choices=("general", "new")),
        Flag("das_contrast", real, 1.0, "paper", "weight of the contrast; 0: none", low=0),
        Flag("das_temperature", real, 0.05, "paper", "of the contrast's similarities", above=0),
        Flag("das_initial", yes_no, True, "paper", "importance for general knowledge before the first domain"),
        Flag("das_masks", yes_no, True, "paper", "gradients are masked by importance"),
    ),
    "experience replay (MER)": (
        Flag("memories", whole, 5120, "MER", "capacity of the reservoir", low=0),
        Flag("replay_batch_size", whole, 20, "MER", "examples replayed with each new one", low=0),
        Flag("batches_per_example", whole, 1, "MER", "inner batches per new example", low=1),
        Flag("beta", real, 1.0, "MER", "within-batch Reptile rate", low=0),
        Flag("gamma", real, 1.0, "MER", "across-batch Reptile rate", low=0),
        Flag("s", real, 1.0, "MER", "multiplier of the current example", low=0),
    ),
    "groups and relatedness (fork)": (
        Flag("num_groups", whole, 5, "fork", "groups of units in each hidden layer", low=1),
        Flag("group_xi", median_or_number, "median", "here; fork: 0.069", "weights above it are edges of the network",
             low=0),
        Flag("create_random_groups", yes_no, False, "fork", "random groups, not the network's communities"),
        Flag("create_group_per_unit", yes_no, False, "fork", "every unit its own group"),
        Flag("divergence", str, "von_Neumann", "fork", "between covariances", choices=("von_Neumann", "LogDet")),
        Flag("if_output_cov", yes_no, True, "fork", "all outputs in the covariance, not the label as a number"),
        Flag("cov_recompute_every", whole, 20, "fork", "batches between relatedness estimates", low=1),
        Flag("cov_first_task_buffer", whole, 200, "fork", "examples of task 0 kept until groups exist", low=1),
        Flag("gem_variant", str, "rows", "fork", "constraints of gem_group: in every block, or on weighted sums of blocks",
             choices=("rows", "weighted")),
        Flag("gem_reverse", yes_no, False, "here; fork: True", "protect the dissimilar tasks more"),
        Flag("gem_sub_mean", yes_no, True, "fork", "subtract the mean relatedness; clamped at 0"),
        Flag("gem_ignore_relatedness", yes_no, False, "fork", "the margin alone for every block; r a plain mean"),
        Flag("agem_group_rule", str, "closed", "here",
             "closed form, the QP with margin, or the A-GEM note's QP of one mean row and one mean bound",
             choices=("closed", "qp", "mean_h")),
        Flag("agem_group_scope", str, "block", "here", "one correction a block, or one of the whole gradient",
             choices=("block", "global")),
        Flag("ewc_reverse", yes_no, None, "no, here; yes, fork", "as gem_reverse, for EWC"),
        Flag("use_fisher", yes_no, True, "here; fork: no", "the penalty of groups is weighted by F"),
        Flag("fork_compat", yes_no, False, "here", "yes: the group methods as the fork's, defects included"),
    ),
    "selective forgetting (fork)": (
        Flag("forgetting_mode", yes_no, False, "fork", "an unlearning phase after training"),
        Flag("forgetting_task_ids", str, "", "fork", "tasks to forget, such as 0,5"),
        Flag("forgetting_resee_size", whole, 100, "fork", "batches of each kept task seen again", low=0),
        Flag("sign_attacked", real, -1.0, "fork", "sign of the forgotten tasks' gradients", low=-1, high=1),
    ),
    "experiment": (
        Flag("cuda", yes_no, False, "GEM", "train on the GPU", MACHINE),
        Flag("seed", whole, 0, "GEM", "of every random draw", RUN, low=0, high=2**32 - 1),
        Flag("log_every", whole, 100, "GEM", "steps between evaluations", MACHINE, low=1),
        Flag("lca", yes_no, False, "here", "yes: learning curve area, from A-GEM's 10 more evaluations of each task", MACHINE),
        Flag("probe", str, "", "here", "what else to measure, such as sparsity,curve; docs/probes.md has their names", MACHINE),
        Flag("probe_batches", whole, 16, "here", "mini-batches of each task that the forgetting curve follows", MACHINE, low=1),
        Flag("probe_memories", whole, 10, "here", "examples a task that alignment keeps where the method keeps none", MACHINE,
             low=1),
        Flag("save_path", str, "results/", "GEM", "folder of the records", PLACE),
        Flag("parity", yes_no, False, "here", "yes: the reference's digits, defects included; one thread", PROTOCOL),
        Flag("engine", str, "auto", "here", "fast: MLPs without autograd; auto: fast where it applies", MACHINE,
             choices=("auto", "fast", "autograd")),
        Flag("evaluation", str, "auto", "here", "how an MLP sees bytes: auto takes integers where those are quick",
             MACHINE, choices=("auto", "integer", "float32")),
        Flag("threads", whole, None, "here", "threads (default: OMP_NUM_THREADS, else the cores)", MACHINE, low=1),
        Flag("tensorboard", str, None, "here", "folder of TensorBoard's scalars, written while training", PLACE),
        Flag("checkpoint_every", whole, None, "here",
             "steps between checkpoints; 0: none (default: after a minute, or after 10 s where a task ends)", PLACE, low=0),
        Flag("save_state", yes_no, False, "here", "yes: leave the method's whole state beside the record, to start from", PLACE),
        Flag("resume", yes_no, False, "here", "yes: go on from this command's checkpoint, where it was stopped", PLACE),
    ),
    "data": (
        Flag("data_path", str, "data/", "GEM", "folder of the data file", PLACE),
        Flag("data_file", str, "mnist_permutations.pt", "GEM", "the data file; a standard one that is missing is built",
             RUN),
        Flag("raw_path", str, None, "here", "folder of raw files, searched first", PLACE),
        Flag("verify", yes_no, False, "here", "yes: read all of the data file and hash it, though it was hashed before", PLACE),
        Flag("n_tasks", whole, None, "fork", "the first so many tasks (default: all in the file)", PROTOCOL, low=1),
        Flag("first_task", whole, 0, "here", "begin with this task of the file, counted from 0", PROTOCOL, low=0),
        Flag("validation", whole, 0, "here", "test on so many training examples a task, held out, not on test sets", PROTOCOL,
             low=0),
        Flag("samples_per_task", whole, -1, "GEM", "training examples per task; 0 or less: all", PROTOCOL),
        Flag("start_from", str, None, "here", "a record with a .state beside it: go on learning from the end of that run",
             PROTOCOL),
        Flag("shuffle_tasks", yes_no_word, "no", "GEM", "learn the tasks in a random order", PROTOCOL),
    ),
}  # fmt: skip
FLAGS = {flag.name: flag for group in GROUPS.values() for flag in group}
NONE: Mapping = MappingProxyType({})


class Parser(argparse.ArgumentParser):
    """Raises ``UsageError`` where argparse would print its usage and leave."""

    def error(self, message):
        raise UsageError(shown(message[:1].upper() + message[1:], 1000) + "; see main.py --help")

    def parse_known_args(self, args=None, namespace=None):
        """Parse as argparse does, but for ``--flag=--``: its value is the text ``--``, not an empty list."""
        namespace, unknown = super().parse_known_args(args, namespace)
        for name in [name for name, value in vars(namespace).items() if value == []]:
            setattr(namespace, name, "--")
        return namespace, unknown

    def parse_args(self, args=None, namespace=None):
        """Parse as argparse does. ``UsageError`` for an unknown flag names the flag that is nearest to it."""
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flags = [text.lstrip("-") for text in self._option_string_actions]
            typed = [text.lstrip("-").partition("=")[0] for text in unknown if text.startswith("-")]
            near = [flag for text in typed for flag in difflib.get_close_matches(text, flags, n=1)]
            hint = f"did you mean --{', --'.join(dict.fromkeys(near))}? See" if near else "see"
            raise UsageError(f"Unrecognized arguments: {shown(' '.join(unknown), 200)}; {hint} main.py --help")
        return namespace


def parser(more: Mapping[str, Iterable[Flag]] = NONE, hidden: Iterable[Flag] = (), **kwargs) -> Parser:
    """The parser of the command line: our flags in their groups, then the groups ``more``.

    ``hidden`` flags are accepted, but are not in the help. Values stay text: ``settle`` checks types and ranges.
    """
    result = Parser(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)
    for title, flags in {**GROUPS, **more}.items():
        group = result.add_argument_group(title)
        for flag in flags:
            text = f"{flag.help} ({_default(flag)}{flag.origin})".strip().replace("%", "%%")
            _add(group, flag, metavar=flag.metavar, required=flag.required, help=text)
    for flag in hidden:
        _add(result, flag, help=argparse.SUPPRESS)
    return result


def _add(group, flag: Flag, **kwargs):
    switch = {"nargs": "?", "const": "yes"} if flag.switch else {}
    group.add_argument(*flag.spellings, dest=flag.name, default=None, **switch, **kwargs)


def _default(flag: Flag) -> str:
    """The default as one would type it; "" for None, whose meaning stands in the flag's own help."""
    if flag.default is None:
        return ""
    value = ("no", "yes")[flag.default] if flag.kind is yes_no else flag.default
    return f"default {value if value != '' else 'empty'}; "


def settle(namespace, own: Mapping[str, Flag] = NONE) -> list[str]:
    """Turn the texts of ``namespace`` into checked values and fill in defaults, in place; returns the flags given.

    ``own``: the flags besides those of the table, by name.
    """
    flags = {**FLAGS, **own}
    given = [name for name in flags if getattr(namespace, name, None) is not None]
    for name, flag in flags.items():
        text = getattr(namespace, name, None)
        setattr(namespace, name, flag.default if text is None else flag.parse(text))
    return given


def of(args, own: Mapping[str, Flag] = NONE):
    """``args`` as a namespace of its own in which every flag of the table, and of the method's ``own``, has a value.

    A foreign ``main.py`` passes only the flags that it knows; the rest take their defaults. ``args`` is left alone.
    """
    full = argparse.Namespace(**{flag.name: flag.default for flag in (*FLAGS.values(), *own.values())})
    for name, value in vars(args).items():
        setattr(full, name, value)
    return full


def of_role(*roles: Role) -> tuple[str, ...]:
    """The flags of these roles, in the order of the table."""
    return tuple(flag.name for flag in FLAGS.values() if flag.role in roles)


def uses(method: str, name: str) -> bool:
    """Whether a method uses a flag. A method that is not in the table may use any."""
    if method not in METHODS or name not in FLAGS:
        return True
    return FLAGS[name].everyones or name in METHODS[method].flags


def decides(method: str, name: str) -> bool:
    """Whether a flag decides what a run of the method measures: a setting that it uses, or the protocol.

    A name that is not in the table is a flag of the method's own, and a setting.
    """
    return uses(method, name) and (name not in FLAGS or FLAGS[name].role in (Role.SETTING, Role.PROTOCOL))


def require_threads(n: int) -> None:
    """``UsageError`` for more threads than can be of use: tens of thousands end the process without a word."""
    most = max(64, os.cpu_count() or 1)
    if n > most:
        raise UsageError(f"--threads {n}: this machine has {os.cpu_count()} cores; give {most} or fewer")


def unused(given: list[str], method: str) -> list[str]:
    """Those of the flags ``given`` that ``method`` does not use."""
    return [name for name in given if not uses(method, name)]


def require_memories(args, method: str):
    """``UsageError`` unless at least one example per task is stored; the reference's EWC always keeps a whole batch."""
    if args.n_memories < 1 and not (args.parity and method == "ewc"):
        raise UsageError(
            f"--n_memories {args.n_memories}: {method} needs at least one memory per task; give --n_memories 10, say"
        )


def require_task_sample(args, method: str):
    """``UsageError`` unless ``--task_sample`` keeps at least one example of the current task until the task ends."""
    if args.task_sample < 1:
        raise UsageError(
            f"--task_sample {args.task_sample}: {method} needs a sample of each task; give --task_sample 200, say"
        )
