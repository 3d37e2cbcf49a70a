"""A model of heed's own under the glass: hooks on the mechanism and the block of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heed.attention import Mechanism
from heed.errors import ConfigError
from heed.explore.mixing import MixerCall, read_weights
from heed.explore.subject import SwitchedHead, Trace
from heed.generation.decoding import prompt_ids
from heed.generation.stopping import token_texts
from heed.models.base import LanguageModel
from heed.models.block import Block
from heed.text.tokenizers import Tokenizer


class OwnModel:
    """A GPT or an encoder of heed; see `Subject`. Raises `ConfigError` for a model without attention."""

    def __init__(self, name: str, source: str, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self.name, self.source, self.model, self.tokenizer = name, source, model.eval(), tokenizer
        blocks = getattr(model, "blocks", None)
        if not isinstance(blocks, nn.ModuleList) or not len(blocks):
            kind = getattr(getattr(model, "config", None), "kind", type(model).__name__)
            raise ConfigError(f"{name} is of model.kind {kind}, which has no attention: give a gpt or an encoder")
        self.blocks: list[Block] = [block for block in blocks if isinstance(block, Block)]
        self.mechanisms: list[Mechanism] = [block.attention.mechanism for block in self.blocks]
        self.layers, self.heads = len(self.blocks), self.blocks[0].attention.n_heads
        config: Any = model.config
        self.kind = str(config.attention.mechanism)
        self.context, self.causal = model.context, model.causal
        self.predicts = self.lenses = model.causal
        self.switches = True
        self.notes = [f"the model LEAKS, so its losses are false: {model.leaks}"] if model.leaks else []
        self.start_ids = tuple(tokenizer.start_ids)
        special = {*self.start_ids, tokenizer.end_id, tokenizer.mask_id, *tokenizer.sentinel_ids}
        size = min(tokenizer.vocab_size, model.vocab_size)
        self.plain_ids = np.array([i for i in range(size) if i not in special])

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return prompt_ids(self.tokenizer, text, self.model.vocab_size)

    def show(self, ids: Sequence[int]) -> list[str]:
        """Return each token as text; bytes that are no whole character by themselves are shown as such."""
        return [token_texts([self.tokenizer.token_bytes(i)])[0] for i in ids]

    def trace(self, ids: Sequence[int]) -> Trace:
        """Read one sequence and keep what happens inside."""
        calls: list[MixerCall] = []

        def mixed(_: nn.Module, given: tuple[Any, ...], y: Tensor) -> None:
            q, k, v, mask, *rest = given
            calls.append(MixerCall(q, k, v, mask, rest[0] if rest else None, y))

        with ExitStack() as hooks:
            for mechanism in self.mechanisms:
                hooks.callback(mechanism.register_forward_hook(mixed).remove)
            residuals = self.residuals(np.asarray(ids)[None])
        layers = [read_weights(one, call) for one, call in zip(self.mechanisms, calls, strict=True)]
        return Trace(layers, [x[0] for x in residuals])

    def residuals(self, source: np.ndarray) -> list[Tensor]:
        """Return L + 1 tensors (B, T, D) of `source` (B, T): the embeddings, then the stream after each layer."""
        found: list[Tensor] = []

        def read(_: nn.Module, given: tuple[Any, ...]) -> None:
            found.append(given[0])

        def written(_: nn.Module, given: tuple[Any, ...], x: Tensor) -> None:
            found.append(x)

        with torch.no_grad(), ExitStack() as hooks:
            hooks.callback(self.blocks[0].register_forward_pre_hook(read).remove)
            for block in self.blocks:
                hooks.callback(block.register_forward_hook(written).remove)
            self.model.hidden(self._tensor(source))
        return found

    def nats(self, source: np.ndarray, target: np.ndarray, off: SwitchedHead | None = None) -> np.ndarray:
        """Return the loss (B, T) of `target` (B, T) after `source` (B, T), with a head switched off."""
        with torch.no_grad(), self._switched(off):
            losses = self.model.loss(self._tensor(source), self._tensor(target), reduction="none")
        return losses.double().cpu().numpy()

    def head_means(self, source: np.ndarray) -> Tensor:
        """Return the mean (L, H, K) of what each head mixes, over all tokens of `source` (B, T)."""
        means: list[Tensor] = []

        def mixed(_: nn.Module, given: tuple[Any, ...], y: Tensor) -> None:
            means.append(y.mean(dim=(0, 2)))

        with torch.no_grad(), ExitStack() as hooks:
            for mechanism in self.mechanisms:
                hooks.callback(mechanism.register_forward_hook(mixed).remove)
            self.model.hidden(self._tensor(source))
        return torch.stack(means)

    def lens(self, residual: Tensor) -> Tensor:
        """Return the logits (..., V) of a residual stream (..., D); without a last norm, of the stream as it is."""
        norm = getattr(self.model, "norm", None)
        with torch.no_grad():
            return self.model.logits(residual if norm is None else norm(residual))

    @contextmanager
    def _switched(self, off: SwitchedHead | None) -> Iterator[None]:
        """Switch a head off for as long as the block runs."""
        if off is None:
            yield
            return

        def switched(_: nn.Module, given: tuple[Any, ...], y: Tensor) -> Tensor:
            y = y.clone()
            y[:, off.head] = 0.0 if off.value is None else off.value
            return y

        handle = self.mechanisms[off.layer].register_forward_hook(switched)
        try:
            yield
        finally:
            handle.remove()

    def _tensor(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(next(self.model.parameters()).device)
