"""Flat views, and everything that breaks them."""

import copy

import pytest
import torch

from model import UsageError, common
from model.engine.flat import FlatParameters

BREAKERS = {
    "double": lambda net: net.double(),
    "half and back": lambda net: net.half().float(),
    "copied data": lambda net: [setattr(p, "data", p.data.clone()) for p in net.parameters()],
    "one copied": lambda net: setattr(net.net[2].bias, "data", net.net[2].bias.data.clone()),
    "load": lambda net: net.load_state_dict({k: v + 1 for k, v in net.state_dict().items()}),
    "zero_grad to none": lambda net: net.zero_grad(set_to_none=True),
    "zero_grad in place": lambda net: net.zero_grad(set_to_none=False),
}


def whole(flat, net):
    assert torch.equal(flat.theta, torch.cat([p.detach().reshape(-1) for p in net.parameters()]))
    grad = flat.grad
    x = torch.rand(3, 5, dtype=flat.theta.dtype)
    grad.zero_()
    net(x).square().sum().backward()
    assert torch.equal(grad, torch.cat([p.grad.reshape(-1) for p in net.parameters()]))
    assert grad.abs().sum() > 0
    flat.theta.sub_(grad, alpha=0.1)
    assert torch.equal(flat.theta, torch.cat([p.detach().reshape(-1) for p in net.parameters()]))


@pytest.mark.parametrize("way", BREAKERS)
def test_views_are_whole_again_after(way):
    torch.manual_seed(1)
    net = common.MLP([5, 16, 16, 2])
    flat = FlatParameters(net)
    assert flat.bind() == "new" and flat.bind() == "whole"
    whole(flat, net)
    BREAKERS[way](net)
    flat.bind()
    whole(flat, net)
    assert flat.bind() == "whole"


@pytest.mark.parametrize(
    ("way", "found"), [("double", "new"), ("copied data", "moved"), ("one copied", "moved"), ("load", "whole")]
)
def test_how_they_were_found(way, found):
    """What somebody holds of ``theta`` stays true unless it is a new one."""
    net = common.MLP([5, 16, 16, 2])
    flat = FlatParameters(net)
    flat.bind()
    theta = flat.theta
    BREAKERS[way](net)
    assert flat.bind() == found and (flat.theta is theta) == (found != "new")


@pytest.mark.parametrize("other", [torch.nn.Linear(16, 3), torch.nn.Linear(16, 2, bias=False), torch.nn.Linear(16, 2)])
def test_a_layer_put_in_the_place_of_another(other):
    net = common.MLP([5, 16, 2])
    flat = FlatParameters(net)
    flat.bind()
    net.net[2] = other
    if other.out_features == 2 and other.bias is not None:
        assert flat.bind() == "moved"
        return whole(flat, net)
    lost = r"net.2.bias \(2,\)" if other.bias is None else r"net.2.weight \(2, 16\)"
    with pytest.raises(UsageError, match=f"the network has lost its parameter {lost}; make a new method for it"):
        flat.bind()


def test_a_copy_has_views_of_its_own():
    net = common.MLP([5, 16, 2])
    net.flat = FlatParameters(net)
    net.flat.bind()
    twin = copy.deepcopy(net)
    twin.flat.bind()
    whole(twin.flat, twin)
    before = net.flat.theta.clone()
    twin.flat.theta.zero_()
    assert torch.equal(net.flat.theta, before)
    assert all(float(p.detach().abs().sum()) == 0 for p in twin.parameters())


def test_references_are_those_of_others():
    """Of a view into the memory, and of the memory as an object of its own."""
    flat = FlatParameters(common.MLP([5, 4, 2]))
    flat.bind()
    assert flat.references() == 0
    view = flat.theta[:2]
    assert flat.references() == 1
    storage = view.untyped_storage()
    assert flat.references() == 2
    del view
    assert flat.references() == 1
    del storage
    assert flat.references() == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda():
    net = common.MLP([5, 4, 2])
    flat = FlatParameters(net)
    flat.bind()
    net.cuda()
    assert flat.bind() == "new" and flat.theta.is_cuda
