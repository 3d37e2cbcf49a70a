"""A model in parts, one for each process, trains as the whole one does: every objective, accumulated, resumed."""

import pytest
import torch
import torch._dynamo  # FSDP imports both: three seconds, which the ranks that are forked from here need not take
import torch.distributed.fsdp
from several import assert_same_curve, curve, settings_of, tiny, together, trained, write_texts

# ---------------------------------------------------------------------- in float64, where noise is no excuse

CASES = [
    {}, {"loss": "sequence"}, {"batch_size": 3}, {"accumulation": 1, "clip": 1e-3}, {"optimizer": "adamw"},
    {"optimizer": "muon"}, {"optimizer": "adagrad"}, {"optimizer": "momentum"},
]  # fmt: skip


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_the_update_is_that_of_the_whole_model(tmp_path, settings):
    """11 rows of the tied embedding, 8 of the matrices: 4 ranks have unequal parts, and of 3 rows one has none."""
    noise = 1e-5 if settings.get("optimizer") == "muon" else 1e-7 if "loss" in settings else 1e-12  # float32 in them
    [alone] = together(tmp_path / "1", 1, tiny(tmp_path, **settings))
    for size in (2, 4):
        found = together(tmp_path / str(size), size, tiny(tmp_path, shard=True, **settings))
        assert all(weights == [[]] * len(alone) for weights in found[1:]), "only the first rank ever holds the whole"
        for ours, theirs in zip(found[0], alone, strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=noise)


# ---------------------------------------------------------------------- every objective

QUICK = ("masked",)
OBJECTIVES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in (
        "next-token", "lstm-padded", "gru-stream", "masked", "classes", "single-span", "spans", "mixture", "answers"
    )
]  # fmt: skip


def begin_sharded(name, folder, **train):
    """Return the settings of an objective in parts; the mean of weights is refused there."""
    return settings_of(name, folder, average_fraction=None, shard=True, **train)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_parts_give_the_curve_of_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    settings = begin_sharded(name, tmp_path)
    for size in (1, 2, 4):
        together(tmp_path / "work", size, trained(settings, str(size)))
    alone = curve(tmp_path / "runs/1")
    for size in (2, 4):
        assert_same_curve(curve(tmp_path / f"runs/{size}"), alone)
