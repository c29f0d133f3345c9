"""Accuracy on the tasks' test sets, and the loss on those of text."""

import torch
from torch.nn import functional as F

from data import pixels
from model import common, foreign
from model.engine import scoring

EVALUATION_CHUNK = 2_500  # test examples in one forward pass of an MLP
CONVOLUTION_CHUNK = 100  # test examples in one forward pass of a ResNet, whose maps should stay in a cache
TEXT_CHUNK = 64  # sequences in one forward pass


def eval_tasks(
    model,
    tasks: list,
    args,
    only: list[int] | None = None,
    tally: dict | None = None,
    unmasked: list | None = None,
    known: dict | None = None,
    losses: list | None = None,
) -> list[float]:
    """Accuracy on each task's test set, or on those of the tasks ``only``.

    Of text it is that of the tokens to be told, and ``losses`` receives the mean cross-entropy of each task.

    A prediction is the largest of the task's outputs. Where tasks have outputs of their own, ``unmasked`` receives the
    accuracies of the largest of all outputs, from the same forward pass; it stays empty if the method has none.

    The accuracies of an MLP follow from its parameters alone, whatever the kernels and threads (``model.engine.scoring``).
    ``tally`` then counts the examples that were computed again. ``known`` is a dictionary of the caller's, empty at first:
    it keeps, for later evaluations, what depends on the test sets alone. With ``--parity yes`` the function evaluates as the
    reference does: the last example of a test set is never scored, and all others are scored in one pass.
    """
    model.eval()
    scorer = scoring.of(model, pixels.floats)
    text = tasks[0][2].dim() == 2
    chunk = CONVOLUTION_CHUNK if tasks[0][1].shape[1] == common.IMAGE_INPUTS else EVALUATION_CHUNK
    if text:
        chunk = TEXT_CHUNK
    if args.parity:
        chunk = max(len(y) for _, _, y in tasks)
    both = getattr(model, "masked_and_unmasked", lambda x, t: None)
    result = []
    with torch.no_grad():
        for t in range(len(tasks)) if only is None else only:
            _, x, y = tasks[t]
            n = len(y) - 1 if args.parity and len(y) > 1 else len(y)
            version, largest = x._version, 0 if scorer else int(y.max())
            targets = int((y >= 0).sum())
            sizes = _sizes(x, known, t) if scorer and known is not None else None
            counts = []  # of each chunk, the right answers among the task's outputs, and among all outputs if there are any
            loss = 0.0
            for start in range(0, n, chunk):
                end = min(start + chunk, n)
                xs, ys = x[start:end], y[start:end]
                if scorer:
                    counts.append(scorer.counts(xs, ys, t, sizes and sizes.rows(slice(start, end))))
                    continue
                xs = pixels.floats(xs)
                if text:
                    logits = model(xs, t)
                    counts.append([int((logits.argmax(1) == ys).sum())])
                    loss += float(F.cross_entropy(logits, ys, reduction="sum"))
                    continue
                predicted = both(xs, t)
                if predicted is None:
                    logits = model(xs, t)
                    foreign.require_logits(logits, len(xs), largest)
                    predicted = [logits.argmax(1)]
                counts.append([int((labels == ys).sum()) for labels in predicted])
            if x._version != version:
                raise foreign.Breach("forward changes its argument x, the test set, in place; use a copy", "forward")
            right, *rest = map(sum, zip(*counts, strict=True))
            result.append(right / targets)
            if unmasked is not None:
                unmasked += [among_all / len(y) for among_all in rest]
            if text and losses is not None:
                losses.append(loss / targets)
    if scorer and tally is not None:
        scorer.add_to(tally)
    model.train()
    return result


def _sizes(x, known: dict, t: int) -> scoring.Sizes | None:
    """What the rounding of the first layer depends on in the test images of task t; not needed of signed bytes."""
    if t not in known and x.dtype != torch.int8:
        parts = [scoring.sizes(pixels.floats(rows), counted=True) for rows in x.split(pixels.ROWS)]
        known[t] = scoring.Sizes(*map(torch.cat, zip(*parts, strict=True)))
    return known.get(t)


def finite(model) -> bool:
    """Whether every parameter is finite."""
    values = [value for value in model.state_dict().values() if isinstance(value, torch.Tensor)]
    return all(bool(value.isfinite().all()) for value in values if value.is_floating_point())
