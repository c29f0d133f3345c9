"""Permutations and rotations against torch, numpy and pillow; no draw from a global generator."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from data import DataError, streams


def global_states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def test_permutations_are_the_references_draws():
    torch.manual_seed(3)
    expected = [torch.randperm(784) for _ in range(4)]
    before = global_states()
    stream = streams.permutations(784, 4, seed=3)
    assert global_states() == before
    assert all(torch.equal(index, p) for (_, index), p in zip(stream, expected, strict=True))
    assert {name for name, _ in stream} == {"random permutation"}


def test_fewer_tasks_are_the_first_ones():
    for draw in (lambda n: streams.permutations(784, n, 5), lambda n: streams.digit_permutations(n, 5)):
        for (_, few), (_, many) in zip(draw(3), draw(6), strict=False):
            assert torch.equal(few, many)


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("angle", [0.0, 3.3, 45.0, 90.0, 123.4, 180.0, 271.0, -20.5])
def test_rotation_is_pillows_image_by_image(side, angle):
    images = np.random.RandomState(0).randint(0, 256, (20, side, side)).astype(np.uint8)
    index = streams.rotation_index(side, angle)
    flat = torch.nn.functional.pad(torch.from_numpy(images.reshape(20, -1)), (0, 1))
    expected = np.stack([np.array(Image.fromarray(image, mode="L").rotate(angle)) for image in images])
    assert np.array_equal(flat[:, index].reshape(20, side, side).numpy(), expected)


def test_angles_lie_one_in_each_bin():
    before = global_states()
    angles = [angle for angle, _ in streams.rotations(28, 20, seed=0, min_rot=10, max_rot=180)]
    assert global_states() == before
    assert all(10 + t * 8.5 <= angle < 10 + (t + 1) * 8.5 for t, angle in enumerate(angles))
    assert all(type(angle) is float for angle in angles)
    assert angles == [angle for angle, _ in streams.rotations(28, 20, 0, 10, 180)]
    assert angles != [angle for angle, _ in streams.rotations(28, 20, 1, 10, 180)]
    assert [angle for angle, _ in streams.rotations(28, 3, 0, 30, 30)] == [30, 30, 30]


def test_angles_in_steps():
    stream = streams.rotations(28, 15, seed=3, min_rot=0.0, max_rot=70.0, step=5.0)
    assert [angle for angle, _ in stream] == [5.0 * t for t in range(15)]
    assert all(torch.equal(index, streams.rotation_index(28, angle)) for angle, index in stream)
    with pytest.raises(
        DataError, match="step 5: 16 tasks from 0 degrees on end at 75, beyond max_rot 70; give max_rot 75"
    ):
        streams.rotations(28, 16, 0, 0.0, 70.0, 5.0)
    for step in (0.0, -5.0, float("nan")):
        with pytest.raises(DataError, match="must be a number of degrees above 0"):
            streams.rotations(28, 2, 0, 0.0, 90.0, step)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((28, 0, 0, 0, 90), "n_tasks 0"),
        ((28, -1, 0, 0, 90), "n_tasks -1"),
        ((28, 2, -1, 0, 90), "seed -1"),
        ((28, 2, 2**32, 0, 90), "seed 4294967296"),
        ((28, 2, 0, 91, 90), "min_rot 91, max_rot 90"),
        ((28, 2, 0, float("nan"), 90), "min_rot nan"),
        ((28, 2, 0, 0, float("inf")), "max_rot inf"),
    ],
)
def test_arguments_out_of_range(arguments, said):
    with pytest.raises(DataError, match=said):
        streams.rotations(*arguments)
    for draw in (lambda n, s: streams.permutations(784, n, s), streams.digit_permutations):
        if "rot" not in said:
            with pytest.raises(DataError, match=said):
                draw(*arguments[1:3])
