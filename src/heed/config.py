"""The typed configuration of a run: five sections, from YAML and flags.

One definition serves four purposes: the command-line flags (`--model.n-layers 6`), the YAML file, the resolved
`config.yaml` in a run folder, and the JSON schema that editors use. Values are layered, later ones win:

    defaults  <  preset (model.preset)  <  YAML file  <  command-line flags

Unknown keys are refused, and every problem of a file is reported at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from heed.errors import ConfigError, did_you_mean


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class DataConfig(Section):
    """Where the text comes from and how it is cut into training examples."""

    source: str = "python-reference"
    """A file, a folder, a glob, hf:NAME/CONFIG, or a named corpus (see `heed list corpora`)."""
    validation: str | None = None
    """A separate source for validation; when absent, a part of the documents is held out."""
    test: str | None = None
    """A separate source for the test split; when absent, `test_fraction` decides."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the documents (or of a single document's end) held out for validation."""
    test_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the documents held out for the test."""
    column: str = Field(default="text", coerce_numbers_to_str=True)
    """The column (CSV, TSV, Parquet) or key (JSON lines) that holds the text; a number (from 1) where no names are."""
    label: str | None = Field(default=None, coerce_numbers_to_str=True)
    """The column that holds the label of each text: an encoder then learns to classify. A name or number."""
    encoding: str = "utf-8"
    """Encoding of text files."""
    separator: str | None = None
    """A string that separates documents inside a text file, such as '<|endoftext|>'."""
    layout: Literal["packed", "padded", "stream"] = "packed"
    """packed: windows cut from the joined documents. padded: one sequence a document, cut and padded to the context.
    stream: each row of a batch goes on where that row of the batch before ended."""
    cross_documents: bool = True
    """Whether a packed window may run over the end of a document into the next one."""
    cache: str | None = None
    """Folder for token files; default: .tokens/ beside the runs."""
    workers: int = Field(default=0, ge=0)
    """Processes that tokenise; 0 takes one for each core."""


class TokenizerConfig(Section):
    """How text becomes token ids."""

    kind: Literal["bpe", "char", "word"] = "bpe"
    """bpe: byte-level byte-pair encoding. char: one token a character. word: one token a whitespace-separated word."""
    vocab_size: int = Field(default=4096, ge=2)
    """Number of tokens, special ones included; word keeps the most frequent ones, char must have room for all."""
    pattern: Literal["gpt2", "gpt4"] = "gpt2"
    """How BPE splits text into pieces before it merges."""
    train_bytes: int = Field(default=100_000_000, ge=1)
    """The tokenizer is trained on the first documents of the training split, up to about this many bytes."""
    file: str | None = None
    """Use this tokenizer.json (or the tokenizer of this run folder) and train none."""


class AttentionConfig(Section):
    """Which attention mechanism, and by which path it is computed."""

    mechanism: str = "softmax"
    """A name out of `heed list attention`, or your own: package.module:Class."""
    score: str = "scaled-dot"
    """How a query meets a key: a name out of `heed list scores`."""
    projection: str = "separate"
    """How queries, keys and values come from x: a name out of `heed list projections`."""
    options: dict[str, Any] = {}
    """Options of the mechanism itself, such as {features: 128} (see `heed list attention NAME`); one of them as a flag:
    --model.attention.options.features 128."""
    path: Literal["auto", "fused", "reference"] = "auto"
    """auto and fused: the fast path of the mechanism. reference: its equation, step by step, with T x T weights."""


class RecurrentConfig(Section):
    """What recurrent models have besides: the head, the state that is carried, and AWD-LSTM's regularisation."""

    head: Literal["linear", "two-layer"] = "linear"
    """linear: logits from the last layer, which is d_model wide where tied. two-layer: relu(linear) of width d_model
    comes in between."""
    carry: bool = False
    """Go on with the state of the batch before (needs data.layout stream); evaluation reads the split in one go."""
    weight_drop: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the recurrent weights, one mask a batch."""
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of whole words, wherever they stand in the batch."""
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the embeddings, one mask for all tokens of a row; in the place of model.dropout."""
    hidden_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout between layers, one mask for all tokens of a row; in the place of model.dropout."""
    output_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after the last layer, one mask for all tokens of a row; in the place of model.dropout."""
    activation_penalty: float = Field(default=0.0, ge=0)
    """Alpha of AWD-LSTM: times the mean square of the outputs."""
    change_penalty: float = Field(default=0.0, ge=0)
    """Beta of AWD-LSTM: times the mean square of the change of the outputs from one token to the next."""


class ModelConfig(Section):
    """The model: a family and its dimensions."""

    kind: Literal["gpt", "encoder", "lstm", "gru", "rnn", "linear-rnn", "window"] = "gpt"
    """gpt: causal transformer. lstm, gru, rnn (Elman), linear-rnn: recurrent. window: sees the last few tokens only
    (Bengio 2003). All predict the next token; an encoder sees both sides, and learns hidden tokens or labels."""
    preset: str | None = None
    """Start from a named shape (see `heed list presets`); settings given beside it win."""
    n_layers: int = Field(default=4, ge=1)
    """Number of blocks, or of recurrent layers."""
    n_heads: int = Field(default=4, ge=1)
    """Number of query heads; must divide d_model."""
    n_kv_heads: int | None = Field(default=None, ge=1)
    """Number of key/value heads (grouped-query attention); default: n_heads."""
    d_model: int = Field(default=128, ge=1)
    """Width of the residual stream; of recurrent and window models, of the embeddings."""
    d_hidden: int | None = Field(default=None, ge=1)
    """Width of the feed-forward layer; default: 4 d_model (SwiGLU: 8/3 d_model, rounded up to a multiple of 8). Of
    recurrent layers and of the window's hidden layer; default: d_model."""
    context: int = Field(default=128, ge=1)
    """Longest sequence, in tokens; of recurrent and window models, the sequences of training."""
    window: int = Field(default=5, ge=1)
    """Tokens that a window model sees, the newest included."""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm or RMSNorm."""
    norm_order: Literal["pre", "post"] = "pre"
    """pre: x + f(norm(x)). post: norm(x + f(x))."""
    norm_epsilon: float = Field(default=1e-5, gt=0)
    """Added to the variance before the square root."""
    positions: Literal["learned", "sinusoidal", "rotary", "alibi", "relative", "none"] = "learned"
    """How the model knows the order of its tokens."""
    rotary_base: float = Field(default=10_000.0, gt=0)
    """Base of the rotary and sinusoidal wavelengths."""
    activation: Literal["gelu", "gelu-tanh", "relu", "relu2", "swiglu"] = "gelu"
    """Nonlinearity of the feed-forward layer."""
    qk_norm: bool = False
    """Normalise queries and keys per head (RMS) before they meet."""
    tied: bool = True
    """Share the token embedding with the output head."""
    embeddings: str | None = None
    """Begin with these token embeddings: a .safetensors, .npz or .npy file with one matrix (V, d_model), the folder of
    a transformers model, or hf:NAME."""
    freeze_embeddings: bool = False
    """Leave the embeddings as they were given; a head that is tied to them stays as well."""
    bias: bool = True
    """Biases in linear and normalisation layers."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on embeddings, attention weights and residual branches."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights; residual projections are divided by sqrt(2 n_layers). Recurrent
    layers begin as torch's do."""
    attention: AttentionConfig = AttentionConfig()
    """The attention mechanism."""
    recurrent: RecurrentConfig = RecurrentConfig()
    """What recurrent models have besides."""
    allow_leak: bool = False
    """Train a causal model although the audit finds that it sees the tokens it predicts; its run then says LEAKS."""


class TrainConfig(Section):
    """One training run: how long, with what optimizer, and when to look up from it."""

    loss: Literal["token", "sequence"] = "token"
    """token: mean over the tokens of a step. sequence (data.layout padded): mean over a sequence's tokens, then over
    the sequences, so that each counts the same however short it is."""
    steps: int = Field(default=1000, ge=1)
    """Optimizer steps."""
    seconds: float | None = Field(default=None, gt=0)
    """End after this many seconds of training, evaluation left out, or after `steps`, whichever comes first; the
    schedule then goes by the share of the time that is used."""
    batch_size: int | Literal["auto"] = 16
    """Sequences in a step on one device; auto finds the largest that fits."""
    accumulation: int = Field(default=1, ge=1)
    """Forward and backward passes added up before a step; each takes `batch_size` sequences."""
    optimizer: Literal["adamw", "adam", "sgd", "momentum", "adagrad", "muon"] = "adamw"
    """muon: Muon on matrices, AdamW on everything else."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    muon_learning_rate: float = Field(default=0.02, gt=0)
    """Peak learning rate of the matrices under muon."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Adam's decay of the mean of gradients; momentum of `momentum`."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Adam's decay of the mean of squared gradients."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decay of matrices, never of vectors: decoupled for adamw and muon, added to the gradient for the others."""
    schedule: Literal["constant", "cosine", "linear", "wsd"] = "cosine"
    """How the learning rate goes after the warm-up; wsd: warm-up, stable, then linear decay."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rate rises linearly from 0; when not given, at most a tenth of all steps."""
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """wsd only: the share of all steps in which the learning rate decays."""
    final_fraction: float = Field(default=0.1, ge=0, le=1)
    """The learning rate at the last step, as a share of the peak."""
    average_fraction: float | None = Field(default=None, gt=0, le=1)
    """Evaluate and keep the mean of the weights over this last share of the training, not the last weights."""
    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the whole gradient; None switches clipping off."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16: autocast, weights stay fp32. auto: bf16 where the device computes it fast, else fp32."""
    compile: bool = False
    """Use torch.compile; heed says so and goes on without it where it fails."""
    eval_every: int = Field(default=250, ge=1)
    """Steps between evaluations on the validation split."""
    eval_tokens: int | None = Field(default=None, ge=1)
    """Evaluate on this many tokens during training (the final evaluation is always on the whole split); None: all."""
    checkpoint_every: int = Field(default=250, ge=1)
    """Steps between checkpoints."""
    keep_last: int = Field(default=2, ge=1)
    """Recent checkpoints to keep; the best one is kept besides."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without a better validation loss; None: never."""
    mask_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Encoder without labels: the share of the tokens that are hidden, and predicted."""

    @model_validator(mode="after")
    def _fit_warmup(self) -> Self:
        """Shorten a warm-up that nobody asked for in a short run, so that `train.steps` can be given alone."""
        if "warmup_steps" not in self.model_fields_set:
            object.__setattr__(self, "warmup_steps", min(self.warmup_steps, self.steps // 10))
        return self


class RunConfig(Section):
    """Where the run is written and what it runs on."""

    name: str | None = None
    """Name of the run folder; default: made from the corpus, the model and a number."""
    folder: str = "runs"
    """Folder that holds the runs."""
    seed: int = Field(default=1, ge=0)
    """Seed of every random stream."""
    initialisation: Literal["stream", "by-name"] = "stream"
    """stream: one random stream fills all parameters in turn. by-name: each has a stream of its own, so that models
    which differ in a part begin with the same values elsewhere (`heed compare`)."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes cuda, then mps, then cpu."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of torch on the CPU; None leaves torch's choice."""


class Config(Section):
    """A whole run."""

    data: DataConfig = DataConfig()
    """Where the text comes from."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """How text becomes token ids."""
    model: ModelConfig = ModelConfig()
    """The model."""
    train: TrainConfig = TrainConfig()
    """How it is trained."""
    run: RunConfig = RunConfig()
    """Where the run is written."""


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"n_layers": 4, "n_heads": 4, "d_model": 128, "context": 128},
    "small": {"n_layers": 6, "n_heads": 6, "d_model": 384, "context": 256},
    "gpt1": {
        "n_layers": 12, "n_heads": 12, "d_model": 768, "context": 512, "norm_order": "post", "activation": "gelu-tanh",
    },
    "mini-gpt1": {
        "n_layers": 1, "n_heads": 12, "d_model": 768, "context": 256, "norm_order": "post", "activation": "gelu-tanh",
    },
    "gpt2": {"n_layers": 12, "n_heads": 12, "d_model": 768, "context": 1024, "activation": "gelu-tanh"},
    "gpt2-medium": {"n_layers": 24, "n_heads": 16, "d_model": 1024, "context": 1024, "activation": "gelu-tanh"},
    "llama-style": {
        "n_layers": 6, "n_heads": 6, "d_model": 384, "context": 512,
        "norm": "rms", "positions": "rotary", "activation": "swiglu", "bias": False, "tied": False,
    },
}  # fmt: skip
"""Named shapes for `model.preset`; each lists what differs from the defaults."""


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


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML configuration as nested dictionaries.

    Raises `ConfigError` when the file is missing, is no YAML, or is no mapping.
    """
    file = Path(path)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no such configuration file: {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise ConfigError(f"{file}{line} is not valid YAML: {getattr(error, 'problem', error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ConfigError(f"{file} must hold sections (data, tokenizer, model, train, run), not a {kind}")
    return content


def make_config(values: Mapping[str, Any]) -> Config:
    """Check nested dictionaries and return the `Config`, with `model.preset` filled in beneath them.

    Raises `ConfigError` that holds every problem at once, each a line such as
    `model.n_layer: unknown setting, did you mean 'n_layers'?`.
    """
    config, problems = inspect_config(values)
    if problems:
        raise ConfigError(*problems)
    return config


def inspect_config(values: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Return the configuration without the settings that are no good, and every problem, one line each."""
    model = values.get("model")
    if isinstance(model, Mapping) and isinstance(preset := model.get("preset"), str):
        values = {**values, "model": {**PRESETS.get(preset, {}), **model}}
    try:
        config = Config.model_validate(values)
        return config, contradictions(config)
    except ValidationError as error:
        bad: dict[tuple[str, ...], list[Any]] = {}
        for item in error.errors():
            bad.setdefault(_setting(item["loc"]), []).append(item)
    problems = [_explain(where, items) for where, items in bad.items()]
    config = Config.model_validate(_without(values, bad))
    names = [".".join(where) for where, items in bad.items() if items[0]["type"] != "extra_forbidden"]
    # A default stands where a value was bad, and what goes against that default was not asked for.
    return config, problems + [line for line in contradictions(config) if not any(name in line for name in names)]


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries with the values of `top` over those of `base`.

    >>> overlay({"train": {"steps": 1, "clip": 2}}, {"train": {"steps": 3}})
    {'train': {'steps': 3, 'clip': 2}}
    """
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def contradictions(config: Config) -> list[str]:
    """Return what is wrong between settings that are each valid alone, one line a problem."""
    data, tokenizer, model, train = config.data, config.tokenizer, config.model, config.train
    problems: list[str] = []
    if data.validation_fraction + data.test_fraction >= 1:
        problems.append("data.validation_fraction: with data.test_fraction it leaves nothing to train on")
    if tokenizer.kind == "bpe" and tokenizer.file is None and tokenizer.vocab_size < 257:
        problems.append(
            "tokenizer.vocab_size: tokenizer.kind bpe needs at least 257 (256 bytes and the end-of-text token)"
        )
    if model.kind != "encoder" and data.label is not None:
        problems.append(
            f"data.label: a {model.kind} learns tokens, not labels: add model.kind encoder, or leave it out"
        )
    hides = model.kind == "encoder" and data.label is None
    if train.mask_fraction != TrainConfig().mask_fraction and not hides:
        problems.append("train.mask_fraction: is for model.kind encoder without data.label: leave it out")
    if data.label is not None and data.separator is not None:
        problems.append("data.separator: cuts text files, and texts with labels are rows: leave out one of the two")
    if train.seconds is not None and train.average_fraction is not None:
        problems.append("train.average_fraction: is a share of the steps, and train.seconds leaves their number open")
    if train.warmup_steps > train.steps:
        problems.append(f"train.warmup_steps: {train.warmup_steps} is more than train.steps {train.steps}")
    if train.batch_size != "auto" and train.batch_size < 1:
        problems.append(f"train.batch_size: must be at least 1 or 'auto', not {train.batch_size}")
    if model.preset is not None and model.preset not in PRESETS:
        problems.append(f"model.preset: unknown value {model.preset!r}, {did_you_mean(model.preset, PRESETS)}")
        return problems  # the shape is not known
    problems += _unread(model)
    problems += _about_sequences(config)
    if model.kind not in ("gpt", "encoder"):
        return problems
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
    """Return what is wrong between the layout of the data, the loss, the state and the embeddings of a model."""
    data, model, train, ours = config.data, config.model, config.train, config.model.recurrent
    problems: list[str] = []
    if ours.carry and data.layout != "stream":
        problems.append("model.recurrent.carry: needs rows that go on from batch to batch: set data.layout stream")
    if data.layout == "stream" and model.kind == "encoder":
        problems.append("data.layout: stream is for models that predict the next token: leave it out for an encoder")
    if data.layout == "stream" and not data.cross_documents:
        problems.append("data.cross_documents: a stream runs over the ends of documents: leave it true")
    if train.loss == "sequence" and (data.layout != "padded" or model.kind == "encoder"):
        problems.append("train.loss: sequence is for data.layout padded and models that predict the next token")
    if model.dropout and (ours.input_dropout or ours.hidden_dropout or ours.output_dropout):
        problems.append(
            "model.dropout: input_dropout, hidden_dropout and output_dropout stand in its place: leave it out"
        )
    if ours.hidden_dropout and model.n_layers == 1:
        problems.append("model.recurrent.hidden_dropout: is between layers, and there is one: leave it out")
    if model.freeze_embeddings and model.embeddings is None:
        problems.append("model.freeze_embeddings: there are none to keep: give model.embeddings")
    if model.kind == "window" and model.tied and model.d_hidden not in (None, model.d_model):
        problems.append("model.d_hidden: a window's tied head needs it to be model.d_model: set model.tied false")
    return problems


def write_yaml(config: Config, path: str | Path) -> None:
    """Write the resolved configuration: every default spelled out, sections in order."""
    Path(path).write_text(yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _explain(keys: Sequence[str], items: Sequence[Any]) -> str:
    """Turn what pydantic says of one setting into a line that names it and the remedy."""
    where, item = ".".join(keys), items[0]
    if len(items) > 1:  # one a branch of the type, as in `int | Literal["auto"]`
        branches = (i["ctx"]["expected"] if i["type"] == "literal_error" else "a whole number" for i in items)
        return f"{where}: {item['input']!r} is neither {' nor '.join(branches)}"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown setting, {did_you_mean(keys[-1], _siblings(keys[:-1]))}"
    if item["type"] == "literal_error":
        choices = [part.strip().strip("'") for part in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{where}: unknown value {item['input']!r}, {did_you_mean(str(item['input']), choices)}"
    if item["type"] in ("dict_type", "model_type"):
        return f"{where}: must hold settings by name, as {{name: value}}, not {item['input']!r}"
    return f"{where}: {item['msg'][0].lower()}{item['msg'][1:]}, not {item['input']!r}"


def _setting(location: Sequence[int | str]) -> tuple[str, ...]:
    """Return the setting at pydantic's location, which may go on into the branches of a type."""
    keys = tuple(map(str, location))
    for depth in range(1, len(keys)):
        if not _siblings(keys[:depth]):
            return keys[:depth]
    return keys


def _without(values: Mapping[Any, Any], bad: Collection[tuple[str, ...]]) -> dict[str, Any]:
    """Return nested dictionaries without these settings.

    >>> _without({"train": {"steps": "x", "clip": 1}, "run": 3}, {("train", "steps"), ("run",)})
    {'train': {'clip': 1}}
    """
    kept = {str(key): value for key, value in values.items() if (str(key),) not in bad}
    below = {key: {where[1:] for where in bad if where[0] == key} for key in kept}
    return {key: _without(value, below[key]) if below[key] else value for key, value in kept.items()}


def _siblings(keys: Sequence[str]) -> list[str]:
    """Return the names of the settings in the section that `keys` lead to."""
    section: Any = Config
    for key in keys:
        field = section.model_fields.get(key)
        section = field.annotation if field is not None else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
    return list(section.model_fields)
