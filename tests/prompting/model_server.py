"""A real model of heed behind a real HTTP server that speaks OpenAI's completions interface."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.small_server import Reply, Served, serving
from heed.api import CompletionChoice, CompletionRequest, FailedCallError
from heed.errors import ConfigError
from heed.prompting.local import LocalModel

SETTINGS = ("max_tokens", "temperature", "top_p", "n", "best_of", "presence_penalty", "frequency_penalty", "logprobs",
            "echo", "seed")  # fmt: skip


@contextmanager
def model_server(run: Path) -> Iterator[Served]:
    """Serve a run folder under its own name."""
    model = LocalModel(run, device="cpu")

    def answer(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            return Reply({"object": "list", "data": [{"id": model.model, "object": "model"}]})
        if path != "/v1/completions" or body["model"] != model.model:
            return Reply({"error": {"message": f"no model {body.get('model')!r} here"}}, 404)
        prompt = body["prompt"]
        given = {name: body[name] for name in SETTINGS if name in body}
        try:
            request = CompletionRequest(
                prompt if isinstance(prompt, str) else tuple(prompt),
                **given,
                stop=tuple(body.get("stop", ())),
                logit_bias={int(token): bias for token, bias in body.get("logit_bias", {}).items()},
            )
            found = model.complete(request)
        except (ConfigError, FailedCallError) as error:
            return Reply({"error": {"message": str(error), "type": "invalid_request_error"}}, 400)
        usage = {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens}
        choices = [{"index": place, **_choice(one)} for place, one in enumerate(found.choices)]
        return Reply({"object": "text_completion", "model": model.model, "choices": choices, "usage": usage})

    with serving(answer) as served:
        yield served


def _choice(one: CompletionChoice) -> dict[str, Any]:
    values = {"text": one.text, "finish_reason": one.finish_reason, "logprobs": None, "token_ids": one.token_ids}
    if one.tokens is not None:
        assert one.top_logprobs is not None
        values["logprobs"] = {
            "tokens": one.tokens,
            "token_logprobs": one.token_logprobs,
            "top_logprobs": [dict(place) or None for place in one.top_logprobs],
            "text_offset": one.text_offset,
            "token_ids": one.token_ids,
            "top_token_ids": one.top_ids,
        }
    return values
