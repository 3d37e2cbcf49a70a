"""heed's own models as encoders: the encoder and the GPT of a run folder, read through the same interface as BERT.

    token ids, mask ──> heed's model ──hidden──> last_hidden_state (B, T, D)

A GPT sees only what stands before a token, so padding after a text cannot reach it; an encoder has a token for padding
that is never looked at. What they predict tokens or classes with is left out, and has no say here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from heed.attention import Mechanism
from heed.config.tuning import EncoderConfig
from heed.errors import ConfigError, DataError, require
from heed.models.encoder import Encoder
from heed.models.gpt import GPT
from heed.text.tokenizers import Tokenizer
from heed.training.checkpoint import find_checkpoint
from heed.training.run import Run, load_run
from heed.tuning.methods.virtual import FOR_OWN
from heed.tuning.pretrained import EncoderShape, Pretrained

SAMPLE = "It was 7 o'clock, and then: nothing at all."


class States(NamedTuple):
    """What transformers calls the output of a model."""

    last_hidden_state: Tensor


class Own(nn.Module):
    """A model of heed that is called as those of transformers are."""

    is_gradient_checkpointing = False  # asked by peft, which would else make the embeddings remember their inputs

    def __init__(self, model: Encoder | GPT, pad_id: int) -> None:
        super().__init__()
        self.model, self.pad_id = model, pad_id

    def get_input_embeddings(self) -> nn.Module:
        """Return what gives each token its vector."""
        return self.model.tokens

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> States:
        """Return the last states (B, T, D) of ids (B, T); the mask (B, T) is 0 at padding, which stands last."""
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, self.pad_id)
        return States(self.model.hidden(input_ids))


def load_own(config: EncoderConfig, folder: Path, *, native: bool) -> Pretrained:
    """Return heed's model in a run folder as an encoder, with the run's best weights.

    Raises `ConfigError` for another kind of model, for its own head (it has none here) and for texts longer than its
    context, `CheckpointError` when the run cannot be read, `DataError` when its tokenizer has no equal in tokenizers.
    """
    if native:
        raise ConfigError(f"encoder {config.name}: a model of heed has no classification head here; choose {FOR_OWN}")
    model, tokenizer, settings = load_run(folder)
    if not isinstance(model, Encoder | GPT):
        raise ConfigError(
            f"encoder {config.name}: a run of model.kind {settings.model.kind} cannot be tuned so: "
            "choose a run of kind encoder or gpt"
        )
    if config.max_length > model.context:
        raise ConfigError(
            f"encoder.max_length: {config.max_length} is more than the context of {model.context} of {config.name}"
        )
    pad_id = model.pad_id if isinstance(model, Encoder) else 0  # a GPT never sees what stands behind
    _leave_heads_out(model)
    for part in model.modules():
        if isinstance(part, Mechanism):
            part.dropout = config.attention_dropout
    shape = EncoderShape(
        model_type=f"heed-{settings.model.kind}",
        layers=settings.model.n_layers,
        d_model=settings.model.d_model,
        heads=settings.model.n_heads,
        positions=model.context,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    place = find_checkpoint(Run.open(folder).checkpoints, "best")
    source = f"{folder.name}, {place.name}"
    fast = fast_tokenizer(tokenizer, folder)
    return Pretrained(config.name, place, source, Own(model, pad_id), False, fast, shape, pad_id, segments=False)


def fast_tokenizer(tokenizer: Tokenizer, folder: Path) -> Any:
    """Return the tokenizer of a run as a fast one of transformers that gives the same ids.

    Text never becomes a special token, as in heed. The two texts of a pair have the end-of-text token between them,
    where there is one. Raises `DataError` when the ids differ.
    """
    require("transformers", "hf")
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    end = None if tokenizer.end_id is None else tokenizer.token_bytes(tokenizer.end_id).decode()
    fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=end, pad_token=end)
    backend: Any = fast.backend_tokenizer
    backend.encode_special_tokens = True
    between = f" {end}:0" if end is not None else ""
    backend.post_processor = TemplateProcessing(
        single="$A:0", pair=f"$A:0{between} $B:1", special_tokens=[] if end is None else [(end, tokenizer.end_id)]
    )
    alphabet = "".join(piece.decode("utf-8", "ignore") for piece in tokenizer.pieces[:200])
    for text in (SAMPLE, alphabet):
        try:
            wanted = tokenizer.encode(text)
        except DataError:  # a character that it does not know
            continue
        if backend.encode(text).ids != wanted:
            raise DataError(f"{folder / 'tokenizer.json'} gives other ids in the library tokenizers: it cannot be used")
    return fast


def _leave_heads_out(model: Encoder | GPT) -> None:
    """Take away what comes after the hidden states."""
    model.head = None
    if isinstance(model, Encoder):
        model.classifier = None


__all__ = ["Own", "fast_tokenizer", "load_own"]
