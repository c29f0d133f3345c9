"""The one table of all command-line flags: type, range, default and where the default comes from, who uses it.

Origins: *GEM* is the public GEM code, *MER* its fork, *fork* the group/relatedness fork of MER, *here* is ours. Where
their defaults differ, GEM's hold and the help names the other.
"""

import argparse
import math
from dataclasses import dataclass

from model import METHODS, UsageError

EPISODIC = ("gem", "agem", "agem_closed", "agem_meanqp", "agem_sampled", "gem_group", "agem_group")
MARGIN = ("gem", "agem", "agem_meanqp", "gem_group", "agem_group")
PENALTY = ("ewc", "ewc_group")
SAMPLING = ("ogd", "spg", "ncl")
UNLEARNING = (*EPISODIC, *PENALTY, "ogd", "spg")
GROUPED = ("gem_group", "agem_group", "ewc_group")
NONE = ()


def yes_no(text: str) -> bool:
    """'yes'/'no', 'True'/'False', '1'/'0', without regard to case."""
    lowered = str(text).lower()
    if lowered in ("yes", "true", "1"):
        return True
    if lowered in ("no", "false", "0"):
        return False
    raise ValueError(text)


def yes_no_word(text: str) -> str:
    """As ``yes_no``, but the word: what ``--shuffle_tasks`` is in the reference."""
    return "yes" if yes_no(text) else "no"


def median_or_number(text: str) -> str | float:
    """'median', or a number."""
    return "median" if text.lower() == "median" else float(text)


def whole(text: str) -> int:
    """An integer; '10.0' is one too (MER declares some of its counts as floats)."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(text) if text.lstrip("+-").isdigit() else int(number)


KINDS = {
    whole: "a whole number",
    float: "a number",
    yes_no: "yes or no",
    yes_no_word: "yes or no",
    str: "text",
    median_or_number: "median or a number",
}


@dataclass(frozen=True)
class Flag:
    """One flag. ``low`` and ``high`` are inclusive bounds, ``above`` an exclusive one; ``methods`` None means all."""

    name: str
    kind: object
    default: object
    origin: str
    help: str
    methods: tuple | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple | None = None

    def parse(self, text: str):
        """The value of ``text``; ``UsageError`` says what would have been right."""
        try:
            value = self.kind(text)
        except ValueError:
            raise UsageError(f"--{self.name} {text}: not {KINDS[self.kind]}; give {self.wanted()}") from None
        self.check(value, text)
        return value

    def check(self, value, text=None):
        text = value if text is None else text
        bad = self.choices is not None and value not in self.choices
        if isinstance(value, float) and not math.isfinite(value):
            bad = True
        if not isinstance(value, str) and value is not None:
            bad |= self.low is not None and value < self.low
            bad |= self.high is not None and value > self.high
            bad |= self.above is not None and value <= self.above
        if bad:
            raise UsageError(f"--{self.name} {text}: out of range; give {self.wanted()}")

    def wanted(self) -> str:
        """What a right value is, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = KINDS[self.kind]
        if self.above is not None:
            words += f" above {self.above:g}"
        elif self.low is not None and self.high is not None:
            words += f" from {self.low:.12g} to {self.high:.12g}"
        elif self.low is not None:
            words += f", {self.low:g} or more"
        return words


GROUPS = {
    "network": (
        Flag("model", str, "single", "GEM", "the method (below); without regard to case"),
        Flag("n_layers", whole, 2, "GEM", "hidden layers of the MLP", low=0),
        Flag("n_hiddens", whole, 100, "GEM", "units in each hidden layer", low=1),
        Flag("net", str, "auto", "here", "auto: ResNet18 if 3,072 inputs, else MLP", choices=("auto", "mlp", "resnet18")),
        Flag("head", str, "auto", "here", "auto: shared where tasks have the same labels, split where disjoint",
             choices=("auto", "shared", "split")),
        Flag("finetune", yes_no, False, "GEM; MER: yes", "independent nets start from the last task's", NONE),
    ),
    "optimisation": (
        Flag("n_epochs", whole, 1, "GEM", "passes over each task's samples", low=1),
        Flag("batch_size", whole, 10, "GEM", "examples a step", low=1),
        Flag("lr", float, 1e-3, "GEM", "learning rate of plain SGD", above=0),
    ),
    "memory": (
        Flag("n_memories", whole, 0, "GEM", "examples stored per task", (*EPISODIC, *PENALTY), low=0),
        Flag("memory_strength", float, 0.0, "GEM", "margin of the GEM family, penalty of EWC",
             (*MARGIN, *PENALTY), low=0),
        Flag("agem_batch", whole, 256, "here", "stored examples drawn for each step's reference gradient",
             ("agem_sampled",), low=1),
        Flag("ewc_fisher", str, "batch", "here", "batch: squared batch-mean gradient, as GEM's code; empirical; sampled",
             PENALTY, choices=("batch", "empirical", "sampled")),
    ),
    "orthogonal gradients, soft masks, natural gradients": (
        Flag("task_sample", whole, 200, "here", "examples kept for a task's end, and to forget it", (*SAMPLING, *PENALTY), low=0),
        Flag("ogd_mode", str, "gtl", "paper", "stored gradients: of the mean loss, or the true, mean or all logits",
             ("ogd",), choices=("loss_mean", "gtl", "ave", "all")),
        Flag("ogd_per_task", whole, 200, "paper", "examples of each task whose gradients are stored", ("ogd",), low=1),
        Flag("ogd_max_basis", whole, None, "here", "directions stored at most (default: 10,000; 2,000 as dense vectors)",
             ("ogd",), low=1),
        Flag("spg_chi", yes_no, True, "paper", "importance for older heads too", ("spg",)),
        Flag("ncl_data_size", whole, None, "here", "examples of a task, N; the prior is I/N (default: the run's)",
             ("ncl",), low=1),
        Flag("ncl_momentum", float, 0.0, "here; tachukao/ncl: 0.9", "heavy ball, cleared at a task's end", ("ncl",),
             low=0, high=0.999),
        Flag("ncl_lambda", float, 1.0, "paper", "weight of the prior; 1 is Bayes' rule", ("ncl",), low=0),
        Flag("ncl_alpha", float, 1e-6, "tachukao/ncl", "damping of the precision's factors before inversion", ("ncl",),
             low=0),
        Flag("ncl_sum", str, "kl", "tachukao/ncl", "how sums of Kronecker products become one product", ("ncl",),
             choices=("kl", "additive", "frobenius")),
        Flag("ncl_fisher", str, "sample", "tachukao/ncl", "labels of the Fisher: one drawn, all weighed, the data's",
             ("ncl",), choices=("sample", "all", "empirical")),
        Flag("ncl_radius", float, None, "seed 000", "longest step in the norm of the precision", ("ncl",), above=0),
        Flag("ncl_diag", yes_no, False, "here", "a diagonal precision, for any network", ("ncl",)),
    ),
    "experience replay (MER)": (
        Flag("memories", whole, 5120, "MER", "capacity of the reservoir", NONE, low=0),
        Flag("replay_batch_size", whole, 20, "MER", "examples replayed with each new one", NONE, low=0),
        Flag("batches_per_example", whole, 1, "MER", "inner batches per new example", NONE, low=1),
        Flag("beta", float, 1.0, "MER", "within-batch Reptile rate", NONE, low=0),
        Flag("gamma", float, 1.0, "MER", "across-batch Reptile rate", NONE, low=0),
        Flag("s", float, 1.0, "MER", "multiplier of the current example", NONE, low=0),
    ),
    "groups and relatedness (fork)": (
        Flag("num_groups", whole, 5, "fork", "groups of units in each hidden layer", GROUPED, low=1),
        Flag("group_xi", median_or_number, "median", "here; fork: 0.069", "weights above it are edges of the network",
             GROUPED, low=0),
        Flag("create_random_groups", yes_no, False, "fork", "random groups, not the network's communities", GROUPED),
        Flag("create_group_per_unit", yes_no, False, "fork", "every unit its own group", GROUPED),
        Flag("divergence", str, "von_Neumann", "fork", "between covariances", GROUPED,
             choices=("von_Neumann", "LogDet")),
        Flag("if_output_cov", yes_no, True, "fork", "all outputs in the covariance, not the label as a number", GROUPED),
        Flag("cov_recompute_every", whole, 20, "fork", "batches between relatedness estimates", GROUPED, low=1),
        Flag("cov_first_task_buffer", whole, 200, "fork", "examples of task 0 kept until groups exist", GROUPED, low=1),
        Flag("gem_variant", str, "rows", "fork", "constraints of gem_group: in every block, or on weighted sums of blocks",
             ("gem_group",), choices=("rows", "weighted")),
        Flag("gem_reverse", yes_no, False, "here; fork: True", "protect the dissimilar tasks more",
             ("gem_group", "agem_group")),
        Flag("gem_sub_mean", yes_no, True, "fork", "subtract the mean relatedness; clamped at 0", ("gem_group",)),
        Flag("gem_ignore_relatedness", yes_no, False, "fork", "the margin alone for every block; r a plain mean",
             ("gem_group", "agem_group")),
        Flag("agem_group_rule", str, "closed", "here", "closed form, or the QP with margin", ("agem_group",),
             choices=("closed", "qp")),
        Flag("agem_group_scope", str, "block", "here", "one correction a block, or one of the whole gradient",
             ("agem_group",), choices=("block", "global")),
        Flag("ewc_reverse", yes_no, None, "no, here; yes, fork", "as gem_reverse, for EWC", GROUPED),
        Flag("use_fisher", yes_no, True, "here; fork: no", "the penalty of groups is weighted by F", ("ewc_group",)),
        Flag("fork_compat", yes_no, False, "here", "yes: the group methods as the fork's, defects included", GROUPED),
    ),
    "selective forgetting (fork)": (
        Flag("forgetting_mode", yes_no, False, "fork", "an unlearning phase after training", UNLEARNING),
        Flag("forgetting_task_ids", str, "", "fork", "tasks to forget, such as 0,5", UNLEARNING),
        Flag("forgetting_resee_size", whole, 100, "fork", "batches of each kept task seen again", UNLEARNING, low=0),
        Flag("sign_attacked", float, -1.0, "fork", "sign of the forgotten tasks' gradients", UNLEARNING, low=-1, high=1),
    ),
    "experiment": (
        Flag("cuda", yes_no, False, "GEM", "train on the GPU"),
        Flag("seed", whole, 0, "GEM", "of every random draw", low=0, high=2**32 - 1),
        Flag("log_every", whole, 100, "GEM", "steps between evaluations", low=1),
        Flag("save_path", str, "results/", "GEM", "folder of the records"),
        Flag("parity", yes_no, False, "here", "yes: the reference's digits, defects included; one thread"),
        Flag("engine", str, "auto", "here", "fast: MLPs without autograd; auto: fast where it applies",
             choices=("auto", "fast", "autograd")),
        Flag("threads", whole, None, "here", "threads (default: OMP_NUM_THREADS, else the cores)", low=1),
        Flag("tensorboard", str, None, "here", "folder of TensorBoard's scalars, written while training"),
    ),
    "data": (
        Flag("data_path", str, "data/", "GEM", "folder of the data file"),
        Flag("data_file", str, "mnist_permutations.pt", "GEM", "the data file; a standard one that is missing is built"),
        Flag("raw_path", str, None, "here", "folder of raw files, searched first"),
        Flag("n_tasks", whole, None, "fork", "the first so many tasks (default: all in the file)", low=1),
        Flag("first_task", whole, 0, "here", "begin with this task of the file, counted from 0", low=0),
        Flag("validation", whole, 0, "here", "test on so many training examples a task, held out, not on test sets", low=0),
        Flag("samples_per_task", whole, -1, "GEM", "training examples per task; 0 or less: all"),
        Flag("shuffle_tasks", yes_no_word, "no", "GEM", "learn the tasks in a random order"),
    ),
}  # fmt: skip
FLAGS = {flag.name: flag for group in GROUPS.values() for flag in group}


class Parser(argparse.ArgumentParser):
    """Raises ``UsageError`` where argparse would print its usage and leave."""

    def error(self, message):
        raise UsageError(message[:1].upper() + message[1:] + "; see main.py --help")


def parser(**kwargs) -> Parser:
    """The command line. Values stay text until ``parse`` has told ranges and types in one sentence."""
    result = Parser(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)
    for title, flags in GROUPS.items():
        group = result.add_argument_group(title)
        for flag in flags:
            text = f"{flag.help} ({_default(flag)}{flag.origin})".replace("%", "%%")
            group.add_argument(f"--{flag.name}", metavar=_metavar(flag), default=None, help=text)
    return result


def _default(flag: Flag) -> str:
    """As one would type it; nothing for None, whose meaning the flag's own help tells."""
    if flag.default is None:
        return ""
    value = ("no", "yes")[flag.default] if flag.kind is yes_no else flag.default
    return f"default {value if value != '' else 'empty'}; "


def _metavar(flag: Flag) -> str:
    if flag.choices:
        return "|".join(flag.choices)
    return {whole: "N", float: "X", yes_no: "yes|no", yes_no_word: "yes|no"}.get(flag.kind, flag.name.upper())


def settle(namespace) -> list[str]:
    """Turn the texts of ``namespace`` into checked values and fill in defaults, in place; returns the flags given."""
    given = [name for name in FLAGS if getattr(namespace, name, None) is not None]
    for name, flag in FLAGS.items():
        text = getattr(namespace, name, None)
        setattr(namespace, name, flag.default if text is None else flag.parse(text))
    return given


def of(args):
    """``args`` as a namespace of its own in which every flag of the table has a value.

    A foreign ``main.py`` passes only the flags that it knows; the rest take their defaults. ``args`` is left alone.
    """
    full = argparse.Namespace(**{flag.name: flag.default for flag in FLAGS.values()})
    for name, value in vars(args).items():
        setattr(full, name, value)
    return full


def unused(given: list[str], method: str) -> list[str]:
    """Those of the flags ``given`` that ``method`` does not use; of a method that is not ours nobody knows."""
    if method not in METHODS:
        return []
    return [name for name in given if FLAGS[name].methods is not None and method not in FLAGS[name].methods]


def require_memories(args, method: str):
    """``UsageError`` unless at least one example per task is stored."""
    if args.n_memories < 1:
        raise UsageError(
            f"--n_memories {args.n_memories}: {method} needs at least one memory per task; give --n_memories 10, say"
        )


def require_task_sample(args, method: str):
    """``UsageError`` unless at least one example of the current task is kept for its end."""
    if args.task_sample < 1:
        raise UsageError(
            f"--task_sample {args.task_sample}: {method} needs a sample of each task; give --task_sample 200, say"
        )
