"""`heed eval`: how well a model predicts a whole split."""

from __future__ import annotations

import itertools
import json
import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import Field

from heed.cli import eval_answers
from heed.cli.settings import AsJson, data_settings, parse, split_settings
from heed.cli.streams import show
from heed.config import Section, make_config, overlay
from heed.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from heed.objectives import CacheNumbers


class EvalFlags(Section):
    """Measure a model on a whole split: loss, token and word perplexity, bits per byte, each with its passport.

    An encoder is measured by what it was trained for: the loss of hidden tokens, or the accuracy over labelled texts.

    With several runs the figures are set side by side; where their passports differ, that is an error which names
    the difference (exit code 2), unless it is allowed.

    With --task qa a run is asked questions instead: `heed eval --task qa --help`.

    How another text (--corpus) is read can be set as in `heed train`: --data.encoding, --data.column ...

    examples:
      heed eval runs/quickstart
      heed eval runs/quickstart --stride 32 --json
      heed eval runs/a --context 800                beyond the length of training
      heed eval runs/a runs/b --figure bits_per_byte
      heed eval runs/a --corpus other.txt
      heed eval runs/a --corpus table.csv --data.column body
      heed eval runs/a --weights int8               what heed sample --weights int8 costs
      heed eval runs/a --split test --neural-cache 2000
      heed eval runs/places --task qa --questions dev.tsv
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """One run folder or several."""
    task: Literal["text", "qa"] = "text"
    """text: predict a text. qa: answer questions, which has options of its own."""
    split: Literal["train", "validation", "test"] | None = None
    """The split. Default: validation; the whole of another text that has no validation split of its own."""
    corpus: str | None = None
    """Measure on this text and not on the run's own: on the whole of it, or on its `split`."""
    context: int | None = Field(default=None, ge=1, le=1 << 24)
    """Tokens that the model may look back; default: the context of training. More is read where no weights end there:
    with learned positions they do."""
    stride: int | None = Field(default=None, ge=1, le=1 << 24)
    """How far the window moves on. Smaller: more context for each token, and more time. Default: the context."""
    checkpoint: str = "best"
    """best, last, or a step."""
    figure: Literal["loss", "token_perplexity", "word_perplexity", "bits_per_byte", "accuracy"] | None = None
    """With several runs: the figure to compare them by. Default: bits_per_byte; of classes and answers, accuracy; of
    hidden tokens and spans, loss."""
    allow: tuple[str, ...] = ()
    """Fields of the passport whose difference is meant, such as context or stride."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes cuda, then mps, then cpu."""
    weights: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    """Measure with the matrices in fewer bytes, as heed sample and heed serve can keep them; the passport says so."""
    neural_cache: int | None = Field(default=None, ge=1, le=1 << 20)
    """Mix the model with a memory of this many tokens that it has just read (Grave et al. 2017): what followed the
    places most like this one. Its two numbers are chosen on the validation split, for another one; or give them."""
    cache_weight: float | None = Field(default=None, gt=0, lt=1)
    """Share of the probability that is the memory's."""
    cache_sharpness: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """How much more a place counts the more it is alike: exp of this times the product of the two hidden states."""
    verify: bool = False
    """Check the whole of the token files against their hashes; of those over 64 MiB a part is checked otherwise."""
    json_: AsJson = False


CHOSEN_ON = 1 << 16
"""Tokens of validation that the numbers of a neural cache are chosen on."""


def _cache_numbers(flags: EvalFlags) -> CacheNumbers | None:
    """Return the numbers that a neural cache was given; None: they are chosen, or there is none."""
    given = (flags.cache_weight, flags.cache_sharpness)
    if given == (None, None):
        return None
    if flags.neural_cache is None or None in given:
        raise ConfigError("--cache-weight and --cache-sharpness go together, with --neural-cache: give all three")
    from heed.objectives import CacheNumbers

    weight, sharpness = given
    assert weight is not None
    assert sharpness is not None
    return CacheNumbers(flags.neural_cache, weight, sharpness)


def main(argv: list[str]) -> int:
    """Measure each run, refuse to compare what differs, print; 0 when done."""
    if "--task=qa" in argv or ("--task", "qa") in itertools.pairwise(argv):
        return eval_answers.main(argv)
    asked = [word for word in argv if word.split("=")[0] in eval_answers.OPTIONS]
    if asked and not {"-h", "--help"}.intersection(argv):
        raise ConfigError(f"{asked[0]} goes with --task qa: add that")
    settings, rest = split_settings(argv)
    flags = parse(EvalFlags, rest, "eval", ["data"])
    if not flags.runs:
        raise ConfigError("name at least one run folder: heed eval runs/quickstart")
    if flags.figure is not None and len(flags.runs) == 1:
        raise ConfigError("--figure chooses what to compare: give two runs or more")
    if flags.allow and len(flags.runs) == 1:
        raise ConfigError("--allow is for a comparison: give two runs or more")
    if settings and flags.corpus is None:
        raise ConfigError("a run keeps the settings of its own text: --data settings are for --corpus")
    numbers = _cache_numbers(flags)
    other: dict[str, Any] = {}
    if flags.corpus is not None:
        # another text keeps its own splits; nothing of it is held out, unless a split of it is asked for
        whole = {} if flags.split else {"validation_fraction": 0.0, "test_fraction": 0.0}
        given = data_settings(settings, flags.corpus, "eval")
        other = {"data": {"validation": None, "test": None, **whole, **given}}
    from heed.cli import tell
    from heed.models import with_context
    from heed.objectives import is_another_text, measure, open_text, with_neural_cache
    from heed.records.checkpoints import saved_states
    from heed.report.figure_kinds import FIGURES
    from heed.report.passport import check_comparable
    from heed.training.devices import choose_device
    from heed.training.packing import packed
    from heed.training.run import Run, load_run

    device = choose_device(flags.device)
    measured = []
    for folder in flags.runs:
        model, tokenizer, config = load_run(folder, flags.checkpoint, device)
        if flags.weights != "fp32":
            model = packed(with_context(model, flags.context or model.context), flags.weights, tell)
        if other:
            config = make_config(overlay(config.model_dump(), other))
        run = Run.open(folder)
        with nullcontext() if other else run.at_home():
            files = open_text(config, tokenizer, classes=run.classes, say=tell, verify=flags.verify)
        state = {} if other else next(saved_states(Run.open(folder).checkpoints), {})
        if is_another_text(config, tokenizer, files, state):
            tell(f"note: the text of {folder} has changed since it was trained: these figures are of the text of today")
        split = flags.split or ("train" if other and "validation" not in files else "validation")
        if split not in files:
            raise ConfigError(f"{folder}: no {split} split, only {', '.join(files)}; choose with --split")
        tell(f"measuring {folder}")
        view: dict[str, Any] = {"context": flags.context, "stride": flags.stride, "device": device}
        if flags.neural_cache is not None:
            if numbers is None and (split == "validation" or "validation" not in files):
                raise ConfigError(
                    "--neural-cache: its numbers are chosen on the validation split: give --split test, or "
                    "--cache-weight and --cache-sharpness"
                )
            model = with_context(model, flags.context or model.context)
            read = partial(measure, tokenizer=tokenizer, tokens=files.get("validation"), config=config, **view)
            model = with_neural_cache(model, config, flags.neural_cache, numbers, partial(read, max_tokens=CHOSEN_ON))
        result = measure(model, tokenizer, files[split], config, **view)
        if not math.isfinite(result.loss):
            raise CheckpointError(
                f"{folder}: the model's loss is not finite: {result.loss}; choose an earlier --checkpoint"
            )
        measured.append(result)
    figure = flags.figure or measured[0].headline
    for folder, result in zip(flags.runs, measured, strict=True):
        check_comparable(measured[0].passport, result.passport, figure, allow=flags.allow)
        if len(measured) > 1 and result.get(figure) is None:
            raise ConfigError(f"{folder} has no {figure} on this text: choose another --figure")
    if flags.json_:
        results: list[dict[str, Any]] = [
            {"run": str(folder), **result.as_dict()} for folder, result in zip(flags.runs, measured, strict=True)
        ]
        print(json.dumps({"split": measured[0].passport.split, "results": results}, indent=2, allow_nan=False))
        return 0
    for folder, result in zip(flags.runs, measured, strict=True):
        print(folder)
        lines = result.lines()
        width = max(18, *(len(name) + 2 for name, _ in lines))
        for name, value in lines:
            print(f"  {name:<{width}}{value}")
        show([f"  {result.passport.sentence()}"])
    if len(measured) > 1:
        most = FIGURES[figure].better == "higher"
        best = (max if most else min)(range(len(measured)), key=lambda i: measured[i][figure])
        leaks = " (it LEAKS)" if measured[best].passport.leaks else ""
        print(f"{'highest' if most else 'lowest'} {figure.replace('_', ' ')}: {flags.runs[best]}{leaks}")
    return 0
