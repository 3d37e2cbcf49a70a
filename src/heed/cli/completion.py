"""`heed completion`: what a shell needs to complete `heed`, and its manual page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import tyro

from heed.cli.commands import VerbCommand, commands
from heed.cli.manual import man
from heed.cli.settings import parse
from heed.cli.shells import bash, fish, zsh
from heed.config import Section


class CompletionFlags(Section):
    """Print what a shell needs to complete verbs, flags, settings and their values; or the manual page.

    It takes some seconds, so write it into a file once, and again after an update.

    examples:
      heed completion bash > ~/.local/share/bash-completion/completions/heed
      heed completion zsh > ~/.zfunc/_heed                                 with fpath+=~/.zfunc before compinit
      heed completion fish > ~/.config/fish/completions/heed.fish
      heed completion man > ~/.local/share/man/man1/heed.1                 then: man heed
    """

    shell: Annotated[Literal["bash", "zsh", "fish", "man"], tyro.conf.Positional]
    """bash, zsh, fish, or man for the manual page."""


def main(argv: list[str]) -> int:
    """Print; 0 when done."""
    flags = parse(CompletionFlags, argv, "completion")
    print(SHELLS[flags.shell](list(commands())), end="")
    return 0


SHELLS: dict[str, Callable[[Sequence[VerbCommand]], str]] = {"bash": bash, "zsh": zsh, "fish": fish, "man": man}
"""What can be printed."""
