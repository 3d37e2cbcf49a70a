"""Checkpoints: whole or not there, checked when read, tied weights once, and what is kept."""

import errno
import json
import os
import resource
import signal

import pytest
import torch
from doubles import TinyModel
from safetensors import safe_open
from torch import nn

from heed import files as module
from heed.errors import CheckpointError
from heed.records.checkpoints import hash_state, prune
from heed.training.checkpoint import (
    best_step,
    find_checkpoint,
    find_damage,
    load_checkpoint,
    mark_best,
    save_checkpoint,
    saved_steps,
    unique_tensors,
)


def save(folder, step, model=None):
    tensors = {"optimizer/a/mean": torch.arange(6.0).view(2, 3).T, "streams/data": torch.arange(5, dtype=torch.uint8)}
    return save_checkpoint(folder, step, model or TinyModel(), tensors, {"tokens": 7, "place": {"index": [1, 2]}})


def test_what_is_saved_comes_back_bit_by_bit(tmp_path):
    model = TinyModel()
    with torch.no_grad():
        model.norm.weight[0] = 1 + 2**-23  # the last bit of a float32
    path = save(tmp_path, 3, model)
    saved = load_checkpoint(path)
    assert path.name == "step-00000003"
    assert saved.step == 3
    assert saved.state == {"tokens": 7, "place": {"index": [1, 2]}}
    assert torch.equal(saved.tensors["optimizer/a/mean"], torch.arange(6.0).view(2, 3).T)
    assert saved.model.keys() == model.state_dict().keys()
    assert all(torch.equal(saved.model[name], tensor) for name, tensor in model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_a_tied_weight_is_written_once(tmp_path):
    path = save(tmp_path, 1)
    with safe_open(path / "model.safetensors", "pt") as file:
        assert "head.weight" not in file.keys()  # noqa: SIM118 - safe_open is no mapping
    assert json.loads((path / "state.json").read_text())["shared"] == {"head.weight": "embedding.weight"}


def test_views_of_one_storage_are_written_as_they_are():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            whole = torch.arange(8.0)
            self.register_buffer("low", whole[:4])
            self.register_buffer("high", whole[4:])
            self.register_buffer("empty", torch.zeros(0))
            self.register_buffer("void", torch.zeros(0))

    unique, shared = unique_tensors(Views())
    assert shared == {}
    assert torch.equal(unique["high"], torch.tensor([4.0, 5.0, 6.0, 7.0]))
    assert unique["high"].untyped_storage().nbytes() == 16


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["cut", "altered", "missing"])
def test_damage_is_found_and_the_last_good_one_is_named(tmp_path, name, how):
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = save(tmp_path, 3)
    content = (path / name).read_bytes()
    if how == "cut":
        (path / name).write_bytes(content[:-5])
    elif how == "altered":  # one digit or one bit
        middle = content.index(b"7") if name == "state.json" else len(content) - 3
        (path / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        (path / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}.*the last good one is step-00000002: delete step-00000003"):
        load_checkpoint(path)


def test_another_format_and_no_other_good_one(tmp_path):
    path = save(tmp_path, 1)
    content = json.loads((path / "state.json").read_text())
    del content["self"]
    content["format"] = 9
    (path / "state.json").write_text(json.dumps({**content, "self": hash_state(content)}))
    with pytest.raises(CheckpointError, match=r"format 9, and this heed reads 1 and 2; there is no other good one"):
        load_checkpoint(path)


def test_disk_full_leaves_the_previous_one_whole(tmp_path):
    """A real refusal by the system: no file of this process may grow beyond 2,000 bytes."""
    small, large = nn.Linear(2, 2), nn.Linear(100, 100)
    save(tmp_path, 1, small)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step-00000002 could not be written.*step-00000001 is whole"):
            save(tmp_path, 2, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert find_damage(tmp_path / "step-00000001") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_no_space_at_any_moment(tmp_path, monkeypatch, call):
    save(tmp_path, 1)

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(CheckpointError, match="No space left on device; checkpoint step-00000001 is whole; make room"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_what_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path, other = save(tmp_path, 1), save(tmp_path, 2)

    def refuse(file):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    monkeypatch.setattr(module, "sha256", refuse)
    said = r"model\.safetensors cannot be read: Permission denied; ask its owner"
    with pytest.raises(CheckpointError, match=said) as told:
        load_checkpoint(path)
    assert "overwrite" not in str(told.value)
    monkeypatch.setattr(module, "sha256", lambda file: refuse(file) if "00001" in str(file) else "other")
    with pytest.raises(CheckpointError, match="step-00000001 beside it cannot be read: Permission denied") as told:
        load_checkpoint(other)
    assert "overwrite" not in str(told.value)


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    for step in (5, 10, 15, 20):
        save(tmp_path, step)
    assert best_step(tmp_path) is None
    mark_best(tmp_path, 5, 1.25)
    for left in (".step-00000025.writing", ".step-00000002.removing", "writing-step-00000025"):  # by killed processes
        (tmp_path / left).mkdir()
    prune(tmp_path, keep_last=2)
    assert saved_steps(tmp_path) == [5, 15, 20]
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 5, "loss": 1.25}
    assert len(list(tmp_path.iterdir())) == 4
    mark_best(tmp_path, None, None)
    assert best_step(tmp_path) is None


def test_finding_one(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        find_checkpoint(folder, "best")
    save(folder, 5)
    save(folder, 10)
    assert find_checkpoint(folder, "best").name == "step-00000010"  # nothing was evaluated
    mark_best(folder, 5, 1.0)
    assert find_checkpoint(folder, "best").name == "step-00000005"
    assert find_checkpoint(folder, "last").name == "step-00000010"
    assert find_checkpoint(folder, 5).name == "step-00000005"
    with pytest.raises(CheckpointError, match="no checkpoint 7: choose best, last or one of 5, 10"):
        find_checkpoint(folder, 7)
    (folder / "best.json").write_text("{")
    with pytest.raises(CheckpointError, match="take --checkpoint last"):
        find_checkpoint(folder, "best")
