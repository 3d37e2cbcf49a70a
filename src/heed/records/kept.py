"""How a record is kept: a typed JSON object that is written and read by the same class.

A key that this version does not know stays in the object and in the file, and `unknown` names it. A key that was never
set is not written. `read_record` refuses what is damaged and says where; `read_leniently` leaves that out and says so,
since most of a study can still be shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    model_serializer,
    model_validator,
)

from heed import seals
from heed.errors import CheckpointError, why
from heed.files import make_folder


class DamagedError(CheckpointError):
    """A file of heed's is not what it should be."""


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def finite_or_none(value: Any) -> Any:
    """Return None for what is no finite number: such a figure is as good as missing."""
    return value if type(value) in (int, float) and math.isfinite(value) else None


Whole = Annotated[int, BeforeValidator(_whole)]
"""162.0 steps are 162."""
Finite = Annotated[float | None, BeforeValidator(finite_or_none)]
Number = Annotated[float | None, PlainValidator(lambda value: value if type(value) in (int, float) else None)]
"""Any number as it is, NaN and infinity too; None for what is none."""
PlainObject = Annotated[
    dict[str, Any] | None, BeforeValidator(lambda value: value if isinstance(value, dict) else None)
]
PlainList = Annotated[list[Any] | None, BeforeValidator(lambda value: value if isinstance(value, list) else None)]
"""None for what is none: it is as good as missing."""
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
    OPEN: ClassVar[bool] = False
    """Whether any key may stand in it, so that none is unknown."""

    @model_validator(mode="before")
    @classmethod
    def _leave_nulls_out(cls, values: Any) -> Any:
        """Take null for what is not there, where that has a value that is not None."""
        if not isinstance(values, dict):
            return values
        set_anyway = _never_null(cls)
        return {key: value for key, value in values.items() if value is not None or key not in set_anyway}

    def __eq__(self, other: object) -> bool:
        """Whether it is the same object; contents are compared by `plain`."""
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def plain(self) -> dict[str, Any]:
        """Return what the file holds: the keys that were set, and those that are not known here."""
        return self.model_dump(exclude_unset=True, by_alias=True)

    def finite(self, name: str) -> float | None:
        """Return what stands under a name, None where that is no finite number."""
        return finite_or_none(getattr(self, name, None))

    def but(self, **changes: Any) -> Self:
        """Return the same with other values."""
        return self.model_copy(update=changes)


@cache
def _never_null(kind: type[BaseModel]) -> frozenset[str]:
    """Return the keys that have a value where they are not set."""
    optional = {field.alias or name: field for name, field in kind.model_fields.items() if not field.is_required()}
    usual = {key: field.get_default(call_default_factory=True) for key, field in optional.items()}
    return frozenset(key for key, value in usual.items() if value is not None and value is not math.nan)


class Ordered(Kept):
    """A JSON object that is open to any key and keeps the order in which it was given them."""

    OPEN: ClassVar[bool] = True
    _order: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _keep_order(cls, values: Any, make: Callable[[Any], Self]) -> Self:
        made = make(values)
        if isinstance(values, dict):
            made._order = tuple(values)
        return made

    @model_serializer(mode="wrap")
    def _in_order(self, plain: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        found = plain(self)
        return {key: found[key] for key in self._order if key in found} | found


Record = TypeVar("Record", bound=Kept)


def write_record(path: Path, record: Kept | Mapping[str, Any]) -> None:
    """Write JSON whole or not at all, and keep its hash. Raises `CheckpointError` when the folder or disk refuses."""
    try:
        make_folder(path.parent)
        seals.write_json(path, record.plain() if isinstance(record, Kept) else record)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {why(error)}; make room and give the same command again, or choose another "
            "--out"
        ) from error


def read_record(kind: type[Record], path: Path, shown: str | Path | None = None) -> Record:
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
    if record.OPEN:
        return
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
