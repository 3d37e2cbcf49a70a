"""Optimizers: the bits of torch.optim, decay groups, Muon against the singular values, state by name."""

import pytest
import torch
from doubles import TinyModel, Windows, plan
from torch import nn

from heed.config import TrainConfig
from heed.errors import CheckpointError, ConfigError
from heed.training.muon import orthogonalise, update_matrices
from heed.training.optim import OPTIMIZERS, block_matrices, make_optimizer

SETTINGS = plan(learning_rate=0.03, beta1=0.9, beta2=0.95, weight_decay=0.1)
LR, DECAY, BETAS = 0.03, 0.1, (0.9, 0.95)
JUDGES = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=LR, betas=BETAS, fused=True),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=LR, fused=True),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=LR, momentum=0.9, fused=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=LR),
}


def gradients(model, source):
    batch = next(source)
    model.zero_grad()
    model.loss(torch.as_tensor(batch.source), torch.as_tensor(batch.target)).backward()


def test_every_setting_has_its_optimizer():
    assert set(OPTIMIZERS) == set(TrainConfig.model_fields["optimizer"].annotation.__args__)


@pytest.mark.parametrize("name", JUDGES)
def test_it_gives_the_bits_of_torch_optim(name):
    ours, theirs = TinyModel(), TinyModel()
    optimizer = make_optimizer(ours, SETTINGS.model_copy(update={"optimizer": name}))
    matrices = [p for p in theirs.parameters() if p.ndim >= 2]
    vectors = [p for p in theirs.parameters() if p.ndim < 2]
    judge = JUDGES[name]([{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}])
    source_a, source_b = Windows(), Windows()
    for share in (0.5, 1.0, 0.25):
        gradients(ours, source_a)
        optimizer.step(share)
        gradients(theirs, source_b)
        for group in judge.param_groups:
            group["lr"] = LR * share
        judge.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_adamw_by_hand():
    # One weight matrix w = 2, g = 0.5. First update: mean and root of the square without bias are g and |g|, so
    # w <- w (1 - 0.1 * 0.1) - 0.1 * sign(g) = 2 * 0.99 - 0.1 = 1.88.
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = make_optimizer(model, plan(learning_rate=0.1, weight_decay=0.1))
    model.weight.grad = torch.full((1, 1), 0.5)
    optimizer.step(1.0)
    assert model.weight.item() == pytest.approx(1.88, abs=1e-6)


def test_vectors_do_not_decay_and_a_tied_weight_counts_once():
    model = TinyModel()
    optimizer = make_optimizer(model, plan(weight_decay=0.5))
    decay = {name: group.weight_decay for group in optimizer.groups for name in group.parameters}
    assert decay == {
        "embedding.weight": 0.5, "blocks.0.weight": 0.5, "blocks.1.weight": 0.5,
        "blocks.0.bias": 0.0, "blocks.1.bias": 0.0, "norm.weight": 0.0, "norm.bias": 0.0,
    }  # fmt: skip


def test_frozen_parameters_and_those_without_gradient_stay():
    model = TinyModel()
    model.norm.requires_grad_(False)
    optimizer = make_optimizer(model, plan(learning_rate=0.5, weight_decay=0.5))
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.blocks[0].weight.grad = torch.ones_like(model.blocks[0].weight)
    optimizer.step(1.0)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"blocks.0.weight"}
    with pytest.raises(ConfigError, match="no parameter that can be trained"):
        make_optimizer(model.requires_grad_(False), plan())


def test_muon_takes_the_matrices_of_the_blocks():
    model = TinyModel()
    assert list(block_matrices(model)) == ["blocks.0.weight", "blocks.1.weight"]
    optimizer = make_optimizer(model, plan(optimizer="muon", muon_learning_rate=0.02))
    assert [type(group.rule).__name__ for group in optimizer.groups] == ["Muon", "AdamW", "AdamW"]
    assert [group.learning_rate for group in optimizer.groups] == [0.02, 0.02, 0.02]
    with pytest.raises(ConfigError, match="this model has none; take adamw"):
        make_optimizer(nn.Linear(3, 3), plan(optimizer="muon"))


@pytest.mark.parametrize(
    "shape", [(16, 16), (16, 64), (64, 16), (3, 16, 24)]
)  # square, by the Gram matrix, tall, stacked
def test_orthogonalise_keeps_singular_vectors_and_brings_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = orthogonalise(matrix, torch.float64)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.mT @ result @ vh.mT  # diagonal where the singular vectors are the same
    values = torch.diagonal(inner, dim1=-2, dim2=-1)
    assert (inner - torch.diag_embed(values)).abs().max() < 1e-9  # float64, amplified 3.4^5 times
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_the_gram_matrix_gives_what_the_plain_steps_give():
    a, b, c = 3.4445, -4.7750, 2.0315
    matrix = torch.randn(8, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = matrix / matrix.norm()
    for _ in range(5):
        x = a * x + b * (x @ x.T) @ x + c * (x @ x.T) @ (x @ x.T) @ x
    assert (orthogonalise(matrix, torch.float64) - x).abs().max() < 1e-11


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalise_keeps_within_bounds_what_is_nearly_singular(dtype):
    # 124 of 128 singular values are rounding errors: by the Gram matrix in bfloat16 they grew to thousands
    draw = torch.Generator().manual_seed(1)
    matrix = torch.randn(128, 4, generator=draw) @ torch.randn(4, 384, generator=draw)
    values = torch.linalg.svdvals(orthogonalise(matrix, dtype).float())
    assert 0.6 < values[3] < values[0] < 1.3  # 1.2 is the polynomial's own, the rest bfloat16's two or three digits


def test_momentum_remembers_and_looks_ahead_by_hand():
    # One weight, so an update is the sign of U. Ten gradients of 1: B = 1 - 0.95^10 = 0.401. Then g = -3:
    # B = 0.95 * 0.401 - 0.05 * 3 = 0.231 and U = 0.95 * 0.231 - 0.05 * 3 = 0.070: still downhill. Then g = -6:
    # B = 0.95 * 0.231 - 0.05 * 6 = -0.080 turns it.
    weight, buffer = torch.zeros(1, 1), torch.zeros(1, 1)
    steps = []
    for gradient in [*[1.0] * 10, -3.0, -6.0]:
        before = weight.item()
        update_matrices([weight], [torch.full((1, 1), gradient)], [buffer], 0.02, 0.0)
        steps.append(weight.item() - before)
    assert buffer.item() == pytest.approx(0.95 * (0.95 * (1 - 0.95**10) - 0.15) - 0.3)
    assert all(step < 0 for step in steps[:11])
    assert steps[11] > 0


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_a_skipped_step_changes_nothing_and_is_not_counted(name):
    model = TinyModel()
    optimizer = make_optimizer(model, plan(optimizer=name))
    gradients(model, Windows())
    optimizer.step(1.0)
    before = [p.clone() for p in model.parameters()]
    kept = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    optimizer.skip_if(torch.ones(()))
    optimizer.step(1.0)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in optimizer.state().items())
    assert optimizer.state()["norm.bias/updates"].item() == 1
    optimizer.skip_if(torch.zeros(()))
    optimizer.step(1.0)
    assert optimizer.state()["norm.bias/updates"].item() == 2


def test_muon_is_torchs_muon_but_for_bf16():
    weights = [torch.randn(size, generator=torch.Generator().manual_seed(1)) for size in [(8, 8), (24, 8), (24, 8)]]
    theirs = [nn.Parameter(weight.clone()) for weight in weights]
    buffers = [torch.zeros_like(weight) for weight in weights]
    judge = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1)
    draw = torch.Generator().manual_seed(2)
    for _ in range(3):
        grads = [torch.randn(weight.shape, generator=draw) for weight in weights]
        update_matrices(weights, grads, buffers, 0.02, 0.1)
        for parameter, gradient in zip(theirs, grads, strict=True):
            parameter.grad = gradient
        judge.step()
    for ours, other in zip(weights, theirs, strict=True):
        # an update moves a weight by about 0.02; bfloat16 has 3 digits, which Newton-Schulz magnifies
        assert (ours - other).abs().max() < 3 * 0.02 * 0.15


def test_state_goes_by_name_and_comes_back_exactly():
    model, other = TinyModel(), TinyModel()
    settings = plan(optimizer="muon")
    optimizer = make_optimizer(model, settings)
    gradients(model, Windows())
    optimizer.step(1.0)
    state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    assert "blocks.0.weight/momentum" in state
    assert state["embedding.weight/updates"].item() == 1
    fresh = make_optimizer(other, settings)
    fresh.load_state(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in fresh.state().items())
    with pytest.raises(CheckpointError, match=r"blocks.0.bias/mean differs"):
        fresh.load_state({name: tensor for name, tensor in state.items() if name != "blocks.0.bias/mean"})
    with pytest.raises(CheckpointError, match=r"norm.bias/mean differs"):
        fresh.load_state(state | {"norm.bias/mean": torch.zeros(3)})
