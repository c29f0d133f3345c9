"""Which exceptions say that a run's numbers broke, rather than its program."""

import re

import numpy as np
import torch

ERRORS = (FloatingPointError, OverflowError, RuntimeError, ValueError)  # the types to which `reason` is to be applied
LINEAR_ALGEBRA = (torch.linalg.LinAlgError, np.linalg.LinAlgError)
# What torch says of a factor that float32 cannot hold, and of probabilities that are not numbers.
NUMBERS = re.compile(
    "without overflow|probability tensor contains either|math domain error|cannot convert float (NaN|inf)"
)


def reason(error: Exception) -> str:
    """What broke, in words: factors that cannot be decomposed, numbers beyond float32. Any other error is raised again."""
    text = " ".join(str(error).split())
    if isinstance(error, LINEAR_ALGEBRA):
        return f"a matrix has become singular or is not finite ({text})"
    if isinstance(error, FloatingPointError | OverflowError) or NUMBERS.search(text):
        return text
    raise error
