"""A Transformer encoder that predicts masked tokens, small enough for two cores (Vaswani et al. 2017; Devlin et al. 2019).

x (B, L) are the ids of tokens, the output (B, V, L) is a logit for every token of the vocabulary at every position. With
targets (B, L) the cross-entropy of torch then is the masked language model's loss: the mean over the positions that are to
be predicted. The names of the parts are those of BERT in `transformers`, so that `model.units` finds them in both.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from model import UsageError, backbone, room
from model.dropout import Dropout

HEADS = 4
EXPANSION = 2  # intermediate units per unit of the width
DROPOUT = 0.1
WAVES = 0.15, 1000.0  # size of the initial positions, which are waves of wavelengths up to 2 pi times the second number


class Language(NamedTuple):
    """What a method is told of text, as ``args.text``: the file's declaration, and what the network begins with."""

    n_tokens: int
    mask: int  # the id of the mask
    general: torch.Tensor | None  # (M, L) ids of text of no domain
    start: dict | None = None  # parameters to begin with, from general pre-training
    ahead: torch.Tensor | None = None  # (n, L) ids of the first domain's training text


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.num_attention_heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, h):
        B, L, d = h.shape
        q, k, v = (part(h).view(B, L, self.num_attention_heads, -1).transpose(1, 2) for part in self.parts())
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, L, d)

    def parts(self):
        return self.query, self.key, self.value


class Output(nn.Module):
    """A linear layer, dropout, and the residual connection with its normalisation."""

    def __init__(self, n_in: int, width: int, dropout: Dropout):
        super().__init__()
        self.dense, self.dropout, self.LayerNorm = nn.Linear(n_in, width), dropout, nn.LayerNorm(width)

    def forward(self, x, residual):
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: Dropout):
        super().__init__()
        self.self, self.output = SelfAttention(width, heads), Output(width, width, dropout)

    def forward(self, h):
        return self.output(self.self(h), h)


class Intermediate(nn.Module):
    def __init__(self, width: int, n_out: int):
        super().__init__()
        self.dense = nn.Linear(width, n_out)

    def forward(self, h):
        return F.gelu(self.dense(h))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: Dropout):
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.intermediate = Intermediate(width, EXPANSION * width)
        self.output = Output(EXPANSION * width, width, dropout)

    def forward(self, h):
        h = self.attention(h)
        return self.output(self.intermediate(h), h)


class Encoder(nn.Module):
    """``n_layers`` post-norm layers of ``width`` units and HEADS heads; the head's weights are those of the embedding.

    Positions begin as waves (Vaswani et al. 2017, section 3.5) and are trained: from random ones a network this small needs
    thousands of steps before it attends to neighbours. With the width 64, two layers, 257 tokens and length 64 there are
    87,873 parameters.
    """

    def __init__(self, n_tokens: int, length: int, width: int, n_layers: int, dropout: float = DROPOUT, seed: int = 0):
        super().__init__()
        drop = Dropout(dropout, seed)
        self.word, self.position = nn.Embedding(n_tokens, width), nn.Embedding(length, width)
        self.LayerNorm, self.dropout = nn.LayerNorm(width), drop
        self.layer = nn.ModuleList(Layer(width, HEADS, drop) for _ in range(n_layers))
        self.bias = nn.Parameter(torch.zeros(n_tokens))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.data.normal_(0, module.weight.shape[1] ** -0.5)
            if isinstance(module, nn.Linear):
                module.bias.data.zero_()
        self.position.weight.data.copy_(waves(length, width))

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's units (B, L, width) for the ids x (B, L)."""
        h = self.dropout(self.LayerNorm(self.word(x.long()) + self.position.weight[: x.shape[1]]))
        for layer in self.layer:
            h = layer(h)
        return h

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Those (B, V, L) of the last layer's units (B, L, width)."""
        return (h @ self.word.weight.t() + self.bias).transpose(1, 2)

    def forward(self, x):
        return self.logits(self.hidden(x))


def waves(length: int, width: int) -> torch.Tensor:
    """Sines and cosines of the positions (length, width), so that a shift by one position is a linear map."""
    size, longest = WAVES
    angles = torch.arange(length).unsqueeze(1) * longest ** (-torch.arange(0, width, 2) / width)
    return size * torch.stack((angles.sin(), angles.cos()), 2).flatten(1)[:, :width]


def check(length: int, n_tokens: int, args) -> None:
    """``UsageError`` unless there is such a network, and room for it."""
    if args.n_hiddens % HEADS:
        raise UsageError(
            f"--n_hiddens {args.n_hiddens}: a Transformer's width is divided among {HEADS} heads; "
            f"give {args.n_hiddens // HEADS * HEADS or HEADS} or another multiple of {HEADS}"
        )
    width = args.n_hiddens
    p = width * (n_tokens + length) + args.n_layers * (4 + 2 * EXPANSION) * width * width
    room.require(8 * p, f"--n_layers {args.n_layers} --n_hiddens {width}: the Transformer")


def encoder(length: int, n_tokens: int, args) -> nn.Module:
    """The network that ``args`` ask for: a backbone, or ours from where its general pre-training has left it."""
    if args.backbone:
        return backbone.load(args.backbone, n_tokens, length)
    check(length, n_tokens, args)
    net = Encoder(n_tokens, length, args.n_hiddens, args.n_layers, seed=args.seed)
    if args.text.start is not None:
        net.load_state_dict(args.text.start)
    return net
