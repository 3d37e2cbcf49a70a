"""Weights in fp16, bf16 and int8: products against plain loops, models against dequantised ones, refusals."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from heed.config import AttentionConfig, ModelConfig
from heed.errors import CheckpointError, ConfigError
from heed.generation.rows import SlotRows, make_rows
from heed.generation.token_step import lean_step
from heed.models import GPT, Encoder, PackedGPT, Recurrent, fp16, pack, with_context
from heed.models.fp16 import fp16_product
from heed.models.packed import FEW, KINDS, quantise

AVX512 = "AVX512" in torch.backends.cpu.get_cpu_capability()
SETTINGS = [
    {},
    {"norm_order": "post", "activation": "relu", "tied": True},
    {"activation": "gelu-tanh"},
    {"norm": "rms", "positions": "rotary", "activation": "swiglu", "bias": False, "n_kv_heads": 1},
    {"qk_norm": True, "positions": "alibi", "activation": "relu2"},
    {"n_heads": 5, "d_model": 40},  # no multiple of 16, which the kernel for int8 asks for
]


def gpt(**settings):
    """A GPT in float32 whose logits are of size 1, where a step of bfloat16 is 0.008."""
    config = ModelConfig(**{"n_layers": 2, "n_heads": 3, "d_model": 48, "context": 24, "tied": False, **settings})
    model = GPT(config, 65, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.dim() == 2 else 1)
    return model.eval()


def read(model, ids):
    with torch.inference_mode():
        return model(ids)


def dequantised(weight, kind):
    """A matrix as the kind keeps it, number by number, in float64."""
    if kind != "int8":
        return weight.to({"fp16": torch.float16, "bf16": torch.bfloat16}[kind]).double()
    rows = []
    for row in weight.tolist():
        scale = torch.tensor(max(abs(value) for value in row) / 127).bfloat16().item() or 1.0
        numbers = (np.float32(value) / np.float32(scale) for value in row)  # as in float32, where some end in .5
        rows.append([scale * max(-127, min(127, round(number))) for number in numbers])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("width", [16, 48, 50, 7])
@pytest.mark.parametrize("rows", [1, 3, FEW, FEW + 1])
def test_a_layer_equals_a_plain_loop(kind, width, rows):
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(9, width, generator=generator), torch.randn(9, generator=generator)
    x = torch.randn(rows, width, generator=generator)
    layer = KINDS[kind](weight, bias)
    W, b, read = dequantised(weight, kind), bias.to(layer.reads).double(), x.to(layer.reads).double()
    expected = torch.tensor([[sum(w * v for w, v in zip(row, one, strict=True)) for row in W.tolist()]
                             for one in read.tolist()])  # fmt: skip
    found = layer(x)
    assert found.dtype == layer.reads == (torch.float32 if kind == "fp16" else torch.bfloat16)
    # the sum is rounded to bfloat16 (2^-8 of it at most), and again with its bias; over FEW rows each s Q is, too
    size = x.abs().double() @ W.abs().t()
    rounded = 2 * expected.abs() + b.abs() + (size if kind == "int8" else 0)
    most = 2**-22 * size if kind == "fp16" else 2**-8 * rounded
    assert ((found.double() - expected - b).abs() <= most + 1e-6).all()


def test_numbers_are_rounded_and_scaled():
    numbers, scales = quantise(torch.tensor([[1.27, -0.64, 0.0], [0.0, 0.0, 0.0], [1e-30, -1e-30, 0.0]]))
    assert numbers.tolist() == [[127, -64, 0], [0, 0, 0], [127, -127, 0]]
    assert scales.dtype == torch.bfloat16
    assert (scales > 0).all()


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_model_equals_itself_with_dequantised_weights(kind, settings):
    plain, model = gpt(**settings).double(), pack(gpt(**settings), kind)
    with torch.no_grad():
        head = plain.head_weight.float()
        mean = head.mean(dim=0)
        packed_head = dequantised(head - mean, kind) + mean.double()
        for name, parameter in plain.named_parameters():
            if name.endswith(("qkv.weight", "out.weight", "up.weight", "down.weight")):
                parameter.copy_(dequantised(parameter.float(), kind))
    ids = torch.randint(0, 65, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = plain.hidden(ids) @ packed_head.t()
    found = read(model, ids)
    assert found.dtype == torch.float32
    # bfloat16 has 8 bits: each of some ten roundings on the way moves a number by up to 0.4 %
    size = 1e-3 if kind == "fp16" else 1
    assert (found.double() - expected).std() < 0.01 * size * expected.std()
    assert (found.double() - expected).abs().max() < 0.06 * size * expected.std()


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_decoding_gives_what_reading_gives(kind, settings):
    model = pack(gpt(**settings), kind)
    ids = torch.randint(0, 65, (3, 20), generator=torch.Generator().manual_seed(1))
    whole, step = read(model, ids), lean_step(model)
    assert (step is None) == (settings.get("positions") == "alibi")
    with torch.inference_mode():
        cache = model.new_cache(3, 20)
        assert all(layer.keys.dtype == model.kept == KINDS[kind].reads for layer in cache.layers)
        model.hidden(ids[:, :4], cache)
        for t in range(4, 20):
            hidden = model.hidden(ids[:, t : t + 1], cache)[:, 0] if step is None else step(ids[:, t], cache)
            # sums in another order, rounded to bfloat16: a last bit of some of them
            assert (model.logits(hidden) - whole[:, t]).abs().max() < 0.06 * whole.std()


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
def test_loss_is_that_of_the_logits(kind):
    model, plain = pack(gpt(), kind), gpt()
    ids = torch.randint(0, 65, (4, 21), generator=torch.Generator().manual_seed(1))
    source, target = ids[:, :-1], ids[:, 1:].clone()
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(2)) < 0.7
    target[~mask] = -100  # a filler
    logits = read(model, source).double().log_softmax(dim=-1)
    each = -logits.gather(-1, target.clamp(min=0)[..., None])[..., 0] * mask
    found = model.loss(source, target, mask, reduction="none")
    torch.testing.assert_close(found.double(), each, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.loss(source, target, mask).double(), each.sum() / mask.sum(), rtol=1e-5, atol=0)
    torch.testing.assert_close(model.loss(source, target, mask, "sum").double(), each.sum(), rtol=1e-5, atol=0)
    assert abs(model.loss(source, target, mask) - plain.loss(source, target, mask).detach()) < 0.01


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
def test_logits_far_from_zero_lose_no_more(kind):
    plain, far = gpt(), gpt()
    with torch.no_grad():
        for model in (plain, far):
            model.norm.bias.fill_(1.0)
        far.head.weight.add_(-2.0)  # all logits fall by 2 sum(hidden), about 100
    ids = torch.randint(0, 65, (3, 20), generator=torch.Generator().manual_seed(1))
    expected = read(far, ids)
    assert expected.mean() < -60
    error = (read(pack(far, kind), ids) - expected).std()
    assert error < 1.5 * (read(pack(plain, kind), ids) - read(gpt_with_bias(), ids)).std()


def gpt_with_bias():
    model = gpt()
    with torch.no_grad():
        model.norm.bias.fill_(1.0)
    return model


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
def test_a_row_is_the_same_to_the_bit_in_company(kind):
    model = pack(gpt(), kind)
    texts = [[(7 * row + t) % 65 for t in range(5 + row % 4)] for row in range(32)]

    def push(company):
        rows = make_rows(model)
        assert isinstance(rows, SlotRows)
        with torch.inference_mode():
            for ids in company:
                rows.add(ids)
            return [rows.push([step] * len(company))[0] for step in range(6)]

    alone = push(texts[:1])
    bits = kind != "fp16" or not AVX512
    for size in (2, 5, 20, 32):
        for one, other in zip(push(texts[:size]), alone, strict=True):
            torch.testing.assert_close(one, other, rtol=0 if bits else 1e-5, atol=0 if bits else 1e-5)


@pytest.mark.parametrize(("width", "outputs"), [(64, 96), (1536, 384), (1024, 1030)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_product_in_fp16_is_the_same_by_every_way(monkeypatch, width, outputs, with_bias):
    made = torch.Generator().manual_seed(0)
    weight, x = torch.randn(outputs, width, generator=made), torch.randn(200, width, generator=made)
    bias = torch.randn(outputs, generator=made) if with_bias else None
    expected = F.linear(x.double(), weight.half().double(), None if bias is None else bias.double())

    def ways():
        yield fp16_product(weight, bias)  # of one thread, as the tests are
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        yield fp16_product(weight, bias)
        monkeypatch.delattr(torch, "fbgemm_pack_gemm_matrix_fp16")  # as in a torch to come
        yield fp16_product(weight, bias)
        monkeypatch.setattr(fp16, "has_fbgemm", lambda: False)  # as on an ARM
        yield fp16_product(weight, bias)

    for product in ways():
        for rows in (0, 1, 2, 3, 4, 24, 25, 49, 96, 97, 200):
            found = product(x[:rows])
            assert found.shape == (rows, outputs)
            torch.testing.assert_close(found.double(), expected[:rows], rtol=1e-5, atol=2e-6 * width)


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.skipif(AVX512, reason="its kernels are of other rows: not promised")
@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
@pytest.mark.parametrize("outputs", [96, 1100])  # the second is shared among threads from one row on
def test_a_row_of_a_product_in_fp16_is_the_same_to_the_bit_among_4_8_up_to_96(threads, outputs):
    made = torch.Generator().manual_seed(0)
    x, product = torch.randn(96, 1024, generator=made), fp16_product(torch.randn(outputs, 1024, generator=made), None)
    alone = torch.cat([product(row.expand(4, -1).contiguous())[:1] for row in x[:, None]])
    for rows in range(4, 97, 4):
        assert torch.equal(product(x[:rows]), alone[:rows])


def test_without_onednn_nothing_of_it_is_asked(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # as on a Mac
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: pytest.fail("asked"), raising=False)
    made = torch.Generator().manual_seed(0)
    weight, x = torch.randn(9, 48, generator=made), torch.randn(FEW + 1, 48, generator=made)
    for kind in ("bf16", "int8"):
        assert KINDS[kind](weight, None)(x).shape == (FEW + 1, 9)


def test_a_weight_beyond_float16_is_refused():
    model = gpt()
    with torch.no_grad():
        model.blocks[0].feedforward.up.weight[2, 2] = -65600
    with pytest.raises(ConfigError, match="a weight of the model is 65600, more than float16 holds: take weights bf16"):
        pack(model, "fp16")
    assert pack(model, "bf16").weights == "bf16"


def test_fp32_is_the_model_itself():
    model = gpt()
    assert pack(model, "fp32") is model


@pytest.mark.parametrize(
    "model",
    [
        lambda: Recurrent(ModelConfig(kind="lstm", d_model=16, n_layers=1), 65),
        lambda: Encoder(ModelConfig(kind="encoder", d_model=16, n_heads=2, n_layers=1), 65),
        lambda: gpt(attention=AttentionConfig(mechanism="linear"), positions="none"),
        lambda: gpt(attention=AttentionConfig(score="bilinear")),
        lambda: gpt(attention=AttentionConfig(projection="networks")),
        lambda: pack(gpt(), "bf16"),
        lambda: with_adapter(gpt()),
    ],
    ids=["lstm", "encoder", "linear attention", "another score", "networks", "packed", "adapter"],
)
@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
def test_other_models_are_refused(model, kind):
    with pytest.raises(ConfigError, match=f"weights {kind} are for a GPT of heed with softmax attention.*fp32"):
        pack(model(), kind)


def with_adapter(model):
    model.blocks[1].feedforward.up = torch.nn.Sequential(model.blocks[1].feedforward.up)
    return model


def test_what_is_wrong_is_said():
    with pytest.raises(ConfigError, match="unknown value 'int4', choose one of 'fp32', 'fp16', 'bf16', 'int8'"):
        pack(gpt(), "int4")
    damaged = gpt()
    with torch.no_grad():
        damaged.blocks[0].attention.out.weight[3, 3] = torch.nan
    with pytest.raises(CheckpointError, match="not finite"):
        pack(damaged, "int8")
    with pytest.raises(ConfigError, match="multiplied on a CPU, and the model is on meta"):
        pack(gpt().to("meta"), "int8")
    packed = pack(gpt(), "int8")
    assert isinstance(packed, PackedGPT)
    with pytest.raises(ConfigError, match="move the model first, then pack it"):
        packed.to("meta")
    with pytest.raises(ConfigError, match="ask the model for its logits or its loss"):
        packed.head_weight  # noqa: B018 - the property raises


def test_a_longer_context_is_taken_before_packing():
    model = pack(with_context(gpt(positions="rotary"), 40), "int8")
    assert read(model, torch.zeros(1, 40, dtype=torch.int64)).shape == (1, 40, 65)
