"""An export goes to the Hugging Face hub: what goes, whether it may, and the upload itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from heed.errors import CheckpointError, ConfigError, require

_BESIDE = ("README.md", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
UPLOADED: dict[str, tuple[str, ...]] = {
    "hf": (*_BESIDE, "config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"),
    "peft": (*_BESIDE, "labels.json", "adapter_config.json", "adapter_model.safetensors", "head.safetensors"),
    "onnx": (*_BESIDE, "labels.json", "model.onnx", "model.onnx.data"),
}
"""By format the files that go; what else lies in the folder stays."""


def hub_target(target: str) -> str:
    """Return the name in `hf:OWNER/NAME`. Raises `ConfigError` where it can be none."""
    part = r"[A-Za-z0-9](?:[A-Za-z0-9_]|[.-](?![.-]))*"
    if not re.fullmatch(f"hf:{part}/{part}", target):
        raise ConfigError(f"--push {target}: a name on the Hugging Face hub is written hf:OWNER/NAME")
    return target[3:]


def files_to_upload(folder: Path, kind: str) -> list[Path]:
    """Return the files of an export in a format, by name."""
    return sorted({path for pattern in UPLOADED[kind] for path in folder.glob(pattern) if path.is_file()})


def local_encoder(folder: Path) -> str | None:
    """Return the folder that an adapter names as its encoder; None of one on the hub, and of what is no adapter."""
    if not (config := folder / "adapter_config.json").is_file():
        return None
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    return base if isinstance(base, str) and (Path(base).is_absolute() or Path(base).exists()) else None


def refuse_upload(target: str) -> Any:
    """Return `huggingface_hub`. Raises `ConfigError` without a token, or where the hub may not be asked."""
    hub = require("huggingface_hub", "hf")
    if require("huggingface_hub.constants", "hf").HF_HUB_OFFLINE:
        raise ConfigError(f"--push {target}: HF_HUB_OFFLINE forbids the network: unset it, or look with --dry-run")
    if hub.get_token() is None:
        raise ConfigError(f"--push {target}: there is no token: hf auth login, or set HF_TOKEN, or look with --dry-run")
    return hub


def upload(folder: Path, kind: str, target: str, *, public: bool = False) -> tuple[str, bool]:
    """Upload an export to `hf:OWNER/NAME`; return its address, and whether only those may see it whom its owner lets.

    A new one is private unless `public`; one that is there stays as it is. Raises `ConfigError` where that is public
    and `public` is not asked for, `CheckpointError` where the hub refuses.
    """
    name, hub = hub_target(target), refuse_upload(target)
    api = hub.HfApi()
    try:
        address = api.create_repo(name, exist_ok=True, private=not public)
        private = bool(api.repo_info(name).private)
        if private or public:
            added = [hub.CommitOperationAdd(path.name, path) for path in files_to_upload(folder, kind)]
            api.create_commit(name, added, commit_message="A model of heed")  # all of them or none
    except Exception as error:  # whatever the network, the hub or its client says
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"cannot push to {target}: {first} (may your token write there? hf auth whoami)"
        ) from error
    if not (private or public):
        raise ConfigError(f"{target} is there and public; nothing was sent: add --public, or choose another name")
    return str(address), private
