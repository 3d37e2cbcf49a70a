"""Many continuations of one prompt, read as a tree: what they share is read once.

    the prompt --+-- N --+-- o --- r --- w --- a --- y     11 tokens of two words,
                 |       +-- e --- p --- a --- l           10 nodes

A chunk of the tree is one row of tokens in which each sees the prompt, its ancestors and itself, and has the position
of its depth: tree attention (Miao et al. 2023, "SpecInfer", section 4.2). The result is that of reading each
continuation by itself. It takes a transformer whose attention honours any mask; other models read the rows one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heed.attention import Cache, LayerCache, Mask, Mechanism
from heed.attention.mechanisms.softmax import Softmax
from heed.models.base import LanguageModel
from heed.models.gpt import GPT

CHUNK = 128
"""Nodes in a row: a longer one reads fewer ancestors twice, and masks more. 64, 128 and 256 take about as long."""


@dataclass(frozen=True)
class Chunk:
    """A part of a tree as one row of T tokens, and the E edges that leave it."""

    tokens: Tensor
    """(T,) int64."""
    depths: Tensor
    """(T,) int64; 1 follows the prompt."""
    sees: Tensor
    """(T, T) bool: a node's ancestors and itself."""
    places: Tensor
    """(E,) int64: where the parent of each edge stands in the row."""
    children: Tensor
    """(E,) int64: the node that each edge leads to."""


class TokenTree:
    """Sequences of tokens, none empty, joined where they begin alike. Node 0 is the end of the prompt.

    >>> tree = TokenTree([[5, 7], [5, 8, 9], [5, 7]])
    >>> tree.tokens, tree.parents, tree.ends
    ([-1, 5, 7, 8, 9], [-1, 0, 1, 1, 3], [2, 4, 2])
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.tokens, self.parents, self.depths = [-1], [-1], [0]
        self.ends = [0] * len(sequences)
        """The last node of each sequence."""
        nodes: dict[tuple[int, int], int] = {}
        for number in sorted(range(len(sequences)), key=lambda number: tuple(sequences[number])):
            at = 0
            for token in sequences[number]:
                if (at, token) not in nodes:
                    nodes[at, token] = len(self.tokens)
                    self.tokens.append(token)
                    self.parents.append(at)
                    self.depths.append(self.depths[at] + 1)
                at = nodes[at, token]
            self.ends[number] = at

    def chunks(self, size: int = CHUNK) -> list[Chunk]:
        """Return rows that hold every node with children once, and the ancestors of the first node of each row again.

        Nodes are in depth-first order, so a row's other nodes find theirs in it. The edges of node 0 are in none.
        """
        inner = sorted({parent for parent in self.parents if parent > 0})
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            children.setdefault(parent, []).append(node)
        return [self._chunk(inner[at : at + size], children) for at in range(0, len(inner), size)]

    def _chunk(self, nodes: list[int], children: dict[int, list[int]]) -> Chunk:
        above: list[int] = []
        node = self.parents[nodes[0]]
        while node > 0:
            above.append(node)
            node = self.parents[node]
        row = above[::-1] + nodes
        place = {node: i for i, node in enumerate(row)}
        sees = torch.eye(len(row), dtype=torch.bool)
        for i, node in enumerate(row):
            if (parent := self.parents[node]) > 0:
                sees[i] |= sees[place[parent]]
        edges = [(place[node], child) for node in nodes for child in children[node]]
        places, ends = zip(*edges, strict=True)
        tokens, depths = ([values[node] for node in row] for values in (self.tokens, self.depths))
        return Chunk(torch.tensor(tokens), torch.tensor(depths), sees, torch.tensor(places), torch.tensor(ends))


def reads_trees(model: LanguageModel) -> bool:
    """Whether a model can read a chunk at once: a GPT of softmax attention whose positions are not of the scores."""
    if type(model) is not GPT or model.positions.biased:
        return False
    return all(type(part) is Softmax for part in model.blocks.modules() if isinstance(part, Mechanism))


def tree_logprobs(model: LanguageModel, prompts: Cache, last: Tensor, tree: TokenTree, chunks: list[Chunk]) -> Tensor:
    """Return the log-probability (B, sequences) in nats of each sequence of `tree` after each prompt, in float64.

    `prompts` is a cache that holds the prompts and room for the longest row of `chunks` (see `TokenTree.chunks`), and
    `last` (B, D) the hidden state at the end of each prompt.
    """
    first = [node for node, parent in enumerate(tree.parents) if parent == 0]
    node_logprobs = torch.zeros(len(last), len(tree.tokens), dtype=torch.float64)
    tokens = torch.tensor(tree.tokens, device=last.device)
    places = torch.zeros(len(first), dtype=torch.int64)
    node_logprobs[:, first] = _edges(model, last[:, None], places, tokens[first])
    for chunk in chunks:
        hidden = _read(model, prompts, chunk)
        node_logprobs[:, chunk.children] = _edges(model, hidden, chunk.places, tokens[chunk.children])
    for node, parent in enumerate(tree.parents):  # a parent comes before its children
        if parent > 0:
            node_logprobs[:, node] += node_logprobs[:, parent]
    return node_logprobs[:, tree.ends]


def row_logprobs(
    model: LanguageModel, ids: Tensor, sequences: Sequence[Sequence[int]], read: tuple[Cache, Tensor] | None = None
) -> Tensor:
    """Return what `tree_logprobs` returns, sequence by sequence: for any causal model.

    `ids` (B, P) are the prompts, and `read` the cache that holds them with their last states (B, D). Without it they
    are read again with each sequence, and all have the same length.
    """
    B, longest = len(ids), max(map(len, sequences))
    padded = torch.tensor([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences]).to(ids.device)
    sizes = torch.tensor([len(sequence) for sequence in sequences], device=ids.device)
    targets = padded.repeat(B, 1)  # padding on the right is seen by nothing that counts
    again = torch.arange(B, device=ids.device).repeat_interleave(len(sequences))
    if read is None:
        source = torch.cat([ids[again], targets[:, :-1]], dim=1)
        hidden = model.hidden(source)[:, ids.shape[1] - 1 :]
    else:
        prompts, last = read
        cache = Cache([copy.copy(layer) for layer in prompts.layers], prompts.length, prompts.start)
        cache.keep(again)
        hidden = last[again, None]
        if longest > 1:
            hidden = torch.cat([hidden, model.hidden(targets[:, :-1], cache)], dim=1)
    logits = _wide(model.logits(hidden))
    own = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(dim=-1)
    counts = torch.arange(longest, device=ids.device) < sizes.repeat(B)[:, None]
    return torch.where(counts, own.cpu().double(), 0.0).sum(dim=1).view(B, len(sequences))


def _read(model: LanguageModel, cache: Cache, chunk: Chunk) -> Tensor:
    """Return the hidden states (B, T, D) of a chunk, and leave the cache as it was."""
    assert isinstance(model, GPT)
    used, T, device = cache.used, len(chunk.tokens), model.tokens.weight.device
    index = (used - 1 + chunk.depths.to(device))[None]
    prompt = torch.ones(1, 1, T, used, dtype=torch.bool, device=device)
    sees = chunk.sees.to(device)[None, None]
    if cache.start is not None:
        index = index - cache.start[:, None]
        real = torch.arange(used, device=device) >= cache.start[:, None]
        prompt = real[:, None, None].expand(-1, 1, T, -1)
        sees = sees.expand(len(prompt), -1, -1, -1)
    mask = Mask(T, used + T, causal=True, allowed=torch.cat([prompt, sees], dim=-1), start=cache.start)
    batch = len(cache.layers[0].keys) if isinstance(cache.layers[0], LayerCache) else 0
    x = model.positions.add(model.tokens(chunk.tokens.to(device)).expand(batch, -1, -1), index)
    place = model.positions.at(index)
    for block, layer in zip(model.blocks, cache.layers, strict=True):
        x = block(x, mask, place, None, layer)
        layer.used = used
    return x if model.norm is None else model.norm(x)


def _edges(model: LanguageModel, hidden: Tensor, places: Tensor, tokens: Tensor) -> Tensor:
    """Return log p(token | place) (B, E) in nats for each edge, from hidden states (B, T, D)."""
    logits = _wide(model.logits(hidden))
    places = places.to(logits.device)
    return (logits[:, places, tokens] - logits.logsumexp(dim=-1)[:, places]).cpu().double()


def _wide(logits: Tensor) -> Tensor:
    """Return logits in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
