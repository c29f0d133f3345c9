"""Fine-tuning at the end: what a network of text is worth for a classification task of each domain (Ke et al. 2023, section 4).

After the last domain each domain gets a copy of the network, with a linear classifier on the mean of its last hidden states.
Both are trained on the sequences of that domain which the run has learned, with their labels, by AdamW as torch has it; then
they are tested on the domain's test sequences. Which label a sequence has the data file says: `data/text_domains.py` takes
the package, folder or family of modules of the sequence's file, and test sequences are of other files than training ones.
Nothing of the run itself changes: the network is copied, and all draws are of generators of their own.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from model import UsageError
from model.common import unmasked
from model.dropout import dropouts

BATCH = 16  # sequences a step
CHUNK = 64  # sequences in one forward pass of a test


def require(model) -> None:
    """``UsageError`` unless the method has a network that gives hidden states."""
    if not hasattr(getattr(model, "net", None), "hidden"):
        raise UsageError(
            f"--finetune_epochs: {type(model).__module__} has no net with a function hidden(x), whose states a classifier "
            "would see; leave it out"
        )


def measure(model, continuum, data, args) -> dict:
    """The record's `finetuning`: of each domain's classifier the accuracy and macro-F1, their means, and what is usual.

    `usual` and `usual_f1` are accuracy and macro-F1 of the training text's most frequent label, given to all test sequences.
    Macro-F1 is the number to read where that label is frequent: it counts each class alike.
    """
    accuracies, f1s, usual, usual_f1s = [], [], [], []
    for (_, x, y), (_, seen, targets), labels in zip(continuum.data, data.test, data.problem.labels, strict=True):
        known, classes = y.cpu().unique(return_inverse=True)
        test = unmasked(seen, targets)
        predicted = known[classify(copy.deepcopy(model.net), (x, classes.to(x.device)), test, len(known), args).cpu()]
        accuracies.append(share(predicted == labels))
        f1s.append(macro_f1(labels, predicted))
        frequent = y.cpu().mode().values.expand_as(labels)
        usual.append(share(frequent == labels))
        usual_f1s.append(macro_f1(labels, frequent))
    means = {"mean_accuracy": sum(accuracies) / len(accuracies), "mean_f1": sum(f1s) / len(f1s)}
    return {
        "epochs": args.finetune_epochs,
        "lr": args.finetune_lr,
        "accuracy": accuracies,
        "f1": f1s,
        "usual": usual,
        "usual_f1": usual_f1s,
    } | means


def text(found: dict) -> str:
    """The line that a run prints of ``measure``'s result."""
    return (
        f"Fine-tuned: {found['mean_accuracy']:.4f}, macro-F1 {found['mean_f1']:.4f} (means of the tasks' classifiers)"
    )


def classify(net: nn.Module, train: tuple, test: torch.Tensor, n_classes: int, args) -> torch.Tensor:
    """The classes (M,) that ``net``, fine-tuned in place on ids x (N, L) and classes y (N,), gives the ids ``test`` (M, L)."""
    x, y = train
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []), torch.enable_grad():
        torch.manual_seed(args.seed)  # of the classifier, and of what a backbone drops out
        order = torch.Generator().manual_seed(args.seed)
        for dropout in dropouts(net):
            dropout.begin(0)
        width = net.hidden(x[:1]).shape[2]
        head = nn.Linear(width, n_classes).to(x.device)
        net.train()
        optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=args.finetune_lr)
        for _ in range(args.finetune_epochs):
            for index in torch.randperm(len(x), generator=order).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(head(net.hidden(x[index]).mean(1)), y[index]).backward()
                optimizer.step()
    net.eval()
    with torch.no_grad():
        return torch.cat([head(net.hidden(part).mean(1)).argmax(1) for part in test.split(CHUNK)])


def share(right: torch.Tensor) -> float:
    return right.double().mean().item()


def macro_f1(labels: torch.Tensor, predicted: torch.Tensor) -> float:
    """The mean over all classes that are there or are predicted of F1 = 2 TP / (2 TP + FP + FN)."""
    f1s = []
    for c in torch.cat((labels, predicted)).unique():
        there, said = labels == c, predicted == c
        f1s.append(2 * (there & said).sum().item() / (there.sum() + said.sum()).item())
    return sum(f1s) / len(f1s)
