"""What is wrong between settings that are each valid alone."""

from __future__ import annotations

from pathlib import PurePath

from heed.config.aims import aim_of
from heed.config.sections import PRESETS, Config, ModelConfig, Section, TrainConfig
from heed.errors import did_you_mean

RECURRENT = ("lstm", "gru", "rnn", "linear-rnn")
"""The kinds of models that carry a state."""
_TRANSFORMER = (
    "n_heads", "n_kv_heads", "norm", "norm_order", "norm_epsilon", "positions", "rotary_base", "activation", "qk_norm",
    "attention",
)  # fmt: skip
UNREAD: dict[str, tuple[str, ...]] = {
    "gpt": ("window", "recurrent"),
    "encoder": ("window", "recurrent", "embeddings"),
    "window": (*_TRANSFORMER, "n_layers", "recurrent"),
    **dict.fromkeys(RECURRENT, (*_TRANSFORMER, "window")),
}
"""The settings of `ModelConfig` that each kind takes no notice of."""


def _stays_below(name: str) -> bool:
    """Whether a name that is put after a folder is a place in it.

    >>> [_stays_below(name) for name in ("a", "group/a", "../a", "a/../../b", "/tmp/a", ".", "", ".lock", "a\\n")]
    [True, True, False, False, False, False, False, False, False]
    """
    parts = PurePath(name).parts
    plain = name.isprintable() and bool(name.strip()) and not PurePath(name).is_absolute()
    return plain and bool(parts) and not any(part.startswith(".") for part in parts)


def contradictions(config: Config) -> list[str]:
    """Return what is wrong between settings that are each valid alone, one line a problem."""
    model, name = config.model, config.run.name
    problems = _about_data(config) + _about_training(config.train)
    problems += _about_sequences(config) + _about_dropout(model) + _about_embeddings(model)
    problems += aim_of(config).problems(config)
    if config.train.sampled_softmax is not None and aim_of(config).labelled:
        problems.append("train.sampled_softmax: is for models that predict tokens, not classes: leave it out")
    if name is not None and not _stays_below(name):
        problems.append(
            f"run.name: {name!r} is no plain name below run.folder: give one that begins with no dot, and "
            "the place as run.folder"
        )
    if model.preset is not None and model.preset not in PRESETS:
        return [*problems, f"model.preset: unknown value {model.preset!r}, {did_you_mean(model.preset, PRESETS)}"]
    if model.start_from is not None:
        return problems  # the shape is that of another run
    if config.train.recompute and model.kind not in ("gpt", "encoder"):
        problems.append(f"train.recompute: is for models of blocks, and model.kind {model.kind} has none: leave it out")
    if config.train.shard and config.train.compile and model.kind not in ("gpt", "encoder"):
        problems.append(f"train.compile: with train.shard is of blocks, and model.kind {model.kind} has none: drop it")
    return problems + _unread(model) + _about_shape(model)


def _about_data(config: Config) -> list[str]:
    """Return what is wrong between the splits, the layout and the tokenizer."""
    data, tokenizer = config.data, config.tokenizer
    problems: list[str] = []
    if data.validation_fraction + data.test_fraction >= 1:
        problems.append("data.validation_fraction: with data.test_fraction it leaves nothing to train on")
    if data.test == "none" and data.test_fraction:
        problems.append("data.test_fraction: holds out a test split, and data.test none wants none: keep one")
    if tokenizer.kind == "bpe" and tokenizer.file is None and tokenizer.vocab_size < 257:
        problems.append(
            "tokenizer.vocab_size: tokenizer.kind bpe needs at least 257 (256 bytes and the end-of-text token)"
        )
    if data.group_batches > 1 and data.layout != "padded":
        problems.append("data.group_batches: rows of other layouts are all as long: set data.layout padded")
    return problems


def _about_training(train: TrainConfig) -> list[str]:
    """Return what is wrong between the length of a training, its batches and its schedule."""
    problems: list[str] = []
    if train.seconds is not None and train.average_fraction is not None:
        problems.append("train.average_fraction: is a share of the steps, and train.seconds leaves their number open")
    if train.least_gain and train.patience is None:
        problems.append("train.least_gain: says what counts as a gain for train.patience: give that too")
    if train.average_patience is not None and train.average_fraction is not None:
        problems.append("train.average_patience: says when to average, and so does train.average_fraction: keep one")
    if train.sampled_softmax is not None and train.label_smoothing:
        problems.append("train.sampled_softmax: leaves out tokens over which train.label_smoothing spreads: keep one")
    if train.warmup_steps > train.steps:
        problems.append(f"train.warmup_steps: {train.warmup_steps} is more than train.steps {train.steps}")
    if train.shard and train.batch_size == "auto":
        problems.append("train.batch_size: auto tries the whole model in one process, so not with train.shard: say one")
    if train.shard and (train.average_fraction is not None or train.average_patience is not None):
        name = "average_fraction" if train.average_fraction is not None else "average_patience"
        problems.append(f"train.{name}: the mean of the weights is not kept in parts: leave it or train.shard out")
    if train.batch_size != "auto" and train.batch_size < 1:
        problems.append(f"train.batch_size: must be at least 1 or 'auto', not {train.batch_size}")
    return problems


def _about_shape(model: ModelConfig) -> list[str]:
    """Return what is wrong between the dimensions of a model."""
    if model.kind not in ("gpt", "encoder"):
        return []
    problems: list[str] = []
    if model.d_model % model.n_heads:
        problems.append(f"model.n_heads: {model.n_heads} heads do not divide model.d_model {model.d_model}")
    if model.n_kv_heads is not None and model.n_heads % model.n_kv_heads:
        problems.append(f"model.n_kv_heads: {model.n_kv_heads} does not divide model.n_heads {model.n_heads}")
    width = model.d_model // model.n_heads
    if model.positions not in ("rotary", "sinusoidal") and model.rotary_base != ModelConfig().rotary_base:
        problems.append(f"model.rotary_base: model.positions {model.positions} has no wavelengths: leave it out")
    if model.positions == "rotary" and width % 2:
        problems.append(f"model.positions: rotary needs model.d_model / model.n_heads to be even, not {width}")
    return problems


def _unread(model: ModelConfig) -> list[str]:
    """Return a line for each setting that was given and that a model of this kind does not read."""
    given: list[str] = []
    for name in UNREAD[model.kind]:
        value, default = getattr(model, name), ModelConfig.model_fields[name].default
        if isinstance(value, Section):
            given += [f"{name}.{key}" for key, own in value if own != getattr(default, key)]
        elif value != default:
            given.append(name)
    preset = PRESETS.get(model.preset or "", {})
    return [
        f"model.{name}: model.kind {model.kind} does not read it: leave out "
        + (f"model.preset {model.preset}, which sets it" if name in preset else "this setting")
        for name in given
    ]


def _about_sequences(config: Config) -> list[str]:
    """Return what is wrong between the layout of the data, the loss, and the state that a model carries."""
    data, carry = config.data, config.model.recurrent.carry
    problems: list[str] = []
    if carry and data.layout != "stream":
        problems.append("model.recurrent.carry: needs rows that go on from batch to batch: set data.layout stream")
    if data.layout == "stream" and not data.cross_documents:
        problems.append("data.cross_documents: a stream runs over the ends of documents: leave it true")
    if config.train.loss == "sequence" and data.layout != "padded":
        problems.append("train.loss: sequence is for data.layout padded and models that predict the next token")
    return problems


def _about_dropout(model: ModelConfig) -> list[str]:
    """Return what is wrong between the ways of dropping out."""
    ours = model.recurrent
    problems: list[str] = []
    if model.dropout and (ours.input_dropout or ours.hidden_dropout or ours.output_dropout):
        problems.append(
            "model.dropout: input_dropout, hidden_dropout and output_dropout stand in its place: leave it out"
        )
    if ours.hidden_dropout and model.n_layers == 1:
        problems.append("model.recurrent.hidden_dropout: is between layers, and there is one: leave it out")
    return problems


def _about_embeddings(model: ModelConfig) -> list[str]:
    """Return what is wrong with the weights that a model begins with, and with a head that is tied to them."""
    given = model.embeddings is not None or model.start_from is not None
    problems: list[str] = []
    if model.freeze_embeddings and not given:
        problems.append("model.freeze_embeddings: there are none to keep: give model.embeddings")
    if model.freeze_positions and (model.kind != "gpt" or model.positions != "learned" or not given):
        problems.append("model.freeze_positions: is for learned positions of a gpt that were given: leave it out")
    for name in ("preset", "embeddings"):
        if model.start_from is not None and getattr(model, name) is not None:
            problems.append(f"model.{name}: model.start_from has its own: leave out one of the two")
    if model.kind == "window" and model.tied and model.d_hidden not in (None, model.d_model):
        problems.append("model.d_hidden: a window's tied head needs it to be model.d_model: set model.tied false")
    return problems
