"""Names in a configuration become objects, here and nowhere else."""

from heed.build.batches import build_batches
from heed.build.model import build_model, check_attention
from heed.build.text import QUESTIONS, Say, build_corpus, build_tokenizer, build_tokens

__all__ = [
    "QUESTIONS",
    "Say",
    "build_batches",
    "build_corpus",
    "build_model",
    "build_tokenizer",
    "build_tokens",
    "check_attention",
]
