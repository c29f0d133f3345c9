"""A masked language model of `transformers` as the network: `--backbone NAME_OR_PATH`.

The library is optional. The data file's tokens must be the backbone's: `data/text_domains.py --tokenizer NAME_OR_PATH`
builds such a file.
"""

import torch
from torch import nn

from model import UsageError


class Backbone(nn.Module):
    """Ids (B, L) to logits (B, V, L), and to the last hidden states (B, L, d), as `transformer.Encoder` has them."""

    def __init__(self, whole: nn.Module):
        super().__init__()
        self.whole = whole

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        return self.whole.base_model(input_ids=x.long()).last_hidden_state

    def forward(self, x):
        return self.whole(input_ids=x.long()).logits.transpose(1, 2)


def load(name: str, n_tokens: int, length: int) -> Backbone:
    """The backbone of this name, from disk or from where `transformers` finds it. `UsageError` if it does not fit the data."""
    flag = f"--backbone {name}"
    try:
        import transformers
    except ImportError:
        raise UsageError(f"{flag}: needs the library transformers; pip install transformers, or leave it out") from None
    transformers.logging.set_verbosity_error()
    try:
        whole = transformers.AutoModelForMaskedLM.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{flag}: cannot be loaded ({reason}); give the name or folder of a masked language model"
        ) from None
    if whole.config.vocab_size != n_tokens:
        raise UsageError(
            f"{flag}: knows {whole.config.vocab_size} tokens, and the data have {n_tokens}; build the data with its tokens: "
            "python data/text_domains.py --tokenizer NAME_OR_PATH"
        )
    trial = torch.full((1, length), 0 if whole.config.pad_token_id else 1)  # padding would not count as a position
    try:
        with torch.no_grad():
            whole.eval()(input_ids=trial)
    except (IndexError, RuntimeError):
        raise UsageError(f"{flag}: cannot take the data's sequences, of {length} tokens; give shorter ones") from None
    return Backbone(whole.train())
