"""Whatever a model mixes by: a row is the same alone and in company, and what the model gives that reads its window."""

import random

import pytest
import torch
from generation_doubles import Bytes

from heed.attention import MECHANISMS, PROJECTIONS, SCORES
from heed.config import ModelConfig
from heed.generation import Sampling, generate
from heed.generation.rows import make_rows
from heed.models import MODELS

OPTIONS = {
    "sliding-window": {"window": 3}, "aft-local": {"window": 3}, "performer": {"features": 8},
    "bigbird": {"block": 2, "window_blocks": 1, "global_blocks": 1, "random_blocks": 1},
}  # fmt: skip
CAUSAL = [name for name, mechanism in MECHANISMS.items() if mechanism.facts.causal != "never"]
KINDS: dict[str, dict[str, object]] = {
    **{name: {"attention": {"mechanism": name, "options": OPTIONS.get(name, {})}} for name in CAUSAL},
    **{f"score {name}": {"attention": {"score": name}} for name in SCORES},
    **{f"projection {name}": {"attention": {"projection": name}} for name in PROJECTIONS},
    **{f"positions {name}": {"positions": name} for name in ("none", "learned", "rotary", "alibi")},
    "qk-norm": {"qk_norm": True},
    "grouped": {"n_heads": 4, "n_kv_heads": 2},
    **{name: {"kind": name, "n_layers": 2} for name in ("lstm", "gru", "rnn")},
    "window": {"kind": "window", "window": 4},
}
CONTEXT = 8


def make(name, dtype=torch.float32):
    given = KINDS[name]
    plain = {"n_layers": 2, "n_heads": 2, "positions": "none", "tied": False} if "kind" not in given else {}
    config = ModelConfig(**{"d_model": 16, "context": CONTEXT, **plain, **given})
    model = MODELS[config.kind](config, 256, torch.Generator().manual_seed(3)).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4)  # so that some tokens are likelier than others
    return model


def come_and_go(model, texts, more):
    """Decode so many texts that come one after another, each as long as `more` has tokens for it; logits of each."""
    rows, begun, found = make_rows(model), [], {i: [] for i in range(len(texts))}
    with torch.inference_mode():
        for step in range(80):
            if step % 3 == 0 and step // 3 < len(texts):
                new = step // 3
                found[new].append(rows.add(texts[new])[0])
                begun.append(new)
            for place in reversed(range(len(begun))):
                if len(found[begun[place]]) > len(more[begun[place]]):
                    rows.remove(place)
                    begun[place] = begun[-1]
                    begun.pop()
            if begun:
                logits = rows.push([more[i][len(found[i]) - 1] for i in begun])
                for i, row in zip(begun, logits, strict=True):
                    found[i].append(row)
    assert not begun
    return [torch.stack(rows_of) for rows_of in found.values()]


def whole(model, ids, prompt):
    """The logits after a window that is read by itself, without a cache: beyond the context its last half is kept."""
    window = list(ids[:prompt])
    for token in ids[prompt:]:
        window.append(token)
        if len(window) > model.context:
            del window[: -(model.context // 2)]
    return model(torch.tensor([window]))[0, -1]


@pytest.mark.parametrize("name", KINDS)
def test_a_row_is_the_same_alone_and_in_company(name):
    """To the last bit: by itself where it goes by itself, by tiles of rows where it shares products."""
    model, draw = make(name), random.Random(2)
    texts = [[draw.randrange(256) for _ in range(draw.randint(1, CONTEXT))] for _ in range(4)]
    more = [[draw.randrange(256) for _ in range(draw.randint(3, 2 * CONTEXT))] for _ in texts]
    together = come_and_go(model, texts, more)
    for text, tokens, found in zip(texts, more, together, strict=True):
        [alone] = come_and_go(model, [text], [tokens])
        assert torch.equal(found, alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_row_is_what_the_model_gives_that_reads_its_window(name):
    model, draw = make(name, torch.float64), random.Random(3)
    texts = [[draw.randrange(256) for _ in range(draw.randint(1, CONTEXT))] for _ in range(2)]
    more = [[draw.randrange(256) for _ in range(CONTEXT + 2)] for _ in texts]
    for text, tokens, found in zip(texts, more, come_and_go(model, texts, more), strict=True):
        with torch.inference_mode():
            for size, logits in enumerate(found):
                torch.testing.assert_close(logits, whole(model, [*text, *tokens[:size]], len(text)))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_text_of_a_file_of_prompts_is_the_one_that_its_prompt_gets_alone(name):
    """`heed sample` pads rows together; in float64, where rounding decides nothing."""
    model, tokenizer = make(name, torch.float64), Bytes()
    prompts, seeds = ["a", "some words that are longer than the context", "seven", "a"], [5, 6, 7, 8]
    hot = Sampling(temperature=0.9)
    together = generate(model, tokenizer, prompts, hot, max_tokens=10, seeds=seeds)
    for prompt, seed, found in zip(prompts, seeds, together, strict=True):
        [alone] = generate(model, tokenizer, [prompt], hot, max_tokens=10, seeds=[seed])
        assert [one.ids for one in found] == [one.ids for one in alone]
