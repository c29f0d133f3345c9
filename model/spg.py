"""SPG: soft-masking of parameter-level gradient flow (Konishi et al. 2023, Algorithm 1).

At the end of task t every parameter below the head gets an importance

    gamma_i = max over heads s <= t of |tanh(Norm(g^s_i))|,      Norm(z) = (z - mean(z)) / std(z)  per tensor,

where g^t is the gradient of the loss, and g^s of an older head s that of the sum of its logits on the data of task t
("cross-head importance", CHI; `--spg_chi no` leaves it out). Gamma is the maximum of gamma over tasks, and a step is
multiplied by 1 - Gamma, element by element; the head's by 1 - mean(Gamma). Nothing else of the loss changes: CHI enters
the importance alone. (`--spg_chi_loss yes` adds the sum of the older heads' logits to the training loss, as the
soft-masking notes do, to show what that does: the sum has no lower bound.)

Deviations: importance is taken on a uniform sample of the task's stream, not on all of it; with one shared head all
older heads are the same one, counted once; the authors' clip of the head's gradient norm at 10,000 is left out.
"""

import sys

import torch
from torch.nn import functional as F

from model import arguments
from model.learner import Learner
from model.memory import TaskSample
from model.unlearning import KeptExamples


def importance(tensor: torch.Tensor) -> torch.Tensor:
    """|tanh(Norm(z))| of one gradient tensor; 0 where it is constant: nothing then stands out."""
    z = tensor.double()
    if z.numel() < 2:
        return torch.zeros_like(tensor)
    std = z.std()
    if not std > torch.finfo(tensor.dtype).eps * z.abs().max():
        return torch.zeros_like(tensor)
    return ((z - z.mean()) / std).tanh_().abs_().to(tensor.dtype)


class Net(Learner):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        arguments.require_task_sample(self.args, "spg")
        self.below = sum(self.engine.flat.sizes[:-2])  # parameters below the head, the last layer, which comes last
        if not self.below:
            print("spg: --n_layers 0 leaves nothing below the head to mask, so this is single", file=sys.stderr)
        self.sample = TaskSample(self.args)
        self.free: torch.Tensor | None = None  # (p,): 1 - Gamma, and for the head 1 - mean(Gamma)
        self.counts["spg_mean_importance"] = 0.0
        self.kept = KeptExamples(n_tasks, self.args, "spg")
        self.gammas = []  # (task, gamma), where Gamma must be made anew without some tasks': a maximum cannot be undone

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.begin(t)
        self.sample.write(t, x, y)
        self.kept.write(t, x, y)
        added = self.old_logits(x) if self.args.spg_chi_loss else None
        self.descend(self.engine.gradients(x, y, t), added=added)

    def descend(self, g, correction=None, added=None):
        """The masked step; ``added`` (p,) is a gradient beside g."""
        if self.free is None:
            g.descend(self.lr, correction)
        else:
            flat = g.flat(correction) if added is None else g.flat(correction) + added
            step = self.engine.direction(flat)  # what is masked is the step, whatever the optimizer
            self.engine.theta.addcmul_(step, self.free, value=-self.lr)

    @torch.no_grad()
    def finish_task(self):
        """Accumulate the importance of the task that ends; does nothing if that was done before."""
        if not len(self.sample):
            return
        gamma = self.gamma()
        if self.args.forgetting_mode:
            self.gammas.append((self.task, gamma))
        self.accumulate(gamma)
        self.sample.clear()

    def accumulate(self, gamma: torch.Tensor) -> None:
        """Gamma <- max(Gamma, gamma), and what it leaves free."""
        free = 1 - gamma
        if self.free is not None:
            torch.minimum(free, self.free, out=free)
        share = free[: self.below].mean(dtype=torch.float64).item() if self.below else 1.0
        free[self.below :] = share
        self.free = free
        self.counts["spg_mean_importance"] = round(1 - share, 6)

    def gamma(self) -> torch.Tensor:
        """gamma (p,) of the current task on its sample, at the current parameters; 0 for the head."""
        x, y, _ = self.sample.rows()
        with self.engine.recording():
            p = torch.softmax(self.engine.forward(x, self.task), 1)
            result = self.normalised(self.engine.backward(p - F.one_hot(y, p.shape[1])))
            for head in self.older_heads():
                logits = self.engine.forward(x, head)
                torch.maximum(result, self.normalised(self.engine.backward(torch.ones_like(logits))), out=result)
        return result

    def old_logits(self, x) -> torch.Tensor | None:
        """The gradient (p,) of the sum of a batch's logits of every past task; None in the first task."""
        total = None
        for head in self.seen:
            if head != self.task:
                gradient = self.engine.backward(torch.ones_like(self.engine.forward(x, head)))
                total = gradient.clone() if total is None else total.add_(gradient)
        return total

    def older_heads(self) -> list[int]:
        """A task for each other head in use: every past task, or one for all if the head is shared."""
        past = [s for s in self.seen if s != self.task] if self.args.spg_chi else []
        return past[:1] if self.outputs.foreign is None else past

    def normalised(self, gradient: torch.Tensor) -> torch.Tensor:
        result = torch.zeros_like(gradient)
        split = self.engine.flat.split
        for tensor, into in zip(split(gradient)[:-2], split(result)[:-2], strict=True):
            into.copy_(importance(tensor))
        return result

    def unlearn(self, x, t, y, attack):
        """A step of the unlearning phase: the mask is that of the kept tasks."""
        self.begin_unlearning(attack)
        g = self.engine.gradients(x, y, t)
        self.descend(g, self.kept.ascent(g, self.outputs))

    def begin_unlearning(self, attack):
        """The mask of the kept tasks."""
        if self.kept.begin(attack, self.engine):
            self.gammas = [(task, gamma) for task, gamma in self.gammas if task not in attack.tasks]
            self.free = None
            for _, gamma in self.gammas:
                self.accumulate(gamma)

    def unlearned(self, attack):
        self.begin_unlearning(attack)  # where the phase had no step to make
        self.kept.end(attack, self.engine)
        self.drop(attack.tasks)
