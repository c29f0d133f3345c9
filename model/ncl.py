"""Natural Continual Learning (Kao et al. 2021, Algorithm 1).

After each task its Fisher is added to Lambda, the approximate posterior precision, and mu becomes its parameters. The
objective of task k is l_k(theta) + lambda/2 (theta - mu)' Lambda (theta - mu); a step is the steepest descent of it in
the norm of Lambda:

    theta <- theta - eta/N (Lambda^-1 grad l_k + lambda (theta - mu)),

which moves at the rate eta where no past task is sensitive, and hardly at all where one is. Precisions are per example:
the prior is Lambda_0 = I/N, mu_0 = 0, so that the first task is SGD and a pull to 0 of size eta/N.

Deviations: momentum accumulates preconditioned gradients. The result is the same, since Lambda is constant within a
task. Momentum is cleared at a task's end; the authors' code carries it over. The radius of the trust region is absorbed
by the rate, as in both public codes; `--ncl_radius` also limits the length of a step, sqrt(d' Lambda d / 2). The Fisher
is taken on a uniform sample of the task's stream.
"""

import torch
from torch.nn import functional as F

from model import UsageError, arguments
from model.engine.fast import linear_layers
from model.learner import Learner
from model.memory import TaskSample
from model.precision import Diagonal, Kronecker

PANEL = 64  # examples whose gradients are held at once


def data_size(args) -> int:
    """N, the number of examples of a task: the first known of three; 0 if none is.

    They are ``--ncl_data_size``, the mean of ``args.task_sizes`` (which only our ``main.py`` sets), and
    ``--samples_per_task``.
    """
    sizes = getattr(args, "task_sizes", None)
    return args.ncl_data_size or (round(sum(sizes) / len(sizes)) if sizes else max(args.samples_per_task, 0))


class Net(Learner):
    steps_itself = "they are along the natural gradient (--ncl_momentum gives them momentum)"
    cannot_unlearn = "its precision is one sum over all tasks"

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        arguments.require_task_sample(self.args, "ncl")
        layers = linear_layers(self.net)
        if layers is None and not self.args.ncl_diag:
            raise UsageError(
                f"--model ncl: {type(self.net).__name__} has parameters outside a stack of linear layers, "
                "for which there are no Kronecker factors; give --ncl_diag yes"
            )
        self.sample = TaskSample(self.args)
        self.generator = torch.Generator().manual_seed(self.args.seed)
        self.N = data_size(self.args)  # 0: counted in the first task, which is then learned without the prior
        if self.N:
            self.first_task_differs = "the prior pulls the parameters to 0 and damps the step"
        self.mu: torch.Tensor | None = None  # the parameters at the last task's end; None: 0
        self.momentum: torch.Tensor | None = None
        flat, alpha = self.engine.flat, self.args.ncl_alpha
        if self.args.ncl_diag:
            self.precision = Diagonal(flat, alpha)
        else:
            self.precision = Kronecker(layers, flat, alpha, self.args.ncl_sum)
        self.counts["ncl_fallbacks"] = 0

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.begin(t)
        self.sample.write(t, x, y)
        g = self.engine.gradients(x, y, t)
        if not self.N:
            g.descend(self.lr)
            return
        theta = self.engine.theta
        if not self.precision.started:
            self.precision.start(self.N, theta)
        step = self.precision.solve(g)
        step.add_(theta if self.mu is None else theta - self.mu, alpha=self.args.ncl_lambda)
        if self.args.ncl_momentum:
            if self.momentum is not None:
                step.add_(self.momentum, alpha=self.args.ncl_momentum)
            self.momentum = step.clone()
        rate = self.lr / self.N
        theta.sub_(step, alpha=rate * self.inside(rate, step))

    def inside(self, rate: float, step: torch.Tensor) -> float:
        """The factor that keeps d = rate * ``step`` in the trust region, sqrt(d' Lambda d / 2) <= radius."""
        if self.args.ncl_radius is None:
            return 1.0
        length = rate * (self.precision.quadratic(step).item() / 2) ** 0.5
        return min(1.0, self.args.ncl_radius / length) if length > 0 else 1.0

    @torch.no_grad()
    def finish_task(self):
        """Add the Fisher of the task that ends to Lambda, set mu; does nothing if that was done before."""
        if not len(self.sample):
            return
        if not self.N:
            self.N = max(1, round(self.sample.seen / self.args.n_epochs))
            self.precision.start(self.N, self.engine.theta)
        x, y, _ = self.sample.rows()
        with self.engine.recording():
            for xs, ys in zip(x.split(PANEL), y.split(PANEL), strict=True):
                self.precision.collect(xs, self.gradients(xs, ys))
        self.counts["ncl_fallbacks"] += self.precision.grow()
        self.mu, self.momentum = self.engine.theta.clone(), None
        self.sample.clear()

    def gradients(self, x, y):
        """Yield per-example gradients (n, p); their outer products sum to n times the Fisher on x (n, n_inputs).

        There is one such matrix for each label if ``--ncl_fisher`` is `all`, else one in total.
        """
        p = torch.softmax(self.engine.forward(x, self.task), 1)
        C = p.shape[1]
        if self.args.ncl_fisher == "all":  # each label, weighed by its probability
            labels = torch.arange(C, device=x.device).unsqueeze(1).expand(C, len(x))
            weights = p.t().sqrt().unsqueeze(2)
        else:
            if self.args.ncl_fisher == "sample":
                y = torch.multinomial(p.cpu(), 1, generator=self.generator)[:, 0].to(y)
            labels, weights = y.unsqueeze(0), p.new_ones(1, 1, 1)
        for label, weight in zip(labels, weights, strict=True):
            self.engine.forward(x, self.task)
            yield self.engine.backward(weight * (p - F.one_hot(label, C)), per_sample=True)
