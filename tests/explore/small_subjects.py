"""Tiny models with weights far from uniform, to be looked into."""

import torch

from heed.attention import Facts, Mechanism
from heed.config import make_config
from heed.explore.own_model import OwnModel
from heed.models import GPT, Encoder
from heed.text.tokenizers import train_tokenizer

TEXT = "the cat sees a dog and the dog sees the cat"
CHANNELS = {"aft-full", "aft-local", "aft-simple"}


def subject_of(kind="gpt", text=TEXT, context=64, norm_order="pre", **attention):
    torch.manual_seed(0)
    positions = "none" if attention.get("mechanism") in {*CHANNELS, "fastformer"} else "learned"
    model = {"n_layers": 2, "n_heads": 2, "d_model": 16, "context": context, "positions": positions, "kind": kind,
             "norm_order": norm_order}  # fmt: skip
    config = make_config({"model": model | {"attention": attention}}).model
    tokenizer = train_tokenizer("char", [text], 100)
    made = (GPT if kind == "gpt" else Encoder)(config, tokenizer.vocab_size)
    with torch.no_grad():  # far from uniform
        for name, parameter in made.named_parameters():
            if "norm" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return OwnModel("tiny", "tiny", made, tokenizer)


class Squares(Mechanism):
    """Mixes the squares of values: no matrix of weights makes this."""

    facts = Facts(equation="mean(V^2)", source="none", causal="never", differentiable="values",
                  masks=frozenset({"padding"}), positions=frozenset({"none"}), time="T", memory="T", growth=(1, 1),
                  cache="none", grouped=False, weights=True)  # fmt: skip

    def forward(self, q, k, v, mask, bias=None):
        return v.square().mean(2, keepdim=True).expand_as(q)
