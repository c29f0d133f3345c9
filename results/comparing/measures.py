"""The measures that runs are compared by: one table of their names, their digits, and how to get them from a run."""

import math
from collections.abc import Callable
from typing import NamedTuple

from results.reading.fields import FINITE


class Measure(NamedTuple):
    """label: a column's head. digits: how many after the point. value: a function of a Run.

    better: +1 if more is better, -1 if less is better, 0 if neither. flags: those that decide this measure, and that
    are no settings to other measures.
    """

    label: str
    digits: int
    better: int
    value: Callable
    help: str
    flags: tuple = ()


def _summary(key):
    """A function of a Run: a summary number from its grid or, if the grid does not give it, as the log printed it."""

    def value(run):
        for found in (run.recomputed.get(key), run.number(key)):
            if found is not None:
                return found
        return _record("metrics", key)(run)

    return value


def _record(*keys):
    def value(run):
        found = run.record
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if FINITE.fits(found) else None

    return value


def _step_time(run):
    seconds, steps = _record("seconds", "train")(run), _record("counts", "steps")(run)
    if seconds is None or not steps:
        return None
    found = 1e6 * seconds / steps
    return found if FINITE.fits(found) else None


def _unlearning(when, attacked):
    """A function of a Run: mean accuracy 'before' or 'after' an unlearning phase, on attacked tasks or the others."""

    def value(run):
        said = (run.record or {}).get("forgetting")
        if not said:
            return None
        tasks = set(said["attacked"])
        found = [accuracy for task, accuracy in enumerate(said[when]) if (task in tasks) == attacked]
        return math.fsum(found) / len(found) if found else None

    return value


def _selectivity(run):
    parts = [_record("forgetting", key)(run) for key in ("effect", "retention")]
    return None if None in parts else sum(parts)


FINETUNING = ("finetune_epochs", "finetune_lr")
MEASURES = {
    "final": Measure("ACC", 4, 1, _summary("final"), "mean accuracy on all tasks at the end"),
    "backward": Measure("BWT", 4, 1, _summary("backward"), "backward transfer, over T as the reference prints it"),
    "forward": Measure("FWT", 4, 1, _summary("forward"), "forward transfer, over T as the reference prints it"),
    "backward_paper": Measure("BWT/(T-1)", 4, 1, _summary("backward_paper"), "backward transfer as in GEM's paper"),
    "forward_paper": Measure("FWT/(T-1)", 4, 1, _summary("forward_paper"), "forward transfer as in GEM's paper"),
    "forgetting": Measure("F", 4, -1, _summary("forgetting"), "A-GEM's forgetting"),
    "learning_accuracy": Measure("LA", 4, 1, _summary("learning_accuracy"), "accuracy on each task just learned"),
    "lca": Measure("LCA", 4, 1, _record("metrics", "lca"), "A-GEM's learning curve area, of runs with --lca yes"),
    "perplexity": Measure(
        "PPL", 3, -1, _record("metrics", "perplexity"), "mean perplexity of the tasks at the end, of text"
    ),
    "perplexity_growth": Measure(
        "PPL growth",
        4,
        -1,
        _record("metrics", "perplexity_growth"),
        "factor of a task's perplexity since it was learned",
    ),
    "finetuned": Measure(
        "FT ACC",
        4,
        1,
        _record("finetuning", "mean_accuracy"),
        "mean accuracy of classifiers fine-tuned at the end, of text",
        FINETUNING,
    ),
    "finetuned_f1": Measure("FT F1", 4, 1, _record("finetuning", "mean_f1"), "mean macro-F1 of these", FINETUNING),
    "unmasked": Measure(
        "ACC unmasked", 4, 1, _record("unmasked", "final"), "final accuracy if all outputs compete, with split heads"
    ),
    "unmasked_forgetting": Measure("F unmasked", 4, -1, _record("unmasked", "forgetting"), "forgetting then"),
    "attacked_before": Measure(
        "attacked before", 4, 0, _unlearning("before", True), "attacked tasks, before unlearning"
    ),
    "attacked_after": Measure("attacked after", 4, -1, _unlearning("after", True), "attacked tasks, after unlearning"),
    "kept_before": Measure("kept before", 4, 0, _unlearning("before", False), "other tasks, before unlearning"),
    "kept_after": Measure("kept after", 4, 1, _unlearning("after", False), "other tasks, after unlearning"),
    "selectivity": Measure("selectivity", 4, 1, _selectivity, "what attacked tasks lost more than the others"),
    "violations": Measure("violations", 0, 0, _record("counts", "violations"), "steps with a violated constraint"),
    "qp_solves": Measure("QPs", 0, 0, _record("counts", "qp_solves"), "quadratic programs solved"),
    "step": Measure("us/step", 0, -1, _step_time, "training time in microseconds per step"),
    "seconds": Measure("s", 1, -1, _record("seconds", "total"), "seconds for training and evaluation"),
    "memory_mb": Measure("MB", 0, -1, _record("peak_memory_mb"), "largest resident memory of the process"),
}
DEFAULT = ("final", "backward", "forward", "violations", "qp_solves", "step", "memory_mb")


def deciding(metrics):
    """The flags that decide some of these measures alone."""
    return tuple(dict.fromkeys(flag for key in metrics for flag in MEASURES[key].flags))


def concerned(runs, field):
    """The runs to which a field means something: all or, if it decides some measures alone, those that have one."""
    measures = [measure for measure in MEASURES.values() if field in measure.flags]
    return [run for run in runs if any(m.value(run) is not None for m in measures)] if measures else runs


def shown(value, digits, sign=False):
    """A number with `digits` digits after the point; 'X' for None."""
    if value is None:
        return "X"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", "", 1) if float(text) == 0 and text.startswith("-") else text


def with_interval(mean, low, high, digits, sign=True):
    """A difference or a correlation with its interval, as '+0.020 [-0.010, +0.050]'; alone where low is None."""
    ends = "" if low is None else f" [{shown(low, digits, sign)}, {shown(high, digits, sign)}]"
    return shown(mean, digits, sign) + ends
