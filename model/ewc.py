"""Elastic Weight Consolidation (Kirkpatrick et al. 2017) as in GEM's code, in O(p) form.

The loss of task t is CE + lambda sum_s sum_i F_si (theta_i - theta*_si)^2 over past tasks s, lambda = memory_strength,
without a factor 1/2. With a = sum_s F_s and m the F-weighted mean of the theta*_s the gradient of the penalty is
2 lambda a (theta - m), so two vectors replace two per task.

Deviation from Kirkpatrick et al., as in GEM's code: F is the squared gradient of the *mean* loss over the first
n_memories examples of a task, which is far smaller than the Fisher; `--ewc_fisher empirical|sampled` gives the diagonal
of the (empirical) Fisher.
"""

import torch

from model import arguments
from model.learner import Learner
from model.unlearning import KeptExamples


class Net(Learner):
    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        arguments.require_memories(self.args, self.name)
        self.x = self.y = None  # the first n_memories examples of the current task
        self.a = self.mean = self.pull = None  # sum of the F_s, F-weighted mean of the theta*_s, 2 lr lambda a
        self.generator = torch.Generator().manual_seed(self.args.seed)
        self.kept = KeptExamples(n_tasks, self.args, self.name)
        self.terms = []  # (task, F, theta*) of each task, where the sums must be made anew without some of them

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.begin(t)
        self.remember(x, y)
        g = self.engine.gradients(x, y, t)
        self.descend(g)
        self.kept.write(t, x, y)

    def descend(self, g, correction=None):
        """The step on the batch's loss, its ``correction``, and the penalty."""
        if self.a is None:
            g.descend(self.lr, correction)
        elif self.optimizer is None:
            self.engine.theta.lerp_(self.mean, self.pull)  # theta -= lr 2 lambda a (theta - m), without cancellation
            g.descend(self.lr, correction)
        else:
            whole = g.flat(correction)
            whole += 2 * self.args.memory_strength * self.a * (self.engine.theta - self.mean)
            self.engine.move(whole, self.lr)

    def remember(self, x, y):
        """Keep the first n_memories examples."""
        n = self.args.n_memories
        if self.x is None:
            self.x, self.y = x[:n].clone(), y[:n].clone()
        elif len(self.y) < n:
            self.x, self.y = torch.cat((self.x, x))[:n], torch.cat((self.y, y))[:n]

    def finish_task(self):
        """Add the finished task's F and parameters to the sums; does nothing if that was done before."""
        if self.x is None:
            return
        F, theta = self.fisher(), self.engine.theta.clone()
        self.consolidate(F, theta)
        if self.args.forgetting_mode:
            self.terms.append((self.task, F, theta))
        self.x = self.y = None

    def consolidate(self, F, theta):
        """Add one task's F (p,) and parameters (p,) to the sums."""
        if self.a is None:
            self.a, self.mean = F, theta
        else:
            self.a = self.a + F
            self.mean = self.mean + torch.where(self.a > 0, F / self.a, 0) * (theta - self.mean)
        self.pull = 2 * self.later_lr * self.args.memory_strength * self.a  # in the tasks that follow

    def fisher(self):
        """F (p,) of the current task's examples at the current parameters, by ``--ewc_fisher``."""
        with self.engine.recording():
            if self.args.ewc_fisher == "batch":
                return self.engine.gradients(self.x, self.y, self.task).flat().square()
            p = torch.softmax(self.engine.forward(self.x, self.task), 1)
            labels = self.y
            if self.args.ewc_fisher == "sampled":
                labels = torch.multinomial(p.cpu(), 1, generator=self.generator)[:, 0].to(labels)
            dlogits = p - torch.nn.functional.one_hot(labels, p.shape[1])
            return self.engine.backward(dlogits, per_sample=True).square_().mean(0)

    def unlearn(self, x, t, y, attack):
        self.begin_unlearning(attack)
        g = self.engine.gradients(x, y, t)
        self.descend(g, self.kept.ascent(g, self.outputs))

    def begin_unlearning(self, attack):
        """Make the sums anew without the attacked tasks' terms. Subtracting in float32 would leave negative entries."""
        if self.kept.begin(attack, self.engine):
            self.terms = [term for term in self.terms if term[0] not in attack.tasks]
            self.a = self.mean = self.pull = None
            for _, F, theta in self.terms:
                self.consolidate(F, theta)

    def unlearned(self, attack):
        self.begin_unlearning(attack)  # where the phase had no step to make
        self.kept.end(attack, self.engine)
        self.drop(attack.tasks)
