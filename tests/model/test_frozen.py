"""Values that a checkpoint holds: the same values again, one object where there was one, shared memory where there was."""

import collections
import enum
import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import UsageError
from model.frozen import Freezer, Thawer, same

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(max_size=9), st.complex_numbers()
)
KEYS = st.one_of(st.integers(), st.text(), st.tuples(st.integers(), st.text()))
TENSORS = st.tuples(
    st.sampled_from([torch.float32, torch.int64, torch.bool]), st.lists(st.integers(0, 3), max_size=3)
).map(lambda made: torch.randint(2, made[1]).to(made[0]))
ARRAYS = st.lists(st.floats(allow_nan=False), max_size=4).map(np.array)
VALUES = st.recursive(
    st.one_of(PLAIN, TENSORS, ARRAYS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(collections.OrderedDict),
        st.lists(inner, max_size=3).map(collections.deque),
        st.lists(inner, max_size=3).map(lambda items: [items, items]),
    ),
    max_leaves=12,
)


def frozen(value):
    """Its frozen form, as a file gives it back."""
    freezer = Freezer()
    found = freezer.freeze(value)
    freezer.finish()
    torch.save({"found": found}, buffer := io.BytesIO())
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)["found"]


def back(value, current=None):
    return Thawer().thaw(frozen(value), current)


@given(VALUES)
def test_any_value_comes_back(value):
    again = back(value)
    assert type(again) is type(value) and same(frozen(value), frozen(again))


class Colour(enum.IntEnum):
    RED = 1


Pair = collections.namedtuple("Pair", "a b")


class Schedule:
    """An object that is called, and changes when it is."""

    def __init__(self):
        self.k, self.rates = 0, [1.0]

    def __call__(self):
        self.k += 1
        return self.k


@pytest.mark.parametrize(
    "value",
    [
        collections.defaultdict(list, a=[1]),
        collections.Counter("hello"),
        {np.int64(3): "of numpy", (1, 2): "a pair"},
        {1, "a", (2, 3)},
        frozenset([1]),
        Pair(1, [Colour.RED]),
        torch.Size([2, 3]),
    ],
)
def test_kinds_of_containers(value):
    again = back(value)
    assert again == value and type(again) is type(value)
    assert getattr(again, "default_factory", list) is list


def test_one_object_stays_one():
    a = [1]
    ring = [a, {"a": a}]
    ring.append(ring)
    b = back(ring)
    assert b[0] is b[1]["a"] and b[2] is b


@pytest.mark.parametrize("of", [torch.arange, np.arange])
def test_shared_memory_stays_shared(of):
    ring = of(6)
    held = {"ring": ring, "last": ring[-1:], "pairs": ring.reshape(3, 2), "far": of(2), "again": ring[:]}
    again = back(held)
    again["ring"][:] = again["ring"] + 10
    assert int(again["last"][0]) == 15 and again["pairs"].tolist() == [[10, 11], [12, 13], [14, 15]]
    assert again["far"].tolist() == [0, 1] and ring.tolist() == [0, 1, 2, 3, 4, 5]
    again["again"][0] = 7
    assert int(again["pairs"][0, 0]) == 7


def test_views_apart_are_held_apart():
    """A few examples of a large block, as batches are, do not bring the block along."""
    block = torch.zeros(10**6)
    freezer = Freezer()
    found = freezer.freeze([block[5:7], block[-3:]])
    freezer.finish()
    assert [tensor.untyped_storage().nbytes() for tensor in found] == [8, 12]


def test_an_object_takes_on_its_attributes():
    schedule, fresh = Schedule(), Schedule()
    schedule(), schedule.rates.append(schedule.rates)
    assert back(schedule, fresh) is fresh and fresh.k == 1 and fresh.rates[1] is fresh.rates
    with pytest.raises(UsageError, match="which a fresh method does not have"):
        back(schedule)


def test_a_tensor_that_gradients_flow_into_stays_the_one_of_its_optimizer():
    def made(value):
        w = torch.full((2,), value, requires_grad=True)
        return {"w": w, "opt": torch.optim.SGD([w], lr=0.5, momentum=0.9)}

    one, fresh = made(1.0), made(0.0)
    one["w"].sum().backward()
    one["opt"].step()
    again = back(one, fresh)
    assert again["w"] is fresh["w"] and again["w"].tolist() == [0.5, 0.5] and again["w"].grad.tolist() == [1, 1]
    for each in (one, again):
        each["opt"].step()
    assert again["w"].tolist() == one["w"].tolist()


@pytest.mark.parametrize(
    "value, said",
    [
        (np.zeros(2, ">f4"), "a ndarray; give it"),
        (torch.zeros(2, requires_grad=True) * 2, "a tensor with the graph of its gradient; keep a detach"),
        (torch.zeros(2, 2).to_sparse(), "a Tensor; give it"),
        (type("Mine", (dict,), {})(), "a Mine; give it"),
        (collections.defaultdict(lambda: 3), "a defaultdict; give it"),
        (iter([]), "a list_iterator; give it"),
        (np.ma.masked_array([1, 2], [0, 1]), "a MaskedArray; give it"),
        (np.arange(3)[::-1], "a ndarray; give it"),
    ],
)
def test_what_cannot_be_held(value, said):
    with pytest.raises(UsageError, match=f"a checkpoint cannot hold the attribute it, {said}"):
        Freezer().freeze([value], "it")


def test_a_hostile_form_is_refused():
    """Whatever a stranger's file names: only loaded kinds of tuples and enums are looked up, and nothing is called."""
    for form in (
        {"kind of object": "named tuple", "of": ["os", "system"], "items": ["true"]},
        {"kind of object": "member", "of": ["signal", "Signals"], "name": "NO"},
        {"kind of object": "named tuple", "of": ["nowhere", "x.y"], "items": []},
        {"kind of object": "part", "key": "net"},
        {"kind of object": "what", "items": []},
    ):
        with pytest.raises(UsageError, match="which a fresh method does not have"):
            Thawer().thaw(form, None)


def test_keys_that_are_ids_of_parameters_are_refused():
    """Those of a fresh method are others."""
    model = torch.nn.Linear(1, 1)
    with pytest.raises(UsageError, match="cannot hold the attribute fisher, a dict"):
        Freezer(model).freeze({id(p): 0.0 for p in model.parameters()}, "fisher")
