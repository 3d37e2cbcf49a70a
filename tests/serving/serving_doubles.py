"""Models to be served: GPTs over characters that were never trained, so that their texts vary."""

import torch

from heed.config import ModelConfig
from heed.models import GPT
from heed.serving.served_model import ServedModel
from heed.text.tokenizer import train_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz .,é\n"


def make_served(name="tiny", context=48, seed=3, tokenizer=None, specials=(), **settings):
    if tokenizer is None and specials:
        tokenizer = train_tokenizer("bpe", [LETTERS * 9], 270 + len(specials), specials=specials)
    tokenizer = tokenizer or train_tokenizer("char", [LETTERS, LETTERS], 100)
    config = ModelConfig(**{"n_layers": 2, "n_heads": 2, "d_model": 32, "context": context, **settings})
    model = GPT(config, tokenizer.vocab_size, torch.Generator().manual_seed(seed)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)  # so that some tokens are likelier than others
    return ServedModel(name, model, tokenizer)
