"""What a run measured, and the record that it becomes."""

import shlex
from typing import NamedTuple

import torch

from metrics import metrics
from results import record


class Diverged(Exception):
    """The parameters, or a loss, became non-finite."""

    def __init__(self, task: int, step: int, reason: object):
        self.task = task
        super().__init__(f"diverged in task {task} at step {step}: {reason}")


class Life(NamedTuple):
    """What a run measured: the task and the accuracies of each evaluation, the steps they fell on, and the times."""

    result_t: list[int]
    result_a: list[list[float]]
    steps: list[int]
    seconds: dict
    diverged: Diverged | None = None
    unlearning: dict | None = None  # what an unlearning phase did (metrics.unlearning.report)

    def complete(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The tasks (E,) and accuracies (E, T) of all evaluations but those inside a task that diverged."""
        n = len(self.result_t)
        if self.diverged:
            n = next((i for i in range(1, n) if self.result_t[i] == self.diverged.task), n)
        return torch.tensor(self.result_t[:n], dtype=torch.float32), torch.tensor(self.result_a[:n])


def describe(args, argv, data, continuum, model, life: Life, started) -> dict:
    """The record of a run, as docs/results.md lays it down; ``life.unlearning`` only where there was such a phase."""
    baseline, grid, order = metrics.split(*life.complete(), continuum.order)
    summary = metrics.summary(baseline, grid, order)
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
            "engine": getattr(getattr(model, "engine", None), "form", "foreign"),
            "parity": args.parity,
            "task_order": continuum.order,
        },
        "grid": grid.tolist(),
        "baseline": baseline.tolist(),
        **{key: summary.pop(key) for key in metrics.REFERENCE_KEYS},
        "metrics": summary,
        "counts": {"steps": continuum.position, **getattr(model, "counts", {})},
        "seconds": life.seconds,
        "peak_memory_mb": record.peak_memory_mb(),
        "evolution": {"step": life.steps, "task": life.result_t, "accuracy": life.result_a},
        "versions": record.versions(),
        "device": torch.cuda.get_device_name() if args.cuda else "cpu",
        "threads": args.threads,
        "git": record.git_revision(),
        "started": started.isoformat(timespec="seconds"),
        "command": shlex.join(["python", "main.py", *argv]),
        **({"forgetting": life.unlearning} if life.unlearning else {}),
    }
