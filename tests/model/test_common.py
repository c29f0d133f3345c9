"""Networks: the reference's names, sizes and draws; which outputs belong to a task."""

import argparse
import re
import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model import UsageError, arguments, common, networks


def test_mlp_names_and_draws():
    torch.manual_seed(3)
    ours = common.MLP([784, 100, 100, 10])
    assert list(ours.state_dict()) == [f"net.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")]
    torch.manual_seed(3)
    layers = [nn.Linear(a, b) for a, b in ((784, 100), (100, 100), (100, 10))]  # the default draws come first
    for layer, weight in zip(layers, (ours.net[0], ours.net[2], ours.net[4]), strict=True):
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        layer.weight.data.uniform_(-bound, bound)
        assert torch.allclose(layer.weight, weight.weight, atol=1e-7)
        assert float(weight.bias.detach().abs().sum()) == 0
    assert sum(p.numel() for p in ours.parameters()) == 89_610


def test_resnet_names_and_size():
    net = common.ResNet18(100)
    assert sum(p.numel() for p in net.parameters()) == 1_109_240
    keys = list(net.state_dict())
    assert keys[0] == "conv1.weight" and keys[-2:] == ["linear.weight", "linear.bias"]
    assert "layer2.0.shortcut.0.weight" in keys and "layer2.0.shortcut.1.running_var" in keys
    assert "layer1.0.shortcut.0.weight" not in keys
    assert net(torch.rand(2, 3072)).shape == (2, 100)


def test_the_resnet_lays_its_maps_pixel_by_pixel_and_computes_the_same():
    """On a CPU, unless the reference's digits are asked for; parameters, their names and their order stay."""
    nets, results, layout = {}, {}, []
    x = torch.rand(3, 3072)
    for parity in (False, True):
        torch.manual_seed(0)
        with common.resnet_layout(plain=parity):
            net = nets[parity] = common.ResNet18(4, width=2)
        net.layer4.register_forward_hook(
            lambda module, args, out: layout.append(out.is_contiguous(memory_format=torch.channels_last))
        )
        net.conv1.register_forward_hook(
            lambda module, args, out: layout.append(out.is_contiguous(memory_format=torch.channels_last))
        )
        out = net(x)
        out.square().sum().backward()
        results[parity] = [out.detach(), *(p.grad for p in net.parameters())]
    assert layout == [True, True, False, False]
    for ours, reference in zip(results[False], results[True], strict=True):
        assert torch.allclose(ours, reference, rtol=1e-3, atol=1e-4 * float(reference.abs().max()))
    assert all(p.is_contiguous() for p in nets[False].parameters())


def test_the_network_follows_the_inputs_unless_told():
    args = arguments.of(argparse.Namespace(n_layers=1, n_hiddens=7, data_file="images.pt"))
    assert isinstance(networks.network(3072, 10, args), common.ResNet18)
    args.parity = True
    assert isinstance(networks.network(3072, 10, args), common.MLP)  # the reference looks at the file's name
    args.data_file = "cifar100.pt"
    assert isinstance(networks.network(3072, 10, args), common.ResNet18)
    args.parity = False
    assert networks.network(784, 10, args).net[0].weight.shape == (7, 784)
    args.net = "mlp"
    assert isinstance(networks.network(3072, 10, args), common.MLP)
    args.n_layers = 0
    assert len(networks.network(5, 3, args).net) == 1


def test_task_outputs():
    shared = common.TaskOutputs(4)
    logits = torch.arange(8.0).view(2, 4)
    assert torch.equal(shared.mask_(logits.clone(), 1), logits) and shared.count(0) == 4
    split = common.TaskOutputs(4, [[0, 3], [1, 2]])
    assert split.mask_(logits.clone(), 0).argmax(1).tolist() == [3, 3] and split.count(1) == 2
    each = split.mask_(logits.clone(), torch.tensor([0, 1]))
    assert each[0, 1] == common.FOREIGN_LOGIT and each[1, 0] == common.FOREIGN_LOGIT and each[1, 2] == 6


def test_the_references_rule_where_main_said_nothing():
    cifar = common.task_outputs(100, 20, argparse.Namespace(data_file="cifar100.pt"))
    assert cifar.count(0) == 5 and not bool(cifar.foreign[3, 15:20].any()) and bool(cifar.foreign[3, 20])
    assert common.task_outputs(10, 20, argparse.Namespace(data_file="mnist_rotations.pt")).foreign is None
    told = common.task_outputs(100, 20, argparse.Namespace(data_file="cifar100.pt", task_outputs=None))
    assert told.foreign is None


AUTO = argparse.Namespace(head="auto")
OVERLAP = re.compile(r"label (\d+) is in tasks (\d+) and (\d+), and label (\d+) in task (\d+) and not in task (\d+);")


@given(st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=6))
def test_outputs_follow_from_the_labels(labels):
    """Equal labels share a head, disjoint ones split it; else the sentence names tasks for which it is true."""
    apart = len(labels) > 1 and all(not s & t for i, s in enumerate(labels) for t in labels[:i])
    if not apart and any(task != labels[0] for task in labels):
        with pytest.raises(UsageError) as refusal:
            common.outputs_by_label(labels, 5, AUTO)
        both, s, t, one, u, v = map(int, OVERLAP.search(str(refusal.value)).groups())
        assert s != t and both in labels[s] & labels[t] and one in labels[u] - labels[v]
        return
    outputs = common.outputs_by_label(labels, 5, AUTO)
    assert (outputs is not None) == apart
    for task, own in zip(labels, outputs or [], strict=apart):
        assert task <= set(own)


def test_many_tasks_whose_labels_overlap_in_part():
    """Without a list of all pairs of tasks, which for 20,000 tasks takes 40 GB."""
    labels = [{0, 1} for _ in range(2000)] + [{1}]
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="label 0 is in tasks 0 and 1, and label 0 in task 0 and not in task 2000"):
            common.outputs_by_label(labels, 2, AUTO)
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    finally:
        tracemalloc.stop()
