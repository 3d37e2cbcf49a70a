"""A tree of continuations gives what reading each by itself gives, in any company."""

import pytest
import torch
from generation_doubles import small_gpt

from heed.config import ModelConfig
from heed.generation.tree import TokenTree, reads_trees, row_logprobs, tree_logprobs
from heed.models import MODELS

PROMPTS = [[5, 6, 7, 8], [9], [10, 11, 12]]
SEQUENCES = [[1, 2, 3], [1, 2, 4, 5], [1, 2], [6], [7, 1, 2, 3, 9], [1, 2, 3]]
KINDS = [
    {"positions": "rotary", "qk_norm": True, "activation": "relu2"},
    {"positions": "learned", "norm_order": "post"},
    {"positions": "sinusoidal", "n_kv_heads": 1, "tied": True},
    {"positions": "none", "attention": {"score": "bilinear"}},
]


def one_by_one(model, prompt, sequence) -> float:
    """The definition: read prompt and sequence, add up."""
    ids = torch.tensor([[*prompt, *sequence]])
    logprobs = model(ids).log_softmax(dim=-1)[0, len(prompt) - 1 : -1]
    return logprobs.gather(1, torch.tensor(sequence)[:, None]).sum().item()


def read(model, prompts, room):
    width = max(map(len, prompts))
    padding = [width - len(prompt) for prompt in prompts]
    ids = torch.tensor([[0] * pad + prompt for pad, prompt in zip(padding, prompts, strict=True)])
    cache = model.new_cache(len(prompts), width + room, torch.tensor(padding) if any(padding) else None)
    return ids, cache, model.hidden(ids, cache)[:, -1]


def test_a_tree_holds_every_sequence_once():
    tree = TokenTree(SEQUENCES)
    for sequence, end in zip(SEQUENCES, tree.ends, strict=True):
        path = []
        while end:
            path.append(tree.tokens[end])
            end = tree.parents[end]
        assert path[::-1] == sequence
    assert len(tree.tokens) == 1 + 11  # 1 2 3, 4 5, 6, 7 1 2 3 9: 3 + 2 + 1 + 5
    assert tree.depths == [0, *(1 + tree.depths[parent] for parent in tree.parents[1:])]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_chunks_cover_every_edge_once_and_see_ancestors_only(size):
    tree = TokenTree(SEQUENCES)
    chunks = tree.chunks(size)
    led = sorted(node for chunk in chunks for node in chunk.children.tolist())
    assert led == [node for node, parent in enumerate(tree.parents) if parent > 0]
    for chunk in chunks:
        assert chunk.sees.sum(dim=1).tolist() == chunk.depths.tolist()  # as many as are above, and itself
        assert not chunk.sees.triu(1).any()


@torch.inference_mode()
@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: settings["positions"])
@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:1]], ids=["padded", "alone"])
@pytest.mark.parametrize("size", [2, 100])
def test_a_tree_gives_what_one_by_one_gives(settings, prompts, size):
    model = small_gpt(**settings).eval()
    assert reads_trees(model)
    tree = TokenTree(SEQUENCES)
    chunks = tree.chunks(size)
    ids, cache, last = read(model, prompts, max(len(chunk.tokens) for chunk in chunks))
    expected = torch.tensor([[one_by_one(model, p, s) for s in SEQUENCES] for p in prompts], dtype=torch.float64)
    # float64 throughout: what differs is the order of sums
    torch.testing.assert_close(tree_logprobs(model, cache, last, tree, chunks), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(row_logprobs(model, ids, SEQUENCES, (cache, last)), expected, rtol=0, atol=1e-10)
    assert cache.used == ids.shape[1]  # as it was


@torch.inference_mode()
@pytest.mark.parametrize(
    "settings",
    [
        {"positions": "alibi"},
        {"attention": {"mechanism": "linear"}},
        {"attention": {"mechanism": "sliding-window", "options": {"window": 3}}},
        {"attention": {"mechanism": "synthesizer-dense"}},
        {"kind": "lstm"},
        {"kind": "window", "window": 3},
    ],
    ids=str,
)
def test_other_models_read_rows(settings):
    config = ModelConfig(**{"n_layers": 2, "n_heads": 3, "d_model": 24, "context": 24, **settings})
    model = MODELS[config.kind](config, 256, torch.Generator().manual_seed(3)).double().eval()
    assert not reads_trees(model)
    expected = torch.tensor([[one_by_one(model, p, s) for s in SEQUENCES] for p in PROMPTS], dtype=torch.float64)
    if model.caches:
        ids, cache, last = read(model, PROMPTS, 8)
        found = row_logprobs(model, ids, SEQUENCES, (cache, last))
    else:
        found = torch.cat([row_logprobs(model, torch.tensor([prompt]), SEQUENCES) for prompt in PROMPTS])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
