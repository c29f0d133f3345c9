"""The measurements of a run, the warnings to its reader, and the run's record."""

import shlex
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import torch

from data import joint
from metrics import metrics
from model import room, state
from model.engine import scoring
from results import record
from results.reading import bounds
from results.thinned import every

# One run each on the A-GEM note's stream (docs/methods.md, under gem): where the past tasks weighed 11 times as much as the
# batch, or less, the final accuracy was .53 and more; at 18 times it was .47 to .51, at 25 to 41 times .15 to .20.
DROWNED = 15
NUMBER = 32  # bytes of a measured number in a list of Python's
MANY = 0.1  # of the evaluated examples
CURVE = 2_000_000  # accuracies of the curve in a record at most: its readers take six times as many numbers in all


class Divergence(NamedTuple):
    """Where the parameters, or a loss, became non-finite.

    ``step``: the number of steps made before it, counted over the whole stream, or over the unlearning phase if it was
    there. ``task``: the task being learned or seen again; None before the phase's first batch.
    """

    task: int | None
    step: int
    reason: object
    unlearning: bool = False

    def __str__(self):
        if not self.unlearning:
            return f"diverged in task {self.task} at step {self.step}: {self.reason}"
        seen = "" if self.task is None else f", task {self.task} seen again"
        return f"diverged in the unlearning phase at its step {self.step}{seen}: {self.reason}"


@dataclass
class Life:
    """What a run measured: the task and the accuracies of each evaluation, the steps they fell on, and the times."""

    result_t: list[int] = field(default_factory=list)
    result_a: list[list[float]] = field(default_factory=list)
    unmasked: list[list[float]] = field(
        default_factory=list
    )  # as result_a with all outputs competing; [] where not known
    steps: list[int] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)  # as result_a, the mean cross-entropy; [] of images
    seconds: dict[str, float] = field(default_factory=dict)  # wall-clock, by what was being done
    curves: dict[int, list] = field(
        default_factory=dict
    )  # of a task, with --lca: its accuracy after 0, 1, 2 ... of its batches
    tally: dict = field(default_factory=scoring.nothing)  # of what was evaluated, how much had to be computed again
    seen: dict[int, int] = field(
        default_factory=dict
    )  # batches of each kept task in the unlearning phase, once it has begun
    epoch: list[int] = field(
        default_factory=list
    )  # of the present one, where accuracy decides: examples right and seen
    epochs: dict[int, list] = field(
        default_factory=dict
    )  # of a task, there: epochs done, training accuracy of the last
    diverged: Divergence | None = None
    unlearning: dict | None = None  # what an unlearning phase did (metrics.unlearning.report)

    def __post_init__(self):
        self._doing, self._since = None, 0.0

    def checkpoint(self) -> dict:
        """All that was measured so far, as tensors and builtins; ``of`` makes a Life of it again."""
        names = (field.name for field in fields(self) if field.name not in ("diverged", "unlearning"))
        return {name: state.packed(getattr(self, name)) for name in names}

    @classmethod
    def of(cls, saved: dict) -> "Life":
        """The counterpart of ``checkpoint``."""
        return cls(**{name: state.unpacked(value) for name, value in saved.items()})

    @contextmanager
    def spends(self, doing: str):
        """Count the time inside as spent on ``doing``, and on nothing else that it is inside of."""
        before = self._turn(doing)
        try:
            yield
        finally:
            self._turn(before)

    def _turn(self, doing: str | None) -> str | None:
        now, before = time.perf_counter(), self._doing
        if before is not None:
            self.seconds[before] = self.seconds.get(before, 0.0) + now - self._since
        self._doing, self._since = doing, now
        return before

    def complete(self, unmasked: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """The tasks (E,) and accuracies (E, T) of all evaluations but those inside a task that diverged.

        With ``unmasked`` they are those where all outputs compete; (E, 0) where they are not known.
        """
        n = len(self.result_t)
        if self.diverged and not self.diverged.unlearning:
            n = next((i for i in range(1, n) if self.result_t[i] == self.diverged.task), n)
        accuracies = self.unmasked if unmasked else self.result_a
        return torch.tensor(self.result_t[:n], dtype=torch.float32), torch.tensor(accuracies[:n])

    def evolution(self) -> dict:
        """Steps, tasks and accuracies of the evaluations, for the record; of more than CURVE accuracies every k-th, and the last.

        The record's .pt has all of them.
        """
        E, T = len(self.steps), max(map(len, self.result_a), default=0)
        curves = {"step": self.steps, "task": self.result_t, "accuracy": self.result_a}
        return {name: every(max(1, -(-E * T // CURVE)), values) for name, values in curves.items()}

    def perplexities(self, order: list[int]) -> dict:
        """The perplexities of text, exp(cross-entropy): before training (T,), and the grid; {} without text."""
        if not any(self.losses):
            return {}
        tasks, _ = self.complete()
        whole = torch.tensor(self.losses[: len(tasks)], dtype=torch.float64).exp()
        baseline, grid, _ = metrics.split(tasks, whole, order)
        return {"baseline": baseline.tolist(), "grid": grid.tolist()}

    def times(self) -> dict:
        """Seconds of training, of evaluation and of both; of an unlearning phase, and of checkpoints if there were any."""
        train, evaluation = (self.seconds.get(doing, 0.0) for doing in ("train", "eval"))
        return {"train": train, "eval": evaluation, "total": train + evaluation} | {
            doing: spent for doing, spent in self.seconds.items() if doing not in ("train", "eval")
        }

    def learning_curve(self, order: list[int]) -> dict:
        """The curves (T lists, in the order of learning), their mean Z as far as every task goes, and LCA or None."""
        curves = [self.curves.get(task, []) for task in order]
        Z = metrics.shots(curves)
        area = metrics.lca([Z]) if len(Z) == metrics.LCA_BATCHES + 1 else None
        return {"task": order, "accuracy": curves, "Z": Z, "lca": area}


def counts(model) -> dict:
    """The method's counts; {} if its attribute ``counts`` is something else."""
    found = getattr(model, "counts", None)
    if not isinstance(found, dict):
        return {}
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in found.items()}


def describe(args, argv, data, continuum, model, life: Life, started, before="") -> dict:
    """The record of a run, as docs/results.md lays it down; ``life.unlearning`` only where there was such a phase."""
    baseline, grid, order = metrics.split(*life.complete(), continuum.order)
    summary = metrics.summary(baseline, grid, order)
    perplexity = life.perplexities(continuum.order)
    if perplexity:
        summary |= metrics.of_perplexity(perplexity["grid"], order)
    unmasked = without_masks(life, continuum)
    curve = life.learning_curve(continuum.order)
    summary["lca"] = curve.pop("lca")
    if continuum.together:
        summary = metrics.of_the_end(summary)
    return {
        "format": 1,
        "status": "diverged" if life.diverged else "done",
        "model": args.model,
        "args": vars(args),
        "protocol": {
            "data_file": args.data_file,
            "data_hash": data.hash,
            "first_task": args.first_task,
            "validation": args.validation,
            "samples_per_task": continuum.samples_per_task(),
            "n_epochs": args.n_epochs,
            "batch_size": args.batch_size,
            "memory": args.n_memories,
            "head": "shared" if data.outputs is None else "split",
            "net": type(getattr(model, "net", model)).__name__,
            "engine": str(getattr(getattr(model, "engine", None), "form", "foreign")),
            "parity": args.parity,
            "task_order": continuum.order,
            **({"start_from": before} if before else {}),
        },
        **({"joint": joint.NOTE} if continuum.together else {}),
        "grid": grid.tolist(),
        "baseline": baseline.tolist(),
        **({"perplexity": perplexity} if perplexity else {}),
        **{key: summary.pop(key) for key in metrics.REFERENCE_KEYS},
        **({"seen": over_seen(data, continuum, grid)} if data.outputs is None else {}),
        "metrics": summary,
        **({"unmasked": unmasked} if unmasked else {}),
        "counts": {"steps": continuum.position, **counts(model)},
        "seconds": life.times(),
        "peak_memory_mb": record.peak_memory_mb(),
        **({"evaluation": life.tally} if life.tally["examples"] else {}),
        "evolution": life.evolution(),
        **({"learning_curve": curve} if args.lca else {}),
        **({"stopping": stopping(life, continuum)} if life.epochs else {}),
        "versions": record.versions(),
        "device": torch.cuda.get_device_name() if args.cuda else "cpu",
        "threads": args.threads,
        "git": record.git_revision(),
        "started": started,
        "command": shlex.join(["python", "main.py", *argv]),
        **({"forgetting": life.unlearning} if life.unlearning else {}),
    }


def stopping(life: Life, continuum) -> dict:
    """What ``--stop_at_accuracy`` did: of each task its epochs, the training accuracy of the last, and its batches.

    Of ``joint``, whose stream has epochs of its own, they are those that ended in each part.
    """
    tasks = [task for task in continuum.order if task in life.epochs]
    return {
        "task": tasks,
        "epochs": [life.epochs[task][0] for task in tasks],
        "accuracy": [life.epochs[task][1] for task in tasks],
        "batches": continuum.batches_per_task(),
    }


def without_masks(life: Life, continuum) -> dict:
    """Baseline, grid and numbers of accuracies where all outputs compete; {} where they are not known."""
    tasks, accuracies = life.complete(unmasked=True)
    if not accuracies.numel():
        return {}
    baseline, grid, order = metrics.split(tasks, accuracies, continuum.order)
    summary = metrics.summary(baseline, grid, order)
    summary = metrics.of_the_end(summary) if continuum.together else summary
    return {"baseline": baseline.tolist(), "grid": grid.tolist(), **summary}


def over_seen(data, continuum, grid) -> list[float]:
    """Accuracy over all tasks seen so far, after each; all count as seen where they are learned together."""
    order = continuum.order
    seen = (order if continuum.together else order[: i + 1] for i in range(len(order)))
    return metrics.over_seen(grid, [len(y) for _, _, y in data.test], seen)


def require_room(args, continuum) -> None:
    """``UsageError`` unless memory has room for the accuracies of all evaluations, and for the record made of them."""
    T, batches = len(continuum.order), continuum.batches_per_task()
    E = 1 + sum(max(1, -(-n // args.log_every)) for n in batches)
    n_bytes = NUMBER * T * (E + 3 * T)  # evaluations; grid, the same unmasked, and the text of both
    room.require(n_bytes, f"--n_tasks {T} --log_every {args.log_every}: what {E:,} evaluations on {T:,} tasks measure")


def short_curves(args, continuum) -> list[str]:
    """A warning before training: with --lca, a task has too few batches for the area under its learning curve."""
    batches = [-(-n // args.batch_size) for n in continuum.samples_per_task()]
    task, n = min(zip(continuum.order, batches, strict=True), key=lambda pair: pair[1])
    if not args.lca or n >= metrics.LCA_BATCHES:
        return []
    return [
        f"--lca yes: task {task} has {n} batches and LCA needs {metrics.LCA_BATCHES} of each task, so it is not recorded; "
        "the learning curve is, as far as every task goes"
    ]


def unreadable(n_tasks: int) -> list[str]:
    """A warning before training: the record may be larger than its readers take."""
    if n_tasks <= bounds.TASKS:
        return []
    return [
        f"{n_tasks:,} tasks: the record may be larger than python -m results.* reads, which is sure up to {bounds.TASKS:,} "
        "tasks; the grid is printed, and the .pt file holds it"
    ]


def drowned(result: dict) -> list[str]:
    """A warning after training: the margin gave the past tasks so much weight that the batch's gradient hardly counted.

    ``result`` is the run's record. The weight is the mean over all steps after the first task, unlearning phase
    included.
    """
    counts, samples = result["counts"], result["protocol"]["samples_per_task"]
    first = -(-samples[0] // result["protocol"]["batch_size"])
    first = result.get("stopping", {}).get("batches", [first])[0]
    steps = counts["steps"] - first + sum(result.get("forgetting", {}).get("batches", {}).values())
    weight = counts.get("replay_weight", 0.0) / max(steps, 1)
    if weight < DROWNED:
        return []
    return [
        f"{result['model']} replayed rather than learned: with --memory_strength {result['args']['memory_strength']:g} the past "
        f"tasks weighed {weight:.0f} times as much as the batch ({counts['violations']:,} of {steps:,} steps after the first "
        "task were corrected); give a smaller --memory_strength"
    ]


def doubtful(result: dict) -> list[str]:
    """After training: evaluations that had to compute many examples again, in float64, which takes longer.

    ``result`` is the run's record. A network whose outputs tie or are huge leaves float32 in doubt about most examples.
    """
    tally = result.get("evaluation")
    if not tally or tally["again"] <= MANY * tally["examples"]:
        return []
    return [
        f"{tally['again']:,} of {tally['examples']:,} evaluated examples were computed again in float64, since the network's "
        "outputs tie or are huge; evaluations take several times as long then"
    ]
