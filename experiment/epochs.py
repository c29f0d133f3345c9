"""Epochs as they are learned: the running training accuracy of each, and the rule that ends a task by it."""

import torch

from model import networks


class Running:
    """The training accuracy of the present epoch, batch by batch; ``state`` [right, seen] is all that it goes on from.

    A batch is predicted just before its step, as the network is then: in training mode, with the dropout and the batch
    statistics that the step will see. Running statistics and draws stay as they would be without it.
    """

    def __init__(self, state: list[int] | None = None):
        self.state = state if state is not None else []

    @torch.no_grad()
    def add(self, model, x: torch.Tensor, t: int, y: torch.Tensor) -> None:
        """Take in a batch x (B, n_inputs), y (B,) of task t, before ``model`` learns it."""
        right, seen = self.state or (0, 0)
        with networks.unmoved(model):
            right += int((model(x, t).argmax(1) == y).sum())
        self.state[:] = right, seen + int((y >= 0).sum())  # of text, the tokens to be told

    def close(self) -> float:
        """The accuracy of the epoch that ends; the next one begins."""
        right, seen = self.state
        self.state.clear()
        return right / seen
