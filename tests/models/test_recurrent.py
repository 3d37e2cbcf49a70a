"""Recurrent models: torch's modules as judge, gradients by hand, caches, padding, the state that is carried."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from heed.build import build_model
from heed.config import RECURRENT, ModelConfig, RecurrentConfig, make_config
from heed.errors import ConfigError
from heed.generation.generate import generate
from heed.generation.sampling import Sampling
from heed.models.cells import CELLS, LinearRNN
from heed.models.hub import export_hub

SMALL = {"n_layers": 2, "d_model": 6, "d_hidden": 8, "context": 12, "init_std": 0.8}
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
V = 13


class Letters:
    """One token a letter."""

    vocab_size, end_id, start_ids = 26, None, ()

    def encode(self, text):
        return [ord(c) - ord("a") for c in text]

    def token_bytes(self, id):
        return bytes([id + ord("a")])


def build(kind, seed=3, **more):
    """A small model in float64, in evaluation mode."""
    ours = RecurrentConfig(**more.pop("recurrent", {}))
    config = ModelConfig(**(SMALL | {"kind": kind} | more), recurrent=ours)
    return build_model(config, V, torch.Generator().manual_seed(seed)).double().eval()


def ids_of(B, T, seed=0):
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", MODULES)
def test_outputs_and_gradients_equal_those_of_torch(kind):
    model, ids = build(kind, tied=False), ids_of(3, 7)
    x = model.tokens.weight.detach()[ids]
    inputs, ours, theirs = 6, [], []
    for layer in model.layers:
        judge = MODULES[kind](inputs, 8, batch_first=True).double()
        for name, parameter in layer.named_parameters():
            getattr(judge, f"{name}_l0").data.copy_(parameter.data)
            ours.append(parameter)
            theirs.append(getattr(judge, f"{name}_l0"))
        x, inputs = judge(x)[0], 8
    hidden = model.hidden(ids)
    torch.testing.assert_close(hidden, x, rtol=0, atol=1e-14)  # the same kernels
    weight = torch.randn(hidden.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mine, judged = (torch.autograd.grad((h * weight).sum(), w) for h, w in ((hidden, ours), (x, theirs)))
    for one, other in zip(mine, judged, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gradients_of_the_linear_net_by_hand():
    """dJ/dW_hh = sum_t sum_{i<=t} (U^T)^(t-i) W_y^T (yhat_t - y_t) h_{i-1}^T, and likewise for W_hx and W_hy."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 3, dtype=torch.float64, generator=draw)
    cell = LinearRNN(3, 4, bias=False).double()
    cell.initialise(draw)
    output = torch.randn(2, 4, dtype=torch.float64, generator=draw).requires_grad_()
    targets = torch.tensor([1, 0, 1])
    states, _ = cell(x, cell.start(1))
    nn.functional.cross_entropy(states[0] @ output.t(), targets, reduction="sum").backward()
    W, U, Y = cell.weight_ih.detach(), cell.weight_hh.detach(), output.detach()
    h = [torch.zeros(4, dtype=torch.float64)]
    for t in range(3):
        h.append(U @ h[-1] + W @ x[0, t])
    d_U, d_W, d_Y = torch.zeros_like(U), torch.zeros_like(W), torch.zeros_like(Y)
    for t in (1, 2, 3):
        wrong = torch.softmax(Y @ h[t], 0) - nn.functional.one_hot(targets[t - 1], 2)
        d_Y += torch.outer(wrong, h[t])
        for i in range(1, t + 1):
            back = torch.linalg.matrix_power(U.t(), t - i) @ Y.t() @ wrong
            d_U += torch.outer(back, h[i - 1])
            d_W += torch.outer(back, x[0, i - 1])
    for by_hand, found in ((d_U, cell.weight_hh.grad), (d_W, cell.weight_ih.grad), (d_Y, output.grad)):
        torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("more", [{}, {"recurrent": {"head": "two-layer"}}, {"tied": False, "bias": False}])
def test_reading_with_the_cache_equals_reading_at_once(kind, more):
    model, ids = build(kind, **more), ids_of(2, 12)
    with torch.no_grad():
        cache = model.new_cache(2, 12)
        parts = [model(ids[:, a:b], cache) for a, b in ((0, 5), (5, 8), (8, 9), (9, 12))]
        torch.testing.assert_close(torch.cat(parts, 1), model(ids), rtol=1e-12, atol=1e-12)
        assert cache.used == 12
        with pytest.raises(ConfigError, match="holds 12 of 12 tokens, and 1 more"):
            model(ids[:, :1], cache)


@pytest.mark.parametrize("kind", [*RECURRENT, "window"])
def test_padding_on_the_left_changes_nothing(kind):
    more = {"n_layers": 4, "d_hidden": None, "window": 3} if kind == "window" else {}
    model, ids = build(kind, **more), ids_of(3, 8)
    start = torch.tensor([0, 3, 4])
    with torch.no_grad():
        cache = model.new_cache(3, 12, start)
        prompt = torch.full((3, 5), 7)  # prompts of 5, 2 and 1 tokens that end together; the filler may not matter
        for row, skip in enumerate(start.tolist()):
            prompt[row, skip:] = ids[row, : 5 - skip]
        parts = [model(prompt[:, :2], cache), model(prompt[:, 2:], cache)]
        for step in range(3):
            following = torch.stack([ids[row, 5 - skip + step] for row, skip in enumerate(start.tolist())])
            parts.append(model(following[:, None], cache))
        together = torch.cat(parts, 1)
        for row, skip in enumerate(start.tolist()):
            alone = model(ids[row : row + 1, : 8 - skip])
            torch.testing.assert_close(together[row : row + 1, skip:], alone, rtol=1e-12, atol=1e-12)
    assert together.isfinite().all()


@pytest.mark.parametrize("kind", [*RECURRENT, "window"])
def test_it_writes_with_the_cache_what_it_writes_without(kind):
    more = {"n_layers": 4, "d_hidden": None, "window": 3} if kind == "window" else {}
    letters = Letters()
    config = ModelConfig(**(SMALL | {"kind": kind, "context": 6} | more))
    model = build_model(config, letters.vocab_size).double().eval()
    prompts = ["ab", "abcde", "c"]  # of unequal length; the context of 6 makes every row slide
    both = [
        generate(model, letters, prompts, Sampling(), max_tokens=14, n=2, seed=5, cache=cache, ignore_end=True)
        for cache in (True, False)
    ]
    assert [[c.ids for c in answers] for answers in both[0]] == [[c.ids for c in answers] for answers in both[1]]
    assert all(c.slides > 1 for answers in both[0] for c in answers)


@pytest.mark.parametrize("kind", RECURRENT)
def test_the_carried_state_makes_two_windows_one(kind):
    """The second half of a text costs what it costs in one pass, and its gradient stops at the border."""
    model, ids = build(kind, recurrent={"carry": True}).train(), ids_of(2, 9)
    first, second = (ids[:, :5], ids[:, 1:5]), (ids[:, 4:8], ids[:, 5:9])
    whole = model.loss(ids[:, :8], ids[:, 1:9], reduction="none")
    model.loss(first[0][:, :4], first[1])
    parts = model.loss(*second, reduction="none", continues=True)
    torch.testing.assert_close(parts, whole[:, 4:], rtol=1e-12, atol=1e-12)
    assert all(not part.requires_grad for part in model.carried)
    fresh = model.loss(*second, reduction="none")
    assert (fresh[:, 0] != parts[:, 0]).all()
    model.eval()  # an evaluation takes no notice, and leaves the state of the training alone
    before = [part.clone() for part in model.carried]
    torch.testing.assert_close(model.loss(*second, reduction="none", continues=True), fresh, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(before, model.carried, strict=True))


def test_known_parameter_counts():
    # IFT6135: embedding and output tied, 768 wide, LSTM of width 512, two-layer head
    config = ModelConfig(
        kind="lstm", n_layers=1, d_model=768, d_hidden=512, recurrent=RecurrentConfig(head="two-layer")
    )
    assert build_model(config, 1000).parameter_count() == 1000 * 768 + 4 * 512 * (768 + 512 + 2) + 768 * 512 + 768
    # AWD-LSTM on WikiText-2: 33.6 M (400, three layers of 1150, 1150 and 400, tied, an output bias)
    config = ModelConfig(kind="lstm", n_layers=3, d_model=400, d_hidden=1150)
    layers = 4 * 1150 * (400 + 1150 + 2) + 4 * 1150 * (1150 + 1150 + 2) + 4 * 400 * (1150 + 400 + 2)
    with torch.device("meta"):
        assert build_model(config, 33_278).parameter_count() == 33_278 * 401 + layers == 33_556_078


@pytest.mark.parametrize("more", [{}, {"recurrent": {"head": "two-layer"}}, {"tied": False}])
def test_flops_equal_what_torch_counts(more):
    model, ids = build("linear-rnn", **more), ids_of(3, 12)
    with FlopCounterMode(display=False) as counter:
        model(ids).sum().backward()
    # the first state is zero and has no gradient: one product of the backward pass is not made in each layer
    missing = sum(2 * 3 * layer.weight_hh.numel() for layer in model.layers)
    assert counter.get_total_flops() == 3 * 12 * model.flops_per_token() - missing


def test_initial_cells_are_uniform_and_come_from_the_generator_alone():
    torch.manual_seed(1)
    one = build("gru", seed=5).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = build("gru", seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    bound = 8**-0.5
    assert bound * 0.97 < one["layers.0.weight_hh"].abs().max() <= bound
    assert not torch.equal(one["layers.0.weight_hh"][:6], one["layers.1.weight_hh"][:6, :8])


def dropped(model, ids, seed=0):
    torch.manual_seed(seed)
    return model.hidden(ids)


def test_weight_drop_zeroes_recurrent_weights_only():
    model = build("linear-rnn", n_layers=1, bias=False, tied=False, recurrent={"weight_drop": 0.5}).train()
    ids = ids_of(1, 2)
    torch.manual_seed(0)
    mask = nn.functional.dropout(torch.ones(8, 8, dtype=torch.float64), 0.5)  # the only number drawn
    cell, x = model.layers[0], model.tokens.weight[ids[0]]
    first = cell.weight_ih @ x[0]
    expected = torch.stack([first, cell.weight_ih @ x[1] + (cell.weight_hh * mask) @ first])
    torch.testing.assert_close(dropped(model, ids)[0], expected, rtol=1e-12, atol=1e-12)
    assert mask.min() == 0
    assert mask.max() == 2
    model.eval()
    torch.testing.assert_close(
        model.hidden(ids)[0, 1], cell.weight_ih @ x[1] + cell.weight_hh @ first, rtol=1e-12, atol=1e-12
    )


def test_locked_dropout_has_one_mask_for_all_tokens_of_a_row():
    model = build("lstm", n_layers=1, tied=False, recurrent={"output_dropout": 0.5}).train()
    ids = ids_of(4, 12)
    zero = dropped(model, ids) == 0
    assert (zero == zero[:, :1]).all()  # the same units at every token
    assert (zero[:, 0] != zero[:1, 0]).any()  # and other ones in other rows
    plain = build("lstm", n_layers=1, tied=False, dropout=0.5).train()
    zero = dropped(plain, ids) == 0
    assert (zero != zero[:, :1]).any()


def test_embedding_dropout_drops_words_wherever_they_stand():
    model = build("linear-rnn", n_layers=1, bias=False, tied=False, recurrent={"embedding_dropout": 0.5}).train()
    with torch.no_grad():
        model.layers[0].weight_hh.zero_()  # h_t is then the input at t alone
    ids = ids_of(4, 12)
    zero = (dropped(model, ids) == 0).all(-1)
    words = {int(i): zero[ids == i].unique().tolist() for i in ids.unique()}
    assert all(len(states) == 1 for states in words.values())
    assert {states[0] for states in words.values()} == {True, False}


def test_penalties_are_followed_and_not_shown():
    ids = ids_of(2, 6)
    plain = build("rnn", n_layers=1).train()
    punished = build("rnn", n_layers=1, recurrent={"activation_penalty": 2.0, "change_penalty": 3.0}).train()
    losses = [model.loss(ids[:, :5], ids[:, 1:]) for model in (plain, punished)]
    torch.testing.assert_close(losses[0], losses[1])
    y = plain.hidden(ids[:, :5])
    penalty = 2.0 * y.square().mean() + 3.0 * (y[:, 1:] - y[:, :-1]).square().mean()
    (losses[0] + penalty).backward()
    losses[1].backward()
    for mine, other in zip(plain.parameters(), punished.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-12, atol=1e-12)


def test_log_probabilities_are_those_of_the_loss():
    model, ids = build("lstm"), ids_of(2, 6)
    logs = model.log_probabilities(ids[:, :5])
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(2, 5, dtype=torch.float64))
    picked = logs.gather(2, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(-picked, model.loss(ids[:, :5], ids[:, 1:], reduction="none"))
    assert build("lstm").float().bfloat16().log_probabilities(ids).dtype == torch.float32


def test_export_refuses_in_one_line(tmp_path):
    model = build("lstm")
    with pytest.raises(ConfigError, match=r"model\.kind lstm of heed is no architecture of transformers"):
        export_hub(model, model.config, None, tmp_path)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"model": {"kind": "lstm", "n_heads": 2}}, "model.n_heads: model.kind lstm does not read it"),
        ({"model": {"kind": "gru", "preset": "gpt1"}}, "leave out model.preset gpt1, which sets it"),
        ({"model": {"kind": "rnn", "attention": {"score": "cosine"}}}, "model.attention.score: model.kind rnn"),
        ({"model": {"window": 9}}, "model.window: model.kind gpt does not read it"),
        ({"model": {"kind": "lstm", "recurrent": {"carry": True}}}, "set data.layout stream"),
        ({"data": {"layout": "stream"}, "model": {"kind": "encoder"}}, "data.layout: stream is for models"),
        ({"data": {"layout": "stream", "cross_documents": False}}, "data.cross_documents: a stream runs over"),
        ({"train": {"loss": "sequence"}}, "train.loss: sequence is for data.layout padded"),
        ({"model": {"kind": "lstm", "dropout": 0.1, "recurrent": {"input_dropout": 0.2}}}, "model.dropout:"),
        ({"model": {"kind": "lstm", "n_layers": 1, "recurrent": {"hidden_dropout": 0.2}}}, "and there is one"),
        ({"model": {"freeze_embeddings": True}}, "model.freeze_embeddings: there are none to keep"),
        ({"model": {"kind": "window", "d_hidden": 7}}, "model.d_hidden: a window's tied head"),
    ],
)
def test_settings_that_would_be_dropped_are_refused(values, line):
    with pytest.raises(ConfigError) as refusal:
        make_config(values)
    assert line in str(refusal.value)


def test_widths_need_not_be_divided_among_heads_that_are_not_there():
    assert make_config({"model": {"kind": "lstm", "d_model": 650}}).model.d_model == 650


def test_every_kind_of_cell_has_a_kind_of_model():
    assert tuple(CELLS) == RECURRENT
