"""Doubles: a tokenizer of bytes, a model whose logits are a table, and a small real GPT in float64."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor

from heed.attention import Cache, LayerCache
from heed.config import ModelConfig
from heed.models import GPT, LanguageModel


class Bytes:
    """One token a byte; optionally one of them ends the text, and some stand before every text."""

    def __init__(self, end_id: int | None = None, start_ids: tuple[int, ...] = ()) -> None:
        self.end_id, self.start_ids = end_id, start_ids

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(ids).decode(errors="replace")

    def token_bytes(self, id: int) -> bytes:
        return bytes([id])


class Pieces(Bytes):
    """Tokens as given: for text that must be cut in a certain way."""

    def __init__(self, *pieces: bytes, end_id: int | None = None) -> None:
        super().__init__(end_id)
        self.pieces = pieces

    def encode(self, text: str) -> list[int]:
        return [self.pieces.index(text.encode())]

    def token_bytes(self, id: int) -> bytes:
        return self.pieces[id]


class Table(LanguageModel):
    """Logits of the next token depend on the last token alone: row `last` of a table (V, V)."""

    def __init__(self, table: Tensor, context: int = 1000) -> None:
        super().__init__()
        self.table, self.vocab_size, self.context = table, len(table), context

    @property
    def head_weight(self) -> Tensor:
        return self.table.T

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        if cache is not None:
            kv = torch.zeros(len(ids), 1, ids.shape[1], 1)
            cache.room_for(ids.shape[1])
            cache.layers[0].append(kv, kv)
        return torch.nn.functional.one_hot(ids, self.vocab_size).to(self.table.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.table[hidden.argmax(dim=-1)]  # no product: 0 times -inf would be NaN

    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        return Cache([LayerCache(torch.zeros(batch, 1, length, 1), torch.zeros(batch, 1, length, 1))], length, start)

    def flops_per_token(self) -> int:
        return 0


def chain(*tokens: int, vocab_size: int) -> Table:
    """A model that always goes on from tokens[i] to tokens[i + 1]."""
    table = torch.zeros(vocab_size, vocab_size)
    for a, b in pairwise(tokens):
        table[a, b] = 50.0
    return Table(table)


def small_gpt(**settings: object) -> GPT:
    """A GPT over bytes in float64, with weights large enough that its greedy text varies."""
    config = ModelConfig(**{"n_layers": 2, "n_heads": 3, "d_model": 24, "context": 24, "tied": False, **settings})
    model = GPT(config, 256, torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
    return model
