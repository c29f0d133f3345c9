"""Products and sums by blocks against autograd over explicit coordinates."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import common, networks
from model.engine.autograd import AutogradEngine
from model.engine.fast import FastEngine
from model.engine.partition import Blend, Partition
from model.numeric import projection
from tests.model.engine.test_engine import plain

ENGINES = {
    "autograd": AutogradEngine,
    "fast": FastEngine,
    "kept": partial(FastEngine, form="kept"),
    "plain": partial(FastEngine, form="plain"),
}


@st.composite
def problems(draw):
    """A float64 network, its partition, a batch, stored examples and one row a task, of random sizes."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    n_tasks = draw(st.integers(1, 4))
    counts = [draw(st.integers(1, 4)) for _ in range(n_tasks)]
    hidden = draw(st.lists(st.integers(1, 7), min_size=0, max_size=3))
    n_inputs, C = draw(st.integers(1, 9)), draw(st.integers(2, 5))
    net = common.MLP([n_inputs, *hidden, C]).double()
    for p in net.parameters():
        p.data = torch.randn_like(p)
    groups = [torch.randint(0, draw(st.integers(1, n)), (n,)).unique(return_inverse=True)[1] for n in hidden]
    sizes = [n_inputs, *hidden, C]
    shapes = [(o, i) for i, o in itertools.pairwise(sizes)]
    partition = Partition(shapes, groups, own_biases=draw(st.booleans()))
    tasks = torch.arange(n_tasks).repeat_interleave(torch.tensor(counts))
    x, y = torch.randn(len(tasks), n_inputs).double(), torch.randint(0, C, (len(tasks),))
    B = draw(st.integers(1, 4))
    batch = torch.randn(B, n_inputs).double(), torch.randint(0, C, (B,))
    return net, partition, (x, y, tasks), batch


def dense(net, stored, batch):
    """g_0 (p,) and one row a task (t, p) by plain autograd; weights of the rows (t, N)."""
    x, y, tasks = stored
    outputs = common.TaskOutputs(net.net[-1].out_features)
    members = (tasks.unique().unsqueeze(1) == tasks).double()
    members /= members.sum(1, keepdim=True)
    rows = torch.stack([plain(net, outputs, x, y, tasks, w) for w in members])
    B = len(batch[1])
    g = plain(net, outputs, *batch, torch.zeros(B, dtype=torch.long), torch.full((B,), 1 / B, dtype=torch.float64))
    return outputs, g, rows, members


def restricted(vector, partition):
    """(n_blocks, p): the vector on each block, zero elsewhere."""
    return torch.stack([vector * (partition.labels() == b) for b in range(partition.n_blocks)])


@pytest.mark.parametrize("kind", ENGINES)
@settings(max_examples=12)
@given(problems())
def test_by_blocks_equals_the_explicit_rows(kind, problem):
    """Property 3: slices against an explicit pp whose rows are zero outside their block."""
    net, partition, stored, batch = problem
    outputs, g0, rows, weights = dense(net, stored, batch)
    engine = ENGINES[kind](net, outputs)
    engine.set_rows(*stored, weights)
    before = engine.theta.clone()
    g = engine.gradients(*batch, 0)
    pp = torch.stack([restricted(row, partition) for row in rows], 1)  # (n_blocks, t, p)
    scale = 1 + float(pp.square().sum() + g0.square().sum())
    assert g.dots(partition) == pytest.approx((pp @ g0).numpy(), abs=1e-10 * scale)
    assert g.gram(partition) == pytest.approx((pp @ pp.transpose(1, 2)).numpy(), abs=1e-10 * scale)
    v = np.random.default_rng(0).normal(size=pp.shape[:2])
    v[0] *= len(rows) % 2  # block 0 without a correction, in some
    g.descend(0.1, projection.Correction(v), partition)
    moved = ((before - engine.theta) / 0.1).numpy()
    expected = g0 + (torch.from_numpy(v).unsqueeze(2) * pp).sum((0, 1))
    assert moved == pytest.approx(expected.numpy(), abs=1e-10 * scale)


@pytest.mark.parametrize("kind", ENGINES)
@settings(max_examples=12)
@given(problems())
def test_blends_equal_the_explicit_weighted_sum(kind, problem):
    net, partition, stored, batch = problem
    if partition.biases and partition.biases[0]:
        partition = Partition(partition.shapes, partition.groups)
    outputs, g0, rows, weights = dense(net, stored, batch)
    t = len(rows)
    shares = np.random.default_rng(1).random((partition.n_blocks, t))
    shares[0] = 1
    blend = Blend(partition, list(range(t)), shares)
    engine = ENGINES[kind](net, outputs)
    engine.set_rows(*stored, weights.mean(0, keepdim=True))
    before = engine.theta.clone()
    r = (torch.from_numpy(shares).t()[:, partition.labels()] * rows).mean(0)
    blocks = restricted(r, partition)
    for step in range(2):
        if step:
            _, g0, rows, _ = dense(net_now(net, engine), stored, batch)
            before = engine.theta.clone()
            r = (torch.from_numpy(shares).t()[:, partition.labels()] * rows).mean(0)
            blocks = restricted(r, partition)
        g = engine.gradients(*batch, 0, blended=True)
        scale = 1 + float(r.square().sum() + g0.square().sum())
        assert g.dots(blend)[:, 0] == pytest.approx((blocks @ g0).numpy(), abs=1e-10 * scale)
        assert g.gram(blend)[:, 0, 0] == pytest.approx(blocks.square().sum(1).numpy(), abs=1e-10 * scale)
        v = np.random.default_rng(2).normal(size=(partition.n_blocks, 1))
        v[0] *= step
        g.descend(0.1, projection.Correction(v), blend)
        moved = ((before - engine.theta) / 0.1).numpy()
        expected = g0 + (torch.from_numpy(v) * blocks).sum(0)
        assert moved == pytest.approx(expected.numpy(), abs=1e-9 * scale)


def net_now(net, engine):
    """A copy of the network with complete parameters."""
    sizes = [net.net[0].in_features, *(layer.out_features for layer in net.net[::2])]
    twin = common.MLP(sizes).double()
    theta = engine.theta
    for p, value in zip(twin.parameters(), engine.flat.split(theta), strict=True):
        p.data.copy_(value)
    return twin


@settings(max_examples=12)
@given(problems())
def test_the_blocks_are_a_partition(problem):
    """Property 2: every coordinate once; the blocks' parts of a vector add up to it."""
    net, partition, _, _ = problem
    labels = partition.labels()
    p = sum(parameter.numel() for parameter in net.parameters())
    assert labels.shape == (p,) and set(labels.tolist()) == set(range(partition.n_blocks))
    vector = torch.randn(p).double()
    assert torch.equal(restricted(vector, partition).sum(0), vector)
    assert partition.sums(vector).sum() == pytest.approx(float(vector.sum()), abs=1e-10)
    named = dict(net.named_parameters())
    starts = np.cumsum([0] + [value.numel() for value in named.values()])
    for (name, value), start in zip(named.items(), starts, strict=False):
        mine = labels[start : start + value.numel()].view(value.shape)
        layer = int(name.split(".")[1]) // 2
        if layer == 0 or (value.dim() == 1 and not partition.biases[layer - 1]):
            assert bool((mine == 0).all())
        elif value.dim() == 2:
            expected = partition.groups[layer - 1] + partition.slices[layer - 1].start
            assert torch.equal(mine, expected.expand_as(mine))


@pytest.mark.parametrize("kind", ENGINES)
def test_without_rows(kind):
    net = common.MLP([3, 4, 2])
    engine = ENGINES[kind](net, common.TaskOutputs(2))
    partition = Partition([(4, 3), (2, 4)], [torch.tensor([0, 1, 1, 0])])
    g = engine.gradients(torch.rand(2, 3), torch.tensor([0, 1]), 0)
    assert g.dots(partition).shape == (3, 0)
    before = engine.theta.clone()
    g.descend(0.1, None, partition)
    assert not torch.equal(engine.theta, before)


@pytest.mark.parametrize("kind", ["autograd", "fast"])
@pytest.mark.parametrize("split", [False, True])
def test_activations_and_scores_of_the_batch(kind, split):
    net = common.MLP([3, 4, 5, 4])
    outputs = common.TaskOutputs(4, [[0, 1], [2, 3]] if split else None)
    engine = ENGINES[kind](net, outputs)
    x = torch.rand(2, 3)
    g = engine.gradients(x, torch.tensor([0, 1]), 0)
    hidden, logits = networks.activations(net, x)
    assert all(torch.allclose(a, b) for a, b in zip(g.hidden, hidden, strict=True))
    if split:
        logits = logits * torch.tensor([1, 1, 0, 0])
    assert torch.allclose(g.scores, logits, atol=1e-6)


def test_no_array_is_longer_than_the_bound():
    """Over every operation of corrected steps: at most max(4 (t + 1) p, 4 N hidden) floats."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(value, torch.Tensor):
                    floats = value.untyped_storage().nbytes() // 4
                    self.numel = max(self.numel, floats)
            return result

    torch.manual_seed(0)
    t, m, units = 9, 10, 100
    net = common.MLP([784, units, units, 10])
    p = sum(q.numel() for q in net.parameters())
    tasks = torch.arange(t).repeat_interleave(m)
    groups = [torch.arange(units) % 20] * 2
    partition = Partition([(units, 784), (units, units), (10, units)], groups)
    x, y = torch.rand(t * m, 784), torch.randint(0, 10, (t * m,))
    for blend in (False, True):
        engine = FastEngine(net, common.TaskOutputs(10))
        members = (tasks.unique().unsqueeze(1) == tasks).double() / m
        engine.set_rows(x, y, tasks, members.mean(0, keepdim=True) if blend else members)
        blocks = partition
        if blend:
            blocks = Blend(partition, list(range(t)), np.ones((partition.n_blocks, t)))
        engine.gradients(x[:1], y[:1], 0)
        with Largest() as largest:
            for B in (1, 10):
                g = engine.gradients(x[:B], y[:B], 0)
                v = g.dots(blocks) * 0 + g.gram(blocks)[:, 0] * 0 + 0.1
                g.descend(0.1, projection.Correction(v), blocks)
        bound = 4 * 2 * p if blend else max(4 * (t + 1) * p, 4 * t * m * 2 * units)
        assert 0 < largest.numel <= bound
