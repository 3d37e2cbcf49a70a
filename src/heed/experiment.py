"""One run from configuration to report: what `heed train` does, and what many runs are made of.

    config -> corpus -> tokenizer -> token files -> batches -> fit -> final figures -> samples -> report

Everything is kept in the run folder, which is enough by itself: `resume` needs nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heed import seals
from heed.build import (
    QUESTIONS,
    Say,
    build_batches,
    build_corpus,
    build_model,
    build_tokenizer,
    build_tokens,
    check_attention,
)
from heed.config import SPANS, Config, ModelConfig, make_config, overlay
from heed.errors import CheckpointError, ConfigError, why
from heed.files import expanded
from heed.generation.answers import greedy_answers
from heed.generation.decoding import beginning
from heed.generation.generate import generate
from heed.generation.logprobs import score
from heed.generation.sampling import Sampling
from heed.models import LanguageModel
from heed.models.causality.training import audit_model
from heed.models.embeddings import place_embeddings, read_embeddings
from heed.models.first_weights import ByName
from heed.models.longer import with_context
from heed.report.numbers import human_count
from heed.report.page import write_report
from heed.text.corruption import Corruption
from heed.text.examples import part_of, texts_measured
from heed.text.labelled import LabelledTokens
from heed.text.masking import special_ids
from heed.text.question_corpus import QuestionTokens
from heed.text.tokenfile import TokenFile
from heed.text.tokenizer import Tokenizer, load_tokenizer
from heed.training.answering import Answering, Write, evaluate_answers
from heed.training.autobatch import largest_batch, optimizer_bytes, training_step
from heed.training.checkpoint import latest_step
from heed.training.classify import Classification, classify
from heed.training.devices import choose_device, describe_device, take_threads
from heed.training.evaluate import Evaluation, evaluate, evaluate_masked, evaluate_spans
from heed.training.fit import Batches, FitResult, fit
from heed.training.progress import Progress
from heed.training.run import TRUST, Run, load_run, locked, new_folder, refuse_if_taken
from heed.training.start import place_start, settle, start_vocabulary
from heed.training.streams import Streams, stream_seed

LONGEST_STEM = 100
"""Bytes of the name of a text that the name of its run begins with."""
SAMPLES, SAMPLE_TOKENS = 3, 160
"""Texts at the end of a run, and tokens in each; half as many while it trains."""

Figures = Evaluation | Classification | Answering
"""What a model comes to on a split."""
MakeProgress = Callable[[int], Progress]
"""From the number of steps to what shows them."""


@dataclass(frozen=True)
class Outcome:
    """What a run has come to."""

    folder: Path
    fit: FitResult
    figures: dict[str, Figures]
    """Final figures of the best checkpoint by split; empty when the run was interrupted."""
    report: Path
    model: LanguageModel
    tokenizer: Tokenizer


@dataclass(frozen=True)
class _Text:
    """The text of a run, ready for a model: the tokenizer, and the token file of each split."""

    tokenizer: Tokenizer
    files: dict[str, TokenFile]

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes; None for text without labels."""
        train = self.files["train"]
        return train.classes if isinstance(train, LabelledTokens) else None


def train(
    config: Config, *, overwrite: bool = False, say: Say = lambda line: None, progress: MakeProgress | None = None
) -> Outcome:
    """Train what `config` describes into a new run folder.

    No other process can go into the folder from the moment that its name is known. Raises `HeedError` for whatever the
    user can mend: `ConfigError`, `DataError`, `CheckpointError`.
    """
    if config.run.name is None:
        return _train(config, None, overwrite, say, progress)
    folder = Path(config.run.folder) / config.run.name
    refuse_if_taken(folder, overwrite=overwrite)
    with locked(folder):
        refuse_if_taken(folder, overwrite=overwrite)  # another process may have been at it until now
        return _train(config, folder, overwrite, say, progress)


def _train(config: Config, folder: Path | None, overwrite: bool, say: Say, progress: MakeProgress | None) -> Outcome:
    """Train into a folder that is locked; None: into the first one that is free once all is ready."""
    config = settle(config)
    check_attention(config.model)  # before the text, which may take long
    device = _prepare(config, say)
    text = _open(config, say)
    if config.train.patience is not None and "validation" not in text.files:
        raise ConfigError("train.patience: goes by the validation loss, and nothing is held out: leave it out")
    vocabulary = start_vocabulary(config.model) or text.tokenizer.vocab_size
    if text.tokenizer.kind in ("bpe", "char", "word"):  # as it came out, or out of its file
        config = _replace(config, "tokenizer", kind=text.tokenizer.kind)
    config = _replace(config, "tokenizer", vocab_size=vocabulary)
    streams = Streams(config.run.seed)
    classes = text.classes
    model = build_model(config.model, vocabulary, first_weights(config, streams), len(classes) if classes else None)
    facts: dict[str, Any] = _begin(model, config.model, say)
    say(f"model: {human_count(model.parameter_count())} parameters, vocabulary {vocabulary:,}")
    model.leaks = _leaks(model.to(device), config, say)
    if config.train.batch_size == "auto":
        config = _replace(config, "train", batch_size=_largest(config, text, model, streams, device, say))
    # This may refuse the text, so it comes before there is a folder.
    batches = build_batches(config, text.files, text.tokenizer, stream_seed(config.run.seed, "data"), say)
    facts |= {"parameters": model.parameter_count(), "flops_per_token": model.flops_per_token()}
    if model.audited is not None:
        facts["audit"] = model.audited
    if classes is not None:
        facts["classes"] = list(classes)
    if model.leaks is not None:
        facts["leaks"] = model.leaks
    with nullcontext(folder) if folder is not None else new_folder(config.run.folder, _stem(config)) as folder:
        config = _replace(config, "run", name=config.run.name or folder.name)
        run = Run.create(folder, config, tokenizer=text.tokenizer, overwrite=overwrite, facts=facts)
        say(f"run: {run.folder}")
        return _fit(run, model, text, batches, streams, device, resume=False, say=say, progress=progress)


def resume(
    folder: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    say: Say = lambda line: None,
    progress: MakeProgress | None = None,
) -> Outcome:
    """Go on with a run from its last checkpoint, as if it had never been cut off.

    `settings` may change `train.steps` and other settings of training, `run.device` and `run.threads` (nested
    dictionaries, as in a YAML file); the run is then no longer the one that was begun, and says so.
    Raises `ConfigError` for a change of data, tokenizer or model, and for any change where no step remains, and
    whatever `train` raises.
    """
    Run.open(folder)  # before a lock makes a folder
    with locked(Path(folder)):
        return _resume(Run.open(folder), settings, say, progress)


def _resume(run: Run, settings: Mapping[str, Any] | None, say: Say, progress: MakeProgress | None) -> Outcome:
    """Go on with a run whose folder is locked."""
    config = _changed(run.config, settings or {}, say)
    device = _prepare(config, say)
    classes = run.classes
    text = _open(config, say, load_tokenizer(run.folder), classes)
    streams = Streams(config.run.seed)
    number = len(classes) if classes else None
    model = build_model(config.model, config.tokenizer.vocab_size, first_weights(config, streams), number)
    if latest_step(run.checkpoints) is None:  # else they are in the checkpoint
        _begin(model, config.model, say)
    model.leaks = _leaks(model.to(device), config, say) or run.leaks
    run = Run(run.folder, config)  # kept in its folder once the checkpoint has been found to fit
    batches = build_batches(config, text.files, text.tokenizer, stream_seed(config.run.seed, "data"), say)
    return _fit(run, model, text, batches, streams, device, resume=True, say=say, progress=progress)


def open_text(
    config: Config,
    tokenizer: Tokenizer,
    *,
    classes: Sequence[str] | None = None,
    say: Say = lambda line: None,
    verify: bool = False,
) -> dict[str, TokenFile]:
    """Return the token files of a configuration's corpus under a tokenizer, by split.

    `classes` are those of the run, where its texts have labels; `verify` checks the whole of large files.
    """
    return _open(config, say, tokenizer, classes, verify).files


def measure(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tokens: TokenFile,
    config: Config,
    *,
    context: int | None = None,
    stride: int | None = None,
    device: torch.device | str | None = None,
    max_tokens: int | None = None,
) -> Figures:
    """Evaluate a model on a split, in the way that its configuration treats documents.

    Questions are answered, labelled texts are classified, an encoder finds hidden tokens, hidden spans are told from
    what stands around them, any other model predicts the next token: from all that stands before where it carries its
    state, unless a context or stride asks for windows.
    A context beyond that of training is read where the model can (`heed.models.longer`), else a `ConfigError`.
    """
    windows = context is not None or stride is not None
    context = context or config.model.context
    model = with_context(model, context)
    common: dict[str, Any] = {
        "tokenizer_name": f"{tokenizer.kind} {tokenizer.vocab_size} {tokenizer.hash[:8]}",
        "context": context,
        "batch_size": max(1, 4096 // context),  # about 4,096 tokens at a time: enough work, little memory
        "device": device,
        "max_tokens": max_tokens,
    }
    vocabulary = config.tokenizer.vocab_size
    if config.model.kind == "encoder" and stride is not None:
        raise ConfigError("the stride is for models that predict the next token: leave it out for an encoder")
    labelled = isinstance(tokens, LabelledTokens)
    if labelled != (getattr(model, "classes", None) is not None):
        wrong = "knows no classes: leave data.label out" if labelled else "tells classes apart: set data.label"
        raise ConfigError(f"the model {wrong}")
    if labelled:
        return classify(model, tokens, pad_id=special_ids(vocabulary)[1], **common)
    hides = config.data.objective in SPANS and config.data.plain_share < 1
    if (isinstance(tokens, QuestionTokens) or hides) and stride is not None:
        raise ConfigError("the stride is for models of running text: leave it out for hidden spans and questions")
    if isinstance(tokens, QuestionTokens):
        return evaluate_answers(model, tokens, tokenizer, _answers(model, tokenizer), **common)
    if hides:
        corruption = Corruption(config.data.objective, tokenizer, common.pop("context"))
        return evaluate_spans(model, tokens, corruption, **common)
    common["cross_documents"] = config.data.layout != "padded" and config.data.cross_documents
    if config.model.kind == "encoder":
        fraction = config.train.mask_fraction
        return evaluate_masked(model, tokens, fraction=fraction, vocab_size=vocabulary, **common)
    carry = config.model.recurrent.carry and not windows
    return evaluate(model, tokens, stride=stride, sequences=config.data.layout == "padded", carry=carry, **common)


def _answers(model: LanguageModel, tokenizer: Tokenizer) -> Write:
    """Return how a model answers: the likeliest token after the likeliest token."""

    def write(prompts: Sequence[str], max_tokens: int) -> list[str]:
        return [answer.text for answer in greedy_answers(model, tokenizer, prompts, max_tokens=max_tokens)]

    return write


def first_weights(config: Config, streams: Streams) -> torch.Generator:
    """Return the generator that a model's first weights are drawn from, as `run.initialisation` says."""
    if config.run.initialisation == "by-name":
        return ByName(stream_seed(config.run.seed, "initialisation"))
    return streams["initialisation"]


def _begin(model: LanguageModel, config: ModelConfig, say: Say) -> dict[str, Any]:
    """Put the weights that a new model begins with in the place of those that were drawn; return where from."""
    if config.embeddings is not None:
        note = place_embeddings(model, read_embeddings(config.embeddings), config.freeze_positions)
        if note is not None:
            say(f"note: {note}")
    if config.start_from is None:
        return {}
    started = place_start(model, config)
    say(f"starting from {started['run']}, {started['checkpoint']}")
    return {"started_from": started}


def _prepare(config: Config, say: Say) -> torch.device:
    """Set the threads, choose the device and say it."""
    take_threads(config.run.threads)
    device = choose_device(config.run.device)
    say(f"device: {describe_device(device)}")
    return device


def _open(
    config: Config,
    say: Say,
    tokenizer: Tokenizer | None = None,
    classes: Sequence[str] | None = None,
    verify: bool = False,
) -> _Text:
    """Open the corpus, train or load the tokenizer (unless there is one), and encode every split."""
    corpus = build_corpus(config.data, classes)
    tokenizer = tokenizer or build_tokenizer(config, corpus, say)
    return _Text(tokenizer, build_tokens(config, corpus, tokenizer, say, verify=verify))


def _leaks(model: LanguageModel, config: Config, say: Say) -> str | None:
    """Audit a causal model before it is trained: return what leaks, None when nothing does.

    Raises `ConfigError` for a leak that is not allowed, and where it cannot be told.
    """
    if not model.causal or model.context == 1:  # one token has no future
        return None
    verdict = audit_model(model, config.model, config.run.seed)
    model.audited = verdict.sentence()
    if verdict.causal is None:
        if not config.model.allow_leak:
            raise ConfigError(
                f"model: the audit for leaks {verdict.sentence()}; mend the model, "
                "or train it all the same with model.allow_leak: true"
            )
        say(f"note: the audit for leaks {verdict.sentence()}")
    if verdict.causal and any(check.ok is False for check in verdict.checks):
        say(f"note: the audit for leaks {verdict.sentence()}")
    if verdict.causal is not False:
        return None
    if not config.model.allow_leak:
        raise ConfigError(
            f"model: {verdict.sentence()}; choose another model.attention.mechanism, "
            "or train it all the same with model.allow_leak: true"
        )
    say(f"LEAKS: {verdict.finding()}; losses are false, the honest one is on prefixes alone")
    return verdict.finding()


def _largest(
    config: Config, text: _Text, model: LanguageModel, streams: Streams, device: torch.device, say: Say
) -> int:
    """Find the largest batch that fits, and say it."""
    model.to(device)

    def batch(size: int) -> Any:
        return next(
            build_batches(_replace(config, "train", batch_size=size), text.files, text.tokenizer, 0, lambda line: None)
        )

    step = training_step(model, batch, streams, device, config.train.precision)
    found = largest_batch(step, device=device, reserve=optimizer_bytes(model))
    say(found.reason)
    return found.size


def _fit(
    run: Run,
    model: LanguageModel,
    text: _Text,
    batches: Batches,
    streams: Streams,
    device: torch.device,
    *,
    resume: bool,
    say: Say,
    progress: MakeProgress | None,
) -> Outcome:
    """Train, measure the best checkpoint on every held-out split, let it write, and make the page."""
    config, tokenizer, trusted = run.config, text.tokenizer, (run.folder / TRUST).exists()
    held_out = {split: file for split, file in text.files.items() if split not in ("train", QUESTIONS)}

    def validation() -> Figures:
        tokens = held_out["validation"]
        return measure(model, tokenizer, tokens, config, device=device, max_tokens=config.train.eval_tokens)

    known = _known(config, text.files)

    def training() -> Figures:
        assert known is not None
        return measure(model, tokenizer, known[0], config, device=device, max_tokens=known[1])

    def sample() -> list[dict[str, Any]]:
        return samples(model, tokenizer, config.run.seed, count=1, max_tokens=SAMPLE_TOKENS // 2)

    result = fit(
        model,
        batches,
        config.train,
        run,
        validation=validation if "validation" in held_out else None,
        training=training if known is not None else None,
        sample=sample if model.causal else None,
        device=device,
        streams=streams,
        progress=progress(config.train.steps) if progress else None,
        resume=resume,
    )
    if trusted and not (run.folder / TRUST).exists():
        say(
            "note: the threshold of this run was chosen for the weights before and is gone: choose it again "
            "(heed eval --threshold-from)"
        )
    figures: dict[str, Figures] = {}
    if result.reason != "interrupted":
        model, tokenizer, _ = load_run(run.folder, "best", device)
        for split, tokens in held_out.items():
            part = config.train.final_tokens
            say(f"measuring {f'the first {part:,} tokens of' if part else 'the whole'} {split} split")
            figures[split] = measure(model, tokenizer, tokens, config, device=device, max_tokens=part)
        if known is not None:
            figures["train"] = training()
        step = result.best_step or result.step
        texts = samples(model, tokenizer, config.run.seed) if model.causal else []
        lines = (json.dumps({"step": step, **text}, ensure_ascii=False) + "\n" for text in texts)
        try:
            seals.write_json(
                run.folder / "evaluation.json", {split: figure.as_dict() for split, figure in figures.items()}
            )
            seals.write_text(run.folder / "samples.jsonl", "".join(lines))
        except OSError as error:
            raise CheckpointError(
                f"{run.folder} cannot hold the final figures: {why(error)}; the training is kept: make room and go on "
                f"with heed train --resume {run.folder}"
            ) from error
    return Outcome(run.folder, result, figures, write_report(run.folder), model, tokenizer)


def _known(config: Config, files: Mapping[str, TokenFile]) -> tuple[TokenFile, int | None] | None:
    """Return what of the training data is measured beside validation, and on how many tokens; None: nothing."""
    asked = config.train.eval_train_tokens
    tokens = files.get(QUESTIONS, files["train"])  # of the kind that validation is of
    if isinstance(tokens, LabelledTokens):
        held_out = len(files["validation"].ends) if "validation" in files else 0
        count = texts_measured(asked, np.diff(tokens.ends.astype(np.int64), prepend=0), held_out)
        return (part_of(tokens, count), None) if count else None
    return (tokens, asked) if asked else None


def samples(
    model: LanguageModel, tokenizer: Tokenizer, seed: int, *, count: int = SAMPLES, max_tokens: int = SAMPLE_TOKENS
) -> list[dict[str, Any]]:
    """Return texts that the model writes from nothing, each token with its log-probability (nats) and rank."""
    sampling = Sampling(temperature=0.8, top_p=0.95)
    start = beginning(tokenizer)
    answers = generate(
        model, tokenizer, [start], sampling, max_tokens=max_tokens, n=count, seed=stream_seed(seed, "sampling")
    )
    records = []
    for completion in answers[0]:
        scores = score(model, tokenizer, [[*start, *completion.ids]])[0][1:]
        records.append(
            {
                "prompt": "",
                "prompt_tokens": 0,
                "sampling": {"temperature": 0.8, "top_p": 0.95},
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "tokens": [{"text": token.text, "logprob": token.logprob, "rank": token.rank} for token in scores],
            }
        )
    return records


def _stem(config: Config) -> str:
    """Return a name for a run: the corpus and the model, as in `wikitext-2-gpt`."""
    source = config.data.source.removeprefix("hf:")
    path = expanded(source)
    stem = path.resolve().stem if os.path.exists(path) else path.stem
    corpus = "".join(c if c.isalnum() or c in "-_" else "-" for c in stem).strip("-")
    corpus = corpus.encode()[:LONGEST_STEM].decode(errors="ignore")
    return f"{corpus or 'text'}-{config.model.preset or config.model.kind}"


def _replace(config: Config, section: str, **values: Any) -> Config:
    """Return the configuration with some values of one section changed."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def _changed(config: Config, settings: Mapping[str, Any], say: Say) -> Config:
    """Return the configuration of a run with new settings, where they may change."""
    after = make_config(overlay(config.model_dump(), settings))
    for section in ("data", "tokenizer", "model"):
        if getattr(config, section) != getattr(after, section):
            raise ConfigError(f"{section}: a run that goes on keeps its {section}; begin another with --run.name")
    if after.train.batch_size == "auto":
        raise ConfigError("train.batch_size: auto is for a new run; give a number to go on with")
    if after.train.optimizer != config.train.optimizer:
        raise ConfigError(f"train.optimizer: a run that goes on keeps its {config.train.optimizer}")
    if config.run.model_copy(update={"device": after.run.device, "threads": after.run.threads}) != after.run:
        raise ConfigError("run: a run that goes on keeps its name, folder and seed; only device and threads may change")
    if config != after:
        say("note: settings were changed, so this is no longer the run that was begun")
    return after
