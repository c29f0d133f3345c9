"""DAS: continual pre-training of a language model with soft-masking (Ke et al. 2023, arXiv 2302.03241).

Every unit of the Transformer (`model.units`) has an importance I in [0, 1]: per layer and type |tanh(Norm(mean_n |dL/dg|))|,
where g is the unit's gate, fixed at 1, and the mean is over examples of the gradient's absolute value. Importances are
accumulated by their maximum:

* before the first domain, of general knowledge: L is the KL divergence between two passes of the same text with two dropout
  masks, a proxy for how much the network's robustness rests on the unit;
* after each domain: L is the masked language model's loss on its text.

While a domain is learned, the gradients of a unit's parameters are multiplied by 1 - I, and the loss is

    MLM + lambda contrast,    contrast_i = -log exp(s(z1_i, z2_i)) / sum_j (exp(s(z1_i, z2_j)) + exp(s(z1_i, z3_j))),

s the cosine over tau; z are mean-pooled last hidden states: z1 and z2 of two passes with dropout, z3 of a pass whose gates
are I, that is of what was learned before.

The proxy: `--das_proxy output` compares the distributions over tokens, `representation` the softmax over the features of the
last hidden states; `--das_proxy_data general` takes general text, `new` text of the first domain.

Deviations. From the authors' code: the absolute value is taken before the mean over examples, a head's mask lies on its
rows of W_Q, W_K and W_V, and the KL divergence is over tokens or features, not over positions. From the paper: plain SGD
by default. Adam divides a gradient by its size, which undoes a mask that stays the same throughout a domain unless it is 0;
so with `--optimizer adam` the step is masked instead of the gradient, its weight decay included. Importance is taken on a
sample of the domain.
"""

import torch
from torch.nn import functional as F

from model import UsageError, arguments
from model.common import unmasked
from model.learner import Learner
from model.memory import ReservoirMemory
from model.units import Units

SMALLEST = 1e-6  # largest mean gradient of a layer's gates below which nothing in it is important; rounding is no order
CHUNK = 32  # sequences whose gates' gradients are taken together


def normalised(mean: torch.Tensor) -> torch.Tensor:
    """The importance of the units of one layer and type (n,) from their mean absolute gradients; 0 where none stands out."""
    mean = mean.double()
    std = mean.std(correction=0)
    if not mean.max() > SMALLEST or not std > torch.finfo(torch.float32).eps * mean.max():
        return torch.zeros_like(mean)
    return ((mean - mean.mean()) / std).tanh().abs()


def contrast(z1: torch.Tensor, z2: torch.Tensor, z3: torch.Tensor | None, temperature: float) -> torch.Tensor:
    """The mean over i of the cross-entropy of z2_i among all z2_j and z3_j (B, d), by cosine similarity with z1_i."""
    others = z2 if z3 is None else torch.cat((z2, z3))
    similarity = F.normalize(z1, dim=1) @ F.normalize(others, dim=1).t() / temperature
    return F.cross_entropy(similarity, torch.arange(len(z1), device=z1.device))


def divergence(one: torch.Tensor, two: torch.Tensor, axis: int) -> torch.Tensor:
    """KL(softmax(one) || softmax(two)) over ``axis``, summed over positions and examples."""
    return F.kl_div(two.log_softmax(axis), one.log_softmax(axis), reduction="sum", log_target=True)


class Net(Learner):
    cannot_unlearn = "its importances are a maximum over tasks, and text is not unlearned"

    def __init__(self, n_inputs, n_outputs, n_tasks, args):
        super().__init__(n_inputs, n_outputs, n_tasks, args)
        self.text = getattr(self.args, "text", None)
        if self.text is None:
            raise UsageError("--model das: learns text, and these data are images; give --data_file text_domains.pt")
        arguments.require_task_sample(self.args, "das")
        if not self.args.n_layers:
            raise UsageError("--n_layers 0: das masks the units of layers; give 1 or more")
        self.units = Units(self.net)
        self.sample = ReservoirMemory(self.args.task_sample, self.args.seed)
        self.generator = torch.Generator().manual_seed(self.args.seed)
        self.importance: dict | None = None  # type -> (layers, units), accumulated; None before anything was learned
        self.counts |= {"das_domains": 0}
        self._free = None  # (p,), made of the importance

    CACHES = ("text", "units", "_free")

    @property
    def first_task_differs(self) -> str | None:
        """Why the first task is not learned as `single` learns it; None with everything that DAS adds left out."""
        args = self.args
        plain = not args.das_contrast and not args.das_initial
        return None if plain else "the first domain has a contrast, and general knowledge to protect"

    # ---------------------------------------------------------------- learning

    def observe(self, x, t, y):
        if t != self.task:
            self.finish_task()
            self.begin(t)
            if self.importance is None and self.args.das_initial:
                self.accumulate("general", self.general_importance())
        self.sample.write(t, x, y)
        g = self.engine.gradient(lambda: self.loss(x, y))
        self.descend(g)

    def loss(self, x, y) -> torch.Tensor:
        """The masked language model's loss and, weighed, the contrast of a batch x, y (B, L)."""
        mlm = F.cross_entropy(self.net(x), y)
        if not self.args.das_contrast:
            return mlm
        x = unmasked(x, y)
        z1, z2 = (self.pooled(x) for _ in range(2))
        z3 = None
        if self.importance is not None:
            with self.units.gated(self.importance):
                z3 = self.pooled(x)
        return mlm + self.args.das_contrast * contrast(z1, z2, z3, self.args.das_temperature)

    def pooled(self, x) -> torch.Tensor:
        """The mean over positions of the last hidden states (B, d)."""
        return self.net.hidden(x).mean(1)

    def descend(self, g: torch.Tensor) -> None:
        """A step of the optimizer, masked."""
        if self.masking():
            self.engine.theta.addcmul_(self.engine.direction(g), self.free(), value=-self.lr)
        else:
            self.engine.move(g, self.lr)

    def masking(self) -> bool:
        return self.args.das_masks and self.importance is not None

    def free(self) -> torch.Tensor:
        """1 - I of each parameter's unit (p,)."""
        if self._free is None:
            flat = self.engine.flat
            self._free = self.units.free(self.importance, flat.parameters, flat.split, self.engine.theta)
        return self._free

    # ---------------------------------------------------------------- importance

    def finish_task(self):
        """Accumulate the importance of the domain that ends; does nothing if that was done before."""
        if not len(self.sample):
            return
        x, y, _ = self.sample.rows()
        with self.engine.recording():
            found = self.importance_for(lambda i, gates: self.mlm_sum(x[i], y[i], gates), len(x))
        self.accumulate(f"task_{self.task}", found)
        self.counts["das_domains"] += 1
        self.sample.clear()

    def mlm_sum(self, x, y, gates) -> torch.Tensor:
        """The sum over examples of each one's mean loss over its masked tokens."""
        with self.units.gated(gates):
            losses = F.cross_entropy(self.net(x), y, reduction="none")
        return (losses.sum(1) / (y >= 0).sum(1)).sum()

    def general_importance(self) -> dict:
        """The importance for general knowledge, by the proxy, in training mode, since it compares dropout masks."""
        source = self.text.general if self.args.das_proxy_data == "general" else self.text.ahead
        if source is None or not len(source):
            raise UsageError(
                f"--das_proxy_data {self.args.das_proxy_data}: this program hands on no such text; give --das_initial no"
            )
        chosen = torch.randperm(len(source), generator=self.generator)[: self.args.task_sample]
        x = source[chosen].long().to(next(self.net.parameters()).device)
        mode = self.net.training
        self.net.train()
        try:
            return self.importance_for(lambda i, gates: self.proxy(x[i], gates), len(x))
        finally:
            self.net.train(mode)

    def proxy(self, x, gates) -> torch.Tensor:
        """The divergence between two passes of x (B, L): of outputs, or of representations; its mean over positions."""
        with self.units.gated(gates):
            if self.args.das_proxy == "output":
                found = divergence(self.net(x), self.net(x), 1)
            else:
                found = divergence(self.net.hidden(x), self.net.hidden(x), 2)
        return found / x.shape[1]

    def importance_for(self, loss, n: int) -> dict:
        """The importance of all units for ``loss(indices, gates)``, a sum over those of n examples."""
        theta = self.engine.theta
        sums = self.units.filled(0.0, theta)
        for i in torch.arange(n).split(CHUNK):
            gates = {kind: ones.requires_grad_() for kind, ones in self.units.filled(1.0, theta, len(i)).items()}
            with torch.enable_grad():
                found = torch.autograd.grad(loss(i, gates), list(gates.values()))
            for kind, each in zip(gates, found, strict=True):
                sums[kind] += each.abs().sum(1)
        return {kind: torch.stack([normalised(layer / n) for layer in total]).to(theta) for kind, total in sums.items()}

    def accumulate(self, name: str, found: dict) -> None:
        """I <- max(I, found), and a note of both in the record."""
        if self.importance is not None:
            found_now = {kind: torch.maximum(self.importance[kind], found[kind]) for kind in found}
        else:
            found_now = found
        self.importance, self._free = found_now, None
        for kind in found:
            self.counts[f"das_{kind}_{name}"] = [round(mean, 4) for mean in found[kind].mean(1).tolist()]
        heads = found["head"].flatten().tolist()
        self.counts[f"das_heads_{name}"] = [round(value, 4) for value in heads]

    def restore(self, saved):
        super().restore(saved)
        self._free = None
