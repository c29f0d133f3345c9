"""The forgetting curve: accuracy on old and on new tasks before a task, and after each of its first mini-batches.

`old` is the accuracy over all held-out examples of the tasks learned before, `new` that on the task being learned. The
first task has no old ones: its curve is the control. ``--probe_batches`` says how many mini-batches are followed.
"""

from experiment.probes import moments
from model import UsageError


class Probe(moments.Probe):
    def __init__(self, view):
        super().__init__(view)
        if view.continuum.together:
            raise UsageError(
                "--probe curve: joint learns no task by itself, so that there is none to forget; leave it out"
            )
        self.found: list[dict] = []

    def task_begins(self, task):
        self.found.append({"task": task, "old": [], "new": []})
        self._measure(task)

    def after_step(self, x, task, y):
        if len(self.found[-1]["new"]) <= self.view.args.probe_batches:
            self._measure(task)

    def _measure(self, task):
        tasks = self.view.seen(task)
        accuracies = self.view.accuracies(tasks) or [None] * len(tasks)
        self.found[-1]["new"].append(accuracies[-1])
        self.found[-1]["old"].append(weighted(accuracies[:-1], self.view.sizes(tasks[:-1])))

    def report(self):
        return {name: [entry[name] for entry in self.found] for name in ("task", "old", "new")}


def weighted(accuracies: list, sizes: list[int]) -> float | None:
    """The accuracy over all examples of some tasks with so many each; None if there are none, or one was not measured."""
    if not sizes or None in accuracies:
        return None
    return sum(a * n for a, n in zip(accuracies, sizes, strict=True)) / sum(sizes)
