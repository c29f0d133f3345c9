"""Flags that do not go together: ``UsageError`` says which, and the remedy."""

from model import UsageError, arguments, optimizer
from model.arguments import FLAGS

# What the reference knows nothing of.
ALIEN_TO_PARITY = ("first_task", "validation", "hidden_sizes", "norm", "dropout", "l1_activations", "later_lr_factor",
                   "optimizer", "optimizer_state", "momentum", "weight_decay", "stop_at_accuracy", "probe")  # fmt: skip


def require(args, given: list[str]) -> None:
    """Check settled ``args``; ``given`` are the flags that the command line names."""
    method = args.model
    if method in FLAGS["n_memories"].methods:
        arguments.require_memories(args, method)
    beside = [name for name in ("n_layers", "n_hiddens") if name in given]
    if args.net == "lenet5" and beside:
        raise UsageError(
            f"--net lenet5 --{beside[0]} {getattr(args, beside[0])}: LeNet-5 has hidden layers of 120 and 84 units; "
            "give --hidden_sizes for others"
        )
    if args.hidden_sizes != "auto" and beside:
        raise UsageError(
            f"--hidden_sizes {args.hidden_sizes} --{beside[0]} {getattr(args, beside[0])}: both say how large the network "
            "is; give one of them"
        )
    if args.optimizer == "adam" and args.momentum:
        raise UsageError(
            f"--momentum {args.momentum:g} --optimizer adam: Adam has a momentum of its own; leave --momentum out"
        )
    if args.weight_decay and args.optimizer != "adam":
        raise UsageError(
            f"--weight_decay {args.weight_decay:g}: is that of AdamW; give --optimizer adam too, or leave it out"
        )
    if args.optimizer_state == "keep" and not optimizer.asked_for(args):
        raise UsageError(
            "--optimizer_state keep: plain SGD has no memory; give --optimizer adam or --momentum too, or leave it out"
        )
    if args.parity:
        _require_parity(args)
    if method == "joint":
        _require_joint(args)


def _require_parity(args) -> None:
    if args.shuffle_tasks == "yes":
        raise UsageError("--shuffle_tasks yes --parity yes: the reference's numbers are wrong there; give one of them")
    if args.net == "lenet5":
        raise UsageError("--net lenet5 --parity yes: the reference has no such network; give one of them")
    for name in ALIEN_TO_PARITY:
        if getattr(args, name) != FLAGS[name].default:
            raise UsageError(
                f"--{name} {getattr(args, name)} --parity yes: the reference does not know --{name}; give one of them"
            )


def _require_joint(args) -> None:
    if args.lca:
        raise UsageError(
            "--lca yes: joint learns no task by itself, so that no task has a learning curve; leave it out"
        )
    if args.later_lr_factor != 1:
        raise UsageError(
            f"--later_lr_factor {args.later_lr_factor:g}: joint learns all tasks together, so that none is later; leave it out"
        )
