"""The moments of a run at which a probe may look on."""

import copy

from model import state


class Probe:
    """A probe overrides the moments that it needs, and ``report`` or ``arrays``. It changes nothing that it looks at.

    Its attributes are its state: numbers, texts, tensors, and lists and dicts of them. Those that ``MADE`` names are made
    by the constructor, which raises ``UsageError`` where the probe cannot serve the method or its network.
    """

    MADE: tuple[str, ...] = ("view",)

    def __init__(self, view):
        self.view = view

    def task_begins(self, task: int) -> None:
        """Before the task's first batch."""

    def before_step(self, x, task: int, y) -> None:
        """Before a step on the batch x (B, n_inputs), y (B,)."""

    def after_step(self, x, task: int, y) -> None:
        """After that step."""

    def task_ends(self, task: int) -> None:
        """After the task's last step, before the method's ``finish_task``."""

    def task_finished(self, task: int) -> None:
        """After the method's ``finish_task``."""

    def report(self) -> dict | None:
        """What goes into the record, under ``probes``; not finite numbers become null."""
        return None

    def arrays(self) -> dict:
        """What goes into the .npz beside the record, by name: tensors or arrays of numbers."""
        return {}

    def checkpoint(self) -> dict:
        """The state, apart from what goes on being changed."""
        own = {name: state.packed(value) for name, value in vars(self).items() if name not in self.MADE}
        return copy.deepcopy(own)

    def restore(self, saved: dict) -> None:
        """The counterpart of ``checkpoint``."""
        vars(self).update({name: state.unpacked(value) for name, value in copy.deepcopy(saved).items()})
