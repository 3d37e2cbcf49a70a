"""To and from the format of Hugging Face `transformers`: GPT-2, Llama and GPT-1 (see `families.py`).

A folder is a `config.json` with `model.safetensors`, in one piece or in shards. Whatever heed cannot compute exactly as
transformers does is refused by name, in both directions. Pickled weights are never read: they can run code.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from heed import files
from heed.config import ModelConfig
from heed.errors import CheckpointError, ConfigError, require, why
from heed.models.base import LanguageModel
from heed.models.families import FAMILIES, Family, nearest_family
from heed.models.feedforward import default_width
from heed.models.gpt import GPT
from heed.text.tokenizers import Tokenizer, load_tokenizer
from heed.text.tokenizers.published import find_pair, read_pair


def from_hub(source: str | Path) -> tuple[ModelConfig, dict[str, Tensor], int]:
    """Return (settings, weights by heed's names in float32, vocabulary size) of a transformers model.

    `source` is a folder, or `hf:NAME` on the hub. Raises `ConfigError` for a model that heed cannot be, and
    `CheckpointError` for files that are missing, pickled, or do not belong together.
    """
    folder = hub_folder(source)
    raw = _read_json(folder / "config.json")
    family = FAMILIES.get(str(raw.get("model_type")))
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        raise ConfigError(f"{folder} holds a model of type {raw.get('model_type')!r}; heed reads {known}")
    try:
        config = family.read(raw)
    except KeyError as error:
        raise CheckpointError(
            f"{folder / 'config.json'} has no {error}: it is not a complete {family.model_type}"
        ) from None
    except ConfigError as error:
        raise ConfigError(*(f"{folder / 'config.json'}: {problem}" for problem in error.problems)) from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:  # of other types than they can be
        raise CheckpointError(f"{folder / 'config.json'} cannot be used ({error}): fetch it again") from error
    found = _read_weights(folder)
    if config.n_layers > len(found):
        raise CheckpointError(f"{folder} lacks weights: config.json asks for {config.n_layers} layers; fetch it again")
    weights = _to_heed(family, config, found, folder)
    return config, weights, weights["tokens.weight"].shape[0]


def load_hub(source: str | Path) -> tuple[LanguageModel, ModelConfig]:
    """Return the transformers model in `source` (a folder, or `hf:NAME`) as a heed model, in evaluation mode.

    Raises what `from_hub` raises, and `CheckpointError` where a weight has another shape than config.json says.
    """
    config, weights, vocab_size = from_hub(source)
    with torch.device("meta"):  # without memory: the sizes in config.json may be anything
        shapes = _make(config, vocab_size, source)
    for name, parameter in shapes.named_parameters():
        if parameter.shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)} where config.json asks for {tuple(parameter.shape)}"
            raise CheckpointError(f"{source}: {name} is {shapes}; take config.json and weights of one model")
    model = _make(config, vocab_size, source)
    model.load_state_dict(weights)
    return model.eval(), config


def _make(config: ModelConfig, vocab_size: int, source: str | Path) -> GPT:
    """Make the model that config.json asks for. Raises `CheckpointError` where it can be none."""
    try:
        return GPT(config, vocab_size)
    except (TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
        first = str(error).partition("\n")[0]
        raise CheckpointError(f"{source}: config.json asks for a model that cannot be made ({first:.80})") from error


def export_hub(
    model: LanguageModel,
    config: ModelConfig,
    tokenizer_file: str | Path | None,
    folder: str | Path,
    card: str | None = None,
) -> Path:
    """Write `model` and its tokenizer.json so that AutoModelForCausalLM and AutoTokenizer load `folder`; return it.

    `card` becomes its README.md. Files of the same names are replaced. Raises `ConfigError` that lists why no
    architecture of transformers is the same model.
    """
    if config.kind != "gpt":
        raise ConfigError(
            f"model.kind {config.kind} of heed is no architecture of transformers: only a model.kind gpt is exported"
        )
    family = nearest_family(config)
    problems = family.refuse(config)
    if problems:
        raise ConfigError(*(f"cannot export as {family.architecture}: {problem}" for problem in problems))
    with exporting(folder, "config.json") as new:
        _write(new, model, config, tokenizer_file, family)
        if card is not None:
            files.write_text(new / "README.md", card)
    return Path(folder)


@contextmanager
def exporting(out: str | Path, marker: str) -> Iterator[Path]:
    """Give an empty folder to write an export into, which then takes its place in `out`, all of it or nothing.

    `marker` is the file without which nobody takes it for a model. Files of the same names are replaced. Raises
    `CheckpointError` where the disk or the folder refuses.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with files.locked(out / files.LOCK, f"writing {out}"), files.together(out, marker) as new:
            yield new
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            out.rmdir()  # it is empty where it was made for this
        raise CheckpointError(f"{out} cannot be written: {why(error)}; make room, or choose another --out") from error


def _write(
    folder: Path, model: LanguageModel, config: ModelConfig, tokenizer_file: str | Path | None, family: Family
) -> None:
    """Write the files of an export."""
    start = end = None
    if tokenizer_file is not None:
        start, end = _copy_tokenizer(Path(tokenizer_file), folder, config.context, family)
    common = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": model.vocab_size,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tied,
        "dtype": "float32",
        "bos_token_id": start,
        "eos_token_id": end,
    }
    _write_json(folder / "config.json", common | family.write(config))
    _write_json(folder / "generation_config.json", {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end})
    save_file(_to_transformers(family, config, model.state_dict()), folder / "model.safetensors", {"format": "pt"})


def hub_folder(source: str | Path) -> Path:
    """Return the local folder of `source`: itself, or the download of `hf:NAME` (cached by huggingface_hub).

    Raises `CheckpointError` when there is no such folder or the hub cannot be reached.
    """
    name = str(source)
    if not name.startswith("hf:"):
        if not Path(name).is_dir():
            raise CheckpointError(f"no folder {name}; a model on the Hugging Face hub is written hf:NAME")
        return Path(name)
    hub = require("huggingface_hub", "hf")
    try:
        return Path(hub.snapshot_download(name[3:], allow_patterns=["*.json", "*.safetensors", "merges.txt"]))
    except Exception as error:  # whatever the network, the hub or its client says
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"cannot fetch {name}: {first} (offline? download the folder elsewhere and give its path)"
        ) from error


def hub_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer in the folder of a transformers model. Raises `CheckpointError` where there is none."""
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder)
    if (pair := find_pair(folder)) is not None:
        return read_pair(*pair)
    raise CheckpointError(f"{folder} has no tokenizer.json: save it there with transformers (save_pretrained)")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"no {file.name} in {file.parent}: it is not a folder of a transformers model") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}; fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} must hold a JSON object")
    return content


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    files.write_json(file, dict(content))  # null is written: without bos_token_id a GPT-2 config means 50256


def shards_of(index: Path) -> list[str]:
    """Return the files that an index of weights names, all of them in its folder. Raises `CheckpointError`."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} does not say where the weights are: fetch it again")
    names = sorted(set(places.values()))
    if outside := [name for name in names if name != Path(name).name or name in ("", ".", "..")]:
        raise CheckpointError(f"{index} names {outside[0][:100]!r}, which is outside of its folder: take another model")
    return names


def refuse_shards_outside(folder: Path) -> None:
    """Raise `CheckpointError` for an index of weights that names files outside of its folder."""
    for index in folder.glob("*.safetensors.index.json"):
        shards_of(index)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Return every weight in the folder's safetensors, from one file or from the shards of its index."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    elif index.is_file():
        files = [folder / name for name in shards_of(index)]
    elif list(folder.glob("*.bin")) or list(folder.glob("*.pt")):
        raise CheckpointError(
            f"{folder} holds pickled weights, which heed does not open because they can run code: "
            "load them with transformers and call save_pretrained, which writes safetensors"
        )
    else:
        raise CheckpointError(f"no model.safetensors in {folder}: fetch the weights beside config.json")
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            weights |= load_file(file)
        except FileNotFoundError:
            raise CheckpointError(f"{folder} lacks {file.name}, which its index names: fetch it again") from None
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}; fetch it again") from error
    return weights


def _to_heed(family: Family, config: ModelConfig, found: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Rename, join and turn transformers' weights into heed's, all of them used."""
    # Buffers that older versions saved: masks and frequencies, which hold nothing that was learned.
    buffers = (".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")
    found = {name.removeprefix(family.prefix): w.float() for name, w in found.items() if not name.endswith(buffers)}
    names = family.names(config)
    missing = sorted({part for parts in names.values() for part in parts} - set(found))
    if missing:
        raise CheckpointError(f"{folder} lacks {len(missing)} weights, {missing[0]} for one: fetch the files again")
    weights: dict[str, Tensor] = {}
    for name, parts in names.items():
        pieces = [found.pop(part) for part in parts]
        whole = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        weights[name] = whole.t().contiguous() if parts[0].endswith(family.transposed) else whole
    head = found.pop("lm_head.weight", None)
    if config.tied and head is not None and not torch.equal(head, weights["tokens.weight"]):
        raise CheckpointError(
            f"{folder}: config.json ties the head to the embedding, but the weights of the two differ"
        )
    if found:
        raise CheckpointError(f"{folder} holds {len(found)} weights that a {family.model_type} lacks: {min(found)}")
    return weights


def _to_transformers(family: Family, config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename, cut and turn heed's weights into transformers'; zeros for biases and positions that heed is without."""
    D, width = config.d_model, config.d_model // config.n_heads
    kv = (config.n_kv_heads or config.n_heads) * width
    hidden = config.d_hidden or default_width(D, config.activation)
    found: dict[str, Tensor] = {}
    for name, parts in family.names(config).items():
        if name in weights:
            whole = weights[name].detach().cpu()
        elif name == "positions.weight":
            whole = torch.zeros(config.context, D)
        else:  # a bias, as long as its weight has rows
            whole = torch.zeros(weights[name.removesuffix("bias") + "weight"].shape[0])
        sizes = {1: [len(whole)], 2: [hidden, hidden], 3: [D, kv, kv]}[len(parts)]
        for part, piece in zip(parts, whole.split(sizes), strict=True):
            turned = piece.t() if part.endswith(family.transposed) else piece
            prefix = "" if part == "lm_head.weight" else family.prefix
            found[prefix + part] = turned.contiguous().clone()
    return found


def _copy_tokenizer(file: Path, folder: Path, context: int, family: Family) -> tuple[int | None, int | None]:
    """Copy tokenizer.json and write the tokenizer_config.json that AutoTokenizer wants.

    Return the ids of the tokens before a text and after it. Where the tokenizer puts nothing before one, the GPTs
    have the same token for both, and a Llama has none before.
    """
    tokenizer = load_tokenizer(file)
    end = tokenizer.end_id
    start = tokenizer.start_ids[0] if tokenizer.start_ids else None if family.model_type == "llama" else end
    file = file / "tokenizer.json" if file.is_dir() else file
    content = _read_json(file)
    added = {entry["id"]: entry["content"] for entry in content.get("added_tokens", [])}
    if content.get("decoder") is None and tokenizer.decoder is not None:
        _write_json(folder / "tokenizer.json", content | {"decoder": tokenizer.decoder})
    else:
        shutil.copyfile(file, folder / "tokenizer.json")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": context,
            "clean_up_tokenization_spaces": False,
            "bos_token": None if start is None else added.get(start),
            "eos_token": None if end is None else added.get(end),
        },
    )
    return start, end
