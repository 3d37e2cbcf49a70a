"""`heed explore`: the attention of a model of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from heed.cli import tell
from heed.cli.settings import COMMAS, parse
from heed.cli.streams import show, terminal_width
from heed.config import Section
from heed.errors import ConfigError, DataError, why
from heed.files import working_in
from heed.records.exploration import ExplorationFile

if TYPE_CHECKING:
    from heed.explore.ablation import LossText
    from heed.explore.exploration import PromptIds
    from heed.explore.induction import InductionPlan
    from heed.explore.subjects import OpenedSubject

USUAL = 64
"""Tokens of the held-out text that are read where no prompt is given."""


class ExploreFlags(Section):
    """Look into a model: who looks at whom in each head, what a head is good for, and what each layer would say.

    Maps and figures of a prompt; induction on repeated random tokens; the loss with each head switched off, on the
    run's own held-out text or on --text; the logit lens. Layers and heads are counted from 0.

    Without a model: the page of cards, where the algebra of attention is turned by hand, puzzles are checked, and
    questions asked. It needs no model and no network; --static writes all of it into one file.

    examples:
      heed explore
      heed explore --card quiz --open
      heed explore --static cards.html
      heed explore runs/quickstart
      heed explore runs/quickstart --prompt "The import statement" --out explored/import
      heed explore runs/quickstart --prompt-file page.txt --layers 2,3 --windows 64
      heed explore hf:openai-community/gpt2 --prompt "The cat sat on the" --text book.txt
      heed explore minilm --prompt "A film that one forgets"
    """

    model: Annotated[str | None, tyro.conf.Positional] = None
    """A run folder, a folder of transformers, hf:NAME, or minilm."""
    prompt: str | None = None
    """The text that is read; default: the beginning of the run's held-out text."""
    prompt_file: Path | None = None
    """A file whose text is read."""
    text: Path | None = None
    """The text on which heads are switched off; default: the run's own held-out text."""
    out: Path | None = None
    """Folder of the result; default: explored/NAME-N."""
    layers: Annotated[str | None, COMMAS] = None
    """Layers to look at, such as 0,3; default: all."""
    windows: int = Field(default=16, ge=0, le=1 << 16)
    """Windows of the text on which heads are switched off; 0: heads stay on. More: narrower intervals, more time."""
    window: int | None = Field(default=None, ge=2, le=1 << 20)
    """Tokens of such a window; default: the context, 256 at most."""
    repeat: int | None = Field(default=None, ge=2, le=1 << 20)
    """Random tokens that are read twice for induction; default: 50, or half the context."""
    repeats: int = Field(default=2, ge=2, le=100)
    """How often they are read."""
    sequences: int = Field(default=16, ge=0, le=1 << 12)
    """Sequences of repeated random tokens; 0: none."""
    seed: int = Field(default=0, ge=0)
    """Of the random tokens."""
    checkpoint: str = "best"
    """Of a run: best, last, or a step."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes cuda, then mps, then cpu."""
    overwrite: bool = False
    """Replace an exploration in --out."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Of the page of cards; 0 takes a free one."""
    card: str | None = None
    """Which card of the page is meant: masking, or the state of one, "scaling?width=4"; also puzzles, quiz."""
    open_: Annotated[bool, tyro.conf.arg(name="open")] = False
    """Open the page of cards in a browser."""
    static: Path | None = None
    """Write the page of cards into this file, and serve nothing."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print explore.json, with the folder and the page, on standard output."""


def main(argv: list[str]) -> int:
    """Open the model, look, write the folder and its page; 0 when done."""
    flags = parse(ExploreFlags, argv, "explore")
    if flags.model is None:
        return show_cards(flags)
    layers = check_flags(flags)
    from heed.explore.exploration import check_layers, check_prompt, explore
    from heed.explore.exploration_folder import PAGE, check_folder, write_exploration
    from heed.explore.model_page import render

    if flags.out is not None:
        check_folder(flags.out, overwrite=flags.overwrite)
    given = read_prompt(flags)
    opened = open_model(flags)
    subject = opened.subject
    prompt, text = texts_of(flags, opened, given)
    check_prompt(subject, prompt.ids)
    shown = check_layers(subject, layers)
    folder = flags.out or free_folder(subject.name)
    with working_in(folder, f"exploring into {folder}", "choose another --out"):
        check_folder(folder, overwrite=flags.overwrite)
        found = explore(subject, prompt, shown, induction_of(flags, opened), text, tell, progress)
        found.record.command = ["heed", "explore", *argv]
        write_exploration(folder, found, render(found))
    page = folder / PAGE
    if flags.json_:
        print(json.dumps({**found.record.plain(), "folder": str(folder), "report": str(page)}, ensure_ascii=False))
        return 0
    show(summary(found.record))
    print(f"report: {page}")
    return 0


def show_cards(flags: ExploreFlags) -> int:
    """Serve the page of cards, or write it into a file. Raises `ConfigError` for flags that look into a model."""
    from heed.cli.explore_cards import serve_cards, write_cards

    for name in ("prompt", "prompt_file", "text", "out", "layers"):
        if getattr(flags, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} looks into a model: name it, such as: heed explore runs/quickstart "
                '--prompt "The import statement"'
            )
    if flags.card is not None:
        from heed.explore.card_names import check_card

        check_card(flags.card)
        if flags.static is not None:
            raise ConfigError(f"--card is for a page that is served: open the file with #{flags.card} behind its name")
    if flags.static is not None:
        return write_cards(flags.static)
    return serve_cards(flags.port, flags.card or "", opened=flags.open_)


def check_flags(flags: ExploreFlags) -> list[int]:
    """Return the layers that are named. Raises `ConfigError` for flags that do not go together."""
    for name, given in (("static", flags.static), ("open", flags.open_ or None), ("card", flags.card)):
        if given is not None:
            raise ConfigError(f"--{name} is for the page of cards: heed explore without a model")
    if flags.prompt is not None and flags.prompt_file is not None:
        raise ConfigError("take --prompt or --prompt-file: one is the text, the other a file of it")
    if flags.prompt == "":
        raise ConfigError("the prompt is empty: give a text that the model reads, or leave --prompt out")
    if flags.text is not None and not flags.windows:
        raise ConfigError("--text is for switching heads off, and --windows 0 leaves that out: take one of the two")
    if flags.layers is None:
        return []
    try:
        return [int(word) for word in flags.layers.split(",")]
    except ValueError:
        raise ConfigError(f"--layers: {flags.layers!r} are no numbers with commas between, such as 0,3") from None


def open_model(flags: ExploreFlags) -> OpenedSubject:
    """Open what is named. Raises `ConfigError` for what heed tune made, and what `open_subject` raises."""
    from heed.cli.export import is_tuned
    from heed.explore.subjects import open_subject

    source = str(flags.model)
    if is_tuned(Path(source)):
        raise ConfigError(f"{source} is of heed tune: give the encoder that it tuned")
    if source == "minilm" and not Path(source).is_dir():
        from heed.tuning.encoders import find_encoder

        folder, package = find_encoder(source)
        opened = open_subject(str(folder), flags.checkpoint, flags.device)
        opened.subject.name, opened.subject.source = source, package
        return opened
    return open_subject(source, flags.checkpoint, flags.device)


def read_prompt(flags: ExploreFlags) -> str | None:
    """Return the prompt that is given. Raises `DataError` for a file that cannot be read, `ConfigError` for none."""
    if flags.prompt_file is None:
        return flags.prompt
    text = read_text(flags.prompt_file)
    if not text:
        raise ConfigError(f"{flags.prompt_file} is empty: give a text that the model reads")
    return text


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text in UTF-8: {why(error)}") from None


def texts_of(flags: ExploreFlags, opened: OpenedSubject, given: str | None) -> tuple[PromptIds, LossText | None]:
    """Return the prompt, and the windows on which heads are switched off; None where there is nothing to do it on."""
    import numpy as np

    from heed.explore.ablation import cut_windows
    from heed.explore.exploration import PromptIds

    subject = opened.subject
    off = flags.windows > 0 and subject.predicts and subject.switches
    if flags.text is not None and not off:
        raise ConfigError(f"--text: heads of {subject.name} cannot be switched off on a text, {reason_of(opened)}")
    own, name = np.zeros(0, dtype=np.int64), ""
    if given is None or (off and flags.text is None and opened.learned_next):
        own, name = opened.own_ids(tell)
    if given is not None:
        prompt = PromptIds(subject.encode(given), given)
    elif len(own):
        ids = own[: min(USUAL, subject.context)].astype(int).tolist()
        prompt = PromptIds(ids, "".join(subject.show(ids)), f"the beginning of {name}")
    else:
        raise ConfigError(f"{subject.name} has no text of its own to read here: give --prompt")
    window = flags.window or min(subject.context, 256)
    if window > subject.context:
        raise ConfigError(f"--window: {subject.name} reads {subject.context} tokens at most, not {window}")
    if not off:
        return prompt, None
    if flags.text is not None:
        ids = np.array(subject.encode(read_text(flags.text)))
        return prompt, cut_windows(ids, flags.windows, window, flags.text.name)
    if len(own) and opened.learned_next:
        return prompt, cut_windows(own.astype(np.int64), flags.windows, window, name)
    tell("note: heads stay on: there is no text to measure the loss on; give --text")
    return prompt, None


def reason_of(opened: OpenedSubject) -> str:
    """Say why a head's effect on the loss is not known."""
    if not opened.subject.predicts:
        return "it predicts no next token"
    return "its output projections were not found"


def induction_of(flags: ExploreFlags, opened: OpenedSubject) -> InductionPlan | None:
    """Return which random tokens are read; None for an encoder, which sees both copies at once."""
    from heed.explore.induction import plan_induction

    subject = opened.subject
    if not flags.sequences or not subject.causal:
        return None
    return plan_induction(
        subject.context, len(subject.start_ids), flags.repeat, flags.repeats, flags.sequences, flags.seed
    )


def summary(record: ExplorationFile) -> list[str]:
    """Return what the terminal says: the most telling heads in a table."""
    from heed.explore.exploration_folder import telling
    from heed.explore.model_page import short_table, verdict
    from heed.report.tabular import to_text

    return [
        verdict(record),
        "",
        *to_text(short_table(record, telling(record.heads)), terminal_width()),
        *(["", *record.notes] if record.notes else []),
    ]


def free_folder(name: str) -> Path:
    """Return the first folder explored/NAME-N that is not there."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".") or "model"
    number = 1
    while (path := Path("explored") / f"{stem}-{number}").exists():
        number += 1
    return path


def progress(done: int, of: int) -> None:
    """Show on a terminal how many heads have been switched off."""
    if sys.stderr.isatty():
        print(f"\r{done + 1} of {of} heads", end="" if done + 1 < of else "\n", file=sys.stderr, flush=True)
