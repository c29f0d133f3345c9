"""Products and sums of gradients by blocks of coordinates, for groups of hidden units (docs/groups.md).

Block 0 is the first layer's weight and bias and all other biases; block (l, k) is the columns of W_l, l >= 1, that
belong to the units of group k of hidden layer l. The blocks are disjoint and cover all p coordinates, so

    <g, g'> = sum_b <g|_b, g'|_b>.

For one example with delta d and activations a the gradient of W_l is d a', and its column j is a_j d. A row's gradient
is G_r = D_r' A_r, with its examples' deltas and activations as rows of D_r and A_r. Inner products are needed column by
column, and then added up over the columns of each group. With the current batch's gradient g_0 they are the sums of the
columns of (D_r g_0) * A_r over the row's examples. A step is one product of the deltas with the activations, whose
columns are scaled by their group's weight. No row is ever filled up with zeros to p coordinates.
"""

import numpy as np
import torch
from torch.nn import functional as F


class Partition:
    """The blocks of a stack of linear layers with weights (o, i) of the ``shapes`` given.

    ``groups`` holds, for each hidden layer, the group of each of its units, numbered from 0 without gaps. Blocks are
    numbered 0, then layer after layer. With ``own_biases`` the bias of each upper layer is a block of its own (numbered
    last) rather than part of block 0.
    """

    def __init__(self, shapes: list[tuple[int, int]], groups: list[torch.Tensor], own_biases: bool = False):
        self.shapes, self.groups = shapes, [labels.long().cpu() for labels in groups]
        self.slices, n = [], 1  # the blocks of each upper layer
        for labels in self.groups:
            self.slices.append(slice(n, n + int(labels.max()) + 1))
            n = self.slices[-1].stop
        upper = len(shapes) - 1
        self.biases = [n + i if own_biases else 0 for i in range(upper)]  # the block of each upper layer's bias
        self.n_blocks = n + (upper if own_biases else 0)
        self._labels, self._members, self._members_of = None, None, None

    def labels(self) -> torch.Tensor:
        """The block of every coordinate (p,)."""
        if self._labels is None:
            parts = [torch.zeros(self.shapes[0][0] * (self.shapes[0][1] + 1), dtype=torch.long)]
            for (o, _), labels, blocks, bias in zip(
                self.shapes[1:], self.groups, self.slices, self.biases, strict=True
            ):
                parts += [(labels + blocks.start).repeat(o), torch.full((o,), bias)]
            self._labels = torch.cat(parts)
        return self._labels

    def members(self, like: torch.Tensor) -> list[torch.Tensor]:
        """For each upper layer a matrix (i, K): 1 where the input belongs to the group, else 0."""
        if self._members is None or self._members_of != (like.dtype, like.device):
            self._members = [F.one_hot(labels).to(like) for labels in self.groups]
            self._members_of = (like.dtype, like.device)
        return self._members

    # ---------------------------------------------------------------- with the fast engine's pass g

    def dots(self, g) -> np.ndarray:
        """<g_0|_b, g_r|_b>: float64 (n_blocks, R)."""
        if not g.N:
            return np.empty((self.n_blocks, 0))
        R, m = g.blocks.R, g.blocks.m
        result = np.zeros((self.n_blocks, R))
        D, N = g.D[0], g.N
        torch.mm(D[N:], D[:N].t(), out=g.s)
        result[0] = _row_sums(g, g.s.mul_(g.k))
        for (*_, Ds, Hs, Dc, Hc), E, blocks, bias in self._upper(g):
            dd = torch.mm(Dc, Ds.t(), out=g.d)
            result[bias] += _row_sums(g, dd)
            if len(Dc) == 1:
                columns = torch.mm(Hs, Hc[0].unsqueeze(1) * E).mul_(dd.t())
            else:
                columns = torch.mm(torch.mm(Ds, torch.mm(Dc.t(), Hc)).mul_(Hs), E)
            result[blocks] = columns.view(R, m, -1).sum(1, dtype=torch.float64).t().numpy(force=True)
        return result

    def gram(self, g) -> np.ndarray:
        """<g_r|_b, g_s|_b>: float64 (n_blocks, R, R)."""
        R, m = g.blocks.R, g.blocks.m
        result = np.zeros((self.n_blocks, R, R))
        result[0] = _first_gram(g)
        for (*_, Ds, Hs, _, _), E, blocks, bias in self._upper(g):
            Dr, Hr = Ds.view(R, m, -1), Hs.view(R, m, -1)
            b = Dr.sum(1)
            result[bias] += torch.mm(b, b.t()).numpy(force=True)
            columns = torch.bmm(Hr.transpose(1, 2), Dr).transpose(0, 1)  # (i, R, o): column j of every row
            products = torch.bmm(columns, columns.transpose(1, 2)).view(-1, R * R)
            result[blocks] = torch.mm(E.t(), products).view(-1, R, R).numpy(force=True)
        return result

    def descend(self, g, lr: float, weights: np.ndarray) -> None:
        """theta -= lr (g_0 + sum_r weights[b, r] g_r|_b in every block b)."""
        R, m, N = g.blocks.R, g.blocks.m, g.N
        v = torch.from_numpy(weights).to(g.Z)
        _first_step(g, lr, weights[0])
        for (layer, D, H, Ds, Hs, Dc, _), E, blocks, bias in self._upper(g):
            layer.b.sub_(Dc.sum(0), alpha=lr)
            layer.b.addmv_(Ds.t(), v[bias].repeat_interleave(m), alpha=-lr)
            Hs.view(R, m, -1).mul_(torch.mm(v[blocks].t(), E.t()).unsqueeze(1))
            layer.W.addmm_(D[: N + g.B].t(), H, alpha=-lr)
        g.engine.stepped()

    def _upper(self, g):
        return zip(g.upper, self.members(g.Z), self.slices, self.biases, strict=True)

    # ---------------------------------------------------------------- with the autograd engine's gradient and rows

    def sums(self, vector: torch.Tensor) -> np.ndarray:
        """The sum of ``vector`` (p,) over each block: float64 (n_blocks,)."""
        return torch.bincount(self.labels(), weights=vector.cpu(), minlength=self.n_blocks).numpy()

    def row_dots(self, g: torch.Tensor, rows: torch.Tensor | None) -> np.ndarray:
        """As ``dots``, of g (p,) and rows (R, p)."""
        if rows is None:
            return np.empty((self.n_blocks, 0))
        return np.stack([self.sums(g.double() * row.double()) for row in rows], 1)

    def row_gram(self, rows: torch.Tensor) -> np.ndarray:
        """As ``gram``, of rows (R, p)."""
        R = len(rows)
        result = np.empty((self.n_blocks, R, R))
        for r in range(R):
            row = rows[r].double()
            for s in range(r + 1):
                result[:, r, s] = result[:, s, r] = self.sums(row * rows[s].double())
        return result

    def combine(self, g: torch.Tensor, rows: torch.Tensor, weights: np.ndarray) -> None:
        """g += sum_r weights[b, r] rows[r]|_b in every block b, in place."""
        labels, total = self.labels().to(g.device), g.double()
        for row, w in zip(rows, torch.from_numpy(weights).to(g.device).unbind(1), strict=True):
            total.addcmul_(w[labels], row.double())
        g.copy_(total)


class Blend:
    """One row r whose tasks count differently in each block: r|_b = sum_s shares[b, s] g_s|_b.

    g_s is task s's part of the engine's one row; ``shares`` (n_blocks, T) belong to ``tasks`` (T ids), block 0's are 1.
    Nothing of size T p is made: an upper layer's row is one product of the deltas with activations scaled by shares.
    """

    def __init__(self, partition: Partition, tasks: list[int], shares: np.ndarray):
        self.partition, self.tasks = partition, tasks
        self.shares = torch.from_numpy(shares)
        self._scales, self._of = None, None

    # ---------------------------------------------------------------- with the fast engine's pass g

    def dots(self, g) -> np.ndarray:
        """<g_0|_b, r|_b>: float64 (n_blocks, 1). Call it first: ``gram`` and ``descend`` use what it computes."""
        partition = self.partition
        result = np.zeros((partition.n_blocks, 1))
        D, N = g.D[0], g.N
        torch.mm(D[N:], D[:N].t(), out=g.s)
        result[0] = _row_sums(g, g.s.mul_(g.k))
        self.rows = []
        layers = zip(g.upper, partition.members(g.Z), partition.slices, self._scaled(g), strict=True)
        for (*_, Ds, Hs, Dc, Hc), E, blocks, scale in layers:
            G, b = torch.mm(Ds.t(), Hs * scale), Ds.sum(0)
            self.rows.append((G, b))
            if len(Dc) == 1:
                columns = torch.mv(G.t(), Dc[0]).mul_(Hc[0])
            else:
                columns = torch.mm(Dc.t(), Hc).mul_(G).sum(0)
            result[blocks, 0] = torch.mv(E.t(), columns).numpy(force=True)
            result[0] += float(torch.mv(Dc, b).sum())
        return result

    def gram(self, g) -> np.ndarray:
        """<r|_b, r|_b>: float64 (n_blocks, 1, 1)."""
        partition = self.partition
        result = np.zeros((partition.n_blocks, 1, 1))
        result[0] = _first_gram(g)
        for (G, b), E, blocks in zip(self.rows, partition.members(g.Z), partition.slices, strict=True):
            result[blocks, 0, 0] = torch.mv(E.t(), G.square().sum(0)).numpy(force=True)
            result[0] += float(torch.dot(b, b))
        return result

    def descend(self, g, lr: float, weights: np.ndarray) -> None:
        """theta -= lr (g_0 + weights[b, 0] r|_b in every block b)."""
        v = torch.from_numpy(weights[:, 0]).to(g.Z)
        _first_step(g, lr, weights[0])
        layers = zip(g.upper, self.partition.members(g.Z), self.partition.slices, self.rows, strict=True)
        for (layer, *_, Dc, Hc), E, blocks, (G, b) in layers:
            layer.descend_current(lr, Dc, Hc)
            layer.W.addcmul_(G, torch.mv(E, v[blocks]), value=-lr)
            layer.b.sub_(b, alpha=lr * float(weights[0, 0]))
        g.engine.stepped()

    def _scaled(self, g) -> list[torch.Tensor]:
        """For each upper layer a matrix (N, i): the share of the example's task in the input's group."""
        stored = g.engine.stored
        if self._of is not stored:
            position = {task: s for s, task in enumerate(self.tasks)}
            row = torch.tensor([position[task] for task in stored.tasks.tolist()])
            partition = self.partition
            self._scales = [
                self.shares[blocks].t()[row][:, labels].to(g.Z)
                for blocks, labels in zip(partition.slices, partition.groups, strict=True)
            ]
            self._of = stored
        return self._scales

    # ---------------------------------------------------------------- with the autograd engine

    def accumulate(self, row: torch.Tensor, grad: torch.Tensor, task: int) -> None:
        """row += the gradient of a task's part of the row, weighted block by block."""
        share = self.shares[:, self.tasks.index(task)].to(grad)
        row.addcmul_(share[self.partition.labels().to(grad.device)], grad)

    def row_dots(self, g, rows):
        return self.partition.row_dots(g, rows)

    def row_gram(self, rows):
        return self.partition.row_gram(rows)

    def combine(self, g, rows, weights):
        self.partition.combine(g, rows, weights)


def _row_sums(g, s: torch.Tensor) -> np.ndarray:
    """Sums (R,) of products s (B, N) of examples."""
    return s.view(g.per_row.shape).sum((0, 2), dtype=torch.float64).numpy(force=True)


def _first_gram(g) -> np.ndarray:
    """The first layer's products (R, R) of rows, bias included."""
    R, m = g.blocks.R, g.blocks.m
    S = g.blocks.pairs()[0].zero_() if R > 1 and g.first.kept else None
    total = g.first.gram(g.D[0][: g.N], g.first.X)
    if S is not None:
        total = S.view(R, m, R, m).sum((1, 3), dtype=torch.float64)
    return total.numpy(force=True) if isinstance(total, torch.Tensor) else total


def _first_step(g, lr, weights: np.ndarray) -> None:
    """The first layer's step, rows weighted (R,)."""
    if not weights.any():
        v = None
    else:
        v = float(weights[0]) if len(weights) == 1 else torch.from_numpy(weights).to(g.Z)
    g.first.step(lr, v, g.D[0], g.N, g.x, g.k)
