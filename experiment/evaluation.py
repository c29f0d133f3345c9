"""Accuracy on the tasks' test sets, and the loss on those of text."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from data import pixels
from model import common, foreign
from model.engine import scoring

EVALUATION_CHUNK = 2_500  # test examples in one forward pass of an MLP
GROUP = 1_000  # the same of several small test sets together: beside so many the cost of the calls is nothing
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


class Group:
    """Some of the ``tasks``, which an MLP scores together: a pass over a few images costs as much as one over hundreds."""

    def __init__(self, tasks, members, sizes):
        self.members = members
        lengths = torch.tensor([len(tasks[t][2]) for t in members])
        self.ends = lengths.cumsum(0) - 1
        self.ids = torch.tensor(members).repeat_interleave(lengths) if len(members) > 1 else None
        self.sizes = _joined(sizes(t) for t in members)

    def counts(self, scorer, tasks, chunk: int) -> torch.Tensor:
        """Right answers (1 or 2, n) on the test sets of the n members: of each task's outputs, and of all."""
        if self.ids is None:
            (t,) = self.members
            _, x, y = tasks[t]
            pieces = [slice(start, start + chunk) for start in range(0, len(y), chunk)]
            counts = [scorer.counts(x[rows], y[rows], t, self.sizes and self.sizes.rows(rows)) for rows in pieces]
            return torch.tensor(counts).sum(0).unsqueeze(1)
        x, y = (torch.cat([tasks[t][column] for t in self.members]) for column in (1, 2))
        until = scorer.answers(x, y, self.ids, self.sizes).cumsum(1)[:, self.ends]
        return until.diff(prepend=until.new_zeros(len(until), 1))


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
        self._groups: dict[tuple[int, ...], Group] = {}

    @torch.no_grad()
    def __call__(self, model, only: list[int] | None = None) -> Measured:
        """Evaluate ``model`` on all tasks, or on the tasks ``only``."""
        model.eval()
        wanted = tuple(range(len(self.tasks)) if only is None else only)
        scorer = scoring.of(model, pixels.floats)
        found = self._scored(scorer, wanted) if scorer and wanted else self._predicted(model, wanted)
        model.train()
        return found

    def _scored(self, scorer, wanted: tuple[int, ...]) -> Measured:
        """The accuracies of an MLP, group by group."""
        counts = [self._group(members).counts(scorer, self.tasks, self.chunk) for members in self._grouped(wanted)]
        if self.tally is not None:
            scorer.add_to(self.tally)
        targets = torch.tensor([self.targets[t] for t in wanted])
        accuracies, *rest = (torch.cat(counts, 1) / targets.double()).tolist()
        return Measured(accuracies, *rest or [[]], [])

    def _grouped(self, wanted):
        """Tasks in a row of which the test sets together are small, and each larger one by itself."""
        start = 0
        while start < len(wanted):
            end, n = start + 1, len(self.tasks[wanted[start]][2])
            while end < len(wanted) and n + len(self.tasks[wanted[end]][2]) <= GROUP:
                n += len(self.tasks[wanted[end]][2])
                end += 1
            yield wanted[start:end]
            start = end

    def _group(self, members: tuple[int, ...]) -> Group:
        if members not in self._groups:
            self._groups[members] = Group(self.tasks, members, self._sizes_of)
        return self._groups[members]

    def _sizes_of(self, t: int) -> scoring.Sizes | None:
        """What the rounding of the first layer depends on in the test images of task t; not needed of signed bytes."""
        _, x, _ = self.tasks[t]
        if t not in self._sizes and x.dtype != torch.int8:
            self._sizes[t] = _joined(scoring.sizes(pixels.floats(rows), counted=True) for rows in x.split(pixels.ROWS))
        return self._sizes.get(t)

    def _predicted(self, model, wanted: tuple[int, ...]) -> Measured:
        """The accuracies of any method, task by task."""
        found = Measured([], [], [])
        for t in wanted:
            _, x, _ = self.tasks[t]
            version, targets = x._version, self.targets[t]
            counts, loss = self._counts(model, t)
            if x._version != version:
                raise foreign.Breach("forward changes its argument x, the test set, in place; use a copy", "forward")
            right, *rest = map(sum, zip(*counts, strict=True))
            found.accuracies.append(right / targets)
            found.unmasked.extend(among_all / targets for among_all in rest)
            if self.text:
                found.losses.append(loss / targets)
        return found

    def _counts(self, model, t: int) -> tuple[list[list[int]], float]:
        """Of each chunk, the right answers among the task's outputs, and among all outputs if they are known; text's loss."""
        _, x, y = self.tasks[t]
        n = len(y) - 1 if self.parity and len(y) > 1 else len(y)
        both = getattr(model, "masked_and_unmasked", lambda x, t: None)
        counts, loss = [], 0.0
        for start in range(0, n, self.chunk):
            rows = slice(start, min(start + self.chunk, n))
            xs, ys = x[rows], y[rows]
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


def _joined(parts) -> scoring.Sizes | None:
    """Sizes of several tensors, one after another; None where they are not needed."""
    parts = list(parts)
    if len(parts) == 1 or parts[0] is None:
        return parts[0]
    return scoring.Sizes(*map(torch.cat, zip(*parts, strict=True)))


def finite(model) -> bool:
    """Whether every parameter is finite."""
    values = [value for value in model.state_dict().values() if isinstance(value, torch.Tensor)]
    known = (value for value in values if not torch.nn.parameter.is_lazy(value))  # others get a shape in the first pass
    return all(bool(value.isfinite().all()) for value in known if value.is_floating_point())
