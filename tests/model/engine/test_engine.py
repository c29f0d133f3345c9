"""The engines' products and sums against plain autograd over the concatenated parameters."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from model import common
from model.engine.autograd import AutogradEngine
from model.engine.fast import FastEngine
from model.numeric import projection

ENGINES = {
    "autograd": AutogradEngine,
    "fast": FastEngine,
    "kept": partial(FastEngine, form="kept"),
    "plain": partial(FastEngine, form="plain"),
}


def plain(net, outputs, x, y, tasks, weights):
    """The gradient (p,) of sum_n weights_n CE_n, without any engine."""
    logits = net(x)
    if outputs.foreign is not None:
        logits = logits.masked_fill(outputs.foreign[tasks], common.FOREIGN_LOGIT)
    loss = (F.cross_entropy(logits, y, reduction="none") * weights).sum()
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(net.parameters()))])


@st.composite
def problems(draw):
    """A float64 network, a batch, stored examples and signed rows over them, of random sizes."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    n_tasks, per_task = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    hidden = draw(st.lists(st.integers(1, 7), max_size=3))
    n_inputs, split = draw(st.integers(1, 9)), draw(st.booleans())
    C = 2 * (n_tasks + 1) if split else draw(st.integers(2, 5))
    net = common.MLP([n_inputs, *hidden, C]).double()
    for p in net.parameters():
        p.data = torch.randn_like(p)
    outputs = common.TaskOutputs(C, common.equal_slices(C, n_tasks + 1) if split else None)
    tasks = torch.arange(n_tasks).repeat_interleave(per_task)
    N, R, B = len(tasks), draw(st.integers(1, 4)), draw(st.integers(1, 6))
    labels = torch.randint(0, 2, (N,)) + 2 * tasks if split else torch.randint(0, C, (N,))
    x, weights = torch.randn(N, n_inputs).double(), torch.randn(R, N).double()
    weights[torch.rand(R, N) < 0.3] = 0
    batch_y = torch.randint(0, 2, (B,)) + 2 * n_tasks if split else torch.randint(0, C, (B,))
    batch = (torch.randn(B, n_inputs).double(), batch_y, n_tasks if split else 0)
    return net, outputs, (x, labels, tasks, weights), batch


@pytest.mark.parametrize("kind", ENGINES)
@given(problems())
def test_products_and_sums_equal_autograd(kind, problem):
    net, outputs, stored, (x, y, task) = problem
    expected = [
        plain(
            net,
            outputs,
            x,
            y,
            torch.full((len(y),), task),
            torch.full((len(y),), 1 / len(y), dtype=torch.float64),
        )
    ]
    expected += [plain(net, outputs, *stored[:3], row) for row in stored[3]]
    G = torch.stack(expected).numpy()

    engine = ENGINES[kind](net, outputs)
    engine.set_rows(*stored)
    before = engine.theta.clone()
    g = engine.gradients(x, y, task)
    scale = np.linalg.norm(G, axis=1)
    tiny = 1e-10
    assert g.dots() == pytest.approx(G[1:] @ G[0], abs=tiny * (1 + (scale[1:] * scale[0]).max()))
    assert g.gram() == pytest.approx(G[1:] @ G[1:].T, abs=tiny * (1 + scale.max() ** 2))
    v = np.linspace(-1, 2, len(G) - 1)
    corrected = g.flat(projection.Correction(v)).numpy()
    assert corrected == pytest.approx(G[0] + v @ G[1:], abs=1e-9 * (1 + scale.max()))
    g = engine.gradients(x, y, task)  # what `flat` returns may be where g_0 was
    assert g.flat().numpy() == pytest.approx(G[0], abs=1e-9 * (1 + scale.max()))
    g.descend(0.1, projection.Correction(v))
    moved = ((before - engine.theta) / 0.1).numpy()
    assert moved == pytest.approx(G[0] + v @ G[1:], abs=1e-9 * (1 + scale.max()))


@pytest.mark.parametrize("kind", ENGINES)
@given(problems())
def test_without_rows_it_is_sgd(kind, problem):
    net, outputs, _, (x, y, task) = problem
    engine = ENGINES[kind](net, outputs)
    before = engine.theta.clone()
    expected = plain(
        net,
        outputs,
        x,
        y,
        torch.full((len(y),), task),
        torch.full((len(y),), 1 / len(y), dtype=torch.float64),
    )
    g = engine.gradients(x, y, task)
    assert len(g.dots()) == 0
    assert g.flat().numpy() == pytest.approx(expected.numpy(), abs=1e-11)
    g.descend(0.5)
    assert ((before - engine.theta) * 2).numpy() == pytest.approx(expected.numpy(), abs=1e-10)


@pytest.mark.parametrize("kind", ENGINES)
@given(problems())
def test_any_loss_through_its_gradient_at_the_logits(kind, problem):
    net, outputs, _, (x, _, task) = problem
    engine = ENGINES[kind](net, outputs)
    logits = engine.forward(x, task)
    weights = torch.randn(logits.shape).double()
    if outputs.foreign is not None:
        weights[:, outputs.foreign[task]] = 0
    assert torch.allclose(logits, engine.predict(x, task))
    assert not logits.requires_grad
    for_each = engine.backward(weights, per_sample=True).clone()
    engine.forward(x, task)
    total = engine.backward(weights).clone()
    loss = (net(x) * weights).sum()
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(net.parameters()))])
    assert torch.allclose(total, expected, atol=1e-10)
    assert torch.allclose(for_each.sum(0), expected, atol=1e-10)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_loss_that_is_not_finite_stops_the_step(kind):
    net = common.MLP([3, 4, 2])
    engine = ENGINES[kind](net, common.TaskOutputs(2))
    engine.theta[5] = float("nan")
    with pytest.raises(FloatingPointError, match=r"^the loss of the batch is (not finite|nan)$"):
        engine.gradients(torch.rand(1, 3), torch.tensor([1]), 0)
    if hasattr(engine, "gradient"):
        with pytest.raises(FloatingPointError, match=r"^the loss of the batch is nan$"):
            engine.gradient(lambda: net(torch.rand(1, 3)).sum())


def resnet_engine(parity):
    torch.manual_seed(0)
    net = common.ResNet18(4, width=2)
    engine = AutogradEngine(net, common.TaskOutputs(4, common.equal_slices(4, 2)), parity=parity)
    x, y = torch.rand(6, 3072), torch.tensor([0, 1, 0, 1, 0, 1])
    engine.set_rows(x, y, torch.zeros(6, dtype=torch.long), torch.full((1, 6), 1 / 6))
    return net, engine


@pytest.mark.parametrize("parity", [False, True])
def test_memory_passes_and_batch_normalisation(parity):
    """Batch statistics in memory passes; the running ones move once, or in parity once more for the memory."""
    net, engine = resnet_engine(parity)
    batch = torch.rand(3, 3072), torch.tensor([2, 3, 2])
    g = engine.gradients(*batch, 1)
    moved = net.bn1.num_batches_tracked.item()
    assert moved == (2 if parity else 1)
    torch.manual_seed(0)
    twin = common.ResNet18(4, width=2)
    logits = twin(batch[0]).masked_fill(engine.outputs.foreign[1], common.FOREIGN_LOGIT)
    F.cross_entropy(logits, batch[1]).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in twin.parameters()])
    assert torch.allclose(g.flat(), expected, atol=1e-6)
    if not parity:
        assert torch.equal(net.bn1.running_mean, twin.bn1.running_mean)


def test_recording_leaves_running_statistics_alone():
    net, engine = resnet_engine(parity=False)
    before = net.bn1.running_mean.clone()
    with engine.recording():
        assert not net.training
        engine.forward(torch.rand(3, 3072), 0)
    assert net.training and torch.equal(net.bn1.running_mean, before)
