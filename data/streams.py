"""What makes one task differ from the next: (description, pixel index) of every task, drawn from `seed`.

A pixel index says where each pixel of the new image comes from: entry j is the old pixel's number, or
n_pixels where the new pixel lies outside the old image and is black. All draws come from generators
made here, never from the global ones.
"""

import math

import numpy as np
import torch

from data import DataError, sources


def check(n_tasks, seed):
    """DataError unless there is at least one task and every generator takes the seed."""
    if n_tasks < 1:
        raise DataError(f"n_tasks {n_tasks}: at least one task is needed")
    if not 0 <= seed < 2**32:
        raise DataError(f"seed {seed}: must be from 0 to 2^32 - 1")


def permutations(n_pixels, n_tasks, seed):
    """One random pixel permutation for each task, also for the first. The draws are the reference's:
    torch.randperm after torch.manual_seed(seed)."""
    check(n_tasks, seed)
    generator = torch.Generator().manual_seed(seed)
    return [("random permutation", torch.randperm(n_pixels, generator=generator)) for _ in range(n_tasks)]


def digit_permutations(n_tasks, seed):
    """As `permutations`, for the digits: numpy's legacy generator, the same numbers on every machine.

    The generator's first draw is skipped. With seed 0 that draw is the one that shuffles the examples
    (sources.images), so that a file's shuffle and permutations come from one stream.
    """
    check(n_tasks, seed)
    generator = np.random.RandomState(seed)
    generator.permutation(sources.N_DIGITS)
    return [("random permutation", torch.from_numpy(generator.permutation(64))) for _ in range(n_tasks)]


def rotations(side, n_tasks, seed, min_rot, max_rot, step=None, rounds=1):
    """One angle in degrees for each task, which is also its description. [min_rot, max_rot] is cut into n_tasks equal
    parts, and task t's angle is uniform in part t, drawn in float64 from a torch.Generator seeded with `seed`. With a
    `step` the angles are min_rot, min_rot + step, ... instead, up to max_rot at most. With `rounds` there are
    n_tasks / rounds angles, and all of them come that many times, one round after another.

    The reference draws from Python's unseeded generator: its angles differ from run to run.
    """
    check(n_tasks, seed)
    if rounds < 1 or n_tasks % rounds:
        raise DataError(f"rounds {rounds}: {n_tasks} tasks are not so many rounds; give a divisor of {n_tasks}")
    n_tasks //= rounds
    if not (math.isfinite(min_rot) and math.isfinite(max_rot) and min_rot <= max_rot):
        raise DataError(f"min_rot {min_rot:g}, max_rot {max_rot:g}: must be finite degrees, min_rot <= max_rot")
    if step is None:
        generator = torch.Generator().manual_seed(seed)
        places = torch.rand(n_tasks, generator=generator, dtype=torch.float64).tolist()
        angles = [min_rot + (t + place) / n_tasks * (max_rot - min_rot) for t, place in enumerate(places)]
    else:
        if not (math.isfinite(step) and step > 0):
            raise DataError(f"step {step:g}: must be a number of degrees above 0")
        angles = [min_rot + t * step for t in range(n_tasks)]
        if angles[-1] > max_rot:
            raise DataError(
                f"step {step:g}: {n_tasks} tasks from {min_rot:g} degrees on end at {angles[-1]:g}, beyond max_rot "
                f"{max_rot:g}; give max_rot {angles[-1]:g} or fewer tasks"
            )
    return [(angle, rotation_index(side, angle)) for angle in angles] * rounds


def rotation_index(side, angle):
    """Pixel index of pillow's `Image.rotate(angle)` (nearest pixel, black outside) for side x side images:
    pillow rotates the picture of the pixel numbers, once for all images."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("rotations need pillow: pip install pillow") from error
    outside = side * side
    # Pillow fills with 0, so pixel numbers start from 1 on the picture.
    numbers = np.arange(1, outside + 1, dtype=np.int32).reshape(side, side)
    rotated = torch.from_numpy(np.array(Image.fromarray(numbers).rotate(angle))).long().reshape(-1)
    return torch.where(rotated == 0, outside, rotated - 1)
