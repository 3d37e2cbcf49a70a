"""One run from configuration to report: what `heed train` does, and what many runs are made of.

    config -> objective -> corpus -> tokenizer -> token files -> model -> batches -> fit -> figures -> samples -> report

What is learned decides how the text is read, cut into batches and measured: that is the objective's, in
`heed.objectives`. Everything is kept in the run folder, which is enough by itself: `resume` needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from heed.build import Say, build_model, build_tokenizer, check_attention
from heed.config import Config, TrainConfig, make_config
from heed.generation.samples import SAMPLE_TOKENS, samples
from heed.models import LanguageModel
from heed.models.causality.training import refuse_leaks
from heed.objectives import Objective, classes_of, measure, objective_of
from heed.report.measured import Figures
from heed.report.numbers import human_count
from heed.report.page import write_report
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import Tokenizer, load_tokenizer
from heed.training.autobatch import settle_batch_size
from heed.training.checkpoint import latest_step
from heed.training.devices import threads_kept
from heed.training.fit import FitResult, fit, follow, refuse_without_validation
from heed.training.own_code import keep_code, own_code
from heed.training.precision import settle_precision
from heed.training.progress import Progress
from heed.training.ranks import ALONE, Ranks
from heed.training.run import Run, load_run, locked, new_folder, plain, refuse_if_taken, stem_of
from heed.training.settings import settings_to_go_on
from heed.training.start import (
    begin_weights,
    facts_of,
    first_weights,
    part_of_vocabulary,
    settle,
    start_vocabulary,
)
from heed.training.streams import Streams, stream_seed
from heed.training.trackers import find_trackers

MakeProgress = Callable[[int], Progress]
"""From the number of steps to what shows them."""
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Trained:
    """What a run has come to."""

    folder: Path
    fit: FitResult
    figures: dict[str, Figures]
    """Final figures of the best checkpoint by split; empty when the run was interrupted."""
    report: Path
    model: LanguageModel
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Ready:
    """What a training is made of, once the text is open and the model is built."""

    objective: Objective
    tokenizer: Tokenizer
    files: dict[str, TokenFile]
    model: LanguageModel
    batches: Stream
    streams: Streams
    device: torch.device


@threads_kept()
def train(
    config: Config,
    *,
    overwrite: bool = False,
    say: Say = lambda line: None,
    progress: MakeProgress | None = None,
    ranks: Ranks = ALONE,
) -> Trained:
    """Train what `config` describes into a new run folder; `ranks` are the processes that do it, this the first.

    No other process can go into the folder from the moment that its name is known. Raises `HeedError` for whatever the
    user can mend: `ConfigError`, `DataError`, `CheckpointError`.
    """
    if config.run.name is None:
        return _train(config, None, overwrite, say, progress, ranks)
    folder = Path(config.run.folder) / config.run.name
    refuse_if_taken(folder, overwrite=overwrite)
    with locked(folder):
        refuse_if_taken(folder, overwrite=overwrite)  # another process may have been at it until now
        return _train(config, folder, overwrite, say, progress, ranks)


def _train(
    config: Config, folder: Path | None, overwrite: bool, say: Say, progress: MakeProgress | None, ranks: Ranks
) -> Trained:
    """Train into a folder that is locked; None: into the first one that is free once all is ready."""
    config = settle(config)
    check_attention(config.model)  # before the text, which may take long
    find_trackers(config.train.trackers)
    ranks.refuse(config)
    device, objective = ranks.take_device(config.run, say), objective_of(config)
    corpora = objective.open(config)
    config = config.changed("data", **corpora[0].settings)
    tokenizer = build_tokenizer(config, corpora, objective.specials(config), say)
    files = objective.encode(corpora, tokenizer, config, say)
    refuse_without_validation(config.train, files)
    vocabulary = start_vocabulary(config.model) or tokenizer.vocab_size
    kind = {"kind": tokenizer.kind} if tokenizer.kind in ("bpe", "char", "word") else {}
    config = config.changed("tokenizer", vocab_size=vocabulary, **kind)  # as it came out, or out of its file
    streams, classes = Streams(config.run.seed), classes_of(files)
    number = len(classes) if classes else None
    model = build_model(config.model, vocabulary, first_weights(config.run, streams), number)
    model.sampled = part_of_vocabulary(config.train, files["train"], vocabulary)
    facts = begin_weights(model, config.model, say)
    say(f"model: {human_count(model.parameter_count())} parameters, vocabulary {vocabulary:,}")
    model.leaks = refuse_leaks(model.to(device), config.model, config.run.seed, say)
    config = settle_precision(config, device, say)
    drawn = lambda asked: objective.stream(files, tokenizer, asked, 0, lambda line: None)
    config = settle_batch_size(config, model, drawn, streams, device, say)
    # This may refuse the text, so it comes before there is a folder.
    batches = objective.stream(files, tokenizer, config, stream_seed(config.run.seed, "data"), say)
    code, copies = own_code(config.model)
    facts |= facts_of(model, classes) | ranks.facts() | code
    with nullcontext(folder) if folder is not None else new_folder(config.run.folder, stem_of(config)) as folder:
        config = config.changed("run", name=config.run.name or folder.name)
        keep = lambda new: keep_code(new, copies)
        run = Run.create(folder, config, tokenizer=tokenizer, overwrite=overwrite, facts=facts, also=keep)
        say(f"run: {run.folder}")
        ready = Ready(objective, tokenizer, files, model, batches, streams, device)
        return _fit(run, ready, resume=False, say=say, progress=progress, ranks=ranks)


@threads_kept()
def resume(
    folder: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    say: Say = lambda line: None,
    progress: MakeProgress | None = None,
    ranks: Ranks = ALONE,
    until: int | None = None,
) -> Trained:
    """Go on with a run from its last checkpoint, as if it had never been cut off.

    `settings` may change `train.steps` and other settings of training, `run.device` and `run.threads` (nested
    dictionaries, as in a YAML file); the run is then no longer the one that was begun, and says so. After the step
    `until` it stops as if it had been interrupted there.
    Raises `ConfigError` for a change of data, tokenizer or model, and for any change where no step remains, and
    whatever `train` raises.
    """
    Run.open(folder)  # before a lock makes a folder
    with locked(Path(folder)), Run.open(folder).own_code():
        return _resume(Run.open(folder), settings, say, progress, ranks, until)


def _resume(
    run: Run, settings: Mapping[str, Any] | None, say: Say, progress: MakeProgress | None, ranks: Ranks,
    until: int | None,
) -> Trained:  # fmt: skip
    """Go on with a run whose folder is locked."""
    config = settings_to_go_on(run.config, settings or {}, say)
    ranks.refuse(config)
    run = Run(run.folder, config)  # kept in its folder once the checkpoint has been found to fit
    ready = _reopened(run, say, ranks)
    model = ready.model
    if latest_step(run.checkpoints) is None:  # else they are in the checkpoint
        begin_weights(model, config.model, say)
    model.leaks = refuse_leaks(model.to(ready.device), config.model, config.run.seed, say) or run.leaks
    return _fit(run, ready, resume=True, say=say, progress=progress, ranks=ranks, until=until)


def follow_along(ranks: Ranks) -> None:
    """Make the updates of the run that the first rank begins or goes on with, which alone writes and talks."""
    begun = ranks.told()
    if begun is None:
        return
    ranks.folder, ranks.on = begun["folder"], begun["on"]
    run = Run(Path(begun["folder"]), make_config(begun["config"]))
    with run.own_code():
        it = _reopened(run, lambda line: None, ranks)
    follow(it.model, it.batches, run.config.train, ranks, device=it.device, streams=it.streams)


def _reopened(run: Run, say: Say, ranks: Ranks) -> Ready:
    """Return what the training of a run that is there is made of, with new weights."""
    config, classes = run.config, run.classes
    device, objective = ranks.take_device(config.run, say), objective_of(config)
    with run.at_home():
        corpora, tokenizer = objective.open(config, classes), load_tokenizer(run.folder)
        files = objective.encode(corpora, tokenizer, config, say)
    streams, number = Streams(config.run.seed), len(classes) if classes else None
    model = build_model(config.model, config.tokenizer.vocab_size, first_weights(config.run, streams), number)
    model.sampled = part_of_vocabulary(config.train, files["train"], config.tokenizer.vocab_size)
    batches = objective.stream(files, tokenizer, config, stream_seed(config.run.seed, "data"), say)
    return Ready(objective, tokenizer, files, model, batches, streams, device)


def _fit(
    run: Run, it: Ready, *, resume: bool, say: Say, progress: MakeProgress | None, ranks: Ranks,
    until: int | None = None,
) -> Trained:  # fmt: skip
    """Train, measure the best checkpoint on every held-out split, let it write, and make the page."""
    config, model, tokenizer, trusted = run.config, it.model, it.tokenizer, run.trusted
    ranks.begin(run.folder, plain(config))
    plan, held_out = config.train, {split: file for split, file in it.files.items() if split in HELD_OUT}
    known, drawn = it.objective.training_part(it.files, config), stream_seed(config.run.seed, "sampling")

    chosen: list[Figures] = []
    """The lowest on the validation split so far."""

    def figures_of(tokens: TokenFile, most: int | None) -> Figures:
        return measure(model, tokenizer, tokens, config, device=it.device, max_tokens=most)

    def validate() -> Figures:
        found = figures_of(held_out["validation"], plan.eval_tokens)
        if not chosen or found.criterion < chosen[0].criterion:
            chosen[:] = [found]
        return found

    result = fit(
        model,
        it.batches,
        plan,
        run,
        validation=validate if "validation" in held_out else None,
        training=(lambda: figures_of(*known)) if known else None,
        sample=(lambda: samples(model, tokenizer, drawn, count=1, max_tokens=SAMPLE_TOKENS // 2))
        if model.causal
        else None,
        device=it.device,
        streams=it.streams,
        progress=progress(plan.steps) if progress else None,
        resume=resume,
        ranks=ranks,
        until=until,
        evaluations_after=evaluations_at_end(held_out, plan),
    )
    if trusted and not run.trusted:
        say(
            "note: the threshold of this run was chosen for the weights before and is gone: choose it again "
            "(heed eval --threshold-from)"
        )
    figures: dict[str, Figures] = {}
    if result.reason != "interrupted":
        model, tokenizer, _ = load_run(run.folder, "best", it.device)
        of_best = validates_as_at_end(held_out, plan) and chosen and chosen[0].criterion == result.best_loss
        measured = {"validation": chosen[0]} if of_best else {}
        figures = final_figures(model, tokenizer, it.files, config, it.device, say, measured)
        texts = final_samples(model, tokenizer, config)
        run.write_final(figures, [{"step": result.best_step or result.step, **text} for text in texts])
    return Trained(run.folder, result, figures, write_report(run.folder), model, tokenizer)


def measured_tokens(held_out: Mapping[str, TokenFile], plan: TrainConfig) -> tuple[int, int]:
    """Return how many tokens an evaluation during training measures, and how many more the end does."""
    sizes = {split: len(file.ids) for split, file in held_out.items()}
    at_most = lambda tokens, limit: tokens if limit is None else min(tokens, limit)
    during = at_most(sizes.get("validation", 0), plan.eval_tokens)
    known = during if validates_as_at_end(held_out, plan) else 0
    return during, sum(at_most(size, plan.final_tokens) for size in sizes.values()) - known


def evaluations_at_end(held_out: Mapping[str, TokenFile], plan: TrainConfig) -> float:
    """Return how many evaluations during training measure as many tokens as the end does."""
    during, at_end = measured_tokens(held_out, plan)
    return at_end / during if during else 0.0


def validates_as_at_end(held_out: Mapping[str, TokenFile], plan: TrainConfig) -> bool:
    """Whether an evaluation during training measures what the end does, so that the best need not be measured twice."""
    whole = len(held_out["validation"].ids) if "validation" in held_out else 0
    return whole > 0 and min(plan.eval_tokens or whole, whole) == min(plan.final_tokens or whole, whole)


def final_figures(
    model: LanguageModel,
    tokenizer: Tokenizer,
    files: Mapping[str, TokenFile],
    config: Config,
    device: torch.device,
    say: Say,
    measured: Mapping[str, Figures] | None = None,
) -> dict[str, Figures]:
    """Return what the model of a finished run comes to: on every held-out split, and on a part of the training data.

    Splits that were `measured` with these weights are not read again.
    """
    figures: dict[str, Figures] = {}
    figures_of = lambda tokens, most: measure(model, tokenizer, tokens, config, device=device, max_tokens=most)
    most = config.train.final_tokens
    for split in (name for name in files if name in HELD_OUT):
        if measured and split in measured:
            figures[split] = measured[split]
            continue
        say(f"measuring {f'the first {most:,} tokens of' if most else 'the whole'} {split} split")
        figures[split] = figures_of(files[split], most)
    known = objective_of(config).training_part(files, config)
    return figures if known is None else {**figures, "train": figures_of(*known)}


def final_samples(model: LanguageModel, tokenizer: Tokenizer, config: Config) -> list[dict[str, Any]]:
    """Return the texts that the model of a finished run writes; none where it does not write from left to right."""
    drawn = stream_seed(config.run.seed, "sampling")
    return samples(model, tokenizer, drawn, max_tokens=SAMPLE_TOKENS) if model.causal else []
