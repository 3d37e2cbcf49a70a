"""A model that heed cannot compute itself, under the glass: `transformers` runs it and tells its attention.

Weights are those that its own code returns with eager attention. A head is switched off before the output projection
of its layer, whose input holds the heads side by side. Names differ from one architecture to another: where a part is
not found, or does not do what it should, what hangs on it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heed.errors import CheckpointError, ConfigError, require
from heed.explore.mixing import HeadWeights
from heed.explore.subject import SwitchedHead, Trace
from heed.models.hub import refuse_shards_outside

OUTPUTS = ("o_proj", "out_proj", "c_proj", "out_lin", "attention.output.dense", "attention.dense", "self_attn.dense")
"""Ends of the names of output projections."""
NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f")
"""Names of the norm before the output matrix."""
LONGEST = 2048
"""The context of a model whose configuration names none."""


class HubModel:
    """A causal model or an encoder of `transformers`; see `Subject`.

    Raises `ConfigError` for one that returns no weights.
    """

    def __init__(self, name: str, source: str, inner: Any, tokenizer: Any, *, predicts: bool) -> None:
        self.name, self.source, self.inner, self.tokenizer = name, source, inner.eval(), tokenizer
        settings = inner.config.get_text_config()
        self.kind = str(inner.config.model_type)
        self.layers, self.heads = int(settings.num_hidden_layers), int(settings.num_attention_heads)
        self.context = int(getattr(settings, "max_position_embeddings", None) or LONGEST)
        if self.kind in ("roberta", "xlm-roberta", "camembert", "mpnet"):
            self.context -= 2  # rows of the table of positions that stand for no position of a text
        self.causal = self.predicts = predicts
        self.notes: list[str] = []
        self.pieces = any(name.startswith("##") for name in tokenizer.get_vocab())
        special = {i for i in tokenizer.all_special_ids if i is not None}
        self.plain_ids = np.array([i for i in range(min(int(settings.vocab_size), len(tokenizer))) if i not in special])
        first = tokenizer.bos_token_id
        begun = predicts and tokenizer("a")["input_ids"][:1] == [first]
        self.start_ids: tuple[int, ...] = (int(first),) if begun else ()
        self.blocks = self._find_blocks()
        self.outputs = [self._find_output(block) for block in self.blocks]
        self.switches = bool(self.outputs) and all(one is not None for one in self.outputs)
        self.norm = self._find_norm()
        self._check()

    def _find_blocks(self) -> list[nn.Module]:
        """Return the layers: the first list of so many modules."""
        lists = (part for part in self.inner.modules() if isinstance(part, nn.ModuleList) and len(part) == self.layers)
        return list(next(lists, []))

    def _find_output(self, block: nn.Module) -> nn.Module | None:
        """Return the output projection of a layer's attention."""
        return next(
            (part for name, part in block.named_modules() if name.endswith(OUTPUTS) and _is_attention(name)), None
        )

    def _find_norm(self) -> nn.Module | None:
        base = getattr(self.inner, self.inner.base_model_prefix, self.inner)
        inside = [base, getattr(base, "decoder", None)]
        return next(
            (norm for part in inside for name in NORMS if isinstance(norm := getattr(part, name, None), nn.Module)),
            None,
        )

    def _check(self) -> None:
        """See that weights come back, and whether the last layer under the lens says what the model says."""
        ids = self.plain_ids[:4].tolist()
        if any(one.weights.shape != (self.heads, 4, 4) for one in self.trace(ids).layers):
            raise ConfigError(f"{self.name} is a {self.kind}, which returns no attention weights (heads, T, T)")
        self.lenses = self.predicts and bool(self.blocks)
        if self.lenses:
            with torch.no_grad():
                said = self.inner(input_ids=torch.tensor([ids], device=self.device)).logits[0]
                seen = self.lens(self.trace(ids).residuals[-1])
            self.lenses = torch.allclose(seen.float(), said.float(), atol=1e-3 * float(said.float().abs().max()))

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return next(self.inner.parameters()).device

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, with what the tokenizer puts around it."""
        return list(self.tokenizer(text, verbose=False)["input_ids"])

    def show(self, ids: Sequence[int]) -> list[str]:
        """Return each token as text, with a blank before what begins a word."""
        names = [str(name) for name in self.tokenizer.convert_ids_to_tokens(list(ids))]
        if self.pieces:  # WordPiece: what goes on in a word begins with ##
            return [name[2:] if name.startswith("##") else f" {name}" for name in names]
        return [name.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n") for name in names]

    def trace(self, ids: Sequence[int]) -> Trace:
        """Read one sequence and keep what happens inside."""
        T = len(ids)
        with self._streams() as residuals, torch.no_grad():
            made = self.inner(input_ids=torch.tensor([list(ids)], device=self.device), output_attentions=True)
        given = made.attentions or ()
        if len(given) != self.layers or any(one is None for one in given):
            raise ConfigError(f"{self.name} is a {self.kind}, which returns no attention weights")
        allowed = np.tril(np.ones((1, T, T), dtype=bool)) if self.causal else np.ones((1, T, T), dtype=bool)
        maps = [one[0].float().cpu().numpy() for one in given]
        # a window is not told: what no head of a layer looks at lies outside of it (or its weights are all below 1e-45)
        return Trace(
            [HeadWeights(one, allowed & (one > 0).any(axis=0), "weights", None) for one in maps],
            [x[0] for x in residuals],
        )

    def residuals(self, source: np.ndarray) -> list[Tensor]:
        """Return L + 1 tensors (B, T, D) of `source` (B, T): the embeddings, then the stream after each layer."""
        with self._streams() as found, torch.no_grad():
            self.inner(input_ids=self._tensor(source))
        return found

    @contextmanager
    def _streams(self) -> Iterator[list[Tensor]]:
        """Give a list that the residual streams (B, T, D) are put into while the model reads."""
        found: list[Tensor] = []

        def read(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            found.append(given[0] if given else named["hidden_states"])

        def written(_: nn.Module, given: tuple[Any, ...], made: Any) -> None:
            found.append(made[0] if isinstance(made, tuple) else made)

        with ExitStack() as hooks:
            if self.blocks:
                hooks.callback(self.blocks[0].register_forward_pre_hook(read, with_kwargs=True).remove)
            for block in self.blocks:
                hooks.callback(block.register_forward_hook(written).remove)
            yield found

    def nats(self, source: np.ndarray, target: np.ndarray, off: SwitchedHead | None = None) -> np.ndarray:
        """Return the loss (B, T) of `target` (B, T) after `source` (B, T), with a head switched off."""
        follows = torch.from_numpy(target.astype(np.int64)).to(self.device)
        with torch.no_grad(), self._switched(off):
            log_p = self.inner(input_ids=self._tensor(source), use_cache=False).logits.float().log_softmax(dim=-1)
        return -log_p.gather(-1, follows[..., None])[..., 0].double().cpu().numpy()

    def head_means(self, source: np.ndarray) -> Tensor:
        """Return the mean (L, H, K) of what each head mixes, over all tokens of `source` (B, T)."""
        means: list[Tensor] = []

        def mixed(_: nn.Module, given: tuple[Any, ...]) -> None:
            means.append(given[0].flatten(0, -2).mean(dim=0).unflatten(-1, (self.heads, -1)))

        with torch.no_grad(), ExitStack() as hooks:
            for output in self.outputs:
                assert output is not None
                hooks.callback(output.register_forward_pre_hook(mixed).remove)
            self.inner(input_ids=self._tensor(source), use_cache=False)
        return torch.stack(means)

    def lens(self, residual: Tensor) -> Tensor:
        """Return the logits (..., V) of a residual stream (..., D)."""
        with torch.no_grad():
            return self.inner.get_output_embeddings()(residual if self.norm is None else self.norm(residual))

    @contextmanager
    def _switched(self, off: SwitchedHead | None) -> Iterator[None]:
        if off is None:
            yield
            return
        output = self.outputs[off.layer]
        assert output is not None

        def switched(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            heads = given[0].unflatten(-1, (self.heads, -1)).clone()
            heads[..., off.head, :] = 0.0 if off.value is None else off.value
            return (heads.flatten(-2), *given[1:])

        handle = output.register_forward_pre_hook(switched)
        try:
            yield
        finally:
            handle.remove()

    def _tensor(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self.device)


def load_foreign(name: str, source: str, folder: Path, device: torch.device) -> HubModel:
    """Load the causal model or the encoder in a folder, in float32.

    No code of the folder is run, and no pickle is read. Raises `CheckpointError` where `transformers` can't load it,
    `ConfigError` for a model without attention.
    """
    transformers = require("transformers", "hf")
    refuse_shards_outside(folder)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **safe)
        names = " ".join(getattr(config, "architectures", None) or ())
        predicts = "CausalLM" in names or "LMHead" in names
        kind = transformers.AutoModelForCausalLM if predicts else transformers.AutoModel
        inner = kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, attn_implementation="eager", **safe
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, **safe)
    except Exception as error:  # whatever transformers, its files or its classes say
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{folder} cannot be loaded by transformers: {first:.300}") from error
    settings = config.get_text_config()
    if not getattr(settings, "num_attention_heads", None) or not getattr(settings, "num_hidden_layers", None):
        raise ConfigError(f"{name} is a {config.model_type}, which has no attention heads: give a transformer")
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError(
            f"{name} is a {config.model_type}, an encoder with a decoder: give a causal model or an encoder"
        )
    return HubModel(name, source, inner.to(device), tokenizer, predicts=predicts)


def _is_attention(name: str) -> bool:
    return "att" in name
