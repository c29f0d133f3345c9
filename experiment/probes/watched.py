"""A method that probes look on at while it learns."""

from contextlib import contextmanager

import torch

from experiment.probes.view import View


class Probes:
    """The probes of one run. ``UsageError`` if one of them cannot serve the method or its network."""

    def __init__(self, kinds: dict, args, method, model, data, continuum):
        self.view = View(args, method, model, data, continuum)
        self.all = {name: kind(self.view) for name, kind in kinds.items()}
        self.task: int | None = None  # the task being learned

    @contextmanager
    def looking(self, life):
        """Inside, probes look on: what they take is their own time, and no generator of the run moves."""
        with life.spends("probe"), torch.random.fork_rng(devices=[]):
            yield self.all.values()

    def around(self, model, life) -> "Watched":
        """The model with the probes as onlookers; the time that they take is counted in ``life``."""
        return Watched(model, self, life)

    def report(self) -> dict:
        """The entry ``probes`` of the record."""
        return {name: found for name, probe in self.all.items() if (found := probe.report()) is not None}

    def arrays(self) -> dict:
        """The arrays of the .npz beside the record: those of all probes, as numpy's."""
        named = {f"{name}.{key}": value for name, probe in self.all.items() for key, value in probe.arrays().items()}
        return {key: value.numpy() if isinstance(value, torch.Tensor) else value for key, value in named.items()}

    def checkpoint(self) -> dict:
        return {"task": self.task, "probes": {name: probe.checkpoint() for name, probe in self.all.items()}}

    def restore(self, state: dict) -> None:
        """The counterpart of ``checkpoint``, for the same probes."""
        self.task = state["task"]
        for name, probe in self.all.items():
            probe.restore(state["probes"][name])


class Watched:
    """A model in whose steps the probes take part as onlookers; in all else it is the model."""

    def __init__(self, model, onlookers: Probes, life):
        self.model, self.onlookers, self.life = model, onlookers, life

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, x, t):
        return self.model(x, t)

    def observe(self, x, t, y) -> None:
        with self.onlookers.looking(self.life) as watching:
            if t != self.onlookers.task:
                self.onlookers.task = t
                for probe in watching:
                    probe.task_begins(t)
            for probe in watching:
                probe.before_step(x, t, y)
        self.model.observe(x, t, y)
        self.onlookers.view.moved()
        with self.onlookers.looking(self.life) as watching:
            for probe in watching:
                probe.after_step(x, t, y)

    def finish_task(self) -> None:
        with self.onlookers.looking(self.life) as watching:
            for probe in watching:
                probe.task_ends(self.onlookers.task)
        getattr(self.model, "finish_task", lambda: None)()
        self.onlookers.view.moved()
        with self.onlookers.looking(self.life) as watching:
            for probe in watching:
                probe.task_finished(self.onlookers.task)
