"""What is learned from a data file: the classes of images, or the masked tokens of text. The file says which.

A problem says what a run makes of stored examples, how many outputs it takes, and which methods and flags fit. The network
follows from it too (``model.common.network``). The loss is the cross-entropy in both cases.
"""

import hashlib

import torch

import model as methods
from data import files, pixels, tokens
from model import UsageError, common, reference
from model.arguments import FLAGS
from model.transformer import Language


class Images:
    """Images with labels: each task's outputs follow from its labels."""

    kind = "images"

    def __init__(self, file: files.DataFile, args):
        self.args = args
        if args.backbone:
            raise UsageError(
                f"--backbone {args.backbone}: {args.data_file} holds images, and this is for text; leave it out"
            )
        if args.finetune_epochs:
            raise UsageError(
                f"--finetune_epochs {args.finetune_epochs}: {args.data_file} holds images, and this is for text; leave it out"
            )

    @staticmethod
    def shown(x, y, place):
        """The batch that is learned from stored examples x (B, n_inputs), y (B,)."""
        return pixels.floats(x), y

    def outputs(self, train, test) -> tuple[int, list | None]:
        """(the number of outputs, those of each task, or None for one shared head)."""
        args = self.args
        labels = [set(torch.cat((a[2], b[2])).unique().tolist()) for a, b in zip(train, test, strict=True)]
        n_outputs = max(max(task) for task in labels) + 1
        rule = reference.outputs if args.parity and args.head == "auto" else common.outputs_by_label
        return n_outputs, rule(labels, n_outputs, args)

    def tests(self, test) -> list:
        """The test tasks as they are evaluated."""
        return test

    def language(self) -> Language | None:
        """What a method is told of text."""
        return None


class MaskedText:
    """Text: the tokens that a mask hides are to be told, and all domains share the vocabulary as their outputs."""

    kind = "text"

    def __init__(self, file: files.DataFile, args):
        self.args, self.text = args, file.text
        self.n_tokens = len(file.text.vocabulary)
        self.labels = []  # those of the test tasks, which are not learned but by classifiers at the end
        refuse_for_text(args)

    def shown(self, x, y, place):
        """Stored ids x (B, L) with masks that depend on the seed and the place in the stream; the labels are not learned."""
        digest = hashlib.sha256(repr((self.args.seed, place)).encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
        chosen = tokens.choose(x.cpu(), self.text.mask, self.n_tokens, generator)  # the same on every device
        return tokens.masked(x, chosen.to(x.device))

    def outputs(self, train, test):
        return self.n_tokens, None

    def tests(self, test):
        """Test tasks with the masks of the file. Held-out training text has masks of its own, the same in every run."""
        args, found = self.args, []
        self.labels = [y for _, _, y in test]
        for t, (name, x, _) in enumerate(test, args.first_task):
            if args.validation:
                shown = tokens.choose(x, self.text.mask, self.n_tokens, torch.Generator().manual_seed(t))
            else:
                shown = files.contents(self.text.shown[t])
            found.append((name, *tokens.masked(x, shown)))
        return found

    def language(self):
        return Language(self.n_tokens, self.text.mask, files.contents(self.text.general))


def of(file: files.DataFile, args) -> Images | MaskedText:
    """The problem that a file poses. ``UsageError`` if the method or a flag does not fit it."""
    found = MaskedText if file.text else Images
    method = methods.METHODS.get(args.model)
    if method and found.kind not in method.learns:
        fitting = ", ".join(methods.learning(found.kind))
        raise UsageError(
            f"--model {args.model}: learns {' and '.join(method.learns)}, and {args.data_file} holds {found.kind}; "
            f"give another --data_file, or one of {fitting}"
        )
    return found(file, args)


# Flags of the networks for images, and of what is looked at in them.
OF_IMAGES = ("hidden_sizes", "norm", "dropout", "l1_activations", "probe")


def refuse_for_text(args) -> None:
    """``UsageError`` for flags that mean nothing for text."""
    for name, wrong, remedy in (
        ("parity", args.parity, "no"),
        ("net", args.net != "auto", "auto"),
        ("head", args.head == "split", "auto"),
        ("forgetting_mode", args.forgetting_mode, "no"),
        ("evaluation", args.evaluation == "integer", "auto"),
        *((name, getattr(args, name) != FLAGS[name].default, "its default") for name in OF_IMAGES),
        ("ewc_fisher", args.model == "ewc" and args.ewc_fisher != "batch", "batch"),
    ):
        if wrong:
            value = getattr(args, name)
            value = ("no", "yes")[value] if isinstance(value, bool) else value
            raise UsageError(
                f"--{name} {value}: {args.data_file} holds text, and this is for images; give --{name} {remedy}"
            )
