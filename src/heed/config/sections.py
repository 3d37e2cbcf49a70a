"""The five sections of a run's configuration and every setting in them, with its type, default and meaning."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **how: Any) -> None:
        """Keep what is said of each setting as running text: its lines are those of the source."""
        for field in cls.model_fields.values():
            field.description = field.description and " ".join(field.description.split())

    @field_validator("*")
    @classmethod
    def _in_64_bits(cls, value: Any) -> Any:
        several = value if isinstance(value, tuple) else (value,)
        if any(isinstance(one, int) and not -(2**63) <= one < 2**63 for one in several):
            raise ValueError("must be below 2^63")
        return value


BY_CLASS, BY_TEXT = "by-class", "by-text"
"""How texts with labels are held out, in the place of a source of validation."""


class DataConfig(Section):
    """Where the text comes from and how it is cut into training examples."""

    source: str = "python-reference"
    """A file, a folder, a glob, hf:NAME/CONFIG (hf:stream:NAME/CONFIG keeps nothing of it on the disk), or a named
    corpus (see `heed list corpora`); or token ids: a folder that `heed data tokenize` has made, or an npz of `tokens`
    and `sizes`, with the tokenizer that made them as tokenizer.file."""
    validation: str | None = None
    """A separate source for validation; when absent, a part of the documents is held out. Of texts with labels that is
    by-class (of each class its share, as in heed tune) or by-text (a hash of each text alone decides, as in runs from
    before)."""
    test: str | None = None
    """A separate source for the test split; when absent, `test_fraction` decides. none: leave the test split alone, for
    runs whose figures still decide something."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the documents (or of a single document's end) held out for validation."""
    test_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the documents held out for the test."""
    column: str = Field(default="text", coerce_numbers_to_str=True)
    """The column (CSV, TSV, Parquet) or key (JSON lines) that holds the text; a number (from 1) where no names are."""
    label: str | None = Field(default=None, coerce_numbers_to_str=True)
    """The column that holds the label of each text: an encoder then learns to classify. A name or number."""
    encoding: str = "utf-8"
    """Encoding of the files that are not UTF-8 and have no byte-order mark."""
    line_ends: Literal["unix", "keep"] = "unix"
    r"""unix: in text files a line end of two characters (\r\n) is read as one (\n). keep: text as it is."""
    separator: str | None = None
    """A string that separates documents inside a text file, such as '<|endoftext|>'."""
    layout: Literal["packed", "padded", "stream"] = "packed"
    """packed: windows cut from the joined documents. padded: one sequence a document, cut and padded to the context.
    stream: each row of a batch goes on where that row of the batch before ended."""
    objective: Literal["next-token", "single-span", "spans", "salient-span", "recall-span", "answers"] = "next-token"
    """next-token: the text as it is. single-span: each document cut at random, a random span of about a quarter moved
    to its end behind mask tokens. spans: several spans, as T5 does. salient-span: as single-span, but whole documents,
    and the span a name, a place or a date. recall-span: the beginning name among a few words before such a span, and
    the span, which must be known by heart. answers: questions with answers, the loss on these alone."""
    plain_share: float = Field(default=0.0, ge=0, le=1)
    """Of the documents of a span objective, the share that stays plain text."""
    questions: str | None = None
    """Questions with answers that are mixed into the text: TSV (question, tab, answer) or JSON lines. What is held out
    is then questions too, `validation` and `test` name such files, and of the text every line is learned."""
    questions_share: float = Field(default=0.25, gt=0, lt=1)
    """Of the rows of training, the share that are `questions`."""
    group_batches: int = Field(default=1, ge=1)
    """Batches of layout padded that are drawn together and sorted by length, so that less of them is padding."""
    first_id: int = Field(default=0, ge=0)
    """Of a source that is token ids (an npz of tokens and sizes): the id of the tokenizer's first token; 1 where 0
    pads."""
    cross_documents: bool = True
    """Whether a packed window may run over the end of a document into the next one."""
    cache: str | None = None
    """Folder for token files; default: .tokens/ beside the runs."""
    workers: int = Field(default=0, ge=0)
    """Processes that tokenise; 0 takes as many as OMP_NUM_THREADS asks for, or else one for each core."""

    @model_validator(mode="before")
    @classmethod
    def _held_out(cls, values: Any) -> Any:
        """Write out how texts with labels are held out: a run that does not say so is from before."""
        return values if not isinstance(values, dict) else values | dict.fromkeys(held_out(values), BY_CLASS)


def held_out(data: dict[str, Any]) -> list[str]:
    """Return the splits that no source is given for, where the section `data` is of texts with labels."""
    return [split for split in ("validation", "test") if data.get("label") is not None and data.get(split) is None]


class TokenizerConfig(Section):
    """How text becomes token ids."""

    kind: Literal["bpe", "char", "word"] = "bpe"
    """bpe: byte-level byte-pair encoding. char: one token a character. word: one token a whitespace-separated word."""
    vocab_size: int = Field(default=4096, ge=2, le=1_000_000_000)
    """Number of tokens, special ones included; word keeps the most frequent ones, char must have room for all."""
    pattern: Literal["gpt2", "gpt4"] = "gpt2"
    """How BPE splits text into pieces before it merges."""
    train_bytes: int = Field(default=100_000_000, ge=1)
    """The tokenizer is trained on the first documents of the training split, up to about this many bytes."""
    file: str | None = None
    """Use this tokenizer and train none: a tokenizer.json, a run folder, or a folder with the two files of GPT-1 or
    GPT-2, which is looked for in $HEED_DATA as well (gpt1-bpe)."""
    read_unk: bool = False
    """Read `<unk>` in the text as the unknown token of tokenizer.file, as transformers do: for WikiText, and GPT-1's
    vocabulary. Otherwise it is text like any other."""


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
    start_from: str | None = None
    """Begin with the weights, the shape and the tokenizer of this run folder; a shorter context may be given beside it,
    and dropout."""
    n_layers: int = Field(default=4, ge=1, le=10_000)
    """Number of blocks, or of recurrent layers."""
    n_heads: int = Field(default=4, ge=1, le=1_000_000)
    """Number of query heads; must divide d_model."""
    n_kv_heads: int | None = Field(default=None, ge=1, le=1_000_000)
    """Number of key/value heads (grouped-query attention); default: n_heads."""
    d_model: int = Field(default=128, ge=1, le=1_000_000)
    """Width of the residual stream; of recurrent and window models, of the embeddings."""
    d_hidden: int | None = Field(default=None, ge=1, le=10_000_000)
    """Width of the feed-forward layer; default: 4 d_model (SwiGLU: 8/3 d_model, rounded up to a multiple of 8). Of
    recurrent layers and of the window's hidden layer; default: d_model."""
    context: int = Field(default=128, ge=1, le=1_000_000_000)
    """Longest sequence, in tokens; of recurrent and window models, the sequences of training."""
    window: int = Field(default=5, ge=1, le=1_000_000)
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
    """Begin with these token embeddings: a .safetensors, .npz or .npy file with one matrix (V, d_model), or with two,
    `tokens` and `position`; the folder of a transformers model, or hf:NAME. Learned positions begin with theirs."""
    freeze_embeddings: bool = False
    """Leave the embeddings as they were given; a head that is tied to them stays as well."""
    freeze_positions: bool = False
    """Leave the positions as model.embeddings gave them."""
    bias: bool = True
    """Biases in linear and normalisation layers."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on embeddings, attention weights and residual branches."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights; residual projections are divided by sqrt(2 n_layers). Recurrent
    layers begin as torch's do."""
    zero_outputs: bool = False
    """Let the residual projections begin at 0, so that each block begins as the identity."""
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
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Train on targets of which this share is spread over all tokens (or classes) alike (Szegedy et al. 2016). It goes
    into the gradient; every loss that is shown stays the plain cross-entropy."""
    sampled_softmax: int | None = Field(default=None, ge=1)
    """Estimate the loss of each step over this many tokens of the vocabulary, drawn anew, frequent ones always (Jean et
    al. 2015): for vocabularies of ten thousand and more, whose output layer is most of the work. The loss of training
    is then an estimate; evaluations are over all tokens. None: all."""
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
    """The learning rate at the last step, as a share of the peak. 0 is reached after the last step: all steps learn."""
    average_fraction: float | None = Field(default=None, gt=0, le=1)
    """Evaluate and keep the mean of the weights over this last share of the training, not the last weights."""
    average_patience: int | None = Field(default=None, ge=1)
    """The same, from the first evaluation on whose loss is above the lowest of those more than this many evaluations
    before it (NT-ASGD, in which AWD-LSTM takes 5)."""
    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the whole gradient; None switches clipping off."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16: products and what passes between them; the weights stay fp32. auto: bf16 on a GPU that computes it fast,
    and on a CPU with AMX for transformers with softmax attention from about 128 wide on; a study on a CPU keeps to
    fp32."""
    compile: bool = False
    """Use torch.compile; heed says so and goes on without it where it fails."""
    recompute: bool = False
    """Keep of each block its input alone, and compute the rest again in the backward pass: the same numbers, in the
    memory of one block's activations and not of all, for about a third more arithmetic. For gpt and encoder."""
    shard: bool = False
    """Several processes hold a part each of the weights, the gradients and the optimizer's state (torch's FSDP2), so
    that a model may be larger than the memory of one; else each holds all. One process alone holds all either way."""
    eval_every: int = Field(default=250, ge=1)
    """Steps between evaluations on the validation split."""
    eval_tokens: int | None = Field(default=None, ge=1)
    """Evaluate on this many tokens during training; None: all."""
    eval_train_tokens: int | None = Field(default=None, ge=0)
    """Each evaluation, and the end, also on this many tokens of the training split, always the same ones. 0: not. None:
    as many texts as validation has, at most 1,000, where texts have labels, else not."""
    final_tokens: int | None = Field(default=None, ge=1)
    """Measure the end on the first this many tokens of each held-out split, and say so; None: the whole split."""
    checkpoint_every: int = Field(default=250, ge=1)
    """Steps between checkpoints."""
    keep_last: int = Field(default=2, ge=1)
    """Recent checkpoints to keep; the best one is kept besides."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without a better validation loss; None: never."""
    least_gain: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Nats by which the loss must fall below that of the last gain to count as better for `patience`; the best
    checkpoint is that of the lowest loss all the same."""
    mask_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Encoder without labels: the share of the tokens that are hidden, and predicted."""
    trackers: tuple[str, ...] = ()
    """Where the run is shown besides its folder: tensorboard, wandb, trackio, or package.module:Class. It changes no
    figure, and none of them ever stops a run."""

    @field_validator("trackers", mode="before")
    @classmethod
    def _split_trackers(cls, value: Any) -> Any:
        """Let a command line write names with commas between."""
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

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
    threads: int | Literal["auto"] | None = "auto"
    """Threads of torch on the CPU. auto takes OMP_NUM_THREADS, and where that is not set as many as are fastest before
    the first step, which the run keeps; null leaves torch's choice. Runs of a study share the cores instead."""

    @field_validator("threads")
    @classmethod
    def _at_least_one(cls, value: Any) -> Any:
        """Refuse less than one."""
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1 or 'auto'")
        return value

    @property
    def fixed_threads(self) -> int | None:
        """The number of threads that is asked for; None: whoever runs it chooses."""
        return self.threads if isinstance(self.threads, int) else None


NO_FIGURE = ("train.trackers",)
"""Settings that change nothing of what a run comes to."""


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

    def changed(self, section: str, **values: Any) -> Self:
        """Return the configuration with some values of one section changed; they are not checked again."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=values)})


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
