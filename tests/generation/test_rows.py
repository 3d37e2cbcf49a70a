"""Rows that come and go: each gives what it gives alone, to the last bit where products allow it."""

import random

import pytest
import torch
from generation_doubles import Table, small_gpt

from heed.config import ModelConfig
from heed.generation.rows import SeparateRows, SlotRows, make_rows
from heed.models import GPT, Recurrent

KINDS = [
    {},
    {"positions": "rotary", "n_kv_heads": 1},
    {"positions": "sinusoidal", "norm_order": "post"},
    {"positions": "alibi"},
    {"attention": {"mechanism": "linear"}, "positions": "none"},
    {"attention": {"mechanism": "naive-mask"}},
    {"attention": {"mechanism": "sliding-window", "options": {"window": 5}}},
    {"qk_norm": True},
]


def whole(model, ids):
    """The logits after a window, read by itself without a cache."""
    return model(torch.tensor([ids]))[0, -1]


def window_of(ids, prompt, context):
    """The tokens that the model still sees: beyond the context, the last half of them is kept."""
    window = list(ids[:prompt])
    for token in ids[prompt:]:
        window.append(token)
        if len(window) > context:
            del window[: -(context // 2)]
    return window


@pytest.mark.parametrize("settings", KINDS, ids=lambda s: str(s))
def test_rows_that_come_and_go_give_what_the_model_gives(settings):
    model = small_gpt(**settings).eval()
    together = not settings.keys() & {"attention"} and settings.get("positions") != "alibi"
    rows, draw = make_rows(model), random.Random(1)
    assert isinstance(rows, SlotRows if together else SeparateRows)
    texts, prompts = [], []
    with torch.inference_mode():
        for step in range(40):
            if step % 3 == 0 and len(texts) < 7:
                ids = [draw.randrange(256) for _ in range(draw.randint(1, model.context))]
                copies = 1 + step % 2
                torch.testing.assert_close(rows.add(ids, copies)[0], whole(model, ids))
                texts += [list(ids) for _ in range(copies)]
                prompts += [len(ids)] * copies
            if step % 5 == 4:
                gone = draw.randrange(len(texts))
                rows.remove(gone)
                texts[gone], prompts[gone] = texts[-1], prompts[-1]
                texts.pop(), prompts.pop()
            tokens = [draw.randrange(256) for _ in texts]
            logits = rows.push(tokens)
            assert len(rows) == len(texts) == len(logits)
            for text, token, prompt, row in zip(texts, tokens, prompts, logits, strict=True):
                text.append(token)
                torch.testing.assert_close(row, whole(model, window_of(text, prompt, model.context)))


def test_a_row_is_the_same_to_the_last_bit_alone_and_in_company():
    """In float32, where products of different shapes round differently: hence tiles of rows and spans of positions."""
    config = ModelConfig(n_layers=2, n_heads=4, d_model=64, context=200, positions="rotary")
    model = GPT(config, 300, torch.Generator().manual_seed(0)).eval()
    draw = random.Random(2)
    texts = [[draw.randrange(300) for _ in range(draw.randint(1, 120))] for _ in range(11)]
    more = [[draw.randrange(300) for _ in range(60)] for _ in texts]

    def alone(text, tokens):
        rows = make_rows(model)
        return torch.cat([rows.add(text), *(rows.push([token]) for token in tokens)])

    with torch.inference_mode():
        expected = [alone(*one) for one in zip(texts, more, strict=True)]
        rows, begun, found = make_rows(model), [], {i: [] for i in range(len(texts))}
        for step in range(200):
            if step % 4 == 0 and step // 4 < len(texts):
                new = step // 4
                found[new].append(rows.add(texts[new])[0])
                begun.append(new)
            for place in reversed(range(len(begun))):
                if len(found[begun[place]]) > 60:
                    rows.remove(place)
                    begun[place] = begun[-1]
                    begun.pop()
            if begun:
                logits = rows.push([more[i][len(found[i]) - 1] for i in begun])
                for i, row in zip(begun, logits, strict=True):
                    found[i].append(row)
    assert not begun
    for i, rows_of in found.items():
        assert torch.equal(torch.stack(rows_of), expected[i])


def test_recurrent_models_and_those_of_a_table_go_row_by_row():
    config = ModelConfig(kind="lstm", n_layers=1, d_model=16, context=8)
    for one in (Recurrent(config, 20).eval(), Table(torch.randn(5, 5))):
        rows = make_rows(one)
        with torch.inference_mode():
            rows.add([1, 2])
            rows.add([3])
            logits = rows.push([4, 2])
            torch.testing.assert_close(logits[0], whole(one, [1, 2, 4]))
            torch.testing.assert_close(logits[1], whole(one, [3, 2]))
