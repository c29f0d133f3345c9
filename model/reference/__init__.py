"""``--parity yes``: the methods that the GEM authors' code has, with its arithmetic to the last bit.

A module here stands in for the method of the same name. What it computes is what the method computes; what it keeps of
the reference is everything that decides a rounding: one tensor a parameter, each in memory of its own; losses through
autograd over the task's slice of the outputs; sums in the reference's order and on its strides. One flipped bit is
enough to change a run: with a margin, ties of the projection are frequent, and training amplifies what they decide.
"""

from contextlib import contextmanager

from model import UsageError, common


@contextmanager
def conditions():
    """What every method, a foreign one too, needs around its run: plain layouts, and numpy's products on one thread.

    Kernels of torch follow ``--threads``, which is 1 in parity; numpy's do not.
    """
    import threadpoolctl

    with common.resnet_layout(plain=True), threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


def outputs(labels: list[set[int]], n_outputs: int, args) -> list[list[int]] | None:
    """The outputs of each task: equal slices for ``cifar100.pt``, one shared head for every other file.

    ``labels`` are each task's. ``UsageError`` where one lies outside its task's slice.
    """
    if args.data_file != "cifar100.pt":
        return None
    c = n_outputs // len(labels) if args.model == "gem" else n_outputs / len(labels)
    slices = [list(range(int(t * c), int((t + 1) * c))) for t in range(len(labels))]
    for t, (task, own) in enumerate(zip(labels, slices, strict=True)):
        if not task <= set(own):
            given = f"the outputs {own[0]} to {own[-1]}" if own else "no output"
            raise UsageError(
                f"--parity yes: the reference gives task {t} of {args.data_file} {given}, and the task has the label "
                f"{min(task - set(own))}; give --parity no or --head shared"
            )
    return slices
