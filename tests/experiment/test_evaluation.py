"""Evaluations of many tasks: small test sets are scored together, and each accuracy is that of its task alone."""

import argparse

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data import pixels
from experiment.evaluation import GROUP, Evaluator
from tests.conftest import net


def drawn(lengths, C, seed):
    """Test sets of images in bytes; some labels are of other tasks."""
    draw = torch.Generator().manual_seed(seed)
    return [
        [None, torch.randint(256, (n, 12), generator=draw).byte(), torch.randint(C, (n,), generator=draw)]
        for n in lengths
    ]


def by_definition(model, tasks, foreign):
    """Per task: the share of its examples whose label is the first of the largest logits, in float64."""
    model.double()
    found = []
    for t, (_, x, y) in enumerate(tasks):
        z = model.net(pixels.floats(x).double())
        if foreign:
            z[:, model.outputs.foreign[t]] = -torch.inf
        found.append(((z == z.amax(1, keepdim=True)).int().argmax(1) == y).double().mean().item())
    return found


lengths = st.lists(st.sampled_from([1, 2, 30, GROUP - 3, GROUP + 1, 2 * GROUP + 700]), min_size=1, max_size=8)


@pytest.mark.parametrize("split", [False, True])
@settings(max_examples=20)
@given(lengths=lengths, seed=st.integers(0, 2**20), scale=st.sampled_from([0.0, 1.0]), signed=st.booleans())
def test_accuracies_are_the_tasks_own(split, lengths, seed, scale, signed):
    """Also of a network of zeros, whose logits are all in doubt, and of the tasks ``only``."""
    T = len(lengths)
    C = 2 * T if split else 4
    outputs = [[2 * t, 2 * t + 1] for t in range(T)] if split else None
    model = net("single", n_outputs=C, n_tasks=T, seed=seed, task_outputs=outputs)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    tasks = drawn(lengths, C, seed)
    shown = [[name, pixels.signed(x.clone()) if signed else x, y] for name, x, y in tasks]
    tally = {"examples": 0, "integers": 0, "again": 0, "singly": 0}
    evaluator = Evaluator(shown, argparse.Namespace(parity=False), tally)
    only = list(range(T))[::-2]
    whole, some = evaluator(model), evaluator(model, only)
    assert tally["examples"] == sum(lengths) + sum(lengths[t] for t in only)
    assert scale or tally["singly"] == tally["examples"]
    masked, unmasked = (by_definition(model, tasks, foreign) for foreign in (split, False))
    assert whole == (masked, unmasked if split else [], [])
    assert some == ([masked[t] for t in only], [unmasked[t] for t in only] if split else [], [])


def test_evaluations_of_prefixes_share_what_they_remember():
    tasks = drawn([GROUP] * 12, 4, 0)
    evaluator = Evaluator(tasks, argparse.Namespace(parity=False))
    model = net("single", n_tasks=12)
    assert evaluator(model, []) == ([], [], [])
    for n in range(1, 13):
        evaluator(model, list(range(n)))
    assert len(evaluator._groups) == 12
    assert all(group.sizes is evaluator._sizes[t] for (t,), group in evaluator._groups.items())
