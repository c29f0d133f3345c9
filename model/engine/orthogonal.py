"""Steps orthogonal to stored directions: the parameters are kept as theta + U'c, and a step moves theta and c.

A step of orthogonal gradient descent is theta - lr (g - U'c'), U'c' being g's part in the span of the directions U (k, p).
So theta takes the plain step of stochastic gradient descent, and the k numbers c take lr c': neither anything of the size
of U nor a product of the size of a weight matrix for each direction is touched. With U in Gram space
(``numeric.gram_basis``) a pass sees W_l + D_l' diag(c) A_l, and the inner products that this needs are those of U g.

c = (U U')^-1 v, v being the sum of lr U g over the steps. v is kept, in float64. The solution of this system is the most
that a step of a small batch reads, and a pass sees c rounded to float32, whatever it is computed in. So in float32 a step
adds to the rounded c what it takes to float32's precision; complete parameters, and every ``EXACT_EVERY`` steps the rounded
c too, come from v. A gradient thus is that of parameters which differ from the complete ones by less than their rounding.
"""

import torch

from model.engine.held import Carrier
from model.engine.layers import FirstLayer, Layer
from model.engine.passes import Pass
from model.numeric.directions import LayerShare
from model.numeric.gram_basis import GramBasis

EXACT_EVERY = 32  # steps after which what passes see is computed anew


class Span(Carrier):
    """theta + U'c for the directions of a basis as they are now, and a theta of its own; v (k,) = U U' c in float64.

    ``rounded`` is c in the dtype of the network, which is what passes see.

    ``public`` are the parameters that everybody sees, weight then bias; complete after ``hand_out`` only.
    """

    def __init__(self, basis: GramBasis, public: list[torch.Tensor]):
        self.basis, self.public = basis, public
        self.own = [view.clone() for view in public]
        self.v = torch.zeros(basis.k, dtype=torch.float64, device=public[0].device)
        self.rounded, self.steps = public[0].new_zeros(basis.k), 0
        self.every = 1 if public[0].dtype == torch.float64 else EXACT_EVERY

    def layers(self, Z: torch.Tensor) -> list[Layer]:
        """The layers of a pass; those without a share in the directions are plain."""
        pairs = list(zip(self.own[::2], self.own[1::2], strict=True))
        shares = self.basis.shares
        first = SpanFirstLayer(*pairs[0], Z, shares[0], self.rounded)
        spanned = [SpanLayer(*pair, share, self.rounded) for pair, share in zip(pairs[1:], shares[1:], strict=False)]
        return [first, *spanned, *(Layer(*pair, None) for pair in pairs[len(shares) :])]

    def extend(self, dots: torch.Tensor, lr: float) -> None:
        """Take away lr times the part in the span of a gradient g, of which ``dots`` = U g (k,)."""
        self.v.add_(dots, alpha=lr)
        self.steps += 1
        if self.steps % self.every:
            self.rounded.add_(self.basis.factor.roughly(dots), alpha=lr)
        else:
            self.rounded.copy_(self.basis.factor.solve(self.v))

    def complete(self) -> None:
        for public, own in zip(self.public, self.own, strict=True):
            public.copy_(own)
        views = list(zip(self.public[::2], self.public[1::2], strict=True))
        self.basis.add_to(views, self.basis.factor.solve(self.v))

    def adopt(self) -> None:
        for public, own in zip(self.public, self.own, strict=True):
            own.copy_(public)
        self.v.zero_()
        self.rounded.zero_()
        self.steps = 0

    def checkpoint(self) -> dict:
        """What is carried along beside the public values; after ``hand_out``."""
        copies = {name: [tensor.clone() for tensor in getattr(self, name)] for name in ("own", "shown")}
        return {**copies, "v": self.v.clone(), "rounded": self.rounded.clone(), "steps": self.steps}

    def fits(self, state: dict) -> bool:
        """Whether ``state`` is of as many directions, in the same type."""
        return "v" in state and len(state["v"]) == len(self.v) and state["own"][0].dtype == self.own[0].dtype

    def restore(self, state: dict) -> None:
        """The counterpart of ``checkpoint``; ``take_back`` is to follow."""
        self.v.copy_(state["v"])
        self.rounded.copy_(state["rounded"])
        self.steps = state["steps"]
        for own, saved in zip(self.own, state["own"], strict=True):
            own.copy_(saved)
        self.shown = [tensor.clone() for tensor in state["shown"]]


class SpanLayer(Layer):
    """A layer that sees W + D' diag(c) A and b + D'c; it remembers the inner products that it made on the way."""

    def __init__(self, weight, bias, share: LayerShare, c: torch.Tensor):
        super().__init__(weight, bias, None)
        self.share, self.c = share, c

    def forward(self, A, out):
        super().forward(A, out)
        self.see(A, out)

    def see(self, A: torch.Tensor, out: torch.Tensor) -> None:
        """Add what the directions add to the outputs (B, o) for inputs A (B, i)."""
        self.s = self.share.A.dots(A).add_(1)
        self.share.forward(self.s, self.c, out)

    def backward(self, D, out):
        super().backward(D, out)
        self.e = self.share.D.dots(D)
        self.share.backward(self.e, self.c, out)

    def dots(self, total: torch.Tensor | None) -> torch.Tensor:
        """Inner products (B, k) of each example's gradient with the directions, after both passes: the layer's share + total."""
        return self.s.mul_(self.e) if total is None else total.addcmul_(self.s, self.e)


class SpanFirstLayer(FirstLayer):
    """The same for the layer that sees the inputs."""

    see, dots = SpanLayer.see, SpanLayer.dots

    def __init__(self, weight, bias, Z, share: LayerShare, c: torch.Tensor):
        super().__init__(weight, bias, Z=Z)
        self.share, self.c = share, c

    def forward(self, x, current, k):
        super().forward(x, current, k)
        self.see(x, current)


class OrthogonalPass(Pass):
    """A pass without stored examples whose ``descend`` is orthogonal to the directions; ``flat`` is the gradient itself."""

    orthogonal = True

    def __init__(self, engine, layers, span: Span, B: int):
        super().__init__(engine, layers, None, B)
        self.span, self.spanned = span, layers[: len(span.basis.shares)]
        self.last = layers[-1] if self.H and len(self.spanned) == len(layers) else None

    def output(self):
        super().output()
        if self.last is not None:
            self.last.see(self.H[-1], self.logits.t())

    def along(self) -> torch.Tensor:
        """U g (k,): the inner products of the batch's gradient with the directions; once a step."""
        self.first.e = self.first.share.D.dots(self.D[0])
        total = None
        for layer in self.spanned:
            total = layer.dots(total)
        return total.sum(0, dtype=torch.float64)

    def descend(self, lr, correction=None, blocks=None):
        self.engine.before_step(self)
        self.span.extend(self.along(), lr)
        super().descend(lr)
