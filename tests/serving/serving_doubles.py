"""Models to be served: GPTs over characters that were never trained, so that their texts vary."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from heed.config import ModelConfig
from heed.models import MODELS
from heed.serving.chat import ChatTemplate
from heed.serving.served_model import ServedModel
from heed.text.tokenizers import train_tokenizer

sys.path.append(str(Path(__file__).parents[1] / "generation"))
from generation_doubles import chain

LETTERS = "abcdefghijklmnopqrstuvwxyz .,é\n"


def make_served(name="tiny", context=48, seed=3, tokenizer=None, specials=(), **settings):
    if tokenizer is None and specials:
        tokenizer = train_tokenizer("bpe", [LETTERS * 9], 270 + len(specials), specials=specials)
    tokenizer = tokenizer or train_tokenizer("char", [LETTERS, LETTERS], 100)
    plain = {"n_layers": 2, "n_heads": 2} if "kind" not in settings else {}
    config = ModelConfig(**{**plain, "d_model": 32, "context": context, **settings})
    model = MODELS[config.kind](config, tokenizer.vocab_size, torch.Generator().manual_seed(seed)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)  # so that some tokens are likelier than others
    return ServedModel(name, model, tokenizer)


def make_slow(name="slow", seconds=0.02, **settings):
    """A model that takes its time for each token, so that something can happen meanwhile."""
    served = make_served(name, **settings)
    served.model.blocks[0].register_forward_pre_hook(lambda *_: time.sleep(seconds))
    return served


def make_table(*tokens, tokenizer):
    """A model that goes on from one token to the next of these, whatever was before."""
    return ServedModel("table", chain(*tokens, vocab_size=tokenizer.vocab_size), tokenizer)


TEMPLATE = """{{- bos_token or '' }}{% for message in messages %}
{%- if message.role not in ('user', 'assistant', 'system') %}{{ raise_exception('no such role') }}{% endif %}
{{- '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def make_chat(name="chat"):
    """A model with a chat template."""
    served = make_served(name, specials=("<|im_start|>", "<|im_end|>"), context=96, tied=True)
    return replace(served, template=ChatTemplate(TEMPLATE, served.tokenizer, {}))
