"""General pre-training: what a Transformer has learned of the general text before the first domain.

It is made once for a data file and a size of the network, and kept beside the data file, for all methods and seeds: they
begin from the same network, as continued pre-training begins from a published one. Nothing of a run's own draws is used.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from data import standard, tokens
from experiment import store
from model import transformer
from model.engine.flat import threads
from model.transformer import Encoder, Language

FORMAT = 1  # to be raised when what is learned changes
RATE, WARM, BATCH, SEED = 1e-2, 0.1, 32, 0  # of AdamW; the share of the steps in which the rate rises; sequences a step
PASSES = 4  # over the general text at most, however many steps are asked for


def language(data, continuum, args) -> Language | None:
    """What a method is told of the data's text: its parameters to begin with, and text of the first domain; None of images."""
    told = data.problem.language()
    if told is None:
        return None
    told = told._replace(ahead=torch.as_tensor(continuum.data[continuum.order[0]][1]))
    if args.backbone or args.start_from or not args.pretrain_steps:  # the network begins from something else
        return told
    transformer.check(data.n_inputs, told.n_tokens, args)
    return told._replace(start=_start(told, data, args))


def _start(told: Language, data, args) -> dict:
    """The parameters after general pre-training: from the cache beside the data file, else made now and kept there."""
    steps = min(args.pretrain_steps, max(1, PASSES * len(told.general) // BATCH))
    sizes = {"tokens": told.n_tokens, "length": data.n_inputs, "width": args.n_hiddens, "layers": args.n_layers}
    sizes |= {"steps": steps, "format": FORMAT, "data": data.hash}
    key = hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:12]
    path = Path(f"{data.file.path}.start-{key}")
    found = _read(path, sizes)
    if found is None:
        try:
            with standard.one_at_a_time(path):
                found = _read(path, sizes)
                if found is None:
                    found = pretrain(told, **_of(sizes))
                    store.write(path, sizes, found)
        except OSError:  # a folder that cannot be written: it is made anew every time
            found = pretrain(told, **_of(sizes)) if found is None else found
    return found


def _read(path: Path, sizes: dict) -> dict | None:
    try:
        header, found = store.read(path)
    except store.Damaged:
        return None
    return found if header == sizes else None


def _of(sizes: dict) -> dict:
    return {name: sizes[name] for name in ("length", "width", "layers", "steps")}


def pretrain(told: Language, length: int, width: int, layers: int, steps: int) -> dict:
    """The parameters of an encoder after so many steps of AdamW on the general text, on one thread."""
    from tqdm import tqdm

    generator = torch.Generator().manual_seed(SEED)
    with torch.random.fork_rng(devices=[]), threads(1):
        torch.manual_seed(SEED)
        net = Encoder(told.n_tokens, length, width, layers, seed=SEED)
        optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
        warm = max(1, round(WARM * steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda i: min((i + 1) / warm, max(0.0, (steps - i) / max(1, steps - warm)))
        )
        print(f"general pre-training, {steps:,} steps, once for this data file and network", file=sys.stderr)
        for _ in tqdm(range(steps), desc="general pre-training", unit="step", leave=False, disable=None):
            x = told.general[torch.randint(len(told.general), (BATCH,), generator=generator)]
            x, y = tokens.masked(x, tokens.choose(x, told.mask, told.n_tokens, generator))
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            schedule.step()
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
