"""The inverse T of the lower Cholesky factor of a Gram matrix U U', which grows by rows: T U is orthonormal.

Why T and not the inverse of U U': the same numbers in float64 take half the memory and are read once a step, a panel of
rows serving both products of T' (T u); and an error in T, unlike one in the inverse, is not multiplied by the condition of
U U'. In float32 the inverse leaves 7e-5 of a gradient along a direction, T 1e-6, both in float64 nothing that can be seen
(2,000 directions of ten tasks of permuted Fashion-MNIST; condition 3e4).

A network in float32 has T as the sum of two halves in float32, 48 bits in the memory of one number in float64. The upper
half alone serves a product where 1e-6 is enough, for half the reading.
"""

import torch
from torch.nn import functional as F

PANEL = 128  # rows read together


class InverseFactor:
    """T (k, k) as panels of at most ``PANEL`` rows, each as long as its last row.

    A panel is kept as ``parts`` that add up to it: itself in float64, or two halves in float32 if the network's
    ``dtype`` is no larger.
    """

    def __init__(self, dtype: torch.dtype = torch.float64):
        self.halved = dtype != torch.float64
        self.parts: list[tuple[torch.Tensor, ...]] = []
        self._views: list | None = None

    def __getstate__(self) -> dict:
        """For copies and pickles: each number once."""
        return {**self.__dict__, "_views": None}

    def __len__(self) -> int:
        return self.parts[-1][0].shape[1] if self.parts else 0

    @property
    def panels(self):
        """The panels in float64, one after another."""
        return map(_whole, self.parts)

    def append(self, rows: torch.Tensor) -> None:
        """Further rows (n, k + n) in float64: the last panel is filled up first."""
        while len(rows):
            last = _whole(self.parts.pop()) if self.parts and len(self.parts[-1][0]) < PANEL else rows[:0]
            n = min(PANEL - len(last), len(rows))
            width = len(self) + len(last) + n
            last = F.pad(last, (0, width - last.shape[1]))
            self.set_panel(torch.cat((last, rows[:n, :width])))  # row-major, whatever the strides of ``rows``
            rows = rows[n:]

    def set_panel(self, panel: torch.Tensor) -> None:
        """The next panel, in float64."""
        parts = (panel,)
        if self.halved:
            upper = panel.float()
            parts = upper, (panel - upper).float()
        self.parts.append(parts)
        self._views = None

    def solve(self, u: torch.Tensor) -> torch.Tensor:
        """c = T' (T u) (k,), which solves U U' c = u; in float64."""
        c = torch.zeros_like(u)
        for T in self.panels:
            k = T.shape[1]
            c[:k].addmv_(T.t(), torch.mv(T, u[:k]))
        return c

    def roughly(self, u: torch.Tensor) -> torch.Tensor:
        """``solve`` in the dtype of the network; the next call overwrites it."""
        if self._views is None:
            self._u = u.to(self.parts[0][0])
            self._c = torch.empty_like(self._u)
            self._views = [
                (T, T.t(), self._u[: T.shape[1]], T.new_empty(len(T)), self._c[: T.shape[1]]) for T, *_ in self.parts
            ]
        self._u.copy_(u)
        self._c.zero_()
        for T, Tt, part, z, c in self._views:
            torch.mv(T, part, out=z)
            c.addmv_(Tt, z)
        return self._c

    def coordinates(self, products: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """X = products T' (n, k), for products (n, k) of vectors with U: coordinates along T U; and X T."""
        X, XT = torch.empty_like(products), torch.zeros_like(products)
        for T in self.panels:
            n, k = T.shape
            X[:, k - n : k] = products[:, :k] @ T.t()
            XT[:, :k] += X[:, k - n : k] @ T
        return X, XT


def _whole(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The panel that the parts add up to, in float64."""
    return parts[0] if len(parts) == 1 else parts[0].double().add_(parts[1])


def independent(S: torch.Tensor, least: float, stop: bool = False) -> tuple[list[int], int]:
    """The rows of a Gram matrix S (n, n) of which, in their order, more than ``least`` (squared) is outside the others' span.

    Returns their indices and how many rows were looked at: all, or those before the first one dropped if ``stop``.
    """
    S, kept = S.clone(), []
    for i in range(len(S)):
        rest = float(S[i, i])
        if rest > least:
            kept.append(i)
            column = S[i + 1 :, i] / rest**0.5
            S[i + 1 :, i + 1 :] -= torch.outer(column, column)
        elif stop:
            return kept, i
    return kept, len(S)
