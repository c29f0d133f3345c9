"""What a run says on stderr beside its results, a line each: what its reader would otherwise be surprised by."""

from metrics.metrics import LCA_BATCHES

# From runs on the A-GEM note's stream and on permuted digits (docs/which_agem.md): margins that replayed the past tasks 11
# times as hard as the batch, or less, cost next to nothing; from 18 times on they cost accuracy, up to all of it.
DROWNED = 15


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


def drowned(result: dict) -> list[str]:
    """After training: a margin that gave the past tasks so much weight that the batch's own gradient hardly counted.

    ``result`` is the run's record. The weight is the mean over all steps after the first task, and the unlearning phase's.
    """
    counts, samples = result["counts"], result["protocol"]["samples_per_task"]
    first = -(-samples[0] // result["protocol"]["batch_size"])
    steps = counts["steps"] - first + sum(result.get("forgetting", {}).get("batches", {}).values())
    weight = counts.get("replay_weight", 0.0) / max(steps, 1)
    if weight < DROWNED:
        return []
    return [
        f"{result['model']} replayed rather than learned: with --memory_strength {result['args']['memory_strength']:g} the past "
        f"tasks weighed {weight:.0f} times as much as the batch ({counts['violations']:,} of {steps:,} steps after the first "
        "task were corrected); give a smaller --memory_strength"
    ]
