"""The records of a run folder beside its events: environment.json, evaluation.json and lengths.json."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from heed.records.figures import KeptFigures, LengthFigures
from heed.records.kept import Number, Ordered, PlainList, PlainObject

ENVIRONMENT, EVALUATION, LENGTHS = "environment.json", "evaluation.json", "lengths.json"
_Figures = Annotated[KeptFigures | Any, Field(union_mode="left_to_right")]
_Lengths = Annotated[LengthFigures | Any, Field(union_mode="left_to_right")]
"""What is something else is passed over."""


class MachineFacts(Ordered):
    """What a run ran on; `heed.training.devices.machine_facts` says what else is kept."""

    cores: Number = None
    gpus: PlainList = None
    """Their names."""
    threads: Number = None


class EnvironmentFile(Ordered):
    """environment.json: what a result depends on beside the configuration, and what is known of the new model."""

    time: Any = None
    command: PlainList = None
    heed: Any = None
    python: Any = None
    torch: Any = None
    numpy: Any = None
    git_commit: Any = None
    """None outside of a repository."""
    machine: MachineFacts = Field(default_factory=MachineFacts)
    code: Any = None
    """Of a mechanism or score that is not heed's: its module, its name in it, and the SHA-256 of its file, by the name
    that the settings have for it. A copy of the file is in the run."""
    began_in: Any = None
    """The folder in which the command was given, as seen from the run: relative sources are relative to it."""
    job: Any = None
    """The number of the job that began it, where that was one of Slurm's."""
    ranks: Number = None
    """How many processes trained the model together, where it was not one."""
    seed: Any = None
    streams: PlainObject = None
    """The seed of every stream of random numbers, by its name."""
    parameters: Number = None
    flops_per_token: Number = None
    audit: Any = None
    """What was looked at for leaks."""
    classes: Any = None
    """The names of the classes that the model tells apart, in the order of its outputs."""
    target: Any = None
    """What is learned of a text that has no class: see `heed.targets`."""
    encoder: Any = None
    """Of a tuned run: where its encoder came from, and the hash of its files."""
    key: Any = None
    """Of a tuned run: what its result depends on, as a hash."""
    leaks: Any = None
    """What the audit found, where it found a leak that was allowed."""


class EvaluationFile(Ordered):
    """evaluation.json: the final figures by split."""

    __pydantic_extra__: dict[str, _Figures]  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def splits(self) -> dict[str, KeptFigures]:
        """The figures of each split."""
        return {name: found for name, found in (self.model_extra or {}).items() if isinstance(found, KeptFigures)}


class LengthsFile(Ordered):
    """lengths.json: the figures of the validation split at other contexts, by context in tokens."""

    __pydantic_extra__: dict[str, _Lengths]  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def lengths(self) -> dict[int, LengthFigures]:
        """The figures at each context, or why there are none."""
        found = (self.model_extra or {}).items()
        return {int(key): one for key, one in found if key.isdecimal() and isinstance(one, LengthFigures)}
