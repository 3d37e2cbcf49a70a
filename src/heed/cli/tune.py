"""`heed tune`: which fine-tuning for my labelled texts? Every method at its own rate, over seeds, with intervals."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from pydantic import Field, ValidationError

from heed import seals
from heed.cli.place import PlaceFlags, cluster_of, device_of, left, show_array
from heed.cli.settings import COMMAS, parse, place, split_settings
from heed.cli.streams import show, terminal_width
from heed.cli.suggest import suggest
from heed.config import TrainConfig
from heed.config.tuning import TUNING, TuneConfig
from heed.errors import ConfigError, did_you_mean
from heed.report.numbers import format_accuracy, said_interval

ACTIONS = {"suggest": suggest}
ALIASES = {
    "text": "data.text", "pair": "data.pair", "label": "data.label", "task": "data.task", "group": "data.group",
    "validation": "data.validation", "test": "data.test", "train_examples": "data.train_examples",
    "max_length": "encoder.max_length", "class_weights": "class_weights", "adversarial": "adversarial",
    "batch_size": "train.batch_size",
    "device": "run.device", "threads": "run.threads",
}  # fmt: skip
"""Short names of settings that are often given."""
OURS = {
    "method.name": "give --methods, one or several", "encoder.name": "give --encoders, one or several",
    "data.source": "DATA names the texts", "train.learning_rate": "give --rates, one or several",
    "train.steps": "give --epochs", "train.seconds": "give --epochs",
    "train.eval_every": "every epoch is measured", "train.checkpoint_every": "every epoch is kept until a better one",
    "run.name": "give --out", "run.folder": "give --out",
}  # fmt: skip
"""Settings that a tune makes itself, and what to give in their place."""


class TuneFlags(PlaceFlags):
    """Tune a pretrained encoder on labelled texts by several methods, and say which to use.

    Each method's learning rate is chosen on validation by a short search at equal budget; then every seed is trained,
    and the test split is read once a run. What is finished is never made again: the same command goes on. Every
    setting of a run is a flag besides: --method.rank 16, --encoder.pooling native, --train.weight-decay 0.

    examples:
      heed tune reviews.csv --text review --label stars
      heed tune sst2 --methods full,head,prompt,prefix,lora --seeds 3 --out tunes/sst2
      heed tune boolq --methods head,lora --max-length 256
      heed tune my-folder/ --encoders minilm,roberta-base --methods lora
      heed tune sst2 --methods head,lora --sizes 100,300,1000,3000
      heed tune sst2 --methods lora --rates 1e-4,5e-4,1e-3 --epochs 7,9
      heed tune sst2 --methods full --optimizers adamw,sgd,adagrad --batch-sizes 16,64
      heed tune reviews.csv --overfit 10            can it learn ten texts by heart?
      heed tune tunes/sst2 --report                 the page alone, from what is there
      heed tune tunes/sst2 --calibrate              a temperature for heed predict --calibrated
      heed tune suggest tunes/sst2 --file new.csv   which texts to label next
      heed tune sst2 --on slurm --slurm.time 1:00:00 --slurm.gpus 1
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A file (.csv .tsv .jsonl .json .parquet), a folder with train / dev / test files, hf:NAME, sst2 or boolq."""
    methods: Annotated[str, COMMAS] = "full,head,lora"
    """full, mean-full, head, prompt, prefix, lora, dora, ia3, bitfit; several joined by + are one (lora+bitfit)."""
    encoders: Annotated[str, COMMAS] = "minilm"
    """minilm, folders, names on the Hugging Face hub, runs of heed."""
    seeds: int = Field(default=3, ge=1)
    """Runs of each method."""
    epochs: Annotated[str, COMMAS] = "3"
    """Passes over the training texts; of several numbers the search takes the best."""
    rates: Annotated[str | None, COMMAS] = None
    """Learning rates to try, the same for all methods; default: each method's own."""
    optimizers: Annotated[str | None, COMMAS] = None
    """adamw, adam, sgd, momentum, adagrad, muon: several are arms, each with rates of its own."""
    batch_sizes: Annotated[str | None, COMMAS] = None
    """Texts in a step; several are arms, each with a search of its own."""
    search: Literal["grid", "optuna", "none"] = "grid"
    """How the rate is found; none takes the middle one."""
    trials: int = Field(default=8, ge=1)
    """Tries of --search optuna."""
    soup: bool = False
    """Also average the weights of each method's seeds into one model, an arm of its own (Wortsman et al. 2022)."""
    sizes: Annotated[str | None, COMMAS] = None
    """Numbers of training texts for a learning curve, such as 100,300,1000."""
    overfit: int | None = Field(default=None, ge=2)
    """Only check that each method can learn this many texts by heart; curve and page go to a folder beside --out."""
    out: Path | None = None
    """Folder for everything; default: tunes/ and the name of the data."""
    overwrite: bool = False
    """Delete what an earlier tune left in the folder."""
    report: bool = False
    """Write the page of what is there, and train nothing."""
    calibrate: bool = False
    """Train nothing: of the run DATA, or of the best run of the tune DATA, choose on validation the temperature that
    makes its probabilities as sure as they should be (Guo et al. 2017), and keep it for heed predict --calibrated."""
    jobs: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Runs at a time, each in a process of its own with its share of the cores; auto: one for each core, as far as
    memory goes; default: one by one in this process."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print the whole record as one JSON object on standard output."""
    text: str | None = None
    """Column of the texts (name, or number from 1 where no line names them)."""
    pair: str | None = None
    """Column of second texts."""
    label: str | None = None
    """Column of the labels."""
    task: str | None = None
    """What labels are: classes, regression (numbers) or labels (several: a|b, JSON lists); default: as they look."""
    group: str | None = None
    """Column whose equal values stay in one split."""
    validation: str | None = None
    """A file for validation; default: a tenth is held out, stratified."""
    test: str | None = None
    """A file for the test; default: a tenth is held out, stratified."""
    train_examples: int | None = Field(default=None, ge=1)
    """Train on so many texts, and test on the rest where no test is given."""
    max_length: int | None = Field(default=None, ge=3)
    """Tokens that are read of a text."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Texts in a step; auto: the most that fit with every method and encoder."""
    class_weights: Literal["none", "balanced"] | None = None
    """balanced: each class has the same weight in the loss, however many texts it has."""
    adversarial: float | None = Field(default=None, ge=0)
    """Move word vectors against each step by so much, as 0.1 (Miyato et al. 2017): five thirds of the computing."""
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None
    """Where to train."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of torch on the CPU."""


def main(argv: list[str]) -> int:
    """Tune; 0 when done, 130 when interrupted."""
    if argv and argv[0] in ACTIONS:
        return ACTIONS[argv[0]](argv[1:])
    settings, rest = split_settings(argv)
    flags = parse(TuneFlags, rest, "tune", tuple(TuneConfig.model_fields), TuneConfig)
    folder = flags.out or Path("tunes") / _stem(flags.data)
    slurm = cluster_of(flags)
    if flags.calibrate:
        return _calibrate(Path(flags.data), flags.device or "auto", flags.json_)
    if flags.report:
        itself = flags.out is None and (Path(flags.data) / "tune.json").is_file()
        return conclude(Path(flags.data) if itself else folder, flags.json_)
    axes = {"optimizers": _optimizers(flags, settings), "batch_sizes": _batch_sizes(flags, settings)}
    config = make_tune_config(flags, settings)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # the profiler warns of memory that it has not seen begin

    from heed.cli import tell
    from heed.studies.by_heart import overfit
    from heed.studies.tune import tune
    from heed.studies.tune_plan import TunePlan
    from heed.training.progress import make_progress

    plan = TunePlan(
        config=config,
        methods=_names("--methods", flags.methods),
        encoders=_names("--encoders", flags.encoders),
        seeds=tuple(range(config.run.seed, config.run.seed + flags.seeds)),
        epochs=_numbers("--epochs", flags.epochs, int),
        rates=None if flags.rates is None else _numbers("--rates", flags.rates, float),
        **axes,
        search=flags.search,
        trials=flags.trials,
        soup=_soup(flags),
        sizes=() if flags.sizes is None else _numbers("--sizes", flags.sizes, int),
        command=("heed", "tune", *argv),
        elsewhere=None if slurm is None else device_of(config.run.device, slurm),
    )
    if flags.overfit is not None:
        beside = folder.with_name(f"{folder.name}-overfit")
        return _show_overfit(overfit(plan, flags.overfit, tell, beside), flags.json_)
    if slurm is not None and config.train.batch_size == "auto":
        raise ConfigError("--batch-size auto: what fits is measured here, and the runs are elsewhere: give a number")
    if slurm is not None and flags.dry_run:
        return show_array(slurm, folder, len(plan.pairs))
    if not tune(plan, folder, tell, make_progress, jobs=flags.jobs, overwrite=flags.overwrite, slurm=slurm):
        if slurm is not None:
            tell(left(folder, shlex.join(plan.command)))
            return 130
        tell(f"interrupted, and what was done is kept; go on with: {shlex.join(plan.command)}")
        return 130
    return conclude(folder, flags.json_)


def make_tune_config(flags: TuneFlags, settings: dict[str, Any]) -> TuneConfig:
    """Return the configuration that all runs share. Raises `ConfigError` that holds every problem at once."""
    given = {f"{section}.{name}" for section, values in settings.items() for name in values}
    if problems := [f"{name}: heed tune sets it; {instead}" for name, instead in OURS.items() if name in given]:
        raise ConfigError(*problems)
    for name, value in TUNING.items():
        settings.setdefault("train", {}).setdefault(name, value)
    place(settings, ["data", "source"], flags.data)
    for name, setting in ALIASES.items():
        if (value := getattr(flags, name)) is not None:
            if setting in given:
                flag = name.replace("_", "-")
                raise ConfigError(
                    f"{setting} is given twice, as --{flag} and --{setting.replace('_', '-')}: leave one out"
                )
            place(settings, setting.split("."), value)
    try:
        config = TuneConfig.model_validate(settings)
        if config.train.least_gain and config.train.patience is None:
            raise ConfigError("train.least_gain: says what counts as a gain for train.patience: give that too")
        if config.train.sampled_softmax is not None:
            raise ConfigError("train.sampled_softmax: is for models that predict tokens, not classes: leave it out")
        return config
    except ValidationError as error:
        problems = {item["loc"][:2]: _explain(item) for item in reversed(error.errors())}  # one a branch of a type
        raise ConfigError(*reversed(problems.values())) from None


def _explain(item: Any) -> str:
    """Return a line that names a setting and what is wrong with it."""
    where = ".".join(map(str, item["loc"][:2]))
    if item["type"] == "extra_forbidden":
        kind: Any = TuneConfig
        for key in item["loc"][:-1]:
            kind = kind.model_fields[key].annotation
        return f"{where}: unknown setting, {did_you_mean(str(item['loc'][-1]), kind.model_fields)}"
    said = item["msg"].removeprefix("Value error, ")
    return f"{where}: {said[0].lower()}{said[1:]}, not {item['input']!r}"


def _calibrate(folder: Path, device: str, as_json: bool) -> int:
    """Choose the temperature of a run and print what it is worth."""
    from heed.report.tabular import to_text, words_table
    from heed.tuning.calibrating import calibrate

    run, found = calibrate(folder, device)
    if as_json:
        print(json.dumps(found.plain() | {"run": str(run)}, indent=2, ensure_ascii=False))
        return 0
    rows = []
    splits = [("validation", found.validation), *([("test", found.test)] if found.test is not None else [])]
    for name, split in splits:
        for when, one in (("as it was", split.before), ("calibrated", split.after)):
            error = f"{one.error:.3f} ({said_interval(*one.interval)})"
            chance = f"{one.chance_most:.3f}"
            shown = (f"{one.loss:.4f}", error, chance, format_accuracy(one.confidence), format_accuracy(split.accuracy))
            rows.append((f"{name}, {when}", *shown))
    head = ("split", "loss", "calibration error", "noise at most", "says", "is right")
    sure = "it was too sure" if found.temperature > 1 else "it was not sure enough"
    sure = sure if found.needed else "validation does not show that another than 1 is needed"
    what = f"temperature {found.temperature:.4g} ({sure}), chosen on {found.validation.examples:,} validation texts"
    after = "On validation these flatter, as it chose there; what is predicted stays the same."
    table = to_text(words_table(head, rows), terminal_width())
    show(
        [
            f"{run}: {what}",
            "",
            *table,
            "",
            after,
            f"kept in {run / 'calibration.json'}: heed predict {run} --calibrated",
        ]
    )
    return 0


def conclude(folder: Path, as_json: bool) -> int:
    """Write the page and print what was found."""
    from heed.report.tuning_page import write_tuning
    from heed.report.tuning_tables import tuning_lines

    page = write_tuning(folder)
    if as_json:
        content = seals.read_json(folder / "tune.json")
        print(json.dumps(content | {"page": str(page)}, indent=2, ensure_ascii=False))
    else:
        show([*tuning_lines(folder, terminal_width()), f"report: {page}"])
    return 0


def _optimizers(flags: TuneFlags, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the optimizers that are arms. Raises `ConfigError` for an unknown one."""
    if flags.optimizers is None:
        return ()
    known = get_args(TrainConfig.model_fields["optimizer"].annotation)
    names = _names("--optimizers", flags.optimizers)
    for name in names:
        if name not in known:
            raise ConfigError(f"--optimizers: {name!r} is unknown, {did_you_mean(name, known)}")
    if "optimizer" in settings.get("train", {}):
        raise ConfigError("train.optimizer: --optimizers gives them: leave out one of the two")
    return names


def _batch_sizes(flags: TuneFlags, settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the batch sizes that are arms."""
    if flags.batch_sizes is None:
        return ()
    if flags.batch_size is not None or "batch_size" in settings.get("train", {}):
        raise ConfigError("--batch-size: --batch-sizes gives them: leave out one of the two")
    return _numbers("--batch-sizes", flags.batch_sizes, int)


def _soup(flags: TuneFlags) -> bool:
    """Whether seeds are averaged. Raises `ConfigError` where there is nothing to average."""
    from heed.studies.soup import has_soup

    methods = _names("--methods", flags.methods)
    if flags.soup and flags.seeds < 2:
        raise ConfigError("--soup: it is the mean of several seeds: take --seeds 2 or more")
    if flags.soup and not any(map(has_soup, methods)):
        raise ConfigError(
            f"--soup: seeds of {', '.join(methods)} begin at random and have no mean: add full, mean-full, head, ia3 "
            "or bitfit, or leave it out"
        )
    return flags.soup


def _show_overfit(found: dict[str, float], as_json: bool) -> int:
    """Print the accuracy of each method on the texts that it learned by heart; 1 where one could not."""
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    for name, accuracy in [] if as_json else found.items():
        print(f"{name}: {accuracy:.0%} of the texts by heart".replace("%", " %"))
    return 0 if all(accuracy == 1 for accuracy in found.values()) else 1


def _names(flag: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{flag}: {text!r} names nothing, or something twice: write names with commas between")
    return names


def _numbers(flag: str, text: str, kind: type[Any]) -> tuple[Any, ...]:
    try:
        numbers = tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{flag}: {text!r} is no list of numbers: write them with commas between") from None
    if not all(0 < number < float("inf") for number in numbers) or len(set(numbers)) < len(numbers):
        raise ConfigError(f"{flag}: {text!r} must be positive numbers, each once")
    return numbers


def _stem(source: str) -> str:
    """Return a name for a folder out of a path or a name.

    >>> _stem("data/my reviews.csv"), _stem("hf:glue/sst2"), _stem("texts/")
    ('my-reviews', 'glue-sst2', 'texts')
    """
    name = source.removeprefix("hf:").replace("/", "-") if source.startswith("hf:") else Path(source).name.split(".")[0]
    return re.sub(r"[^\w.-]+", "-", name) or "data"
