"""Copies of tensors that share memory wherever the tensors do, and hold no more of it than they need.

Views of one block often lie far apart, as examples do that were kept from a stream. Each then has memory of its own.
"""

import torch

ALIGNED = 16  # bytes: shared memory begins at a multiple, as numbers do


class Copies:
    """``of`` gives the copy of one tensor after another; all are empty until ``fill`` is called."""

    def __init__(self):
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []  # a tensor, its copy

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        self.pairs.append((tensor, copy))
        return copy

    def fill(self) -> None:
        for group in self._sharing():
            if len({(t.data_ptr(), t.size(), t.stride(), t.dtype) for t, _ in group}) == 1:
                whole = group[0][0].detach().clone()
                for _, copy in group:
                    copy.set_(whole)
                continue
            begin = min(_extent(tensor)[0] for tensor, _ in group) // ALIGNED * ALIGNED
            end = max(_extent(tensor)[1] for tensor, _ in group)
            memory = torch.empty(end - begin, dtype=torch.uint8, device=group[0][0].device)
            for tensor, copy in group:
                first, last = _extent(tensor)
                memory[first - begin : last - begin] = _raw(tensor)
                at = (first - begin) // tensor.element_size()
                copy.set_(memory.untyped_storage(), at, tensor.size(), tensor.stride())
        self.pairs.clear()

    def _sharing(self) -> list[list]:
        """The pairs in groups: of the tensors in one group each overlaps another."""
        groups, end = [[pair] for pair in self.pairs if not pair[0].numel()], None
        filled = [pair for pair in self.pairs if pair[0].numel()]
        for pair in sorted(filled, key=lambda pair: _extent(pair[0])):
            begin, stop = _extent(pair[0])
            if end is not None and begin < end:
                groups[-1].append(pair)
                end = max(end, stop)
            else:
                groups.append([pair])
                end = stop
        return groups


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """The addresses where a tensor's memory begins and ends; it has elements."""
    last = sum((n - 1) * step for n, step in zip(tensor.size(), tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _raw(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's memory, from its first number to its last, as bytes."""
    begin, end = _extent(tensor)
    storage = tensor.untyped_storage()
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(
        storage, begin - storage.data_ptr(), (end - begin,)
    )
