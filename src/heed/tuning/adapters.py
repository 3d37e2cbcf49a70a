"""What was trained beside an encoder, in the files of peft, and the encoder with it merged in.

    adapter_config.json          which method, of which encoder
    adapter_model.safetensors    what was trained: adapters, biases, the architecture's own head
    head.safetensors             the linear layer on the mean of the states, where the head is heed's: weight, bias

`peft.AutoPeftModelForSequenceClassification.from_pretrained(folder)` reads the files of an architecture's own head and
gives the same logits (with `num_labels` where there are not two classes), `AutoPeftModelForFeatureExtraction` the same
states of the others. peft's class for features reads the token types of pairs with lora, dora and ia3 only.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from heed.errors import CheckpointError, ConfigError, require
from heed.models.hub import exporting
from heed.tuning.cards import HUB_NAMES
from heed.tuning.methods.virtual import Virtual
from heed.tuning.model import Tuned, unfreeze

CONFIG, WEIGHTS, HEAD = "adapter_config.json", "adapter_model.safetensors", "head.safetensors"
DECISIVE = ("peft_type", "r", "lora_alpha", "use_dora", "num_virtual_tokens", "task_type")
"""Settings of an adapter that its weights mean nothing without."""


def save_adapter(tuned: Tuned, folder: str | Path, beside: Callable[[Path], None] | None = None) -> Path:
    """Write what was trained in peft's format; return the folder. Files of the same names are replaced.

    `beside` writes what else belongs into the folder.

    Raises `ConfigError` when the method keeps nothing that peft has a format for.
    """
    model = _peft_model(tuned)
    with exporting(folder, CONFIG) as new:
        save_file(_contiguous(_state(model)), new / WEIGHTS, {"format": "pt"})
        _config(tuned, model).save_pretrained(str(new))
        if tuned.head is not None:
            save_file(_contiguous(tuned.head.state_dict()), new / HEAD, {"format": "pt"})
        if beside is not None:
            beside(new)
    return Path(folder)


def load_adapter(tuned: Tuned, folder: str | Path) -> None:
    """Copy a saved adapter into a model to which the same method was applied.

    Raises `CheckpointError` when files are missing or damaged, or the adapter is of another method or encoder.
    """
    folder, model = Path(folder), _peft_model(tuned)
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it must hold a JSON object")
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no adapter: there is no {CONFIG}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read: {error}") from error
    wanted = json.loads(json.dumps(_config(tuned, model).to_dict(), default=sorted))
    for field in DECISIVE:
        if found.get(field) != wanted.get(field):
            raise CheckpointError(
                f"the adapter in {folder} has {field} {found.get(field)!r}, and here it is {wanted.get(field)!r}: "
                "apply the method that it was trained with"
            )
    _refuse_other_encoder(found.get("base_model_name_or_path"), wanted["base_model_name_or_path"], folder)
    weights = _read(folder / WEIGHTS, _state(model))
    head = None if tuned.head is None else _read(folder / HEAD, tuned.head.state_dict())
    own = _outside_peft(model)  # peft would load these too, but has no word for one that it does not know
    require("peft", "tune").set_peft_model_state_dict(model, {k: v for k, v in weights.items() if k not in own})
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    if tuned.head is not None and head is not None:
        tuned.head.load_state_dict(head)


def merge(tuned: Tuned) -> Tuned:
    """Return a copy without peft's layers, their updates added to the matrices; all of it is in its `state_dict`.

    Raises `ConfigError` for trained tokens, which no matrix can take in.
    """
    if isinstance(tuned.backbone, Virtual):
        raise ConfigError(
            "the trained tokens of prompt and prefix cannot be merged into the encoder: keep them as an adapter "
            "(export --to peft)"
        )
    merged = copy.deepcopy(tuned)
    if hasattr(merged.backbone, "merge_and_unload"):
        merged.backbone = merged.backbone.merge_and_unload()
    unfreeze(merged.parameters())
    return merged


def _peft_model(tuned: Tuned) -> Any:
    """Return peft's model around the encoder."""
    model = tuned.backbone.peft if isinstance(tuned.backbone, Virtual) else tuned.backbone
    if not hasattr(model, "peft_config"):
        raise ConfigError(
            "this method has no adapter (prompt, prefix, lora, dora and ia3 have): export the whole model, "
            "--to hf or --to onnx"
        )
    return model


def _state(model: Any) -> dict[str, Tensor]:
    """Return what was trained, by the names that peft's files have."""
    adapter = require("peft", "tune").get_peft_model_state_dict(model, save_embedding_layers=False)
    return {**adapter, **_outside_peft(model)}


def _outside_peft(model: Any) -> dict[str, Tensor]:
    """Return what was trained of the encoder itself: biases, and the architecture's own head."""
    return {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and "default" not in name.split(".")  # the name that peft gives to an adapter
    }


def _config(tuned: Tuned, model: Any) -> Any:
    """Return peft's configuration as others have to read it."""
    config = copy.deepcopy(model.peft_config["default"])
    config.inference_mode = True
    config.base_model_name_or_path = HUB_NAMES.get(tuned.name, tuned.name.removeprefix("hf:"))
    if tuned.head is None:
        config.task_type = "SEQ_CLS"
        config.modules_to_save = _head_modules(tuned, model.get_base_model())
    elif not tuned.shape.model_type.startswith("heed-"):
        config.task_type = "FEATURE_EXTRACTION"
    return config


def _head_modules(tuned: Tuned, base: Any) -> list[str]:
    """Return the names of the modules that are the architecture's own head."""
    heads = {id(parameter) for parameter in tuned.native_head()}
    children = base.named_children()
    return [name for name, child in children if any(id(parameter) in heads for parameter in child.parameters())]


def _refuse_other_encoder(found: Any, wanted: str, folder: Path) -> None:
    """Raise `CheckpointError` when both names are on the hub and differ; a folder may have been moved."""
    local = any(Path(str(name)).is_absolute() or Path(str(name)).exists() for name in (found, wanted))
    if found is not None and found != wanted and not local:
        raise CheckpointError(
            f"the adapter in {folder} was trained on {found}, and the encoder here is {wanted}: take that one"
        )


def _read(file: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file, which must have the names and shapes of `wanted`."""
    try:
        found = load_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file.parent} lacks {file.name}: bring it back, it is part of the adapter") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}; it is cut off or no safetensors") from error
    odd = sorted(found.keys() ^ wanted.keys())
    odd += [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    if odd:
        raise CheckpointError(f"{file} does not fit this encoder and method: {odd[0]} differs")
    return found


def _contiguous(tensors: dict[str, Any]) -> dict[str, Tensor]:
    """Return copies on the CPU that share no memory, as the format asks for."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
