"""What the group methods share: groups of hidden units, made once, and how each past task relates to the present one."""

import itertools
import warnings

import torch

from model import UsageError, networks
from model.engine.fast import linear_layers
from model.engine.partition import Partition
from model.memory import ReservoirMemory
from model.numeric import groups
from model.numeric.relatedness import Covariance, conditional, prepare, relatedness, ridged

PENDING = 64  # the most batches whose activations wait for the next update of the covariances


class Grouping:
    """Groups, covariances and relatedness of one method's network. Methods read ``partition``, ``past`` and ``rho``.

    Groups are made from the weights when the first task ends. A uniform sample of at most ``--cov_first_task_buffer``
    of its examples is then passed through the network to make its covariances. Those of later tasks are updated while
    the tasks are learned. ``rho`` (n_blocks, t), t = len(past), is 1/t in every block until a task's first estimate; in
    block 0 and in the blocks of biases it is always 1/t.
    """

    def __init__(self, learner, reverse: bool, own_biases: bool = False):
        self.args, self.net, self.outputs = learner.args, learner.net, learner.outputs
        self.reverse, self.own_biases = reverse, own_biases
        layers = linear_layers(self.net)
        if layers is None:
            kind = type(self.net).__name__
            which = "this MLP is normalised or has dropout" if kind == "MLP" else f"this network is a {kind}"
            raise UsageError(
                f"--model {learner.name}: its groups are of a plain MLP's hidden units, and {which}; "
                "give --net mlp --norm none --dropout 0"
            )
        self.shapes = [tuple(layer.weight.shape) for layer in layers]
        narrowest = min((o for o, _ in self.shapes[:-1]), default=self.args.num_groups)
        if self.args.num_groups > narrowest and not self.args.create_group_per_unit:
            raise UsageError(
                f"--num_groups {self.args.num_groups}: a hidden layer has only {narrowest} units; give {narrowest} or fewer"
            )
        self.n_y = self.shapes[-1][0] if self.args.if_output_cov else 1
        self.generator = torch.Generator().manual_seed(self.args.seed)
        self.first = ReservoirMemory(self.args.cov_first_task_buffer, self.args.seed, "cov_first_task_buffer")
        self.partition: Partition | None = None
        self.covariances: dict[int, list[Covariance]] = {}  # of each task, one for each size of group
        self.task: int | None = None
        self.past: list[int] = []
        self.pending: list[torch.Tensor] = []
        self.batches = 0  # of the present task
        self.divergences: torch.Tensor | None = None  # (n_groups, t) of the last estimate
        self.rho: torch.Tensor | None = None
        self._prepared: dict[int, list] = {}

    # ---------------------------------------------------------------- the stream

    def begin(self, task: int, past: list[int]) -> None:
        """Begin ``task``; ``past`` are the other tasks seen before it. Call ``finish`` for the previous task first."""
        self._flush()
        self._prepared.clear()
        self.task, self.past, self.batches, self.divergences = task, list(past), 0, None
        self._relate()

    def watch(self, g, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take up the batch x (B, n_inputs), y (B,) whose gradients are ``g``; call it before the step."""
        if self.partition is None:
            self.first.write(self.task, x, y)
            return
        if not self._sizes:
            return
        self.pending.append(self._samples(g.hidden, g.scores, y))
        self.batches += 1
        due = self.past and self.batches % self.args.cov_recompute_every == 0
        if due or len(self.pending) == PENDING:
            self._flush()
        if due:
            self._estimate()

    def finish(self) -> None:
        """End the present task. Makes the groups if there are none yet and something was learned."""
        stored = self.first.rows()
        if self.partition is not None or stored is None:
            return
        self._use(list(self._make()))
        if self._sizes:
            x, y, tasks = stored
            with torch.no_grad():
                hidden, scores = networks.activations(self.net, x)
            self.pending.append(self._samples(hidden, self.outputs.own(scores, tasks), y))
        self.first.clear()

    def _make(self):
        """The group labels of each hidden layer's units, made as the flags say."""
        weights = [layer.weight.detach() for layer in linear_layers(self.net)]
        for l, (W_in, W_out) in enumerate(itertools.pairwise(weights), start=1):
            n, K = len(W_in), self.args.num_groups
            if self.args.create_group_per_unit:
                yield groups.each_unit(n)
                continue
            labels = None
            if not self.args.create_random_groups:
                labels = groups.communities(W_in, W_out, K, self.generator, self.args.group_xi)
                if labels is None:
                    warnings.warn(
                        f"hidden layer {l}: no communities found in {groups.ATTEMPTS} attempts; its groups are random",
                        stacklevel=2,
                    )
            yield groups.random(n, K, self.generator) if labels is None else labels

    def erase(self, tasks) -> None:
        """Delete the covariances of ``tasks``; call ``begin`` before the next batch."""
        self._flush()
        for task in tasks:
            self.covariances.pop(task, None)
        self.past, self.divergences = [], None
        self._relate()

    # ---------------------------------------------------------------- covariances and relatedness

    def _use(self, labels: list[torch.Tensor]) -> None:
        """Set the partition into these groups and, for each size of group, the groups' numbers and their units."""
        self.partition = Partition(self.shapes, labels, self.own_biases)
        self._sizes, by_size, start = [], {}, 0
        for layer, blocks in zip(labels, self.partition.slices, strict=True):
            for k in range(blocks.stop - blocks.start):
                units = (layer == k).nonzero()[:, 0]
                by_size.setdefault(len(units), []).append((blocks.start - 1 + k, units + start))
            start += len(layer)
        for size in sorted(by_size):
            numbers, units = zip(*by_size[size], strict=True)
            self._sizes.append((torch.tensor(numbers), torch.stack(units)))

    def _samples(self, hidden, scores, y) -> torch.Tensor:
        """The samples (B, n_units + n_y): all hidden layers' activations, then the y-part."""
        last = scores if self.args.if_output_cov else y.unsqueeze(1).to(scores.dtype)
        return torch.cat([*hidden, last], 1)

    def _flush(self) -> None:
        """Update the present task's covariances with what is pending."""
        if not self.pending:
            return
        Z = torch.cat(self.pending).cpu().double()
        self.pending.clear()
        activity, y = Z[:, : -self.n_y], Z[:, -self.n_y :]
        if self.task not in self.covariances:
            self.covariances[self.task] = self._empty()
        for covariance, (numbers, units) in zip(self.covariances[self.task], self._sizes, strict=True):
            covariance.update(torch.cat((activity[:, units], y.unsqueeze(1).expand(-1, len(numbers), -1)), 2))

    def _empty(self) -> list[Covariance]:
        biased = self.args.fork_compat
        return [Covariance(len(numbers), units.shape[1] + self.n_y, biased) for numbers, units in self._sizes]

    def _prepare(self, task: int) -> list:
        stripped = 1 if self.args.fork_compat else self.n_y  # the fork takes the last row for the y-part, always
        return [prepare(ridged(c.matrix()), stripped, self.args.divergence) for c in self.covariances[task]]

    def _estimate(self) -> None:
        """Compute the divergences of the present task from every past one, then rho."""
        for s in self.past:
            if s not in self._prepared:
                self._prepared[s] = self._prepare(s)
        present = self._prepare(self.task)
        self.divergences = torch.zeros(sum(len(numbers) for numbers, _ in self._sizes), len(self.past)).double()
        for size, (numbers, _) in enumerate(self._sizes):
            for column, s in enumerate(self.past):
                self.divergences[numbers, column] = conditional(present[size], self._prepared[s][size])
        self._relate()

    def _relate(self) -> None:
        """Set rho from the divergences; 1/t where there are none."""
        t, self.rho = len(self.past), None
        if t:
            self.rho = torch.full((self.partition.n_blocks, t), 1.0 / t, dtype=torch.float64)
            if self.divergences is not None:
                self.rho[1 : 1 + len(self.divergences)] = relatedness(self.divergences, self.reverse)

    # ---------------------------------------------------------------- state

    def checkpoint(self) -> dict:
        labels = None if self.partition is None else [layer.clone() for layer in self.partition.groups]
        return {
            "labels": labels,
            "generator": self.generator.get_state(),
            "first": self.first.checkpoint(),
            "covariances": {s: [c.checkpoint() for c in sizes] for s, sizes in self.covariances.items()},
            "pending": [samples.clone() for samples in self.pending],
            "divergences": None if self.divergences is None else self.divergences.clone(),
            "place": [self.task, list(self.past), self.batches],
        }

    def restore(self, state: dict) -> None:
        self.generator.set_state(state["generator"])
        self.first.restore(state["first"])
        self.task, self.past, self.batches = state["place"]
        self.past = list(self.past)
        self.pending = [samples.clone() for samples in state["pending"]]
        self.divergences = None if state["divergences"] is None else state["divergences"].clone()
        self.partition, self.covariances, self._prepared = None, {}, {}
        if state["labels"] is not None:
            self._use([layer.clone() for layer in state["labels"]])
            for s, sizes in state["covariances"].items():
                self.covariances[s] = self._empty()
                for covariance, one in zip(self.covariances[s], sizes, strict=True):
                    covariance.restore(one)
        self._relate()


def reverse(args, own: bool) -> bool:
    """Whether dissimilar tasks are protected more, as the method's ``own`` flag says.

    In `--fork_compat` every method reads `--ewc_reverse`, as the fork does; its default is True there.
    """
    if args.fork_compat:
        return True if args.ewc_reverse is None else args.ewc_reverse
    return bool(own)
