"""Text in data files: x (N, L) holds the ids of tokens, and a third entry of the file declares what they are.

    [training tasks, test tasks, {"kind": "text", "vocabulary": [..], "mask": id, "python": "3.12.1",
                                  "general": (M, L), "shown": [(N, L), ..]}]

A masked language model sees a sequence in which some tokens are replaced, and predicts the ones that stood there (Devlin et
al. 2019: 15 % of the tokens, of these 80 % become the mask, 10 % another token, 10 % stay). For test tasks this is drawn
once and stored: `shown` holds what is seen in place of a token that is to be predicted, and -1 elsewhere. `general` is text
of none of the domains. `python` is the version of the Python installation that the text was taken from, empty if it was not.
"""

import json
from dataclasses import dataclass, replace

import torch

from data import DataError

KIND = "text"
STORED = (torch.uint8, torch.int16, torch.int32, torch.int64)
SIGNED = STORED[1:]
VOCABULARY = 2**16  # tokens
LENGTH = 2**12  # tokens of a sequence; what attention takes grows with its square
CHOSEN, MASKED, OTHER = 0.15, 0.8, 0.1  # of all tokens; of those chosen: become the mask, become another token
KEPT = -1  # in `shown`: the token stays, and is not to be predicted
IGNORED = -100  # in targets: the same, as cross-entropy calls it
ENTRIES = ("kind", "vocabulary", "mask", "python", "general", "shown")


@dataclass(frozen=True)
class Text:
    """What a text file declares. `general` (M, L) and each of `shown` (N, L), one a test task, are tensors or `Stored`."""

    vocabulary: tuple[str, ...]
    mask: int  # the id of the mask
    python: str
    general: object
    shown: tuple

    # -- how data/files.py checks and hashes x: the counterpart of files.Images

    stored = STORED
    wanted = "store the ids of tokens as uint8, int16, int32 or int64"

    def bounds(self, where: str) -> "Bounds":
        return Bounds(where, len(self.vocabulary))

    @staticmethod
    def called(x) -> str:
        """The dtype of what is hashed: the same text is the same data, however its ids are stored."""
        return "ids"

    @staticmethod
    def plain(rows: torch.Tensor) -> torch.Tensor:
        return rows.long()

    def declaration(self) -> bytes:
        """What is hashed beside all tensors."""
        return json.dumps([KIND, self.vocabulary, self.mask, self.python]).encode()

    def as_entry(self) -> dict:
        """The third entry of a data file."""
        return {"kind": KIND, "vocabulary": list(self.vocabulary), "mask": self.mask, "python": self.python,
                "general": self.general, "shown": list(self.shown)}  # fmt: skip

    def tensors(self) -> list:
        return [self.general, *self.shown]

    def read(self, contents) -> "Text":
        """With tensors, as ``contents`` reads them."""
        general, *shown = map(contents, self.tensors())
        return replace(self, general=general, shown=tuple(shown))


class Bounds:
    """Checks the ids of one tensor, given some rows after another: from `low` to `n_tokens` - 1."""

    def __init__(self, where: str, n_tokens: int, low: int = 0):
        self.where, self.n_tokens, self.low = where, n_tokens, low

    def add(self, rows: torch.Tensor) -> None:
        low, high = (int(bound) for bound in torch.aminmax(rows))
        if low < self.low or high >= self.n_tokens:
            wrong = low if low < self.low else high
            raise DataError(
                f"{self.where}: holds the token {wrong}, and the vocabulary goes from {self.low} to {self.n_tokens - 1}; "
                "build the file again"
            )

    def check(self) -> None:
        pass


def declared(content, path) -> tuple[object, Text | None]:
    """(the pair of task lists, what a third entry declares; None without one). `DataError` if that is no text's."""
    if not isinstance(content, list | tuple) or len(content) != 3 or not isinstance(content[2], dict):
        return content, None
    *pair, entry = content
    if entry.get("kind") != KIND:
        raise DataError(f"{path}: declares the kind {str(entry.get('kind'))[:60]!r}, and only {KIND!r} is known")
    missing = [name for name in ENTRIES if name not in entry]
    if missing:
        raise DataError(f"{path}: declares text without {', '.join(missing)}; build the file again")
    vocabulary, mask, python, general, shown = (entry[name] for name in ENTRIES[1:])
    if not isinstance(vocabulary, list | tuple) or not all(isinstance(token, str) for token in vocabulary):
        raise DataError(f"{path}: its vocabulary is not a list of texts, one a token")
    if not 2 <= len(vocabulary) <= VOCABULARY:
        raise DataError(f"{path}: its vocabulary has {len(vocabulary):,} tokens; from 2 to {VOCABULARY:,} are taken")
    if type(mask) is not int or not 0 <= mask < len(vocabulary):
        raise DataError(f"{path}: its mask is {str(mask)[:60]}, not a token from 0 to {len(vocabulary) - 1}")
    if not isinstance(python, str) or len(python) > 100:
        raise DataError(f"{path}: its python is not the version of an installation, a short text")
    if not isinstance(shown, list | tuple):
        raise DataError(f"{path}: its shown is not a list of tensors, one a test task")
    return pair, Text(tuple(vocabulary), mask, python, general, tuple(shown))


def check_shapes(text: Text, test: list, path, dense) -> None:
    """`DataError` unless `general` and `shown` fit the checked test tasks; `dense(x)`: whether x is a tensor."""
    if len(text.shown) != len(test):
        raise DataError(f"{path}: shows masked text for {len(text.shown)} test tasks, but holds {len(test)}")
    length = test[0][1].shape[1]
    if length > LENGTH:
        raise DataError(f"{path}: sequences of {length:,} tokens; {LENGTH:,} at most are taken")
    places = [("general", text.general, None, STORED)]
    places += [
        (f"shown {t}", x, tuple(task[1].shape), SIGNED)
        for t, (x, task) in enumerate(zip(text.shown, test, strict=True))
    ]
    for name, x, shape, dtypes in places:
        if not dense(x):
            raise DataError(f"{path}: {name} is not a dense tensor but {type(x).__name__}")
        if x.dtype not in dtypes:
            raise DataError(f"{path}: {name} is {x.dtype}; store it as {', '.join(map(str, dtypes))}")
        fits = len(x.shape) == 2 and x.shape[1] == length and len(x) if shape is None else tuple(x.shape) == shape
        if not fits:
            wanted = f"(M, {length})" if shape is None else shape
            raise DataError(f"{path}: {name} has shape {tuple(x.shape)}; it must be {wanted}")


def choose(x: torch.Tensor, mask: int, n_tokens: int, generator: torch.Generator) -> torch.Tensor:
    """`shown` (N, L) for the ids x (N, L): what is seen where a token is to be predicted, KEPT elsewhere.

    15 % of each sequence are chosen, at least one token.
    """
    x = x.long()
    k = max(1, round(CHOSEN * x.shape[1]))
    places = torch.rand(x.shape, generator=generator).topk(k, dim=1).indices
    kind = torch.rand(len(x), k, generator=generator)
    other = torch.randint(n_tokens, (len(x), k), generator=generator)
    seen = torch.where(kind < MASKED, mask, torch.where(kind < MASKED + OTHER, other, x.gather(1, places)))
    return torch.full_like(x, KEPT).scatter_(1, places, seen)


def masked(x: torch.Tensor, shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(what a network sees (N, L), the tokens that it is to predict (N, L), IGNORED elsewhere), both int64."""
    x, shown = x.long(), shown.long()
    chosen = shown != KEPT
    return torch.where(chosen, shown, x), x.masked_fill(~chosen, IGNORED)
