"""A trained run that can be asked: its model, how it answers, and the files that it has learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heed.asking.answering import AnsweredQuestion, Decode, Manner, answer_questions, known_answers, read_candidates
from heed.config import Config, DataConfig
from heed.errors import CheckpointError, ConfigError
from heed.models.base import LanguageModel
from heed.text.formats import Reading
from heed.text.named import locate
from heed.text.qa import Question
from heed.text.support import Corpora
from heed.text.tokenizers import Tokenizer
from heed.training.devices import choose_device
from heed.training.run import Run, load_run


@dataclass(frozen=True)
class Sources:
    """The text and the questions that a run has learned from."""

    pretraining: Path | None
    """None: there is none, or it cannot be searched."""
    finetuning: Path | None
    notes: tuple[str, ...] = ()
    """What could not be found, for people."""
    reading: Reading = field(default_factory=Reading)
    """How the text is read."""
    questions_encoding: str = "utf-8"
    choosing: Path | None = None
    """The questions whose loss chose the checkpoint of the run."""

    def corpora(self) -> Corpora | None:
        """Open what there is; None: nothing is known. Raises `DataError` for a file that cannot be read."""
        if self.pretraining is None and self.finetuning is None:
            return None
        return Corpora(
            self.pretraining, self.finetuning, reading=self.reading, questions_encoding=self.questions_encoding
        )


@dataclass(frozen=True)
class Respondent:
    """A run that can be asked."""

    model: LanguageModel
    tokenizer: Tokenizer
    way: Manner
    sources: Sources
    corpora: Corpora | None
    checkpoint: str

    def answer(self, questions: Sequence[Question]) -> list[AnsweredQuestion]:
        """Answer questions; raises what `answer_questions` raises."""
        return answer_questions(self.model, self.tokenizer, questions, self.way, self.corpora)

    def trained_on(self, questions: Sequence[Question]) -> int:
        """Return how many of the questions stand in the file of fine-tuning questions."""
        return 0 if self.corpora is None else sum(one.prompt in self.corpora.prompts for one in questions)

    def chosen_by(self, path: Path) -> bool:
        """Whether the questions of a file chose the checkpoint of the run."""
        return self.sources.choosing is not None and self.sources.choosing.resolve() == path.resolve()

    def as_dict(self) -> dict[str, Any]:
        """Return how the answers were found and what was searched, as plain values."""
        way, sources = self.way, self.sources
        return {
            "checkpoint": self.checkpoint,
            "decode": way.decode,
            "beams": way.beams if way.decode == "beam" else None,
            "known_answers": len(way.known) if way.decode == "known" else None,
            "pretraining": None if sources.pretraining is None else str(sources.pretraining),
            "finetuning": None if sources.finetuning is None else str(sources.finetuning),
        }


def open_respondent(
    run: Path,
    *,
    checkpoint: str = "best",
    device: str = "auto",
    decode: Decode | None = None,
    candidates: Path | None = None,
    beams: int = 4,
    max_tokens: int = 32,
    pretraining: Path | None = None,
    finetuning: Path | None = None,
) -> Respondent:
    """Load a run to ask it. `checkpoint` is best, last or a step; `decode` see `way_of`.

    `pretraining` and `finetuning` stand for the files that the run's config.yaml names. Raises `CheckpointError` for
    the run, `DataError` for a file and `ConfigError` for a way to answer that cannot be gone.
    """
    opened = Run.open(run)
    with opened.at_home():
        sources = sources_of(opened.config, pretraining, finetuning)
    way = way_of(decode, candidates, sources, beams=beams, max_tokens=max_tokens)
    corpora = sources.corpora()  # before the model, which takes longer
    model, tokenizer, _ = load_run(run, checkpoint, choose_device(device))
    return Respondent(model, tokenizer, way, sources, corpora, checkpoint)


def way_of(decode: Decode | None, candidates: Path | None, sources: Sources, *, beams: int, max_tokens: int) -> Manner:
    """Return the way to answer: `decode` where it is given; else known answers with `candidates`, a beam without.

    The known answers are the `candidates` of a file, or those of the fine-tuning questions. Raises `ConfigError` where
    neither is there, and for candidates that another decode would not look at.
    """
    decode = decode or ("beam" if candidates is None else "known")
    known: tuple[str, ...] = ()
    if decode != "known" and candidates is not None:
        raise ConfigError(f"--candidates are for --decode known, not {decode}: leave out one of the two")
    if decode == "known":
        if candidates is not None:
            known = read_candidates(candidates)
        elif sources.finetuning is not None:
            known = known_answers(sources.finetuning, sources.questions_encoding)
        else:
            raise ConfigError("--decode known needs known answers, and no fine-tuning file is known: add --candidates")
    return Manner(decode, beams, max_tokens, known)


def sources_of(config: Config, pretraining: Path | None = None, finetuning: Path | None = None) -> Sources:
    """Return the files given, or those that a run and the runs before it name in their config.yaml, the newest first.

    A file that is named but not there is no error, nor are several of a kind, of which the newest is searched: `notes`
    tells it.
    """
    texts: dict[str, DataConfig] = {}
    questions: dict[str, DataConfig] = {}
    notes: list[str] = []
    passed: set[Path] = set()
    at: Config | None = config
    while at is not None:
        data = at.data
        if data.objective == "answers":
            questions.setdefault(data.source, data)
        else:
            texts.setdefault(data.source, data)
            if data.questions is not None:
                questions.setdefault(data.questions, data)
        start, at = at.model.start_from, None
        if start is None:
            break
        if Path(locate(start)).resolve() in passed:
            notes.append(f"{start} was written over by a run that began with it: what it read before is not known")
        else:
            passed.add(Path(locate(start)).resolve())
            try:
                at = Run.open(locate(start)).config
            except CheckpointError:
                notes.append(f"{start}, which this run began with, is not there: what it read is not known")
    text = pretraining or _there("text", "--pretraining", list(texts), notes)
    asked = finetuning or _there("questions", "--finetuning", list(questions), notes)
    read = next(iter(texts.values())) if texts and pretraining is None else DataConfig()
    learned = next(iter(questions.values())) if questions and finetuning is None else DataConfig()
    choosing = config.data.validation if config.data.source in questions or config.data.questions else None
    return Sources(
        text,
        asked,
        tuple(notes),
        Reading(read.column, read.encoding),
        learned.encoding,
        None if choosing is None else Path(locate(choosing)),
    )


def _there(what: str, option: str, names: Sequence[str], notes: list[str]) -> Path | None:
    """Return the first of the files named, or note that it is no file here, and that it is not the only one."""
    if len(names) > 1:
        notes.append(f"of the {what} that the run learned from only {names[0]} is searched, not {', '.join(names[1:])}")
    path = Path(locate(names[0])) if names else None
    if path is None or path.is_file():
        return path
    notes.append(f"the {what} that the run learned from, {names[0]}, is no file here: name it with {option}")
    return None
