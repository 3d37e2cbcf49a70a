"""Which model is meant, and the text that belongs to it.

runs/NAME            a run, and its own held-out text
FOLDER, hf:NAME      a model of transformers: as heed's own where it can be, else by the code of transformers
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heed.config import Config, aim_of
from heed.errors import CheckpointError, ConfigError, HeedError
from heed.explore.own_model import OwnModel
from heed.explore.subject import Subject
from heed.models.hub import hub_folder, hub_tokenizer, load_hub
from heed.objectives import open_text
from heed.records.folder import is_run
from heed.text.stream import TokenIds
from heed.training.devices import choose_device
from heed.training.run import Run, load_run

RUNNING_TEXT = ("next-token", "masked", "spans", "mixed")
"""Aims whose text can be read as it runs."""


@dataclass(frozen=True)
class OpenedSubject:
    """A model to be looked into."""

    subject: Subject
    run: Path | None = None
    """The run folder, where it is one."""
    config: Config | None = None

    def own_ids(self, say: Callable[[str], object]) -> tuple[TokenIds, str]:
        """Return the held-out text that a run was measured on, as ids, and its name; empty where there is none."""
        if self.run is None or self.config is None or aim_of(self.config).name not in RUNNING_TEXT:
            return np.zeros(0, dtype=np.int64), ""
        assert isinstance(self.subject, OwnModel)
        try:
            run = Run.open(self.run)
            with run.at_home():
                files = open_text(self.config, self.subject.tokenizer, classes=run.classes, say=say)
        except HeedError as error:
            say(f"note: the text of {self.run} cannot be read ({error})")
            return np.zeros(0, dtype=np.int64), ""
        split = "validation" if "validation" in files else "train"
        return files[split].ids, f"the {split} split of {self.subject.name}"

    @property
    def learned_next(self) -> bool:
        """Whether the loss of the next token on running text is what the model has learned."""
        return self.subject.predicts and (self.config is None or aim_of(self.config).name == "next-token")


def open_subject(source: str, checkpoint: str = "best", device: str = "auto") -> OpenedSubject:
    """Open a model. Raises `ConfigError` for one without attention, `CheckpointError` where there is none."""
    where, folder = choose_device(device), Path(source.removeprefix("hf:"))
    if is_run(folder) and not source.startswith("hf:"):
        which = int(checkpoint) if checkpoint.isdecimal() else checkpoint
        model, tokenizer, config = load_run(folder, which, where)
        subject = OwnModel(folder.name, f"run {folder}, checkpoint {checkpoint}", model, tokenizer)
        return OpenedSubject(subject, folder, config)
    if checkpoint != "best":
        raise ConfigError("--checkpoint chooses one of a run: leave it out")
    folder = folder if folder.is_dir() else hub_folder(source)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds neither a run nor a model of transformers (no config.json)")
    name = source.rstrip("/").split("/")[-1].removeprefix("hf:")
    try:
        model, _ = load_hub(folder)
    except ConfigError:  # an architecture that heed has not
        from heed.explore.hub_model import load_foreign

        return OpenedSubject(load_foreign(name, source, folder, where))
    return OpenedSubject(OwnModel(name, source, model.to(where), hub_tokenizer(folder)))
