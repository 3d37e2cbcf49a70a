"""Tiny random encoders of the architectures that people tune, each in a folder of transformers with its tokenizer.

The first seven are those of CS 601.471, homework 6: the classes and the differences (cased, large) are theirs, the
sizes are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from heed.config.tuning import EncoderConfig
from heed.targets.classes import ClassTarget
from heed.tuning.encoders import load_encoder
from heed.tuning.pretrained import Pretrained

WORDS = [
    "the", "a", "film", "is", "was", "not", "good", "bad", "fine", "dull", "and",
    "very", "one", "of", "best", "worst", "I", "it", "never", "saw", "again",
]  # fmt: skip
D, LAYERS, HEADS, INNER, POSITIONS = 16, 2, 2, 24, 64
SPECIALS = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "gpt2": ("<|endoftext|>",),
}
ROWS = max(map(len, SPECIALS.values())) + len(WORDS)
SIZES: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": D,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
}
LARGE: dict[str, Any] = SIZES | {"num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 4}
NO_ENDS = {"bos_token_id": None, "eos_token_id": None}
IDS = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3} | NO_ENDS

CONFIGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "distilbert-base-uncased": (
        "DistilBert",
        {"vocab_size": ROWS, "dim": D, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER}
        | {"max_position_embeddings": POSITIONS},
        "bert",
    ),
    "bert-base-uncased": ("Bert", SIZES, "bert"),
    "bert-large-uncased": ("Bert", LARGE, "bert"),
    "bert-base-cased": ("Bert", SIZES, "bert"),
    "bert-large-cased": ("Bert", LARGE, "bert"),
    "roberta-base": ("Roberta", SIZES | {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}, "roberta"),
    "roberta-large": ("Roberta", LARGE | {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}, "roberta"),
    "electra": ("Electra", SIZES | {"embedding_size": 8}, "bert"),
    "deberta-v2": (
        "DebertaV2",
        SIZES | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
        | {"type_vocab_size": 0, "share_att_key": True, "pooler_hidden_size": D},
        "bert",
    ),
    "modernbert": ("ModernBert", SIZES | IDS, "bert"),
    "gpt2": (
        "GPT2",
        {"vocab_size": ROWS, "n_embd": D, "n_layer": LAYERS, "n_head": HEADS, "n_positions": POSITIONS}
        | {"bos_token_id": 0, "eos_token_id": 0},
        "gpt2",
    ),
    "mpnet": ("MPNet", SIZES | {"max_position_embeddings": POSITIONS + 2}, "roberta"),
    "albert": ("Albert", SIZES | {"embedding_size": 8} | NO_ENDS | {"pad_token_id": 0}, "bert"),
    "eurobert": ("EuroBert", SIZES | NO_ENDS | {"pad_token_id": 0, "mask_token_id": 4}, "bert"),
    "ultrabert": ("Ultrabert", SIZES | NO_ENDS | {"pad_token_id": 0}, "bert"),
}  # fmt: skip
"""Name -> (class of transformers, its settings, whose special tokens)."""
HOMEWORK = list(CONFIGS)[:7]
SHALLOW = "bert-shallow-uncased"
"""An encoder of one layer, for tunes that are about what comes around the model."""


def save_tiny(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny random encoder and its tokenizer into `folder / name`; return that folder."""
    kind, settings, specials = CONFIGS["bert-base-uncased" if name == SHALLOW else name]
    settings = settings | {"num_hidden_layers": 1} if name == SHALLOW else settings
    place = folder / name
    config = getattr(transformers, f"{kind}Config")(
        **settings, initializer_range=0.3
    )  # at 0.02 so small a model does next to nothing
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        getattr(transformers, f"{kind}Model")(config).save_pretrained(place)
    tokenizer(specials, lower="uncased" in name).save_pretrained(place)
    return place


def tokenizer(specials: str, *, lower: bool) -> Any:
    """Return a fast tokenizer over `WORDS` with the special tokens of an architecture."""
    names = SPECIALS[specials]
    unknown = {"bert": "[UNK]", "roberta": "<unk>", "gpt2": "<|endoftext|>"}[specials]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate([*names, *WORDS])}, unk_token=unknown))
    made.pre_tokenizer = Whitespace()
    if lower:
        made.normalizer = Lowercase()
    if specials == "bert":
        made.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        tokens = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    elif specials == "roberta":
        made.post_processor = TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
        tokens = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    else:
        tokens = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **tokens)


def numbered_classes(count: int) -> ClassTarget:
    """Return so many classes, called by their numbers."""
    return ClassTarget(tuple(map(str, range(count))))


def load_tiny(folder: Path, *, native: bool = False, classes: int = 2, max_length: int = 16) -> Pretrained:
    """Load a saved encoder by the name of its folder, as a run does."""
    config = EncoderConfig(name=str(folder), max_length=max_length)
    return load_encoder(config, numbered_classes(classes), native=native)


def texts(encoder: Pretrained, *, rows: int = 4, length: int = 9, padded: bool = True, seed: int = 1) -> torch.Tensor:
    """Return random texts (B, 2, T): a pair in each row, and padding at the end of all but the first."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, ROWS, (rows, length), generator=generator)
    parts = torch.ones_like(ids)
    parts[:, length // 2 :] = 2
    if padded:
        lengths = length - torch.arange(rows)[:, None]
        padding = torch.arange(length) >= lengths
        ids, parts = ids.masked_fill(padding, encoder.pad_id), parts.masked_fill(padding, 0)
    return torch.stack([ids, parts], dim=1)
