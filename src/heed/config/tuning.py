"""The sections of a tuned run's configuration: labelled texts, a pretrained encoder, and what of it is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from heed.config.sections import RunConfig, Section, TrainConfig
from heed.targets import AUTO, TARGETS


class TuneData(Section):
    """Labelled texts, and how they are split."""

    source: str
    """A file (.tsv .csv .jsonl .json .parquet), a folder of train / dev / test files, hf:NAME/CONFIG, sst2 or boolq."""
    text: str = Field(default="text", coerce_numbers_to_str=True)
    """The column of the texts; a number (from 1) where no line names the columns."""
    pair: str | None = Field(default=None, coerce_numbers_to_str=True)
    """The column of second texts, which are cut first where two together are too long."""
    label: str = Field(default="label", coerce_numbers_to_str=True)
    """The column of the labels: words, numbers, true or false, or several (see `task`)."""
    task: str = AUTO
    """What labels are. classes: each text is of one. regression: a number. labels: several, written a|b or as
    a JSON list. auto: as they look, which is told; numbers are classes where there are few and each comes again."""
    group: str | None = Field(default=None, coerce_numbers_to_str=True)
    """A column whose equal values stay in one split, such as the passage that several questions are about."""
    validation: str | None = None
    """A separate source for validation; when absent, a part of the texts is held out."""
    test: str | None = None
    """A separate source for the test; none: do without."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the texts held out for validation, of each class alike."""
    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the texts held out for the test, of each class alike."""
    train_examples: int | None = Field(default=None, ge=1)
    """Train on so many texts; the others are tested on, where no test is given. None: all."""
    encoding: str = "utf-8"
    """Encoding of text files."""

    @field_validator("task")
    @classmethod
    def _known(cls, value: str) -> str:
        """Refuse what is no kind of target."""
        if value not in (AUTO, *TARGETS):
            raise ValueError(f"choose one of {', '.join((AUTO, *TARGETS))}")
        return value


class EncoderConfig(Section):
    """A pretrained model that reads the texts."""

    name: str = "minilm"
    """minilm (from a Python package, no hub needed), a folder, a name on the Hugging Face hub, or a run of heed."""
    max_length: int = Field(default=128, ge=3)
    """Tokens of a text (or pair) that are read; what is longer is cut, and counted."""
    pooling: Literal["auto", "mean", "native"] = "auto"
    """How token states become one vector. mean: of the real tokens, then a linear layer. native: the classification
    head that the architecture has in transformers. auto: native for method full, mean otherwise."""
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of attention weights; above 0 it keeps CPUs from the fused attention."""


class MethodConfig(Section):
    """What is trained, and what of it can be chosen."""

    name: str = "lora"
    """full, mean-full, head, prompt, prefix, lora, dora, ia3, bitfit, or several joined by +."""
    rank: int = Field(default=8, ge=1)
    """lora, dora: the rank of the update of a matrix."""
    alpha: float = Field(default=16.0, gt=0)
    """lora, dora: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """lora, dora: dropout of what goes into the update."""
    targets: tuple[str, ...] | None = None
    """lora, dora, ia3: the last parts of the names of the adapted modules; None: those of the method's paper."""
    tokens: int = Field(default=128, ge=1)
    """prompt, prefix: trained positions before the text."""

    @field_validator("targets", mode="before")
    @classmethod
    def _split_targets(cls, value: Any) -> Any:
        """Let a command line write names with commas between."""
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


class TuneConfig(Section):
    """A whole tuned run."""

    data: TuneData
    """Labelled texts."""
    encoder: EncoderConfig = EncoderConfig()
    """The pretrained model."""
    method: MethodConfig = MethodConfig()
    """What of it is trained."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each class has the same weight in the loss, however many texts it has."""
    adversarial: float = Field(default=0.0, ge=0, le=10)
    """How far word vectors are moved against each step (Miyato et al. 2017): five thirds of the computing. 0: not.
    Word vectors of BERT have a length of about 1, and 0.1 is a good start."""
    train: TrainConfig = TrainConfig()
    """How it is trained."""
    run: RunConfig = RunConfig()
    """Where the run is written."""


TUNING: dict[str, Any] = {
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 1e-4,
    "beta2": 0.999,
    "weight_decay": 0.01,
    "schedule": "linear",
    "final_fraction": 0.0,
    "keep_last": 1,
}
"""Settings of `TrainConfig` that fine-tuning begins with where nothing else is asked for."""
