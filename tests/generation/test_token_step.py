"""The lean step gives what the model itself gives, for every kind of part, and stands back where it cannot."""

import pytest
import torch
from generation_doubles import Table, small_gpt

from heed.config import AttentionConfig
from heed.generation.token_step import lean_step


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"norm_order": "post", "activation": "relu"},
        {"norm": "rms", "positions": "rotary", "activation": "swiglu", "bias": False, "n_kv_heads": 1},
        {"positions": "none", "activation": "gelu-tanh", "tied": True},
        {"activation": "relu2", "dropout": 0.5},
        {"qk_norm": True, "positions": "rotary", "norm": "rms", "bias": False, "n_kv_heads": 1},
    ],
)
def test_it_equals_the_model(settings):
    model = small_gpt(**settings).eval()
    step = lean_step(model)
    assert step is not None
    ids = torch.randint(0, 256, (3, 10), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.hidden(ids)
        cache = model.new_cache(3, 10)
        model.hidden(ids[:, :4], cache)
        for t in range(4, 10):
            # 1e-10 of values about 1: float64, and two orders of the same sums
            torch.testing.assert_close(step(ids[:, t], cache), expected[:, t], rtol=1e-10, atol=1e-10)


def test_it_stands_back_for_what_it_does_not_know():
    assert lean_step(Table(torch.zeros(3, 3))) is None
    assert lean_step(small_gpt(attention=AttentionConfig(path="reference"))) is None
    hooked = small_gpt()
    hooked.blocks[0].register_forward_hook(lambda *_: None)
    assert lean_step(hooked) is None
    replaced = small_gpt()
    replaced.blocks[0].feedforward.up = torch.nn.Sequential(replaced.blocks[0].feedforward.up)
    assert lean_step(replaced) is None
