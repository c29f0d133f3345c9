"""What does not fit into memory is refused before it is taken, in one sentence that names the flag."""

import numpy as np
import pytest
import torch

from model import UsageError, room
from model.memory import ReservoirMemory, RingMemory
from tests.conftest import net


def test_memory_that_is_available_is_a_sensible_number():
    assert 10**7 < room.available_memory() < 10**15


@pytest.mark.parametrize("limit, free", [(2**30, 2**30 - 900 * 2**20 + 500 * 2**20), (2**62, None), ("max", None)])
def test_the_limit_of_a_control_group_counts(tmp_path, monkeypatch, limit, free):
    """Files that its cache holds make room. Without a limit, or with a large one, the machine's memory is the bound."""
    machine = room.available_memory()
    for name, text in (("max", limit), ("current", 900 * 2**20), ("stat", f"anon 7\ninactive_file {500 * 2**20}")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    monkeypatch.setattr(room, "GROUP", tmp_path)
    assert room.available_memory() == (free or pytest.approx(machine, rel=0.5))


def test_what_fits_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(room, "available_memory", lambda cuda=False: 10**9)
    room.require(10**9, "--n_memories 3: what 2 tasks store")
    sentence = (
        r"^--n_memories 3: what 2 tasks store does not fit into memory \(2\.0 GB, and 1\.0 GB are free\); give fewer$"
    )
    with pytest.raises(UsageError, match=sentence):
        room.require(2 * 10**9, "--n_memories 3: what 2 tasks store")


@pytest.mark.parametrize("take", [lambda: torch.empty(2**50), lambda: np.empty(2**50), lambda: bytearray(2**60)])
def test_a_failure_to_take_memory_is_a_sentence(take):
    with pytest.raises(UsageError, match=r"this run does not fit into memory .*; give a smaller network"), room.told():
        take()


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="cannot be multiplied"), room.told():
        torch.rand(2, 3) @ torch.rand(2, 3)


def test_memories_ask_for_what_they_take(monkeypatch):
    """n_tasks x capacity x (floats of an example, 8 bytes of its label) of a ring; of a reservoir 8 more for the task."""
    asked = []
    monkeypatch.setattr(room, "require", lambda n_bytes, what, *cuda: asked.append((n_bytes, what)))
    x, y = torch.rand(2, 12), torch.tensor([0, 1])
    RingMemory(3, 1000).write(0, x, y)
    ReservoirMemory(1000, 0, "cov_first_task_buffer").write(0, x, y)
    assert asked == [
        (3 * 1000, "--n_memories 1000: what 3 tasks store"),
        (3 * 1000 * 56, "--n_memories 1000: what 3 tasks store"),
        (1000 * 16, "--cov_first_task_buffer 1000: what is stored"),
        (1000 * 64, "--cov_first_task_buffer 1000: what is stored"),
    ]


def test_a_network_asks_for_its_parameters_and_their_gradient(monkeypatch):
    asked = []
    monkeypatch.setattr(room, "require", lambda n_bytes, what, *cuda: asked.append((n_bytes, what)))
    model = net("single", n_layers=3, n_hiddens=7)
    (one,) = asked
    assert one == (8 * sum(p.numel() for p in model.parameters()), "--n_layers 3 --n_hiddens 7: the network")
