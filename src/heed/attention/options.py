"""A mechanism's own options, as its `__init__` declares them and its class docstring explains them."""

from __future__ import annotations

import inspect
import re

from heed.attention.mechanism import Mechanism


def own_options(kind: type[Mechanism]) -> dict[str, inspect.Parameter]:
    """Return the options that a mechanism's `__init__` adds to those which all have."""
    common = inspect.signature(Mechanism.__init__).parameters
    own = inspect.signature(kind.__init__).parameters
    return {name: p for name, p in own.items() if name not in common and p.kind is not p.VAR_KEYWORD}


def option_docs(kind: type[Mechanism]) -> dict[str, str]:
    """Return what the class docstring says of each option: the paragraph that begins with its name.

    >>> class Half(Mechanism):
    ...     '''Halves.
    ...
    ...     step: how far,
    ...           in tokens.
    ...     `rate`: how much.
    ...     '''
    ...     def __init__(self, shape, *, step=1, rate=0.5): ...
    >>> option_docs(Half)
    {'step': 'how far, in tokens.', 'rate': 'how much.'}
    """
    names = "|".join(own_options(kind))
    docs: dict[str, str] = {}
    current = None
    for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
        begins = re.match(rf"`?({names})`?(?::| {{2,}})\s*(.*)", line) if names else None
        if begins:
            current = begins[1]
            docs[current] = begins[2]
        elif not line.strip():
            current = None
        elif current is not None:
            docs[current] += " " + line.strip()
    return docs
