"""YAML as people write it, read strictly: what stands twice, never ends or is no value is refused with its line.

PyYAML takes the last of two equal keys and says nothing, builds what a few lines of aliases multiply to millions of
values, and passes on whatever a number or a date of no calendar raises.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from heed.errors import ConfigError

DEEPEST = 60
"""Levels that settings may be nested."""
MOST = 100_000
"""Values that a file may hold, with all its aliases written out."""
MERGE = "tag:yaml.org,2002:merge"


def parse_yaml(text: str, where: str) -> Any:
    """Return what a text in YAML holds; `where` is its file or flag, for messages. Raises `ConfigError`."""
    try:
        return yaml.load(text, _Strict)  # a SafeLoader: it makes plain values only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{where}{line} is not valid YAML: {' '.join(reason.split())[:300]}") from error
    except RecursionError:
        raise ConfigError(f"{where} is not valid YAML: {_TOO_DEEP}") from None


_TOO_DEEP = f"it is nested more than {DEEPEST} deep, and no setting is"


class _Strict(yaml.SafeLoader):
    """The safe loader, without what it forgives."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        """Return a node, and count how many values it holds with its aliases written out."""
        event: Any = self.peek_event()
        mark: Any = event.start_mark
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConstructorError(None, None, _TOO_DEEP, mark)
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise ConstructorError(None, None, f"*{event.anchor} refers to itself", mark)
            return node
        below = _below(node)
        size = self._sizes[id(node)] = 1 + sum(self._sizes[id(one)] for one in below)
        if size > MOST:
            more = f"it holds more than {MOST:,} values, aliases counted: write it shorter"
            raise ConstructorError(None, None, more, mark)
        if isinstance(node, MappingNode):
            self._refuse_twice(node)
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Return the value of a node; what is none is an error of its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError, KeyError, TypeError, OverflowError) as error:
            mark: Any = node.start_mark
            shown = str(node.value)[:40] if isinstance(node, ScalarNode) else "this"
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(None, None, f"{shown!r} is no {kind}", mark) from error

    def _refuse_twice(self, node: MappingNode) -> None:
        """Raise where two keys of a mapping are the same, or would be the same setting."""
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                continue  # no name of a setting, and refused as such
            name = "<<" if key.tag == MERGE else str(self.construct_object(key))
            if name in first:
                twice = f"{name[:60]!r} stands in line {first[name]} already: leave one of the two out"
                raise ConstructorError(None, None, twice, key.start_mark)
            first[name] = key.start_mark.line + 1


def _below(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []
