"""A model with a longer context is the same model within the old one, and reads on where no parameter ends."""

import copy
import doctest

import pytest
import torch

from heed.attention import MECHANISMS, POSITIONS
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models import LanguageModel, longer, with_context
from heed.models.encoder import Encoder
from heed.models.gpt import GPT
from heed.models.recurrent import Recurrent
from heed.models.window import WindowModel

TRAINED, LONG = 12, 40
TINY = {"n_layers": 2, "n_heads": 2, "d_model": 8, "context": TRAINED}


def make(positions="none", mechanism="softmax", causal=True, **settings):
    config = ModelConfig(**TINY | {"positions": positions, "attention": {"mechanism": mechanism}} | settings)
    generator = torch.Generator().manual_seed(3)
    model = (GPT if causal else Encoder)(config, 7, generator)
    return model.double().eval()  # in float64, so that a difference would be a bug and no rounding


def ids(T, rows=2):
    return torch.randint(7, (rows, T), generator=torch.Generator().manual_seed(T))


COMBINATIONS = [
    (positions, name, causal)
    for name, kind in MECHANISMS.items()
    for positions in sorted(kind.facts.positions)
    for causal in (True, False)
    if (kind.facts.causal != "never" if causal else "padding" in kind.facts.masks)
]


def ends(positions, name):
    return positions == "learned" or MECHANISMS[name].facts.lengths == "fixed"


@pytest.mark.parametrize(("positions", "name", "causal"), COMBINATIONS)
def test_the_catalogue_is_the_same_within_the_context_and_goes_on_or_ends(positions, name, causal):
    model = make(positions, name, causal)
    if ends(positions, name):
        with pytest.raises(ConfigError):
            with_context(model, LONG)
        return
    further = with_context(model, LONG)
    assert (further.context, model.context, further.config.context) == (LONG, TRAINED, LONG)
    with torch.no_grad():
        for T in (1, TRAINED):
            assert torch.equal(further(ids(T)), model(ids(T)))  # the same operations on the same numbers
        assert further(ids(LONG)).isfinite().all()
    with pytest.raises(ConfigError, match="longer than the model's context of 12"):
        model(ids(TRAINED + 1))


def test_every_scheme_of_positions_is_tried():
    assert {positions for positions, _, _ in COMBINATIONS} == set(POSITIONS)


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary", "alibi", "relative", "none"])
def test_it_is_the_model_that_would_have_been_built_with_that_context(positions):
    """The weights of a model that was built long, in one that was built short, read on as they would there."""
    built = make(positions, context=LONG)
    short = make(positions)
    short.load_state_dict(built.state_dict())
    with torch.no_grad():
        assert torch.equal(with_context(short, LONG)(ids(LONG)), built(ids(LONG)))


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "linear-rnn", "window"])
def test_models_without_attention_go_on_by_themselves(kind):
    config = ModelConfig(**{key: TINY[key] for key in ("d_model", "context")}, kind=kind)
    model = (WindowModel if kind == "window" else Recurrent)(config, 7).double().eval()
    further = with_context(model, LONG)
    assert further.context == LONG
    with torch.no_grad():
        assert torch.equal(further(ids(LONG)), model(ids(LONG)))


def test_parameters_are_shared_and_frozen_ones_stay_frozen():
    model = make("relative", mechanism="softmax")
    model.tokens.weight.requires_grad_(False)
    own, theirs = (dict(part.named_parameters()) for part in (model, with_context(model, LONG)))
    assert own.keys() == theirs.keys()
    assert all(own[name] is theirs[name] for name in own)
    assert not theirs["tokens.weight"].requires_grad


def test_features_that_were_drawn_are_the_same_ones():
    model = make(mechanism="performer")
    assert torch.equal(with_context(model, LONG).blocks[0].attention.mechanism.w, model.blocks[0].attention.mechanism.w)


def test_mode_and_leaks_come_along_and_the_model_stays_as_it_was():
    model = make("rotary")
    model.leaks = "position 3 sees 5"
    before = copy.deepcopy(model.state_dict())
    further = with_context(model, LONG)
    assert further.leaks == model.leaks
    assert not any(part.training for part in further.modules())
    further.train()
    assert not model.training
    assert model.positions.cos.shape[0] == TRAINED
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_decoding_with_a_cache_reads_on_as_well():
    further = with_context(make("rotary"), LONG)
    cache, whole = further.new_cache(2, LONG), ids(LONG)
    with torch.no_grad():
        pieces = [further(whole[:, begin : begin + 8], cache) for begin in range(0, LONG, 8)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), further(whole))  # summed in another order


def test_what_is_long_enough_is_returned_as_it_is():
    model = make("learned")
    assert with_context(model, TRAINED) is model
    assert with_context(model, 3) is model


def test_what_ends_is_said_with_what_would_go():
    with pytest.raises(ConfigError) as caught:
        with_context(make("learned"), LONG)
    assert str(caught.value) == (
        "model.positions learned ends at the 12 tokens of training, beyond them there is nothing to add: "
        "train with alibi, none, relative, rotary or sinusoidal to read further"
    )
    with pytest.raises(ConfigError) as caught:
        with_context(make("learned", "aft-full"), LONG)
    positions, mechanism = caught.value.problems
    assert positions.endswith("train with none or sinusoidal to read further")
    assert "attention 'aft-full' has weights for 12 positions" in mechanism
    assert "aft-simple" in mechanism
    assert not {"'linformer'", "fastformer", "naive-mask"} & set(mechanism.replace(",", "").split())


def test_a_model_that_is_none_of_ours_is_refused():
    class Other(LanguageModel):
        context = 5
        hidden = head_weight = new_cache = flops_per_token = None

    with pytest.raises(ConfigError, match="Other cannot be given another context than its 5"):
        with_context(Other(), 6)


def test_examples():
    assert doctest.testmod(longer).failed == 0
