"""iCaRL (Rebuffi, Kolesnikov, Sperl & Lampert 2017), as the GEM authors' code trains it, for tasks with own classes.

While task t is learned, a step descends on

    CE(h(x), y) + lam sum_(s<t) mean over the classes of s of KL(softmax of z'_s || softmax of h(x')_s),

where x' is one exemplar of each class of s, drawn anew, z' its logits at the end of the task learned last, and _s picks the
outputs of task s. At the end of a task each of its classes keeps floor(--n_memories / classes seen) exemplars, chosen by
herding: the mean of the logits of those chosen so far shall be as near the mean of the class as possible. The older
classes keep their first exemplars, as many. The prediction is the class of the task whose exemplars' mean logits are the
nearest; features are all logits.
"""

import torch
from torch.nn import functional as F

from model import UsageError, arguments, networks
from model.learner import Learner

CHUNK = 250  # images in one pass


def herd(features: torch.Tensor, n: int) -> list[int]:
    """Indices of min(n, N) of the ``features`` (N, d), whose running mean follows that of all N as closely as possible."""
    mean, total = features.mean(0), torch.zeros_like(features[0])
    chosen: list[int] = []
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    while len(chosen) < min(n, len(features)):
        distance = (mean - (features + total) / (len(chosen) + 1)).norm(dim=1)
        chosen.append(int(distance.masked_fill(~free, torch.inf).argmin()))
        free[chosen[-1]] = False
        total = total + features[chosen[-1]]
    return chosen


class Net(Learner):
    cannot_unlearn = "its distillation targets hold every task's outputs"

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        if self.outputs.foreign is None:
            raise UsageError(
                "--model icarl: needs tasks with classes of their own; give such a data file, or --head split"
            )
        arguments.require_memories(self.args, self.name)
        classes = sum(map(self.outputs.count, range(n_tasks)))
        if self.args.n_memories < classes:
            raise UsageError(
                f"--n_memories {self.args.n_memories}: icarl keeps exemplars of each of the {classes} classes; "
                f"give {classes} or more"
            )
        self.x: list[torch.Tensor] = []  # of the current task
        self.y: list[torch.Tensor] = []
        self.to_come: int | None = None  # examples of the current task, if that is known
        self.exemplars: dict[int, torch.Tensor] = {}  # class: x (e, n_inputs), in the order of herding
        self.targets: dict[int, torch.Tensor] = {}  # class: their logits (e, n_outputs)
        self.generator = torch.Generator().manual_seed(self.args.seed)
        self.means = None  # (the network's state, its mode, {task: the mean logits of its classes})

    # ---------------------------------------------------------------- learning

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.begin(t)
            n = self.examples_of(t)
            self.to_come = None if n is None else n * self.args.n_epochs
        g = self.engine.gradients(x, y, t)
        older = [s for s in self.seen if s != t and self.learned(s)]
        if older:
            step = g.flat().clone()
            for tasks in self.passes(older):
                step.add_(self.distillation(tasks), alpha=self.args.memory_strength)
            self.engine.move(step, self.lr)
        else:
            g.descend(self.lr)
        self.keep(x, t, y)

    def keep(self, x, t, y):
        """Keep the examples of the task's first epoch; after the last batch of its last, the task ends."""
        n = self.examples_of(t)
        room = len(y) if n is None else n - sum(map(len, self.y))
        if room > 0:
            self.x.append(x[:room].clone())
            self.y.append(y[:room].clone())
        if n is not None:
            self.to_come -= len(y)
            if self.to_come <= 0:
                self.finish_task()

    def passes(self, tasks):
        """The tasks in as few passes as may be: one for all, but one for each where a pass mixes its examples' statistics."""
        return [[s] for s in tasks] if self.args.parity or networks.batch_norms(self.net) else [tasks]

    def distillation(self, tasks):
        """The gradient (p,) of the mean KL divergences between stored and present outputs, summed over older ``tasks``."""
        xs, zs = zip(*map(self.draw, tasks), strict=True)
        x, z = torch.cat(xs), torch.cat(zs)
        ids = torch.tensor([s for s, of_s in zip(tasks, xs, strict=True) for _ in of_s])
        share = torch.cat([z.new_full((len(of_s), 1), 1 / len(of_s)) for of_s in xs])
        with self.engine.memory_pass():
            p = torch.softmax(self.engine.forward(x, ids), 1)
            return self.engine.backward((p - torch.softmax(self.outputs.mask_(z, ids), 1)) * share).clone()

    def draw(self, s):
        """One exemplar of each class of task s: x (c, n_inputs) and its stored logits (c, C)."""
        xs, zs = [], []
        for c in self.outputs.of(s).tolist():
            if c in self.exemplars:
                i = int(torch.randint(len(self.exemplars[c]), (), generator=self.generator))
                xs.append(self.exemplars[c][i])
                zs.append(self.targets[c][i])
        return torch.stack(xs), torch.stack(zs)

    def examples_of(self, t):
        """How many examples of task t the run has in an epoch; None where a foreign main program does not say it."""
        sizes = getattr(self.args, "task_sizes", None)
        n = sizes[t] if sizes else self.args.samples_per_task
        return n if n > 0 else None

    def learned(self, t):
        """Whether there are exemplars of task t."""
        return any(c in self.exemplars for c in self.outputs.of(t).tolist())

    def restore(self, state):
        super().restore(state)
        self.means = None

    # ---------------------------------------------------------------- the end of a task

    @torch.no_grad()
    def finish_task(self):
        """Choose exemplars of the task that ends, and store the logits of all exemplars; does nothing if that was done."""
        if not self.x:
            return
        x, y = torch.cat(self.x), torch.cat(self.y)
        own = self.outputs.of(self.task).to(x.device)
        self.x, self.y, self.means = [], [], None
        with self.engine.recording():
            logits = self.logits(x)[:, own]
            classes = y.unique().tolist()
            n = self.args.n_memories // len({*self.exemplars, *classes})
            for c in classes:
                members = (y == c).nonzero()[:, 0]
                self.exemplars[c] = x[members[herd(logits[members], n)]]
            if not self.args.parity:
                self.exemplars = {c: kept[:n].clone() for c, kept in self.exemplars.items()}
            self.targets = dict(zip(self.exemplars, self.logits_of(self.exemplars), strict=True))

    def logits(self, x):
        """All logits (N, C), those of other tasks included."""
        return torch.cat([self.net(part) for part in x.split(CHUNK)])

    def logits_of(self, classes):
        """The logits of the exemplars of each class, a list of (e, C)."""
        xs = [self.exemplars[c] for c in classes]
        return [part.clone() for part in self.logits(torch.cat(xs)).split([len(x) for x in xs])]

    # ---------------------------------------------------------------- prediction

    @torch.no_grad()
    def forward(self, x, t):
        """1 for the class of task t whose exemplars' mean logits are nearest, else 0; the same for all while there are none."""
        own = self.outputs.of(t).to(x.device)
        result = x.new_full((len(x), self.outputs.n_outputs), -1e11)
        if not self.learned(t):
            result[:, own] = 1 / len(own)
            return result
        result[:, own] = F.one_hot(self.nearest(self.net(x), [t]), len(own)).to(x)
        return result

    @torch.no_grad()
    def masked_and_unmasked(self, x, t):
        """The nearest class of task t, and the nearest of all classes that have exemplars; the first of all without any."""
        learned = [s for s in self.seen if self.learned(s)]
        if not learned:
            return self.forward(x, t).argmax(1), torch.zeros(len(x), dtype=torch.long, device=x.device)
        logits = self.net(x)
        own = self.outputs.of(t).to(x.device)
        masked = own[self.nearest(logits, [t])] if self.learned(t) else own[:1].expand(len(x))
        every = torch.cat([self.outputs.of(s) for s in learned]).to(x.device)
        return masked, every[self.nearest(logits, learned)]

    def nearest(self, logits, tasks):
        """For each row of the ``logits`` (B, C), which of the classes of ``tasks``, one after another, has the nearest mean."""
        exact = "donot_use_mm_for_euclid_dist"  # the other way makes nan of an infinite mean
        return torch.cdist(logits, self.class_means(tasks), compute_mode=exact).argmin(1)

    def class_means(self, tasks):
        """The mean logits (c, C) of the exemplars of each class of ``tasks``, one after another; infinite without any."""
        state = [value.clone() for value in self.net.state_dict().values()]
        mode = self.net.training
        if self.means is None or self.means[1] != mode or not all(map(torch.equal, self.means[0], state)):
            self.means = (state, mode, {})
        means = self.means[2]
        for t in tasks:
            if t not in means:
                own = self.outputs.of(t).tolist()
                means[t] = state[0].new_full((len(own), self.outputs.n_outputs), torch.inf)
                known = [c for c in own if c in self.exemplars]
                for c, z in zip(known, self.logits_of(known), strict=True):
                    means[t][own.index(c)] = z.mean(0)
        return torch.cat([means[t] for t in tasks])
