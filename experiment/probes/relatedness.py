"""Relatedness: what a group method estimates of each task's relation to the tasks before it, at the task's end.

For each past task s the mean over the groups of the divergence from the present task, and of rho, the weight that follows
from it (docs/groups.md), and what the data file says of every task, such as an angle. The numbers of every group go into
the .npz: one array for each task, (n_groups, t).
"""

from experiment.probes import moments
from model import UsageError


class Probe(moments.Probe):
    def __init__(self, view):
        super().__init__(view)
        if not hasattr(view.method, "grouping"):
            raise UsageError(
                f"--probe relatedness: {view.name} estimates none; give gem_group, agem_group or ewc_group, or leave it out"
            )
        self.found: list[dict] = []
        self.each: dict = {}

    def task_ends(self, task):
        grouping = self.view.method.grouping
        if grouping.divergences is None or not len(grouping.divergences):
            return
        divergences, rho = grouping.divergences.clone(), grouping.rho[1 : 1 + len(grouping.divergences)]
        self.each[f"task{task}"] = divergences
        first = self.view.own(0)
        self.found.append(
            {
                "task": task,
                "past": [s - first for s in grouping.past],
                "divergence": divergences.mean(0).tolist(),
                "rho": rho.mean(0).tolist(),
            }
        )

    def report(self):
        found = {name: [entry[name] for entry in self.found] for name in ("task", "past", "divergence", "rho")}
        said = [task[0] for task in self.view.data.test]
        return {**found, "descriptions": [each if isinstance(each, int | float) else str(each) for each in said]}

    def arrays(self):
        return self.each
