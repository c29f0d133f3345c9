"""Every method written down plainly: autograd on one vector of parameters, lists of examples, dense matrices, quadprog.

Nothing here is fast, and nothing is shared with the methods but their arguments, their first parameters, the seeds of
their draws, and for the group methods the groups themselves (``tests/model/numeric/test_groups.py`` has those). A plain
method raises ``Tie`` where a rule is about to be decided by rounding: such a case says nothing about a method.
"""

import numpy as np
import quadprog
import scipy.linalg
import torch
from torch.nn import functional as F

RIDGE = 1e-6  # of GEM's dual, relative to the unit diagonal
TIE = (1e-12, 1e-5)  # a direction is in the span below the first, outside above the second; between, rounding decides


class Tie(Exception):
    """Rounding would decide a rule that is not continuous."""


class Reservoir:
    """A list of at most ``capacity`` examples (x, y, t), a uniform sample of all that were offered."""

    def __init__(self, capacity, seed):
        self.capacity, self.draw = capacity, torch.Generator().manual_seed(seed)
        self.clear()

    def clear(self):
        self.examples, self.seen = [], 0

    def offer(self, example):
        self.seen += 1
        place = self.seen - 1
        if place >= self.capacity:
            place = int(torch.randint(self.seen, (), generator=self.draw))
        if place < self.capacity:
            self.examples[place : place + 1] = [example]

    def stacked(self):
        x, y, _ = zip(*self.examples, strict=True)
        return torch.stack(x), torch.stack(y)


class Ring:
    """A task's last ``capacity`` examples, each at the place that its number gives it."""

    def __init__(self, capacity):
        self.capacity, self.n, self.places = capacity, 0, {}

    def write(self, x, y):
        for example in zip(x, y, strict=True):
            self.places[self.n % self.capacity] = example
            self.n += 1

    def stacked(self):
        x, y = zip(*(self.places[i] for i in sorted(self.places)), strict=True)
        return torch.stack(x), torch.stack(y)


class Single:
    """``theta`` (p,): weights and biases, layer after layer."""

    def __init__(self, model, parameters=None):
        self.args, self.lr = model.args, model.args.lr
        self.sets = model.args.task_outputs
        parameters = list(model.parameters() if parameters is None else parameters)
        self.shapes = [tuple(p.shape) for p in parameters]
        self.theta = torch.cat([p.detach().flatten() for p in parameters]).clone()
        self.task, self.seen = None, []

    def begin(self, t):
        """Note that task t begins; whether it was another one before."""
        new, self.task = t != self.task, t
        self.seen += [] if t in self.seen else [t]
        return new

    def past(self):
        return [s for s in self.seen if s != self.task]

    # -- the network

    def split(self, vector):
        """The parts of a vector (p,) in the shapes of the parameters."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        return [part.view(shape) for part, shape in zip(vector.split(sizes), self.shapes, strict=True)]

    def activations(self, theta, x):
        """The inputs of each layer, and last the logits."""
        result, parts = [x], self.split(theta)
        for i in range(0, len(parts), 2):
            z = result[-1] @ parts[i].t() + parts[i + 1]
            result.append(z.relu() if i + 2 < len(parts) else z)
        return result

    def logits(self, theta, x):
        return self.activations(theta, x)[-1]

    def own(self, t):
        """The outputs of task t."""
        return list(range(self.shapes[-1][0])) if self.sets is None else self.sets[t]

    def losses(self, theta, x, y, t):
        own = self.own(t)
        labels = torch.tensor([own.index(int(label)) for label in y])
        return F.cross_entropy(self.logits(theta, x)[:, own], labels, reduction="none")

    def loss(self, theta, x, y, t):
        return self.losses(theta, x, y, t).mean()

    def gradient(self, function, *given):
        """The gradient of ``function(theta, *given)`` at theta."""
        theta = self.theta.clone().requires_grad_()
        value = function(theta, *given)
        return torch.autograd.grad(value, theta)[0] if value.requires_grad else torch.zeros_like(theta)

    def each_gradient(self, function, n):
        """The gradients (n, p) of each of the n values of ``function(theta)``."""
        return torch.stack([self.gradient(lambda theta, i=i: function(theta)[i]) for i in range(n)])

    # -- learning

    def observe(self, x, t, y):
        self.theta = self.theta - self.lr * self.gradient(self.loss, x, y, t)

    def finish(self):
        """The end of the last task."""


class Joint(Single):
    def observe(self, x, t, y):
        if self.sets is not None:
            (t,) = [s for s, own in enumerate(self.sets) if int(y[0]) in own]
        super().observe(x, t, y)


class Apart:
    """A network for each task (``independent``), or networks that share layers (``multimodal``)."""

    def __init__(self, model):
        self.args, self.model = model.args, model
        self.values = {id(p): p.detach().clone() for p in model.parameters()}
        self.order = [id(p) for p in model.parameters()]
        self.task, self.seen = None, []

    @property
    def theta(self):
        return torch.cat([self.values[key].flatten() for key in self.order])

    def step(self, t, x, y, sets):
        parameters = list(self.model.network(t).parameters())
        keys = [id(p) for p in parameters]
        net = Single(self.model, [self.values[key] for key in keys])
        net.sets = sets
        net.observe(x, t, y)
        self.values.update(zip(keys, (part.clone() for part in net.split(net.theta)), strict=True))

    def finish(self):
        pass


class Independent(Apart):
    def observe(self, x, t, y):
        if self.args.finetune and self.task is not None and t not in self.seen:
            pairs = zip(*(self.model.network(s).parameters() for s in (self.task, t)), strict=True)
            for old, new in pairs:
                if old.shape == new.shape:
                    self.values[id(new)] = self.values[id(old)].clone()
        self.task = t
        self.seen.append(t)
        own = None if self.args.task_outputs is None else self.args.task_outputs[t]
        self.step(t, x, y if own is None else torch.tensor([own.index(int(label)) for label in y]), None)


class Multimodal(Apart):
    def observe(self, x, t, y):
        self.step(t, x, y, self.args.task_outputs)


# ---------------------------------------------------------------- penalties


class EWC(Single):
    def __init__(self, model):
        super().__init__(model)
        self.terms, self.x, self.y = [], [], []
        self.draw = torch.Generator().manual_seed(self.args.seed)

    def observe(self, x, t, y):
        if t != self.task:
            self.finish()
            self.begin(t)
        self.x += x
        self.y += y
        gradient = self.gradient(lambda theta: self.loss(theta, x, y, t) + self.penalty(theta))
        self.theta = self.theta - self.lr * gradient

    def penalty(self, theta):
        lam = self.args.memory_strength
        return sum((lam * (fisher * (theta - old).square()).sum() for _, fisher, old in self.terms), 0 * theta.sum())

    def finish(self):
        if self.x:
            self.terms.append((self.task, self.fisher(), self.theta))
            self.x, self.y = [], []

    def fisher(self):
        n = self.args.n_memories
        x, y, t = torch.stack(self.x[:n]), torch.stack(self.y[:n]), self.task
        if self.args.ewc_fisher == "batch":
            return self.gradient(self.loss, x, y, t).square()
        if self.args.ewc_fisher == "sampled":
            y = drawn_labels(self, x, t, self.draw)
        return self.each_gradient(lambda theta: self.losses(theta, x, y, t), len(y)).square().mean(0)


def drawn_labels(net, x, t, generator):
    """A label for each example, drawn from the network's own distribution over the outputs of task t."""
    own, logits = net.own(t), net.logits(net.theta, x)
    p = torch.zeros_like(logits)
    p[:, own] = logits[:, own].softmax(1)
    return torch.multinomial(p, 1, generator=generator)[:, 0]


# ---------------------------------------------------------------- the GEM family


def gem(G, g, bound):
    """g + G'v, v the solution of the ridged dual on normalised rows; None if no product is negative."""
    if not (G @ g < 0).any():
        return None
    d = np.linalg.norm(G, axis=1)
    N, h, d = G[d > 0] / d[d > 0, None], bound[d > 0] * d[d > 0], d[d > 0]
    if not len(d):
        return g
    P, scale = N @ N.T + RIDGE * np.eye(len(d)), max(np.abs(N @ g).max(), h.max())
    v = scale * quadprog.solve_qp(P, -N @ g / scale, np.eye(len(d)), h / scale)[0]
    return g + v @ N


def agem(r, g, margin=0.0):
    """g + v r, v = max(margin, -<g, r> / <r, r>); g if <g, r> is not negative, or r is 0."""
    if not r @ g < 0 or not r.any():
        return g
    return g + max(margin, -(r @ g) / (r @ r)) * r


class Episodic(Single):
    def __init__(self, model):
        super().__init__(model)
        self.memory = {}
        self.margin = self.args.memory_strength

    def observe(self, x, t, y):
        if self.begin(t):
            self.begun()
        g = self.gradient(self.loss, x, y, t)
        stored = [(*self.memory[s].stacked(), s) for s in self.past()]
        self.theta = self.theta - self.lr * (torch.from_numpy(self.corrected(g.numpy(), stored)) if stored else g)
        self.memory.setdefault(t, Ring(self.args.n_memories)).write(x, y)

    def begun(self):
        pass

    def rows(self, stored):
        """The gradient (R, p) of each task's mean loss."""
        return np.stack([self.gradient(self.loss, *part).numpy() for part in stored])


class GEM(Episodic):
    def corrected(self, g, stored):
        G = self.rows(stored)
        x = gem(G, g, np.full(len(G), self.margin))
        return g if x is None else x


class AGEM(Episodic):
    def corrected(self, g, stored):
        return agem(self.rows(stored).sum(0), g, self.margin)


class AGEMClosed(Episodic):
    def corrected(self, g, stored):
        r, x = self.rows(stored).mean(0), g
        if self.args.agem_trigger == "mean":
            x = agem(r, g)
        elif (self.rows(stored) @ g < 0).any():
            x = g - (g @ r) / (r @ r) * r
        return x


class AGEMMeanQP(Episodic):
    def corrected(self, g, stored):
        r, x = self.rows(stored).mean(0), g
        if self.args.agem_trigger == "mean":
            x = agem(r, g, self.margin)
        elif (self.rows(stored) @ g < 0).any():
            x = (
                g
                + quadprog.solve_qp(np.array([[r @ r]]), -np.array([r @ g]), np.eye(1), np.array([self.margin]))[0] * r
            )
        return x


class AGEMSampled(Episodic):
    def __init__(self, model):
        super().__init__(model)
        self.draw = torch.Generator().manual_seed(self.args.seed)

    def corrected(self, g, stored):
        examples = [(x, y, t) for xs, ys, t in stored for x, y in zip(xs, ys, strict=True)]
        if len(examples) > self.args.agem_batch:
            drawn = torch.randperm(len(examples), generator=self.draw)[: self.args.agem_batch]
            examples = [examples[i] for i in drawn]

        def loss(theta):
            return sum(self.loss(theta, x[None], y[None], t) for x, y, t in examples) / len(examples)

        return agem(self.gradient(loss).numpy(), g)


# ---------------------------------------------------------------- replay


class Replay(Single):
    """Algorithms 1, 4, 5, 6 and 7 of Riemer et al. (2019)."""

    def __init__(self, model):
        super().__init__(model)
        self.algorithm = getattr(self, f"algorithm_{model.name[-1]}")
        self.M = Reservoir(self.args.memories, self.args.seed)

    def observe(self, x, t, y):
        for current in zip(x, y, [t] * len(y), strict=True):
            self.algorithm(current)
            self.M.offer(current)

    def mean_loss(self, theta, examples):
        return sum(self.loss(theta, x[None], y[None], t) for x, y, t in examples) / len(examples)

    def step(self, function, scale=1.0):
        self.theta = self.theta - self.lr * scale * self.gradient(function)

    def step_on(self, example, scale=1.0):
        self.step(lambda theta: self.mean_loss(theta, [example]), scale)

    def replayed(self):
        M, n = self.M, len(self.M.examples)
        if not n:
            return []
        k = min(self.args.replay_batch_size, n)
        return [M.examples[i] for i in torch.randint(n, (k,), generator=M.draw).tolist()]

    def algorithm_4(self, current):
        E = [*self.replayed(), current]
        self.step(lambda theta: self.mean_loss(theta, E))

    def algorithm_5(self, current):
        E = [*self.replayed(), current]
        tasks = {t for *_, t in E}
        self.step(lambda theta: sum(self.mean_loss(theta, [e for e in E if e[2] == t]) for t in tasks))

    def algorithm_1(self, current):
        A = self.theta
        for _ in range(self.args.batches_per_example):
            W = self.theta
            for e in [current, *self.replayed()]:
                self.step_on(e)
            self.theta = W + self.args.beta * (self.theta - W)
        self.theta = A + self.args.gamma * (self.theta - A)

    def algorithm_6(self, current):
        for _ in range(self.args.batches_per_example):
            W = self.theta
            for e in [*self.replayed(), current]:
                self.step_on(e)
            self.theta = W + self.args.gamma * (self.theta - W)

    def algorithm_7(self, current):
        if not self.M.examples:
            return
        W, E = self.theta, [current, *self.replayed()]
        for i in torch.randperm(len(E), generator=self.M.draw).tolist():
            self.step_on(E[i], self.args.s if i == 0 else 1.0)
        self.theta = W + self.args.gamma * (self.theta - W)


# ---------------------------------------------------------------- what is made of a sample when a task ends


class Sampling(Single):
    def __init__(self, model):
        super().__init__(model)
        self.sample = Reservoir(self.args.task_sample, self.args.seed)

    def observe(self, x, t, y):
        if t != self.task:
            self.finish()
            self.begin(t)
        for example in zip(x, y, [t] * len(y), strict=True):
            self.sample.offer(example)
        self.learn(x, t, y)

    def finish(self):
        if self.sample.examples:
            self.ended(*self.sample.stacked())
            self.sample.clear()


class OGD(Sampling):
    def __init__(self, model):
        super().__init__(model)
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.shared = sum(sizes if self.sets is None else sizes[:-2])
        n_tasks = model.outputs.foreign.shape[0] if self.sets else model.sample_tasks
        outputs = sum(len(self.own(t)) for t in range(n_tasks))
        mode, n = self.args.ogd_mode, self.args.ogd_per_task
        offered = {"loss_mean": n_tasks, "all": n * outputs}.get(mode, n * n_tasks)
        self.limit = min(self.args.ogd_max_basis or offered, offered, self.shared + 1)
        self.V = np.zeros((0, self.shared))

    def learn(self, x, t, y):
        g = self.gradient(self.loss, x, y, t).numpy()
        g[: self.shared] -= self.V.T @ (self.V @ g[: self.shared])
        self.theta = self.theta - self.lr * torch.from_numpy(g)

    def ended(self, x, y):
        own, mode, n = self.own(self.task), self.args.ogd_mode, self.args.ogd_per_task
        if mode == "loss_mean":
            vectors = [self.gradient(self.loss, x, y, self.task)]
        else:
            vectors = []
            for one, label in zip(x[:n], y[:n], strict=True):
                wanted = {"gtl": [[int(label)]], "ave": [own], "all": [[c] for c in own]}[mode]
                vectors += [
                    self.gradient(lambda theta, one=one, cs=cs: self.logits(theta, one)[cs].mean()) for cs in wanted
                ]
        for u in vectors:
            self.add(u.numpy()[: self.shared])

    def add(self, u):
        if not u.any() or len(self.V) == self.limit:
            return
        u = u / np.linalg.norm(u)
        w = u - self.V.T @ np.linalg.lstsq(self.V.T, u)[0] if len(self.V) else u
        rest = np.linalg.norm(w)
        if TIE[0] < rest < TIE[1]:
            raise Tie
        if rest >= TIE[1]:
            self.V = scipy.linalg.orth(np.vstack((self.V, u)).T, rcond=1e-14).T


class SPG(Sampling):
    def __init__(self, model):
        super().__init__(model)
        self.Gamma = None

    def learn(self, x, t, y):
        parts = self.split(self.gradient(self.loss, x, y, t))
        if self.Gamma is not None:
            below = torch.cat([Gamma.flatten() for Gamma in self.Gamma]) if self.Gamma else torch.zeros(1)
            parts = [g * (1 - Gamma) for g, Gamma in zip(parts, self.Gamma, strict=False)] + [
                g * (1 - below.mean()) for g in parts[-2:]
            ]
        self.theta = self.theta - self.lr * torch.cat([g.flatten() for g in parts])

    def ended(self, x, y):
        heads = self.past() if self.args.spg_chi else []
        if self.sets is None:
            heads = heads[:1]
        gradients = [self.gradient(self.loss, x, y, self.task)]
        gradients += [self.gradient(lambda theta, s=s: self.logits(theta, x)[:, self.own(s)].sum()) for s in heads]
        for g in gradients:
            gamma = [self.importance(z) for z in self.split(g)[:-2]]
            old = gamma if self.Gamma is None else self.Gamma
            self.Gamma = [torch.maximum(a, b) for a, b in zip(old, gamma, strict=True)]

    @staticmethod
    def importance(z):
        if z.numel() < 2 or z.std() <= 1e-13 * z.abs().max():
            return torch.zeros_like(z)
        if z.std() < 1e-6 * z.abs().max():
            raise Tie
        return ((z - z.mean()) / z.std()).tanh().abs()


# ---------------------------------------------------------------- natural continual learning


def additive(L1, R1, L2, R2):
    if L2.trace() == 0 or R2.trace() == 0:
        return L1, R1
    pi = np.sqrt(L1.trace() * R2.trace() / (L2.trace() * R1.trace()))
    return L1 + pi * L2, R1 + R2 / pi


def frobenius(L1, R1, L2, R2):
    rearranged = np.outer(L1.ravel(), R1.ravel()) + np.outer(L2.ravel(), R2.ravel())
    U, s, Vt = np.linalg.svd(rearranged, full_matrices=False)
    L, R = s[0] * U[:, 0].reshape(L1.shape), Vt[0].reshape(R1.shape)
    return (L, R) if L.trace() > 0 else (-L, -R)


def kl(L1, R1, L2, R2):
    """The fixed point of L = e1 L1 + e2 L2, R = f1 R1 + f2 R2, with explicit inverses."""
    if L2.trace() == 0 or R2.trace() == 0:
        return L1, R1
    L, R = additive(L1, R1, L2, R2)
    for _ in range(20_000):
        before, inverse = np.kron(L[:1], R), np.linalg.inv(R)
        L = (np.trace(R1 @ inverse) * L1 + np.trace(R2 @ inverse) * L2) / len(R)
        inverse = np.linalg.inv(L)
        R = (np.trace(L1 @ inverse) * R1 + np.trace(L2 @ inverse) * R2) / len(L)
        if np.abs(np.kron(L[:1], R) - before).max() < 1e-15 * np.abs(before).max():
            return L, R
    raise Tie  # the sum converges so slowly that where to stop decides its last digits


class NCL(Sampling):
    """With explicit matrices (p, p), one block a layer, or with ``--ncl_diag yes`` a diagonal."""

    def __init__(self, model):
        super().__init__(model)
        self.draw = torch.Generator().manual_seed(self.args.seed)
        self.N = self.args.ncl_data_size or 0
        self.mu, self.momentum, self.Lambda = torch.zeros_like(self.theta), 0.0, None
        if self.N:
            self.start()

    def start(self):
        p = len(self.theta)
        pairs = [(np.eye(o) / self.N**0.5, np.eye(i + 1) / self.N**0.5) for o, i in self.shapes[::2]]
        if self.args.ncl_diag:
            self.f = np.full(p, 1 / self.N)
            self.Lambda, self.damped = np.diag(self.f), np.diag(self.f + self.args.ncl_alpha**2)
        else:
            self.set(pairs)

    def set(self, pairs):
        self.pairs, alpha = pairs, self.args.ncl_alpha
        self.Lambda, self.damped = (self.dense(each) for each in (pairs, [self.damp(*pair, alpha) for pair in pairs]))

    @staticmethod
    def damp(L, R, alpha):
        return additive(L, R, alpha * np.eye(len(L)), alpha * np.eye(len(R))) if alpha else (L, R)

    def dense(self, pairs):
        """(p, p), in the order of theta; the product is over the rows of [W | b]."""
        result, at = np.zeros((len(self.theta),) * 2), 0
        for L, R in pairs:
            o, i = len(L), len(R) - 1
            place = [at + r * i + c if c < i else at + o * i + r for r in range(o) for c in range(i + 1)]
            result[np.ix_(place, place)] = np.kron(L, R)
            at += o * (i + 1)
        return result

    def learn(self, x, t, y):
        g = self.gradient(self.loss, x, y, t)
        if not self.N:
            self.theta = self.theta - self.lr * g
            return
        step = torch.from_numpy(np.linalg.solve(self.damped, g.numpy()))
        self.momentum = step + self.args.ncl_lambda * (self.theta - self.mu) + self.args.ncl_momentum * self.momentum
        d = self.lr / self.N * self.momentum
        length, radius = float(d @ torch.from_numpy(self.Lambda) @ d / 2) ** 0.5, self.args.ncl_radius
        if radius is not None and length > radius:
            d = d * radius / length
        self.theta = self.theta - d

    def ended(self, x, y):
        if not self.N:
            self.N = round(self.sample.seen / self.args.n_epochs)
            self.start()
        fisher = 0.0
        for weights, labels in self.labels(x, y):
            each = self.each_gradient(lambda theta, y=labels: self.losses(theta, x, y, self.task), len(x))
            each = weights.sqrt().unsqueeze(1) * each
            if self.args.ncl_diag:
                fisher = fisher + each.square().mean(0).numpy()
            else:
                deltas = [self.split(one)[1::2] for one in each]
                squares = [sum(torch.outer(d, d) for d in layer).numpy() for layer in zip(*deltas, strict=True)]
                fisher = [a + b / len(x) for a, b in zip(fisher or [0.0] * len(squares), squares, strict=True)]
        if self.args.ncl_diag:
            self.f = self.f + fisher
            self.Lambda, self.damped = np.diag(self.f), np.diag(self.f + self.args.ncl_alpha**2)
        else:
            rule, inputs = {"kl": kl, "additive": additive, "frobenius": frobenius}[self.args.ncl_sum], []
            for a in self.activations(self.theta, x)[:-1]:
                a = F.pad(a, (0, 1), value=1.0).numpy()
                inputs.append(a.T @ a / len(a))
            self.set([rule(L, R, G, A) for (L, R), G, A in zip(self.pairs, fisher, inputs, strict=True)])
        self.mu, self.momentum = self.theta, 0.0

    def labels(self, x, y):
        """Weights (n,) and labels (n,), as often as the Fisher's kind has them."""
        if self.args.ncl_fisher == "all":
            own = self.own(self.task)
            p = self.logits(self.theta, x)[:, own].softmax(1)
            return [(p[:, i], torch.full_like(y, c)) for i, c in enumerate(own)]
        if self.args.ncl_fisher == "sample":
            y = torch.cat([drawn_labels(self, part, self.task, self.draw) for part in x.split(64)])
        return [(torch.ones(len(x)).double(), y)]


# ---------------------------------------------------------------- iCaRL


class ICaRL(Single):
    def __init__(self, model):
        super().__init__(model)
        self.draw = torch.Generator().manual_seed(self.args.seed)
        self.x, self.y, self.exemplars, self.targets = [], [], {}, {}

    def observe(self, x, t, y):
        if t != self.task:
            self.finish()
            self.begin(t)
        older = [s for s in self.past() if any(c in self.exemplars for c in self.own(s))]
        drawn = [(s, *self.drawn(s)) for s in older]

        def objective(theta):
            loss = self.loss(theta, x, y, t)
            for s, images, old in drawn:
                own = self.own(s)
                p, q = old[:, own].softmax(1), self.logits(theta, images)[:, own].log_softmax(1)
                loss = loss + self.args.memory_strength * (p * (p.log() - q)).sum(1).mean()
            return loss

        self.theta = self.theta - self.lr * self.gradient(objective)
        self.x += x
        self.y += y

    def drawn(self, s):
        """A random exemplar of each class of task s, and its stored logits."""
        pairs = []
        for c in self.own(s):
            if c in self.exemplars:
                i = int(torch.randint(len(self.exemplars[c]), (), generator=self.draw))
                pairs.append((self.exemplars[c][i], self.targets[c][i]))
        return (torch.stack(part) for part in zip(*pairs, strict=True))

    def finish(self):
        if not self.x:
            return
        own, classes = self.own(self.task), {int(c) for c in self.y}
        n = self.args.n_memories // len(classes | set(self.exemplars))
        for c in classes:
            images = [x for x, y in zip(self.x, self.y, strict=True) if int(y) == c]
            features = [self.logits(self.theta, x)[own] for x in images]
            mean, chosen = sum(features) / len(features), []
            while len(chosen) < min(n, len(images)):
                distances = [
                    (mean - sum(features[j] for j in [*chosen, i]) / (len(chosen) + 1)).norm().item()
                    if i not in chosen
                    else np.inf
                    for i in range(len(images))
                ]
                two = sorted(distances)[:2]
                if len(two) > 1 and two[1] - two[0] < 1e-10:
                    raise Tie
                chosen.append(int(np.argmin(distances)))
            self.exemplars[c] = [images[i] for i in chosen]
        self.exemplars = {c: images[:n] for c, images in self.exemplars.items()}
        self.targets = {c: [self.logits(self.theta, x) for x in images] for c, images in self.exemplars.items()}
        self.x, self.y = [], []


# ---------------------------------------------------------------- groups and relatedness


def phi_gradient(C, divergence):
    """The gradient of the divergence's function at C: its logarithm, or its negative inverse."""
    if divergence == "LogDet":
        return -np.linalg.inv(C)
    values, vectors = np.linalg.eigh(C)
    return vectors @ np.diag(np.log(np.maximum(values, 1e-12))) @ vectors.T


def conditional(A, B, n_x, divergence):
    """1/2 (D(A||B) + D(B||A)), less the same of the first ``n_x`` coordinates; not below 0."""

    def both_ways(A, B):
        return np.trace((A - B) @ (phi_gradient(A, divergence) - phi_gradient(B, divergence)))

    return max(0.0, 0.5 * (both_ways(A, B) - both_ways(A[:n_x, :n_x], B[:n_x, :n_x])))


class Groups:
    """Which block each coordinate belongs to, all activations of every task, and rho (n_blocks, t)."""

    def __init__(self, model, reverse):
        self.model, self.args, self.reverse = model, model.args, reverse
        self.first = Reservoir(self.args.cov_first_task_buffer, self.args.seed)
        self.samples, self.labels, self.D = {}, None, None

    def begin(self):
        self.batches, self.D = 0, None

    def watch(self, net, x, y):
        if self.labels is None:
            for example in zip(x, y, [net.task] * len(y), strict=True):
                self.first.offer(example)
            return
        self.take(net, x, y)
        self.batches += 1
        if net.past() and self.batches % self.args.cov_recompute_every == 0:
            self.estimate(net)

    def take(self, net, x, y):
        *hidden, logits = net.activations(net.theta, x)[1:]
        last = y.unsqueeze(1).double()
        if self.args.if_output_cov:
            last = torch.zeros_like(logits)
            last[:, net.own(net.task)] = logits[:, net.own(net.task)]
        self.samples.setdefault(net.task, []).append(torch.cat([*hidden, last], 1))
        self.n_y = last.shape[1]

    def finish(self, net):
        """The groups are those that the model under test has drawn; blocks are numbered layer after layer."""
        if self.labels is not None or not self.first.examples:
            return
        self.units, self.layers, self.n_blocks, at = [], [], 1, 0
        labels = [torch.zeros(net.shapes[0]), torch.zeros(net.shapes[1])]
        drawn = self.model.grouping.partition.groups
        for groups, W, b in zip(drawn, net.shapes[2::2], net.shapes[3::2], strict=True):
            labels += [(groups + self.n_blocks).expand(W), torch.zeros(b)]
            self.units += [at + (groups == k).nonzero()[:, 0] for k in range(int(groups.max()) + 1)]
            self.layers.append(range(self.n_blocks, self.n_blocks + int(groups.max()) + 1))
            self.n_blocks, at = self.n_blocks + int(groups.max()) + 1, at + len(groups)
        self.labels = torch.cat([part.flatten() for part in labels]).long().numpy()
        if self.units:
            self.take(net, *self.first.stacked())

    def covariance(self, task, units):
        Z = torch.cat(self.samples[task])
        z = torch.cat((Z[:, units], Z[:, -self.n_y :]), 1).numpy()
        C = (z - z.mean(0)).T @ (z - z.mean(0)) / len(z)
        return C + (1e-6 * C.trace() / len(C) + 1e-12) * np.eye(len(C))

    def estimate(self, net):
        self.D = np.zeros((len(self.units), len(net.past())))
        for k, units in enumerate(self.units):
            for column, s in enumerate(net.past()):
                C = [self.covariance(task, units) for task in (net.task, s)]
                self.D[k, column] = conditional(*C, len(units), self.args.divergence)

    def rho(self, t):
        result = np.full((self.n_blocks, t), 1 / t)
        if self.D is not None and len(self.D):
            result[1:] = scipy.special.softmax(self.D if self.reverse else -self.D, 1)
        return result


class GroupEpisodic(Episodic):
    def __init__(self, model):
        super().__init__(model)
        self.groups = Groups(model, bool(self.args.gem_reverse))

    def observe(self, x, t, y):
        if t != self.task:
            self.groups.finish(self)
            self.groups.begin()
            self.begin(t)
        self.groups.watch(self, x, y)
        super().observe(x, t, y)

    def blocks(self):
        return [self.groups.labels == b for b in range(self.groups.n_blocks)]

    def finish(self):
        self.groups.finish(self)


class GEMGroup(GroupEpisodic):
    def corrected(self, g, stored):
        G, args, rho = self.rows(stored), self.args, self.groups.rho(len(stored))
        h = np.full_like(rho, self.margin)
        if self.groups.D is not None and not args.gem_ignore_relatedness:
            for layer in self.groups.layers:
                h[list(layer)] += rho[list(layer)]
                if args.gem_sub_mean:
                    h[list(layer)] -= rho[list(layer)].mean(0)
        h = np.maximum(h, 0)
        if args.gem_variant == "weighted":
            w = h - h.mean(1, keepdims=True) + 1
            x = gem(w[self.groups.labels].T * G, g, np.zeros(len(G)))
            return g if x is None else x
        x = g.copy()
        for b, block in enumerate(self.blocks()):
            corrected = gem(G[:, block], g[block], h[b])
            x[block] = g[block] if corrected is None else corrected
        return x


class AGEMGroup(GroupEpisodic):
    def mean_h(self, g, stored):
        """One row and one bound, each the mean of those of all tasks and blocks, in a QP."""
        pp, h = [], []
        for s, row in enumerate(self.rows(stored)):
            for b, block in enumerate(self.blocks()):
                pp.append(row * block)
                related = b > 0 and self.groups.D is not None and not self.args.gem_ignore_relatedness
                h.append(self.margin + (self.groups.rho(len(stored))[b, s] if related else 0.0))
        r, h = np.mean(pp, axis=0), np.mean(h)
        scale = np.sqrt(r @ r)  # the solver needs a normalised row
        if not r @ g < 0:
            return g
        return (
            g
            + quadprog.solve_qp(np.eye(1), -np.array([r @ g]) / scale, np.eye(1), np.array([h * scale]))[0] * r / scale
        )

    def corrected(self, g, stored):
        if self.args.agem_group_rule == "mean_h":
            return self.mean_h(g, stored)
        t = len(stored)
        rho = np.full((self.groups.n_blocks, t), 1 / t) if self.args.gem_ignore_relatedness else self.groups.rho(t)
        r = (rho[self.groups.labels].T * self.rows(stored)).sum(0)
        margin = self.margin if self.args.agem_group_rule == "qp" else 0.0
        if self.args.agem_group_scope == "global":
            return agem(r, g, margin)
        x = g.copy()
        for block in self.blocks():
            x[block] = agem(r[block], g[block], margin)
        return x


class EWCGroup(EWC):
    def __init__(self, model):
        super().__init__(model)
        self.groups = Groups(model, bool(self.args.ewc_reverse))

    def observe(self, x, t, y):
        if t != self.task:
            self.finish()
            self.begin(t)
            self.groups.begin()
        self.groups.watch(self, x, y)
        super().observe(x, t, y)

    def finish(self):
        self.groups.finish(self)
        if self.x:
            self.terms = [term for term in self.terms if term[0] != self.task]
        super().finish()

    def penalty(self, theta):
        past = self.past()
        terms = {task: (fisher, old) for task, fisher, old in self.terms}
        result = 0 * theta.sum()
        for s, column in zip(past, self.groups.rho(len(past)).T if past else [], strict=True):
            (fisher, old), rho = terms[s], torch.from_numpy(column[self.groups.labels])
            if not self.args.use_fisher:
                fisher = torch.where(torch.from_numpy(self.groups.labels) > 0, 1.0, fisher)
            result = result + self.args.memory_strength * (rho * fisher * (theta - old).square()).sum()
        return result


METHODS = {
    "single": Single, "joint": Joint, "independent": Independent, "multimodal": Multimodal, "ewc": EWC, "gem": GEM,
    "agem": AGEM, "agem_closed": AGEMClosed, "agem_meanqp": AGEMMeanQP, "agem_sampled": AGEMSampled, "ogd": OGD,
    **dict.fromkeys(("eralg4", "eralg5", "meralg1", "meralg6", "meralg7"), Replay), "spg": SPG, "ncl": NCL,
    "icarl": ICaRL, "gem_group": GEMGroup, "agem_group": AGEMGroup, "ewc_group": EWCGroup,
}  # fmt: skip


def make(model):
    """The plain form of a method, from the parameters that ``model`` has now."""
    return METHODS[model.name](model)
