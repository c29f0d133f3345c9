"""What an unlearning phase did: A are the attacked tasks, R the others."""


def report(before, after, attacked: list[int], sign: float, batches: dict[int, int], chance: list[float]) -> dict:
    """Accuracies before and after, and their summary; None where a mean is over nothing.

    effect: the mean over A of (before - after). retention: the mean over R of (after - before). attacked_accuracy and
    chance are means over A, to be compared. ``batches``: how many batches each task of R gave to the phase.
    """
    kept = sorted(set(range(len(before))) - set(attacked))
    return {
        "attacked": attacked,
        "sign": sign,
        "batches": {str(task): n for task, n in batches.items()},
        "before": before,
        "after": after,
        "effect": _mean(before[t] - after[t] for t in attacked),
        "retention": _mean(after[t] - before[t] for t in kept),
        "attacked_accuracy": _mean(after[t] for t in attacked),
        "chance": _mean(chance[t] for t in attacked),
    }


def text(report: dict) -> str:
    """The report as the lines under a grid."""
    names = ",".join(map(str, report["attacked"])) or "none"
    row = " ".join(f"{accuracy:.4f}" for accuracy in report["after"])
    effect, retention, accuracy, chance = (
        "none" if report[key] is None else f"{report[key]:.4f}"
        for key in ("effect", "retention", "attacked_accuracy", "chance")
    )
    return (
        f"After forgetting tasks {names}:\n{row}\nForgetting effect: {effect}\nRetention: {retention}\n"
        f"Accuracy on forgotten tasks: {accuracy} (chance {chance})"
    )


def _mean(values) -> float | None:
    values = list(values)
    return sum(values) / len(values) if values else None
