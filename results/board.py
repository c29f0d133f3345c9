"""Scalars for TensorBoard while a run goes on; the library is imported only if --tensorboard asks for it."""

import os
import sys

from results import RecordError
from results.life import counts


class Board:
    """Writes one run's scalars into a folder of its own below `folder`; RecordError if it cannot.

    A run that goes on from a `step` replaces what was written from there on.

    Called with (step, task that is being learned, accuracy on each task, model) after every evaluation. If a disk is full
    then, the scalars end there, and the run goes on.
    """

    def __init__(self, folder, name, step=0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise RecordError(
                f"--tensorboard {folder}: needs the package tensorboard; pip install -r requirements-results.txt"
            ) from None
        try:
            place = os.path.join(os.path.abspath(folder), name)  # not the address of a cloud's store
            self.writer = SummaryWriter(place, purge_step=step or None)
        except (OSError, UnicodeError, RecursionError) as e:
            reason = getattr(e, "strerror", None) or e
            raise RecordError(f"--tensorboard {folder!a}: cannot be written ({reason}); give another folder") from None

    def __call__(self, step, task, accuracies, model):
        if self.writer is None:
            return
        scalars = {f"accuracy/task {t + 1}": accuracy for t, accuracy in enumerate(accuracies)}
        scalars["accuracy/mean"] = sum(accuracies) / len(accuracies)
        scalars["stream/task"] = task + 1
        for name, count in counts(model).items():
            scalars[f"counts/{name}"] = count
        try:
            for name, value in scalars.items():
                self.writer.add_scalar(name, value, step)
            self.writer.flush()
        except OSError as e:
            self.writer = None
            print(
                f"note: --tensorboard cannot be written any more ({e.strerror or e}); the run goes on", file=sys.stderr
            )
