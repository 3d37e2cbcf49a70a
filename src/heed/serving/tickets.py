"""A request on its way through the engine, and what it hears from there.

Ticket   prompts x best_of drafts          heard by its owner
  ├── draft 0   waiting -> running -> done     Written, a token at a time (of a stream)
  ├── draft 1   ...                            Ended, when all drafts are
  └── ...                                      RefusalError, when it ends badly
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from heed.generation.decoding import Alternatives, DecodingPlan, FinishReason, Report
from heed.generation.generate import make_draft
from heed.generation.logprobs import TokenScore
from heed.generation.sampling import Sampling
from heed.serving.refusals import RefusalError
from heed.serving.served_model import ServedModel


@dataclass(frozen=True)
class Written:
    """One step of a draft, for those who read along."""

    draft: int
    """Which of the ticket's drafts."""
    token: int | None
    """The token that was added; None where the draft ended without one."""
    text: str
    """Text that became certain."""
    logprob: float | None
    alternatives: Alternatives
    finish_reason: FinishReason | None


@dataclass(frozen=True)
class Ended:
    """Every draft of the ticket has ended."""


Heard = list[Written] | Ended | RefusalError
"""What the owner of a ticket is told; a `Ended` or a `RefusalError` is the last of it."""


@dataclass(eq=False)
class Ticket:
    """A request for completions. The engine's thread owns all but `gone` once it is submitted."""

    served: ServedModel
    prompts: list[list[int]]
    sampling: Sampling
    plan: DecodingPlan
    send: Callable[[Heard], None]
    """Called from the engine's thread."""
    best_of: int = 1
    streams: bool = False
    scored: int | None = None
    """Alternatives for each token of the prompts; None: the prompts are not scored."""
    report: Report = "raw"
    time_limit: float = 300.0
    """Seconds."""
    gone: bool = False
    """Whether the client has left."""
    scores: dict[int, list[TokenScore]] = field(default_factory=dict)
    """The tokens of each prompt that was scored."""

    def __post_init__(self) -> None:
        self.drafts = [
            make_draft(self.served.model, ids, self.plan, p, c, self.plan.seed)
            for p, ids in enumerate(self.prompts)
            for c in range(self.best_of)
        ]
        self.waiting = deque(range(len(self.drafts)))
        """Drafts that have not begun."""
        self.left = len(self.drafts)
        """Drafts that have not ended."""
        self.submitted = time.monotonic()
        self.ended = False

    @property
    def late(self) -> bool:
        """Whether it has taken longer than it may."""
        return time.monotonic() - self.submitted > self.time_limit

    def take(self, room: int) -> tuple[int, list[int]]:
        """Return a prompt and drafts of it that begin now, at most `room`."""
        prompt = self.waiting[0] // self.best_of
        taken: list[int] = []
        while self.waiting and len(taken) < room and self.waiting[0] // self.best_of == prompt:
            taken.append(self.waiting.popleft())
        return prompt, taken

    def end(self, what: Ended | RefusalError) -> None:
        """Tell the owner how it ended, once."""
        if not self.ended:
            self.ended = True
            self.waiting.clear()
            self.send(what)
