"""Small maps of a run's heads on a text that it wrote itself, for the page of the run.

They are made with the page, from a model that is at hand, and are no file of the run: a run folder stays what it was.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from heed.errors import ConfigError, HeedError
from heed.explore.head_figures import figures_of, role_of
from heed.explore.map_images import address, to_bytes
from heed.explore.own_model import OwnModel
from heed.models.base import LanguageModel
from heed.report.page import gather, render
from heed.report.parts import AttentionMaps, HeadMap, write_page
from heed.report.record import RunRecord
from heed.report.samples import texts_to_show
from heed.text.tokenizers import Tokenizer
from heed.training.run import load_run

TOKENS, HEADS = 48, 48
"""Tokens of the text, and heads at most: of more, layers are left out evenly."""


def write_run_report(
    folder: str | Path, model: LanguageModel | None = None, tokenizer: Tokenizer | None = None
) -> Path:
    """Write report.html into a run folder, with its heads on its first sample where there is one; return its path.

    Without a model the best checkpoint is read, and where that cannot be, the page says why it has no maps. Raises
    `CheckpointError` when the folder is no run folder or cannot be written to.
    """
    record, maps = gather(folder), None
    if text := _written(record):
        try:
            if model is None or tokenizer is None:
                model, tokenizer, _ = load_run(folder)
        except HeedError as error:  # no whole checkpoint: the page is worth having all the same
            record = replace(record, notes=(*record.notes, f"Its heads are not shown: {error}."))
        else:
            with suppress(ConfigError):  # it has no attention
                maps = strip_of(model, tokenizer, text)
    return write_page(Path(folder) / "report.html", render(record, maps))


def strip_of(model: LanguageModel, tokenizer: Tokenizer, text: str) -> AttentionMaps | None:
    """Return small maps of the heads of a model on the beginning of a text; None where it has no weights to show.

    Raises `ConfigError` for a model without attention.
    """
    subject = OwnModel("", "", model, tokenizer)
    ids = subject.encode(text)[: min(TOKENS, subject.context)]
    shown = np.unique(np.linspace(0, subject.layers - 1, max(1, HEADS // subject.heads)).astype(int)).tolist()
    layers = subject.trace(ids).layers
    maps = []
    for layer in shown:
        weights = layers[layer].weights
        if layers[layer].reading == "none":
            continue
        said = figures_of(weights, layers[layer].allowed)
        roles = [role_of(said.previous[h], said.first[h], None, said.share[h]) for h in range(subject.heads)]
        maps += [HeadMap(layer, h, address(to_bytes(weights[h])), role=role) for h, role in enumerate(roles)]
    return AttentionMaps(maps, subject.show(ids), subject.causal) if maps else None


def _written(record: RunRecord) -> str:
    """Return the first text that a run wrote; empty where there is none."""
    texts = texts_to_show(record.samples, record.drafts)[0]
    return texts[0].prompt + (texts[0].text or "".join(token.text for token in texts[0].tokens)) if texts else ""
