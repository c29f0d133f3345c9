"""What stored pixels mean, for all 256 bytes."""

import pytest
import torch

from data import pixels

ALL = torch.arange(256).to(torch.uint8).reshape(4, 64)


def test_bytes_are_the_quotients():
    assert pixels.floats(ALL).dtype == torch.float32
    assert torch.equal(pixels.floats(ALL), ALL.float() / 255)
    assert not torch.equal(pixels.floats(ALL), ALL.float() * (1 / 255))


@pytest.mark.parametrize("form", ["bytes", "floats"])
def test_signed_bytes_stand_for_the_same(form):
    x = ALL.clone() if form == "bytes" else ALL / 255.0
    signed = pixels.signed(x)
    assert signed.dtype == torch.int8 and torch.equal(signed.short() + 128, ALL.short())
    assert torch.equal(pixels.floats(signed), ALL / 255.0)


def test_tasks_that_share_their_images_share_the_signed_bytes():
    x = ALL.clone()
    (_, a, _), (_, b, _) = pixels.signed_tasks([("", x, None), ("", x, None)])
    assert torch.equal(pixels.floats(a), ALL / 255.0) and torch.equal(pixels.floats(b), ALL / 255.0)


def test_which_floats_are_bytes():
    assert pixels.are_bytes(ALL) and pixels.are_bytes(ALL / 255.0)
    assert not pixels.are_bytes((ALL / 255.0).double())
    for i in range(256):
        x = ALL / 255.0
        x.view(-1)[i] = torch.nextafter(x.view(-1)[i], torch.tensor(0.5))
        assert not pixels.are_bytes(x)
    assert not pixels.are_bytes(torch.arange(17.0).unsqueeze(0) / 16)
