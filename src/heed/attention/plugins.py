"""Mechanisms that other packages bring: through the entry point `heed.mechanisms`, or as `package.module:Class`.

    [project.entry-points."heed.mechanisms"]
    decaying-mean = "heed_mean_attention:DecayingMean"

Nothing of another package is imported before its mechanism is asked for, and one that is broken breaks nothing else.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from heed.attention.facts import Facts
from heed.attention.imported import load_object
from heed.attention.mechanism import Mechanism
from heed.errors import ConfigError

GROUP = "heed.mechanisms"


@dataclass(frozen=True)
class Entry:
    """A mechanism of the catalogue."""

    name: str
    package: str
    """The distribution that it comes from; "heed" for heed's own."""
    kind: type[Mechanism] | None
    """The class; None where it cannot be used."""
    problem: str = ""
    """Why it cannot be used."""


def offers(name: str | None = None) -> list[EntryPoint]:
    """Return the entry points of every installed package, or those of one name; nothing is imported."""
    found = entry_points(group=GROUP) if name is None else entry_points(group=GROUP, name=name)
    # an editable install is listed twice where its source folder is on the path too
    unique = {(offer.name, offer.value, package_of(offer)): offer for offer in found}
    return [unique[key] for key in sorted(unique)]


def package_of(offer: EntryPoint) -> str:
    """Return the name of the distribution that makes an offer."""
    return offer.dist.name if offer.dist is not None else offer.value.partition(":")[0]


def load_offer(name: str, rivals: list[EntryPoint]) -> type[Mechanism]:
    """Return the class that one package offers under `name`, or raise `ConfigError` where several do."""
    if len(rivals) > 1:
        packages = " and ".join(package_of(offer) for offer in rivals)
        raise ConfigError(f"attention {name!r} is offered by {packages}: say which, as in {rivals[0].value}")
    return load_class(rivals[0].value, f"attention {name!r} of the package {package_of(rivals[0])}")


def load_class(path: str, who: str) -> type[Mechanism]:
    """Return the mechanism at `package.module:Class`, importable from here or the current folder.

    `who` begins the message of the `ConfigError` where it cannot be imported or is no mechanism.
    """
    kind = load_object(path, who, "package.module:Class")
    if not (isinstance(kind, type) and issubclass(kind, Mechanism)):
        raise ConfigError(f"{who}: {path} is not a subclass of heed.attention.Mechanism")
    if not isinstance(getattr(kind, "facts", None), Facts):
        raise ConfigError(f"{who}: {path} declares no facts: add facts = Facts(...)")
    return kind


def offered(own: Container[str]) -> dict[str, Entry]:
    """Return what other packages offer, by name, and why where it cannot be used; `own` are heed's own names."""
    rivals: dict[str, list[EntryPoint]] = {}
    for offer in offers():
        rivals.setdefault(offer.name, []).append(offer)
    entries = {}
    for name, found in rivals.items():
        package = ", ".join(package_of(offer) for offer in found)
        if name in own:
            # a package cannot change what a name of heed's means; its class can be used by its full name
            shown = f"{name} ({package})"
            problem = f"the name is heed's own: use {found[0].value}, or rename the entry point"
            entries[shown] = Entry(shown, package, None, problem)
            continue
        try:
            entries[name] = Entry(name, package, load_offer(name, found))
        except ConfigError as error:
            entries[name] = Entry(name, package, None, str(error))
    return entries
