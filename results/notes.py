"""What a run says on stderr beside its results, a line each: what its reader would otherwise be surprised by."""

from metrics.metrics import LCA_BATCHES


def short_curves(args, continuum) -> list[str]:
    """Before training: a learning curve that will be too short for its area."""
    batches = [-(-n // args.batch_size) for n in continuum.samples_per_task()]
    task, n = min(zip(continuum.order, batches, strict=True), key=lambda pair: pair[1])
    if not args.lca or n >= LCA_BATCHES:
        return []
    return [
        f"--lca yes: task {task} has {n} batches and LCA needs {LCA_BATCHES} of each task, so it is not recorded; "
        "the learning curve is, as far as every task goes"
    ]
