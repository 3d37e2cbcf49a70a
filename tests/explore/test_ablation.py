"""A head that is switched off, against the columns of the output projection set to zero by hand; the logit lens."""

import numpy as np
import pytest
import torch

from explore.small_subjects import TEXT, subject_of
from heed.errors import DataError
from heed.explore.ablation import cut_windows, measure_heads, window_nats
from heed.explore.logit_lens import lens_nats, look
from heed.explore.subject import SwitchedHead


@pytest.fixture(scope="module")
def subject():
    return subject_of()


def windows(subject):
    return cut_windows(np.array(subject.encode(TEXT * 6)), 5, 24, "text")


def loss_by_hand(model, text):
    with torch.no_grad():
        logits = model(torch.from_numpy(text.source))
        log_p = logits.log_softmax(-1)
        nats = -log_p.gather(-1, torch.from_numpy(text.target)[..., None])[..., 0]
    return nats.mean(1).numpy()


def test_zero_is_the_columns_of_the_projection_set_to_zero(subject):
    text = windows(subject)
    effects = measure_heads(subject, text, [0, 1])
    np.testing.assert_allclose(effects.whole, loss_by_hand(subject.model, text), atol=1e-5)
    for layer in (0, 1):
        for head in (0, 1):
            weight = subject.blocks[layer].attention.out.weight
            before = weight.detach().clone()
            with torch.no_grad():
                weight[:, head * 8 : head * 8 + 8] = 0
            np.testing.assert_allclose(effects.zero[layer, head], loss_by_hand(subject.model, text), atol=1e-5)
            with torch.no_grad():
                weight.copy_(before)
    assert np.ptp(effects.zero.mean(-1)) > 1e-3  # heads differ


def test_mean_is_the_mean_added_to_the_bias_by_hand(subject):
    text = windows(subject)
    effects = measure_heads(subject, text, [1])
    attention, head = subject.blocks[1].attention, 1
    made = []
    handle = attention.out.register_forward_pre_hook(lambda module, given: made.append(given[0]))
    loss_by_hand(subject.model, text)
    handle.remove()
    columns = slice(8, 16)
    mean = made[0][..., columns].mean((0, 1))
    weight, bias = attention.out.weight, attention.out.bias
    before = weight.detach().clone(), bias.detach().clone()
    with torch.no_grad():
        bias += weight[:, columns] @ mean
        weight[:, columns] = 0
    np.testing.assert_allclose(effects.mean[0, head], loss_by_hand(subject.model, text), atol=1e-5)
    with torch.no_grad():
        weight.copy_(before[0])
        bias.copy_(before[1])


def test_nothing_stays_switched_off(subject):
    text = windows(subject)
    whole = window_nats(subject, text)
    window_nats(subject, text, SwitchedHead(0, 1))
    assert (window_nats(subject, text) == whole).all()


def test_windows_are_spread_and_short_texts_refused():
    text = cut_windows(np.arange(101), 3, 20, "text")
    assert text.windows[:, 0].tolist() == [0, 40, 80]
    assert text.windows.shape == (3, 21)
    assert text.target[-1, -1] == 100
    assert len(cut_windows(np.arange(101), 50, 20, "text").windows) == 5
    with pytest.raises(DataError, match=r"text has 30 tokens.*smaller --window"):
        cut_windows(np.arange(30), 5, 20, "text")


def test_the_lens_of_windows_ends_with_the_loss_of_the_model(subject):
    text = windows(subject)
    found = lens_nats(subject, text)
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found[-1], loss_by_hand(subject.model, text), atol=1e-5)
    row = text.source[2].tolist()
    one = look(subject, subject.trace(row).residuals, row)
    followed = np.array([one.nats[layer].sum() for layer in range(3)])
    with torch.no_grad():  # the last target is no part of the row that is read
        last = subject.lens(torch.stack([x[2, -1] for x in subject.residuals(text.source)])).log_softmax(-1)
    followed -= last[:, text.target[2, -1]].numpy()
    np.testing.assert_allclose(found[:, 2], followed / 24, atol=1e-4)


def test_without_a_last_norm_the_lens_reads_the_stream_as_it_is():
    subject = subject_of(norm_order="post")
    ids = subject.encode(TEXT)
    lens = look(subject, subject.trace(ids).residuals, ids)
    with torch.no_grad():
        nats = subject.model.loss(torch.tensor([ids[:-1]]), torch.tensor([ids[1:]])).item()
    assert np.isclose(lens.nats[-1].mean(), nats, atol=1e-5)


def test_the_lens_at_the_last_layer_is_the_model(subject):
    ids = subject.encode(TEXT)
    lens = look(subject, subject.trace(ids).residuals, ids)
    with torch.no_grad():
        said = subject.model(torch.tensor([ids]))[0].log_softmax(-1)
    best = said.topk(5)
    assert (lens.top[-1] == best.indices.numpy()).all()
    np.testing.assert_allclose(lens.log_p[-1], best.values.numpy(), atol=1e-5)
    np.testing.assert_allclose(lens.nats[-1], -said[range(len(ids) - 1), ids[1:]].numpy(), atol=1e-5)
    assert lens.nats.shape == (3, len(ids) - 1)
    # the first is the embedding alone, through the same norm and matrix
    model = subject.model
    with torch.no_grad():
        x = model.tokens(torch.tensor(ids)) + model.positions.weight[: len(ids)]
        first = (model.norm(x) @ model.head_weight.T).log_softmax(-1)
    np.testing.assert_allclose(lens.log_p[0], first.topk(5).values.numpy(), atol=1e-5)
