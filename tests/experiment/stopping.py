"""Runs that are stopped at chosen places and started again until they are done, in this process."""

import pytest

import main
from experiment.checkpoints import Checkpoints
from model import arguments


class Killed(BaseException):
    """In place of a SIGKILL: nothing in the program catches it."""


class Stops:
    """Ends a run between two steps, right after a checkpoint; ``places`` are the steps before which it was ended."""

    def __init__(self, monkeypatch):
        self.places, self.left = [], 0

        def between(checkpoints, step, boundary):
            self.left -= 1
            if self.left == 0:
                checkpoints.write(step)
                assert checkpoints.fault is None
                self.places.append((bool(checkpoints.life.seen), step))
                raise Killed

        monkeypatch.setattr(Checkpoints, "between", between)

    def run(self, argv: list[str], after: list[int]) -> dict:
        """The record of a run with ``argv`` that is ended after[0] steps on, goes on, is ended again, and so on."""
        for self.left in after:
            try:
                return main.main(argv)  # done before
            except Killed:
                pass
        return main.main(argv)


def words(folder, **flags) -> list[str]:
    """A command line for the data file tiny.pt in ``folder``, small where nothing else is asked for."""
    small = {"data_path": folder, "data_file": "tiny.pt", "n_hiddens": 8, "n_memories": 8, "memory_strength": 0.5}
    small |= {"lr": 0.1, "batch_size": 4, "log_every": 3, "resume": True, "threads": 1}
    small |= {"task_sample": 8, "ogd_per_task": 8, "cov_recompute_every": 2, "num_groups": 2, "agem_batch": 4}
    small |= {"memories": 20, "replay_batch_size": 3}
    small = {name: value for name, value in small.items() if arguments.uses(flags.get("model", "single"), name)}
    return [word for name, value in {**small, **flags}.items() for word in (f"--{name}", str(value))]


def quickly(names, *quick):
    """The names as parameters, of which all but the ``quick`` ones are slow."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]
