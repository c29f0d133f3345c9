"""What is fuzzed of `--start_from`: a header, a state, and a fresh method that goes on from them."""

import hashlib
import io
import json
from types import SimpleNamespace

import torch

import main
from experiment import continued, store
from experiment.checkpoints import FORMAT
from model import UsageError, arguments, state
from model.single import Net
from scripts.fuzzing.target import Target

SIZES = {"n_inputs": 3, "n_outputs": 2, "n_tasks": 2, "outputs": None, "task_sizes": [4, 4]}
FLAGS = ["--model", "single", "--n_layers", "1", "--n_hiddens", "2"]


def _single():
    return Net(3, 2, 3, arguments.of(main.parse(FLAGS)[0]))


def _go_on(path):
    """The input as what follows the checksum, which is right: whoever writes such a file can compute it."""
    content = path.read_bytes()
    path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    args = main.parse([*FLAGS, "--start_from", str(path)])[0]
    earlier = continued.Earlier(args)
    data = SimpleNamespace(n_inputs=3, n_outputs=2, n_tasks=1, outputs=None, _replace=lambda **sizes: sizes)
    assert earlier.followed_by(data)["n_tasks"] > 1 and isinstance(earlier.text, str)
    earlier.teach(_single())


def _states() -> list[bytes]:
    args = main.parse(FLAGS)[0]
    header = {"format": FORMAT, "settings": continued._deciding(args), "sizes": SIZES, "learned": ["0" * 64]}
    split = {**header, "sizes": {**SIZES, "outputs": [[0], [1]]}}
    made = []
    for told in (header, split):
        torch.save(state.checkpoint(_single()), buffer := io.BytesIO())
        made.append(json.dumps(told).encode() + b"\n" + buffer.getvalue())
    return made


WORDS = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"null", b"[]", b"{}", b"-1", b"1e999", b"9" * 5000, b'"', b"[" * 5000,
         b"ctorch\nFloatStorage\n", b"cos\nsystem\n", b"R", b".", b"}", b"u", b"s", b"\x85")  # fmt: skip
TARGETS = {
    "state": Target(
        _go_on,
        (UsageError,),
        _states,
        (continued.__name__, store.__name__, "torch._weights_only_unpickler"),
        WORDS,
        "x.state",
    )
}
