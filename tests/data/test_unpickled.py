"""The machine that reads pickles, held against torch.load on whatever torch.save writes."""

import contextlib
import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data import serialized, stored, unpickled

DTYPES = sorted({*unpickled.DTYPES.values()}, key=str)


@st.composite
def tensors(draw):
    """Tensors of every dtype; whole, slices, transposed and expanded, with storages of their own."""
    base = torch.arange(60).reshape(3, 4, 5).to(draw(st.sampled_from(DTYPES)))
    return draw(
        st.sampled_from(
            [
                base,
                base[1],
                base[:, 1:3],
                base[:, :, 2],
                base.transpose(0, 2),
                base[0, 0, 0],
                base[:0],
                base[:, :1].expand(3, 9, 5),
            ]
        )
    )


PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    PLAIN | tensors(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


def same(ours, theirs):
    if isinstance(ours, stored.Stored):
        ours = ours.read()
        return ours.dtype == theirs.dtype and ours.shape == theirs.shape and torch.equal(ours, theirs)
    if isinstance(ours, list | tuple):
        return type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    return type(ours) is type(theirs) and ours == theirs


@given(value=VALUES, zipped=st.booleans())
def test_reads_what_torch_reads(tmp_path_factory, value, zipped):
    path = tmp_path_factory.mktemp("pickle") / "some.pt"
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    ours, storages = serialized.read(stored.File(path))
    assert same(ours, torch.load(path, weights_only=True))
    for storage in storages.values():
        storage.check()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(tmp_path, protocol):
    value = [{"x": torch.rand(2, 3), "é" * 300: (1, -(2**40), 0.5, None, True)}, torch.ones(2, dtype=torch.uint32)]
    torch.save(value, tmp_path / "some.pt", pickle_protocol=protocol)
    assert same(serialized.read(stored.File(tmp_path / "some.pt"))[0], value)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_a_value(code):
    with contextlib.suppress(unpickled.Damaged, unpickled.Code):
        unpickled.value(b"\x80\x02" + code, lambda key, n: stored.Storage(None, n))


def test_a_pickle_in_a_pickle_is_a_string():
    """Bytes that are a pickle inside a string stay a string."""
    torch.save([["text", "cos\nsystem\n(S'true'\ntR."]], buffer := io.BytesIO(), _use_new_zipfile_serialization=False)
    code = buffer.getvalue()
    at = 0
    for _ in range(4):
        value, at = unpickled.value(code, None, at)
    assert value == [["text", "cos\nsystem\n(S'true'\ntR."]]
