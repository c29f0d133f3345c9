"""Numbers that broke are told from a program that broke, by what torch and numpy raise for them."""

import math
import re

import numpy as np
import pytest
import torch

from model import divergence


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda: torch.linalg.cholesky(-torch.eye(2)), r"^a matrix has become singular or is not finite \(linalg.cholesky"),
        (lambda: torch.linalg.inv(torch.zeros(2, 2)), r"^a matrix has become singular or is not finite \("),
        (lambda: np.linalg.cholesky(-np.eye(2)), r"^a matrix has become singular or is not finite \("),
        (lambda: torch.zeros(2).add_(torch.ones(2), alpha=1e39), "^value cannot be converted to type float without overflow$"),
        (lambda: torch.multinomial(torch.full((2,), math.nan), 1), "^probability tensor contains either"),
        (lambda: math.sqrt(-1.0), "^math domain error$"),
        (lambda: round(math.nan), "^cannot convert float NaN to integer$"),
        (lambda: int(math.inf), "^cannot convert float infinity to integer$"),
        (lambda: math.exp(1e9), "^math range error$"),
    ],
)  # fmt: skip
def test_what_is_a_divergence(broken, said):
    with pytest.raises(divergence.ERRORS) as raised:
        broken()
    assert re.search(said, divergence.reason(raised.value))


@pytest.mark.parametrize(
    "broken", [lambda: torch.rand(2, 3) @ torch.rand(2, 3), lambda: int("x"), lambda: 1 / 0, lambda: torch.empty(2**55)]
)
def test_what_is_none_is_raised_again(broken):
    with pytest.raises((RuntimeError, ValueError, ZeroDivisionError)) as raised:
        broken()
    with pytest.raises(type(raised.value)) as again:
        divergence.reason(raised.value)
    assert again.value is raised.value
