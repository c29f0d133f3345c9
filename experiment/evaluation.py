"""Accuracy on the tasks' test sets, and the loss on those of text."""

import torch
from torch.nn import functional as F

from data import pixels
from model import common
from model.engine import scoring

EVALUATION_CHUNK = 2_500  # test examples in one forward pass of an MLP
CONVOLUTION_CHUNK = 100  # test examples in one forward pass of a ResNet, whose maps should stay in a cache
TEXT_CHUNK = 64  # sequences in one forward pass


def eval_tasks(
    model, tasks: list, args, only: list[int] | None = None, tally: dict | None = None, losses: list | None = None
) -> list[float]:
    """Accuracy on each task's test set, or on those of the tasks ``only``. Of text it is that of the masked tokens, and
    the mean cross-entropy of each task is appended to ``losses``.

    The accuracies of an MLP follow from its parameters alone, whatever the kernels and threads (``model.engine.scoring``).
    ``tally`` then counts the examples that were computed again. With ``--parity yes`` the function evaluates as the
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
    result = []
    with torch.no_grad():
        for t in range(len(tasks)) if only is None else only:
            _, x, y = tasks[t]
            n = len(y) - 1 if args.parity and len(y) > 1 else len(y)
            right, loss, targets = 0, 0.0, int((y >= 0).sum())
            for start in range(0, n, chunk):
                end = min(start + chunk, n)
                xs, ys = x[start:end], y[start:end]
                if scorer:
                    right += scorer.right(xs, ys, t)
                    continue
                xs = pixels.floats(xs)
                if args.cuda:
                    xs, ys = xs.cuda(), ys.cuda()
                logits = model(xs, t)
                right += int((logits.argmax(1) == ys).sum())
                if text:
                    loss += float(F.cross_entropy(logits, ys, reduction="sum"))
            result.append(right / targets)
            if text and losses is not None:
                losses.append(loss / targets)
    if scorer and tally is not None:
        scorer.add_to(tally)
    model.train()
    return result


def finite(model) -> bool:
    """Whether every parameter is finite."""
    return all(bool(p.isfinite().all()) for p in model.state_dict().values() if p.is_floating_point())
