"""The models room: token ids (B, T) in, logits (B, T, V) out; `hub.py` goes to and from Hugging Face."""

from heed.models.base import LanguageModel
from heed.models.cells import CELLS
from heed.models.encoder import Encoder
from heed.models.gpt import GPT, count_parameters
from heed.models.longer import with_context
from heed.models.loss import linear_cross_entropy
from heed.models.packed import PackedGPT, pack
from heed.models.recurrent import Recurrent
from heed.models.window import WindowModel

MODELS = {"gpt": GPT, "encoder": Encoder, **dict.fromkeys(CELLS, Recurrent), "window": WindowModel}
"""Families by the name in `model.kind`; each takes (config, vocab_size, generator), and an encoder its classes."""

__all__ = [
    "GPT",
    "MODELS",
    "Encoder",
    "LanguageModel",
    "PackedGPT",
    "Recurrent",
    "WindowModel",
    "count_parameters",
    "linear_cross_entropy",
    "pack",
    "with_context",
]
