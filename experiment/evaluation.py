"""Accuracy on the tasks' test sets, and the loss on those of text."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from data import pixels
from model import common, foreign
from model.engine import scoring

EVALUATION_CHUNK = 2_500  # test examples in one forward pass of an MLP
CONVOLUTION_CHUNK = 100  # test examples in one forward pass of a ResNet, whose maps should stay in a cache
TEXT_CHUNK = 64  # sequences in one forward pass


class Measured(NamedTuple):
    """One evaluation: the accuracy on each task, where a prediction is the largest of the task's outputs.

    ``unmasked``: the same of the largest of all outputs, from the same forward pass; [] where tasks share all outputs, or
    the method does not give them. ``losses``: the mean cross-entropy on each task of text, else [].
    """

    accuracies: list[float]
    unmasked: list[float]
    losses: list[float]


class Evaluator:
    """Evaluations on the test sets of ``tasks`` [description, x (N, n_inputs), y (N,)]; of text, on the tokens to be told.

    The accuracies of an MLP follow from its parameters alone, whatever the kernels and threads (``model.engine.scoring``).
    ``tally`` then counts the examples that were computed again. What depends on the test sets alone is computed once. With
    ``--parity yes`` the last example of a test set is never scored, and all others are scored in one pass, as the reference
    does.
    """

    def __init__(self, tasks: list, args, tally: dict | None = None):
        self.tasks, self.parity, self.tally = tasks, args.parity, tally
        self.text = tasks[0][2].dim() == 2
        self.chunk = CONVOLUTION_CHUNK if tasks[0][1].shape[1] == common.IMAGE_INPUTS else EVALUATION_CHUNK
        if self.text:
            self.chunk = TEXT_CHUNK
        if self.parity:
            self.chunk = max(len(y) for _, _, y in tasks)
        self.targets = [int((y >= 0).sum()) for _, _, y in tasks]
        self.largest = [int(y.max()) for _, _, y in tasks]
        self._sizes: dict[int, scoring.Sizes] = {}

    @torch.no_grad()
    def __call__(self, model, only: list[int] | None = None) -> Measured:
        """Evaluate ``model`` on all tasks, or on the tasks ``only``."""
        model.eval()
        scorer = scoring.of(model, pixels.floats)
        found = Measured([], [], [])
        for t in range(len(self.tasks)) if only is None else only:
            _, x, _ = self.tasks[t]
            version, targets = x._version, self.targets[t]
            counts, loss = self._counts(model, scorer, t)
            if x._version != version:
                raise foreign.Breach("forward changes its argument x, the test set, in place; use a copy", "forward")
            right, *rest = map(sum, zip(*counts, strict=True))
            found.accuracies.append(right / targets)
            found.unmasked.extend(among_all / targets for among_all in rest)
            if self.text:
                found.losses.append(loss / targets)
        if scorer and self.tally is not None:
            scorer.add_to(self.tally)
        model.train()
        return found

    def _counts(self, model, scorer, t: int) -> tuple[list[list[int]], float]:
        """Of each chunk, the right answers among the task's outputs, and among all outputs if they are known; text's loss."""
        _, x, y = self.tasks[t]
        n = len(y) - 1 if self.parity and len(y) > 1 else len(y)
        both = getattr(model, "masked_and_unmasked", lambda x, t: None)
        sizes = self._sizes_of(t) if scorer else None
        counts, loss = [], 0.0
        for start in range(0, n, self.chunk):
            rows = slice(start, min(start + self.chunk, n))
            xs, ys = x[rows], y[rows]
            if scorer:
                counts.append(scorer.counts(xs, ys, t, sizes and sizes.rows(rows)))
                continue
            xs = pixels.floats(xs)
            predicted = None if self.text else both(xs, t)
            if predicted is None:
                logits = model(xs, t)
                if self.text:
                    loss += float(F.cross_entropy(logits, ys, reduction="sum"))
                else:
                    foreign.require_logits(logits, len(xs), self.largest[t])
                predicted = [logits.argmax(1)]
            counts.append([int((labels == ys).sum()) for labels in predicted])
        return counts, loss

    def _sizes_of(self, t: int) -> scoring.Sizes | None:
        """What the rounding of the first layer depends on in the test images of task t; not needed of signed bytes."""
        _, x, _ = self.tasks[t]
        if t not in self._sizes and x.dtype != torch.int8:
            parts = [scoring.sizes(pixels.floats(rows), counted=True) for rows in x.split(pixels.ROWS)]
            self._sizes[t] = scoring.Sizes(*map(torch.cat, zip(*parts, strict=True)))
        return self._sizes.get(t)


def finite(model) -> bool:
    """Whether every parameter is finite."""
    values = [value for value in model.state_dict().values() if isinstance(value, torch.Tensor)]
    return all(bool(value.isfinite().all()) for value in values if value.is_floating_point())
