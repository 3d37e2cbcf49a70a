"""What heed keeps of many runs, as typed objects: each file is written and read by the same class.

    study.json                          StudyFile ── VariantFacts, StudyCell (an Outcome with its variant and seed)
    records/<variant>/seed-<n>.json     Outcome
    tune.json                           TuneFile ── TunedArm ── RateTrial, StepBytes, SeedRun ── Scores, CurvePoint
    runs/<name>/result.json             KeptResult ── RunResult
    recovery.json                       RecoveryFile ── TruthCheck
    hidden_size.json                    HiddenSizeFile
    explore.json                        ExplorationFile ── ExploredHead

A key that this version does not know stays in the object and in the file, and `unknown` names it. A key that was never
set is not written. `read` refuses what is damaged and says where; `read_leniently` leaves that out and says so, since
most of a study can still be shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
    model_validator,
)

from heed import seals
from heed.errors import CheckpointError, why

STUDY, TUNE, RESULT = "study.json", "tune.json", "result.json"
RECOVERY, HIDDEN_SIZE, EXPLORATION = "recovery.json", "hidden_size.json", "explore.json"


class DamagedError(CheckpointError):
    """A file of heed's is not what it should be."""


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _real(value: Any) -> Any:
    """Return None for what is no finite number: such a figure is as good as missing."""
    return value if type(value) in (int, float) and math.isfinite(value) else None


Whole = Annotated[int, BeforeValidator(_whole)]
"""162.0 steps are 162."""
Finite = Annotated[float | None, BeforeValidator(_real)]
Unknown = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(lambda value: None if math.isnan(value) else value),
]
"""NaN where the file has null."""


class Kept(BaseModel):
    """A JSON object of heed's."""

    model_config = ConfigDict(
        extra="allow", strict=True, allow_inf_nan=False, validate_by_name=True, validate_by_alias=True
    )
    FORMAT: ClassVar[int] = 1
    """The version of a file, in its key `format`; without one it is the first."""

    @model_validator(mode="before")
    @classmethod
    def _leave_nulls_out(cls, values: Any) -> Any:
        """Take null for what is not there, where that has a value that is not None."""
        if not isinstance(values, dict):
            return values
        usual = {field.alias or name: field.get_default(call_default_factory=True) for name, field in _optional(cls)}
        return {key: value for key, value in values.items() if value is not None or usual.get(key) in (None, math.nan)}

    def __eq__(self, other: object) -> bool:
        """Whether it is the same object; contents are compared by `plain`."""
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def plain(self) -> dict[str, Any]:
        """Return what the file holds: the keys that were set, and those that are not known here."""
        return self.model_dump(exclude_unset=True, by_alias=True)

    def but(self, **changes: Any) -> Self:
        """Return the same with other values."""
        return self.model_copy(update=changes)


def _optional(kind: type[BaseModel]) -> list[tuple[str, Any]]:
    return [(name, field) for name, field in kind.model_fields.items() if not field.is_required()]


Record = TypeVar("Record", bound=Kept)


# ---------------------------------------------------------------------- a study

TRAINED = ("finished", "leaks")
"""States of a run that has its figures."""


class Outcome(Kept):
    """What a run of a study has come to."""

    state: str = ""
    """finished, leaks (finished, with a leak that was allowed), does not fit, broke down (NaN), failed, interrupted;
    pruned of a trial."""
    message: str = ""
    """Why it did not finish; empty where it did."""
    figures: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By split, each with its passport."""
    seconds: float | None = None
    """Of training."""
    tokens: Whole | None = None
    tokens_per_second: float | None = None
    memory: dict[str, Finite] | None = None
    """Bytes: steady (the median after updates) and peak."""
    leaks: str | None = None
    """What the audit found, where it found a leak."""

    @classmethod
    def of(cls, state: str, message: str = "", **values: Any) -> Self:
        """Return an outcome that says nothing of what is not given."""
        empty = {"figures": {}, "seconds": None, "tokens": None, "tokens_per_second": None, "memory": None}
        return cls.model_validate({"state": state, "message": message, **empty, "leaks": None, **values})


class _Placed(Kept):
    variant: str
    seed: int


class StudyCell(Outcome, _Placed):
    """One variant with one seed."""

    folder: str = ""
    """The run folder, relative to the study's; empty when there is none."""


class VariantFacts(Kept):
    """What a variant is, in numbers."""

    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted setting -> value, where it differs from the base."""
    parameters: Whole | None = None
    flops_per_token: Whole | None = None
    steps: Whole | None = None
    """What the budget comes to; None where it is a time."""


class StudyFile(Kept):
    """study.json."""

    title: str | None = None
    figure: str = ""
    baseline: str = ""
    budget: dict[str, Any] = Field(default_factory=dict)
    """kind (tokens, steps, flops or seconds) and amount."""
    seeds: list[int] = Field(default_factory=list)
    lengths: list[Annotated[int, Field(gt=0)]] = Field(default_factory=list)
    base: dict[str, Any] = Field(default_factory=dict)
    """The configuration that all have in common, nested, every default written out."""
    variants: dict[str, VariantFacts] = Field(default_factory=dict)
    cells: list[StudyCell] = Field(default_factory=list)
    machine: dict[str, Any] = Field(default_factory=dict)
    command: str = ""
    search: dict[str, Any] | None = None
    """What the search was asked for, every trial, and the best values."""


# ---------------------------------------------------------------------- a tune


class Scores(Kept):
    """The figures of one split: see `heed.report.classification`."""

    examples: Whole
    correct: Whole
    accuracy: float
    accuracy_interval: Annotated[list[float], Field(min_length=2, max_length=2)]
    majority: float
    """Share of the commonest class."""
    loss: Unknown = math.nan
    """Nats an example."""
    refined_loss: float | None = None
    f1: float
    """Macro F1."""
    f1_positive: float | None = None
    """F1 of the second of two classes."""
    mcc: float
    calibration_error: float
    bins: Whole = Field(default=10, alias="calibration_bins")
    """Of equal mass, that the calibration error is taken over."""
    confusion: list[list[Whole]]


class NumberScores(Kept):
    """The figures of one split of scores: see `heed.report.gradings.regression`."""

    examples: Whole
    r2: Finite
    r2_interval: list[float] | None = None
    mse: float
    mse_interval: list[float] | None = None
    rmse: float
    mae: float
    pearson: Finite = None
    pearson_interval: list[float] | None = None
    spearman: Finite = None
    spearman_interval: list[float] | None = None
    loss: Unknown = math.nan
    """Mean squared error / variance of the training scores."""
    baseline: float = 0.0
    """R² of always saying the mean of the training scores."""
    mean_mse: float
    """Mean squared error of that."""


class LabelScores(Kept):
    """The figures of one split of sets of labels: see `heed.report.gradings.labels`."""

    examples: Whole
    micro_f1: float
    micro_f1_interval: list[float] | None = None
    macro_f1: float
    macro_f1_interval: list[float] | None = None
    exact_match: float
    exact_match_interval: list[float] | None = None
    correct: Whole
    """Texts all of whose labels are right."""
    loss: Unknown = math.nan
    """Nats a label."""
    baseline: float
    """The highest micro F1 of always saying the same labels."""
    threshold: float
    """Probability from which a label is said."""
    each: list[dict[str, Any]]
    """Of each label: texts, precision, recall, f1."""


def _kind_of_scores(value: Any) -> str:
    """Return the tag of the figures of a split: each kind of target has one that no other has."""
    has = (lambda name: name in value) if isinstance(value, dict) else lambda name: hasattr(value, name)
    return next((tag for tag, name in _TELLING.items() if has(name)), _CLASSES)


_CLASSES = "scores:classes"
_TELLING: dict[str, str] = {"scores:regression": "r2", "scores:labels": "micro_f1"}
"""A figure that no other kind of target has, by tag."""
AnyScores = Annotated[
    Annotated[Scores, Tag(_CLASSES)]
    | Annotated[NumberScores, Tag("scores:regression")]
    | Annotated[LabelScores, Tag("scores:labels")],
    Discriminator(_kind_of_scores),
]
"""The figures of one split, of any kind of target."""


class CurvePoint(Kept):
    """What was measured at one moment of training."""

    epoch: Unknown = math.nan
    """NaN: before anything was logged."""
    train_loss: Finite = None
    """Mean of the steps' losses since the point before, while it learned."""
    validation_loss: Finite = None
    validation_accuracy: Finite = None
    train_measured_loss: Finite = None
    """Of a fixed part of the training texts, in the same way and at the same moment as validation."""
    train_accuracy: Finite = None
    """Of the same part."""
    validation_figure: Finite = None
    """What stands in the place of an accuracy where texts have no classes: see `heed.report.gradings`."""
    train_figure: Finite = None

    def figure(self, split: Literal["train", "validation"]) -> float | None:
        """Return the accuracy on a split, or what stands in its place."""
        accuracy = getattr(self, f"{split}_accuracy")
        return getattr(self, f"{split}_figure") if accuracy is None else accuracy


class RateTrial(Kept):
    """One learning rate of a search."""

    learning_rate: float
    epochs: Whole | None = None
    steps: Whole = 0
    seconds: float = 0.0
    accuracy: Finite = None
    """On the validation split; None: it broke down."""
    loss: Finite = None
    refined_loss: Finite = None
    figure: Finite = None
    """What stands in the place of `accuracy` where texts have no classes."""
    chosen: bool = False

    @property
    def value(self) -> float | None:
        """The accuracy, or what stands in its place; None: it broke down."""
        return self.figure if self.accuracy is None else self.accuracy

    @property
    def criterion(self) -> float | None:
        """What the search goes by, lower is better; None: it broke down."""
        return self.loss if self.refined_loss is None else self.refined_loss


class StepBytes(Kept):
    """Bytes of one training step, at the moment when it holds the most."""

    weights: Whole = 0
    gradients: Whole = 0
    """Those that exist at that moment."""
    optimizer: Whole = 0
    activations: Whole = 0
    """What else a step holds at that moment."""
    all_gradients: Whole | None = None
    """One for each parameter that learns; None: an older heed took all of them off the peak (see `subtracted`)."""
    forward_peak: Whole | None = None
    """Of the forward pass alone, weights and optimizer state not counted."""
    backward_peak: Whole | None = None
    """Of the backward pass alone, beyond all that is held when it begins."""
    batch_size: Whole | None = None
    tokens: Whole | None = None
    """Tokens of a row."""

    @property
    def subtracted(self) -> bool:
        """Whether activations are the peak less all gradients, which need not be there at that moment."""
        return self.all_gradients is None

    @property
    def peak(self) -> int:
        """The four parts together, or what was measured at most where that is more."""
        parts = self.weights + self.gradients + self.optimizer + self.activations
        return max(parts, self.forward_peak or 0, self.backward_peak or 0)


class RunResult(Kept):
    """What came of one training; of a soup its figures alone."""

    folder: str = ""
    """Relative to the folder of the tune."""
    best_epoch: float | None = None
    test: AnyScores | None = None
    seconds: float = 0.0
    examples_per_second: float | None = None
    reason: str = ""
    """Why it ended."""
    curve: list[CurvePoint] = Field(default_factory=list)
    validation: AnyScores | None = None
    train: AnyScores | None = None
    """Of a fixed part of the training texts, by the weights that were kept."""


class _Seeded(Kept):
    seed: int


class SeedRun(RunResult, _Seeded):
    """One training with one seed."""

    validation: AnyScores  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]


class KeptResult(Kept):
    """result.json."""

    key: str
    """What the result depends on, as a hash."""
    result: RunResult


class TunedArm(Kept):
    """An encoder with a method, its search and its runs by seed."""

    name: str
    encoder: str
    method: str
    optimizer: str = ""
    """Empty where an earlier heed did not say it of each arm."""
    batch_size: Whole | None = None
    stem: str = ""
    """How the names of its runs' folders begin."""
    status: str
    """running, done, "does not fit" or failed."""
    reason: str | None = None
    search: list[RateTrial] = Field(default_factory=list)
    runs: list[SeedRun] = Field(default_factory=list)
    trained_parameters: Whole | None = None
    pooling: str = ""
    formula: str = ""
    """How `trained_parameters` is counted."""
    options: dict[str, Any] = Field(default_factory=dict)
    memory: StepBytes | None = None
    learning_rate: float | None = None
    epochs: Whole | None = None
    steps: Whole | None = None
    """Updates of a run; None where it is not known."""
    soup: list[int] = Field(default_factory=list)
    """The seeds whose weights were averaged into its only run, where it is a soup."""


class SizePoint(Kept):
    """A run on part of the training examples."""

    arm: str
    examples: Whole
    seed: int
    validation: AnyScores
    test: AnyScores | None = None


class TunedTexts(Kept):
    """The labelled texts of a tune: see `heed.text.splits_report.describe`."""

    name: str
    classes: list[Any]
    """Their names; none of what is no class."""
    target: dict[str, Any] | None = None
    """What is learned, where it is no class: see `heed.targets`."""
    splits: dict[str, Any] = Field(default_factory=dict)
    leakage: list[Any] = Field(default_factory=list)
    notes: list[Any] = Field(default_factory=list)
    fingerprint: str | None = None
    cut: dict[str, Any] = Field(default_factory=dict)


class TuneFile(Kept):
    """tune.json."""

    format: int
    command: list[Any] = Field(default_factory=list)
    machine: dict[str, Any] = Field(default_factory=dict)
    data: TunedTexts
    encoders: dict[str, dict[str, Any]]
    seeds: list[int]
    epochs: Any = None
    """A number, or the list of those that are searched."""
    batch_size: Any = None
    steps: Whole | None = None
    search: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    """Those that all arms share; empty in the file of an early heed."""
    arms: list[TunedArm]
    sizes: list[SizePoint] = Field(default_factory=list)
    largest_batches: dict[str, int] = Field(default_factory=dict)


# ---------------------------------------------------------------------- a recovered distribution


class TruthCheck(Kept):
    """How far a recovered distribution is from that of a model at hand."""

    name: str
    worst: float
    """The largest difference of a log-probability, in nats."""
    outside: Whole
    """Tokens whose difference is more than their error bar."""


class RecoveryFile(Kept):
    """recovery.json: what was asked of an API and what came of it; the distribution itself is in distribution.npz."""

    format: int = 1
    command: list[str] = Field(default_factory=list)
    prompt: str = ""
    prompt_ids: list[int] | None = None
    endpoint: str = ""
    model: str = ""
    vocabulary: Whole
    method: str
    shows: str
    """biased, raw or nothing: which probabilities the API shows."""
    top: Whole
    """Likeliest tokens that it shows."""
    bias: float
    """Its largest bias."""
    resolution: str
    """What it rounds to."""
    noise: float = 0.0
    """Nats by which equal questions were answered differently."""
    formula: Whole
    """Calls by the formula of the method."""
    asked: Whole
    """Questions that were asked, those of the probe among them."""
    controls: Whole = 0
    """Calls that looked for a change."""
    spent: dict[str, float | None] = Field(default_factory=dict)
    """calls, prompt_tokens, completion_tokens, dollars of the last time; what was kept from earlier costs nothing."""
    seconds: float = 0.0
    wanted: Whole
    """Tokens that were asked for: all, or those of a nucleus."""
    seen: Whole
    seen_mass: float
    seen_mass_error: float
    unseen_mass: float
    unseen: list[int] = Field(default_factory=list)
    """Tokens that were asked for and never seen."""
    error_median: float | None = None
    error_worst: float | None = None
    facts: dict[str, float] = Field(default_factory=dict)
    truth: TruthCheck | None = None
    notes: list[str] = Field(default_factory=list)


class HiddenSizeFile(Kept):
    """hidden_size.json: the rank of what an API said after many prompts."""

    format: int = 1
    command: list[str] = Field(default_factory=list)
    endpoint: str = ""
    model: str = ""
    vocabulary: Whole
    prompts: Whole
    tokens: Whole
    """Tokens that were read after every prompt."""
    rank: Whole
    bounded: bool
    """Whether there were too few prompts or tokens to tell: the model may be wider."""
    gap: float
    """How many times larger the last singular value that counts is than the next one."""
    floor: float
    """Where the singular values of noise end."""
    singular: list[float]
    error_median: float
    """Of the log-probabilities, in nats."""
    formula: Whole
    asked: Whole
    spent: dict[str, float | None] = Field(default_factory=dict)
    seconds: float = 0.0


class ExploredHead(Kept):
    """What one head of a model does; None where a figure does not exist."""

    layer: Whole
    """Counted from 0."""
    head: Whole
    reading: str
    """weights, effective, channels or none: see `heed.explore.mixing`."""
    entropy: Finite = None
    """Nats."""
    share: Finite = None
    """Of the largest entropy that the keys allow."""
    distance: Finite = None
    """Tokens."""
    previous: Finite = None
    first: Finite = None
    induction: Finite = None
    induction_interval: list[float] | None = None
    """95 %, over sequences."""
    zero: Finite = None
    """Nats a token that the loss rises by when what the head mixes is set to zero."""
    zero_interval: list[float] | None = None
    """95 %, over windows."""
    mean: Finite = None
    """The same with the mean in its place."""
    mean_interval: list[float] | None = None
    role: str = ""
    """What it looks at for half of its weight or more."""


class ExplorationFile(Kept):
    """explore.json: the attention of a model on a prompt, and what its heads are good for; maps are in explore.npz."""

    format: int = 1
    command: list[str] = Field(default_factory=list)
    model: str
    source: str = ""
    kind: str
    """The mechanism, or the architecture in transformers."""
    causal: bool
    layers: Whole
    heads_per_layer: Whole
    context: Whole
    prompt: str
    prompt_from: str = ""
    """Where the prompt comes from, where it was not given."""
    tokens: list[str]
    shown: list[int]
    """Layers that were looked at."""
    map_error: Finite = None
    """How far A v is from what a layer made, at most, as a share of its length."""
    heads: list[ExploredHead]
    induction: dict[str, Any] | None = None
    """length, repeats, sequences, seed, chance, and the loss of the first copy and the later ones with its interval."""
    loss: dict[str, Any] | None = None
    """text, windows, window (tokens), nats, interval: of the whole model, on the text that heads are judged by."""
    lens: list[float | None] = Field(default_factory=list)
    """Loss of the prompt by layer, the embeddings first, nats a token."""
    lens_text: list[dict[str, Any]] = Field(default_factory=list)
    """The same on the text that heads are judged by: nats, interval, and over_last, over_last_interval (paired)."""
    notes: list[str] = Field(default_factory=list)


# ---------------------------------------------------------------------- reading and writing


def write(path: Path, record: Kept | Mapping[str, Any]) -> None:
    """Write JSON whole or not at all, and keep its hash. Raises `CheckpointError` when the folder or disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        seals.write_json(path, record.plain() if isinstance(record, Kept) else record)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {why(error)}; make room and give the same command again, or choose another "
            "--out"
        ) from error


def read(kind: type[Record], path: Path, shown: str | Path | None = None) -> Record:
    """Return what a JSON file holds.

    Raises `DamagedError` that says where it is damaged (of the path as `shown`), and what `seals.read_json` raises.
    """
    shown = path if shown is None else shown
    content = seals.read_json(path)
    _check_format(kind, content, shown)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise DamagedError(_said(shown, error)) from None


def read_leniently(kind: type[Record], content: dict[str, Any], shown: str | Path) -> tuple[Record, list[str]]:
    """Return what some JSON says without what is damaged in it, and a line about each thing that was left out.

    Raises `DamagedError` for the format of another version.
    """
    _check_format(kind, content, shown)
    notes: list[str] = []
    while True:
        try:
            return kind.model_validate(content), notes
        except ValidationError as error:
            gone: list[tuple[str | int, ...]] = []
            for one in reversed(error.errors()):  # from the end, so that places of what is before stay
                place = one["loc"][:-1] if one["type"] == "missing" else one["loc"]
                if not place:
                    raise
                if not any(place[: len(other)] == other for other in gone):
                    gone.append(place)
                    _take_out(content, place)
                    if len(place) > 1:  # what is missing of the whole is told by whoever needs it
                        notes.append(f"{_dotted(one['loc'])} of {Path(shown).name} {_state(one)} and was left out.")


def unknown(record: Kept, where: str = "") -> Iterator[str]:
    """Yield the dotted names of the keys that this version does not know: a newer one wrote them."""
    yield from (f"{where}{key}" for key in record.model_extra or ())
    for name in type(record).model_fields:
        value = getattr(record, name)
        for key, one in value.items() if isinstance(value, Mapping) else enumerate(_listed(value)):
            if isinstance(one, Kept):
                yield from unknown(one, f"{where}{name}.{key}." if value is not one else f"{where}{name}.")


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _check_format(kind: type[Kept], content: Any, shown: str | Path) -> None:
    found = _whole(content.get("format", kind.FORMAT)) if isinstance(content, dict) else kind.FORMAT
    if type(found) is int and found != kind.FORMAT:
        raise DamagedError(f"{shown} has format {found}, this heed reads {kind.FORMAT}")


def _said(shown: str | Path, error: ValidationError) -> str:
    """Say in a line what is damaged first.

    As "t/tune.json, arms 1, runs 0 is damaged (seed is no int)".
    """
    first = error.errors()[0]
    place = [part for part in first["loc"] if not str(part).startswith("scores:")]  # a tag is in no file
    last = "" if not place or first["type"] == "model_type" else str(place.pop())
    inside = _dotted(place)
    state = f"{last} {_state(first)}" if last else "no JSON object"
    return f"{shown}{f', {inside}' if inside else ''} is damaged ({state})"


def _dotted(place: Sequence[str | int]) -> str:
    """Return a place for people.

    >>> _dotted(("arms", 1, "runs", 0, "seed"))
    'arms 1, runs 0, seed'
    """
    said = ""
    for part in place:
        said += f" {part}" if isinstance(part, int) else f", {part}"
    return said.removeprefix(", ")


def _state(error: Any) -> str:
    kind = error["type"].partition("_")[0]
    if kind == "missing":
        return "is missing"
    names = {"string": "str", "dict": "dict", "list": "list", "int": "int", "float": "float", "bool": "bool"}
    if kind in names:
        return f"is no {names[kind]}"
    return "is no JSON object" if kind == "model" else f"is not as it should be: {error['msg'].lower()}"


def _take_out(content: Any, place: Sequence[str | int]) -> None:
    for key in place[:-1]:
        content = content[key]
    del content[place[-1]]
