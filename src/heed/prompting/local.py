"""A model on this machine answers as an API would: the same requests, the same answers, without HTTP.

The only file of this room that needs torch; it is imported when a run folder or an hf: model is asked.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from itertools import accumulate
from pathlib import Path
from typing import Any

from heed.api import CompletionAnswer, CompletionChoice, CompletionRequest, FailedCallError
from heed.errors import CheckpointError, ConfigError, DataError
from heed.generation import Alternatives, Completion, Sampling, generate
from heed.generation.stopping import token_texts
from heed.models.hub import hub_folder, load_hub
from heed.records.folder import is_run
from heed.text.tokenizers import load_tokenizer
from heed.text.tokenizers.published import find_pair, read_pair
from heed.training.checkpoint import find_checkpoint, weight_files
from heed.training.devices import choose_device
from heed.training.run import load_run

SERVED_ELSEWHERE = "is for an API with a chat template: heed serve it, or ask without --chat"


class LocalModel:
    """A run folder, or a causal model of Hugging Face (a folder, hf:NAME) that heed reads.

    Raises `CheckpointError` and `ConfigError` as `load_run` and `load_hub` do.
    """

    def __init__(self, source: str | Path, *, checkpoint: str | int = "best", device: str = "auto") -> None:
        name, where = str(source), choose_device(device)
        if is_run(Path(name)):
            self._model, self._tokenizer, _ = load_run(name, checkpoint, where)
            weights = weight_files(find_checkpoint(Path(name) / "checkpoints", checkpoint))
        else:
            folder = Path(name) if Path(name).is_dir() else hub_folder(name if name.startswith("hf:") else f"hf:{name}")
            model, _ = load_hub(folder)
            self._model, self._tokenizer = model.to(where), _tokenizer(folder)
            weights = sorted(folder.glob("*.safetensors"))
        if not self._model.causal:
            raise ConfigError(f"{name} is an encoder, which cannot write: give a model that predicts the next token")
        self.model = name.rstrip("/").split("/")[-1].removeprefix("hf:")
        self.endpoint = f"local:{_digest(weights)}"
        self._lock = threading.Lock()

    def complete(self, request: CompletionRequest) -> CompletionAnswer:
        """Return the answer. Raises `FailedCallError` where a server would refuse the request."""
        if request.chat:
            raise FailedCallError(f"a chat {SERVED_ELSEWHERE}", again=False)
        if request.extra:
            raise FailedCallError(f"a model on this machine takes no {', '.join(request.extra)}", again=False)
        asked = list(request.prompt) if isinstance(request.prompt, tuple) else request.prompt
        try:
            with self._lock:
                found = generate(
                    self._model,
                    self._tokenizer,
                    [asked],  # type: ignore[list-item] - no turns of a chat: see above
                    _sampling(request),
                    max_tokens=request.max_tokens,
                    n=request.n,
                    best_of=request.best_of,
                    stop=request.stop,
                    echo=request.echo,
                    logprobs=request.logprobs,
                    seed=secrets.randbits(32) if request.seed is None else request.seed,
                    on_overflow="stop",
                )[0]
        except (ConfigError, DataError) as error:
            raise FailedCallError(str(error), again=False, refused=True) from None
        choices = tuple(self._choice(one, request) for one in found)
        ids = asked if isinstance(asked, list) else [*self._tokenizer.start_ids, *self._tokenizer.encode(asked)]
        return CompletionAnswer(choices, max(1, len(ids)), sum(len(one.ids) for one in found), self.model)

    def _choice(self, found: Completion, request: CompletionRequest) -> CompletionChoice:
        """Return a completion in the form that OpenAI's API gives it."""
        echoed = found.prompt or []
        texts = [one.text for one in echoed] + found.tokens
        text = "".join(texts) if request.echo else found.text
        finish = "stop" if found.finish_reason == "end" else found.finish_reason
        if request.logprobs is None:
            return CompletionChoice(text, finish, token_ids=tuple([one.id for one in echoed] + found.ids))
        top = [one.alternatives for one in echoed] + (found.top_logprobs or [])
        return CompletionChoice(
            text,
            finish,
            tokens=tuple(texts),
            token_logprobs=tuple([one.logprob for one in echoed] + (found.token_logprobs or [])),
            top_logprobs=tuple(self._named(place) for place in top),
            token_ids=tuple([one.id for one in echoed] + found.ids),
            top_ids=tuple(tuple(token for token, _ in place) for place in top),
            top_by_id=tuple(tuple(place) for place in top),
            text_offset=tuple(accumulate(map(len, texts[:-1]), initial=0)) if texts else (),
        )

    def _named(self, place: Alternatives) -> tuple[tuple[str, float], ...]:
        """Return the likeliest tokens of a place with their texts in the place of their ids."""
        return tuple((token_texts([self._tokenizer.token_bytes(token)])[0], p) for token, p in place)


def _sampling(request: CompletionRequest) -> Sampling:
    values: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "logit_bias": request.logit_bias or None,
    }
    return Sampling(**{name: value for name, value in values.items() if value is not None})


def _tokenizer(folder: Path) -> Any:
    """Return the tokenizer in a folder of transformers."""
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder)
    if (pair := find_pair(folder)) is not None:
        return read_pair(*pair)
    raise CheckpointError(f"{folder} has no tokenizer.json: save it there with transformers (save_pretrained)")


def _digest(weights: list[Path]) -> str:
    """Return a hash of the weights: answers of other weights are other answers."""
    found = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:16]
