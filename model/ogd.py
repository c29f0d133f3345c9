"""Orthogonal Gradient Descent (Farajtabar, Azizan, Mott & Li 2020, Algorithm 1).

At the end of a task gradients of the network's outputs on examples of it enter a basis; every later gradient loses its
component in their span, so that to first order the stored outputs do not change.

Modes: `gtl` stores the gradient of the ground-truth logit of each example (the paper's choice), `ave` of the mean of
its logits, `all` of each of its logits; `loss_mean` stores one vector a task, the gradient of its mean loss: what the split-MNIST
note does, although the paper's OGD-AVE is something else.

Two forms: with the fast engine the gradients of single examples are kept as activations and deltas
(`numeric.gram_basis`); those of a mean loss, and those of other networks, as orthonormal vectors (`numeric.basis`).

A mean loss is the cross-entropy over the whole sample of the task in evaluation mode, so that `--task_sample` decides what
is covered. `--ogd_record train` does as the note's code: the mean over mini-batches, in training mode. With another
optimizer than plain SGD, `--ogd_projects gradient` projects what the optimizer gets, as the note does, and `displacement`
what it makes of it. Only the second is orthogonal to the basis under Adam.

Deviations: examples are a uniform sample of the task's stream, taken without a second pass over it; the basis is
bounded (`--ogd_max_basis`), and when it is full nothing more is added. Where each task has outputs of its own, only
what the tasks share is projected, as in the code of OGD+: the others' outputs have no gradient, and stay as they are.
"""

import bisect
import sys

import torch
from torch.nn import functional as F

from model import UsageError, arguments, optimizer
from model.engine.fast import FastEngine, linear_layers
from model.learner import Learner
from model.memory import TaskSample
from model.numeric import basis, inverse_factor
from model.numeric.basis import Basis
from model.numeric.directions import Directions
from model.numeric.gram_basis import GramBasis
from model.room import available_memory
from model.unlearning import KeptExamples

CHUNK = 1_000  # examples in one pass of a mean loss
MAX_BASIS = {"dense": 2_000, "gram": 10_000}  # directions stored at most, unless --ogd_max_basis says so


class Net(Learner):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        arguments.require_task_sample(self.args, "ogd")
        self.displaces = self.args.ogd_projects == "displacement"
        own = self.args.optimizer == "sgd" and self.args.optimizer_state == "clear"  # only projected gradients add up
        if not own and not self.displaces:
            optimizer.warn(
                self.args,
                "ogd",
                "a step is not orthogonal to the basis though its gradient is (--ogd_projects displacement)",
            )
        self.sample = TaskSample(self.args)
        own_heads = self.outputs.foreign is not None
        sizes = self.engine.flat.sizes
        self.shared = sum(sizes[:-2] if own_heads else sizes)  # the last layer's come last
        self.gram = isinstance(self.engine, FastEngine) and self.args.ogd_mode != "loss_mean"
        if self.gram:
            layers = linear_layers(self.net)
            self.shapes = [tuple(layer.weight.shape) for layer in (layers[:-1] if own_heads else layers)]
        limit = self.plan(n_tasks)
        self.basis = GramBasis(limit, self.shapes) if self.gram else Basis(limit)
        if self.gram and self.optimizer is None:
            self.engine.avoid(self.basis)
        self.kept = KeptExamples(n_tasks, self.args, "ogd")
        self.raw = []  # (task, vectors or directions), where a basis must be made anew without some tasks': it mixes them
        self.counts["ogd_basis"] = 0
        self.full = False

    def plan(self, n_tasks: int) -> int:
        """The directions that the basis may come to; ``UsageError`` if memory has no room for them."""
        args, p = self.args, self.shared
        if args.ogd_mode != "loss_mean" and args.ogd_per_task > args.task_sample:
            raise UsageError(
                f"--ogd_per_task {args.ogd_per_task}: of each task only --task_sample {args.task_sample} examples are kept; "
                f"give --task_sample {args.ogd_per_task} too"
            )
        outputs = sum(map(self.outputs.count, range(n_tasks)))
        offered = {"loss_mean": n_tasks, "all": args.ogd_per_task * outputs}.get(
            args.ogd_mode, args.ogd_per_task * n_tasks
        )
        most = args.ogd_max_basis or MAX_BASIS["gram" if self.gram else "dense"]
        rows, self.offered = min(most, offered, p + 1), offered  # p would be complete, not full
        size, room = self.size(rows), available_memory(args.cuda)
        what = f"{rows:,} directions" if self.gram else f"{rows:,} rows of {p:,} numbers"
        if size > room:
            fits = bisect.bisect_right(range(rows), room / 2, key=self.size) - 1
            raise UsageError(
                f"--ogd_max_basis {most}: {what} take {size / 1e9:.1f} GB, "
                f"and {room / 1e9:.1f} GB are free; give --ogd_max_basis {fits}, or --ogd_mode loss_mean"
            )
        if size > 1e8:
            print(f"ogd: the basis may come to {what}, {size / 1e6:.0f} MB", file=sys.stderr)
        return rows

    def size(self, rows: int) -> int:
        """Bytes that a basis of so many directions takes, and what is kept of them to make it anew."""
        each = sum(map(sum, self.shapes)) if self.gram else self.shared
        raw = 4 * self.offered * each if self.args.forgetting_mode else 0
        return raw + (GramBasis.size(rows, self.shapes) if self.gram else 4 * rows * each)

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.begin(t)
        self.sample.write(t, x, y)
        self.kept.write(t, x, y)
        g = self.engine.gradients(x, y, t)
        self.descend(g)

    def descend(self, g, correction=None):
        """The step along what of the gradient (and its correction) is orthogonal to the basis."""
        if not self.basis.k or (g.orthogonal and correction is None):
            g.descend(self.lr, correction)
            return
        if self.displaces:
            step = self.engine.direction(g.flat(correction)).clone()
            self.basis.reject_(step[: self.shared])
            self.engine.theta.sub_(step, alpha=self.lr)
            return
        projected = g.flat(correction)
        self.basis.reject_(projected[: self.shared])
        self.engine.move(projected, self.lr)

    @torch.no_grad()
    def finish_task(self):
        """Store the directions of the task that ends; does nothing if that was done before."""
        if not len(self.sample):
            return
        x, y, _ = self.sample.rows()
        if self.args.ogd_mode == "loss_mean":
            left = self.add(self.mean_gradient(x, y).unsqueeze(0))
        else:
            n = self.args.ogd_per_task
            with self.engine.recording():
                left = sum(self.store(*panel) for panel in self.panels(x[:n], y[:n]))
        self.announce()
        if left and not self.full:
            self.full = True
            print(
                f"ogd: the basis is full with {self.basis.k:,} rows; from task {self.task} on the rest is left out",
                file=sys.stderr,
            )
        self.sample.clear()

    def mean_gradient(self, x, y):
        """The gradient (shared,) of the mean cross-entropy of examples, as ``--ogd_record`` says."""
        training = self.args.ogd_record == "train"
        parts = list(
            zip(*(values.split(self.args.batch_size if training else CHUNK) for values in (x, y)), strict=True)
        )
        total = 0.0
        with self.engine.recording(training):
            for xs, ys in parts:
                share = 1 / len(parts) if training else len(ys) / len(y)
                total = self.engine.gradients(xs, ys, self.task).flat()[: self.shared] * share + total
        return total

    def store(self, x, dlogits) -> int:
        """Add the gradients of <logits(x_i), dlogits_i>; returns how many there was no room for."""
        if self.basis.k == self.basis.limit and not self.args.forgetting_mode:
            return len(x)
        self.engine.forward(x, self.task)
        if self.gram:
            A, D = self.engine.directions(dlogits)
            return self.add(Directions(A[: len(self.shapes)], D[: len(self.shapes)]))
        return self.add(self.engine.backward(dlogits, per_sample=True)[:, : self.shared].clone())

    def add(self, vectors) -> int:
        """Take in vectors (n, p) or ``Directions`` of the present task; returns how many there was no room for."""
        if self.args.forgetting_mode:
            self.raw.append((self.task, vectors))
        return self.basis.add(vectors)

    def announce(self) -> None:
        """The basis has changed."""
        self.counts["ogd_basis"] = self.basis.k
        if self.gram and self.optimizer is None:
            self.engine.avoid(self.basis)

    def unlearn(self, x, t, y, attack):
        """A step of the unlearning phase: the basis is that of the kept tasks; the whole gradient is projected."""
        self.begin_unlearning(attack)
        g = self.engine.gradients(x, y, t)
        self.descend(g, self.kept.ascent(g, self.outputs))

    def begin_unlearning(self, attack):
        """The basis of the kept tasks' vectors."""
        if self.kept.begin(attack, self.engine):
            self.raw = [(task, vectors) for task, vectors in self.raw if task not in attack.tasks]
            self.basis.clear()
            for _, vectors in self.raw:
                self.basis.add(Directions(*vectors) if self.gram else vectors)
            self.announce()

    def unlearned(self, attack):
        self.begin_unlearning(attack)  # where the phase had no step to make
        self.kept.end(attack, self.engine)
        self.drop(attack.tasks)

    def panels(self, x, y):
        """Inputs and gradients at the logits that make up the directions of the mode, a panel at a time."""
        C = self.outputs.n_outputs
        own = self.outputs.of(self.task).to(y.device)
        match self.args.ogd_mode:
            case "gtl":
                dlogits = F.one_hot(y, C).to(x)
            case "ave":
                dlogits = F.one_hot(own, C).to(x).mean(0).expand(len(y), C)
            case "all":
                x, dlogits = x.repeat_interleave(len(own), 0), F.one_hot(own, C).to(x).repeat(len(y), 1)
        n = inverse_factor.PANEL if self.gram else basis.PANEL
        return zip(x.split(n), dlogits.split(n), strict=True)
