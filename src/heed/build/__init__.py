"""Names in a configuration become objects: the model and the tokenizer. Texts and batches are the objective's."""

from heed.build.model import build_model, check_attention
from heed.build.tokenizer import Say, build_tokenizer

__all__ = ["Say", "build_model", "build_tokenizer", "check_attention"]
