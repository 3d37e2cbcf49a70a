"""One call to an API over HTTP, through the `openai` package; and what is said when it fails.

Any server that speaks OpenAI's completions or chat interface: heed serve, vLLM, llama.cpp, OpenAI itself. Retries,
budgets and kept answers are the caller's (`caller.py`).
"""

from __future__ import annotations

import email.utils
import json
import time
import weakref
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from heed.api.completion import ChatTurn, CompletionAnswer, CompletionRequest, FailedCallError, read_completion
from heed.api.keys import OPENAI, ApiKey
from heed.errors import ApiError, ConfigError, did_you_mean, one_line, require

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Statuses after which another try may help."""
ITSELF = (400, 413, 422)
"""Statuses that are about the one request: it is too long, or has a setting that the server does not take."""
CONNECT_SECONDS = 10.0


class CompletionClient:
    """A model behind a base URL such as http://127.0.0.1:8000/v1.

    `timeout` are the seconds that an answer may take. Raises `ConfigError` for an address that is none, and
    `MissingPackageError` without the openai package.
    """

    def __init__(self, base_url: str, model: str, key: ApiKey | None = None, *, timeout: float = 120.0) -> None:
        self.endpoint, self.model = checked_url(base_url), model
        self._key = key
        openai = require("openai", "api")
        import httpx2

        theirs = () if urlsplit(self.endpoint).hostname == OPENAI else ("OpenAI-Organization", "OpenAI-Project")
        self._openai, self._reached = openai, False
        http = openai.DefaultHttpxClient(follow_redirects=False)  # what is asked is for no other address
        weakref.finalize(self, http.close)
        self._client = openai.OpenAI(
            api_key=key.secret() if key else "none",
            base_url=self.endpoint,
            max_retries=0,
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            default_headers={name: openai.Omit() for name in theirs},  # the environment's are not for others
            http_client=http,
        )

    def complete(self, request: CompletionRequest) -> CompletionAnswer:
        """Return the answer to one call. Raises `FailedCallError`."""
        return read_completion(self._post(request), request.chat)

    def models(self) -> list[str]:
        """Return the names of the models that the API says it has. Raises `FailedCallError`."""
        body = self._call(lambda: self._client.models.with_raw_response.list(), listing=True)
        try:
            return [str(one["id"]) for one in body["data"]]
        except (KeyError, TypeError):
            raise FailedCallError(
                f"{self.endpoint}/models answers in another form than OpenAI's", again=False
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _post(self, request: CompletionRequest) -> Any:
        body = body_of(request)
        create = (self._client.chat.completions if request.chat else self._client.completions).with_raw_response.create
        prompt = {"messages": body.pop("messages")} if request.chat else {"prompt": body.pop("prompt")}
        call: Any = create
        return self._call(lambda: call(model=self.model, **prompt, extra_body=body))

    def _call(self, call: Any, *, listing: bool = False) -> Any:
        """Return the JSON that a call is answered with, or raise `FailedCallError` with what was wrong."""
        openai = self._openai
        try:
            response = call()
            self._reached = True
        except openai.APITimeoutError:
            late = "did not answer in time: raise the timeout, or ask fewer at once"
            raise FailedCallError(f"{self.endpoint} {late}", again=True, spent=True) from None
        except openai.APIStatusError as error:
            self._reached = True
            raise self._refused(error, looking=not listing) from None
        except openai.APIConnectionError as error:
            raise self._cut(error.__cause__ or error) from None
        except openai.OpenAIError as error:
            raise FailedCallError(f"{self.endpoint}: {self._line(str(error))}", again=False) from None
        try:
            said = response.content.decode("utf-8")  # a server may repeat the key, and answers are kept
            return json.loads(said if self._key is None else self._key.hidden_in(said))
        except (ValueError, RecursionError):
            shown = self._line(response.text.strip()[:80])
            no_json = (
                f"{self.endpoint} answers with no JSON, but {shown or 'nothing'}: an API's address usually ends in /v1"
            )
            raise FailedCallError(no_json, again=False, spent=True) from None

    def _cut(self, cause: BaseException) -> FailedCallError:
        """Return what is said where there is no answer; a server that was never there is not tried again."""
        said = self._line(str(cause) or type(cause).__name__)
        if "connect" in type(cause).__name__.lower():
            down = f"{self.endpoint} does not answer ({said}): start the server, or check the address"
            return FailedCallError(down, again=self._reached)
        return FailedCallError(f"{self.endpoint} broke off the connection ({said})", again=True, spent=True)

    def _refused(self, error: Any, *, looking: bool) -> FailedCallError:
        """Return what is said of a status of 4xx or 5xx; `looking`: which models there are, where this one is not."""
        status, said = error.status_code, self._line(_message(error))
        again = status in AGAIN and "insufficient_quota" not in (error.code, error.type)
        if 300 <= status < 400:
            there = self._line(error.response.headers.get("location", "nowhere"))
            elsewhere = (
                f"sends elsewhere ({there}), and neither key nor prompts go there: give that address if you mean it"
            )
            return FailedCallError(f"{self.endpoint} {elsewhere}", again=False)
        if status in (401, 403):
            which = "the key is not accepted" if self._key else "a key is needed"
            remedy = "give another one" if self._key else "export HEED_API_KEY, or name its file"
            return FailedCallError(f"{self.endpoint}: {which} ({said}): {remedy}", again=False)
        if status == 404 and looking:
            return FailedCallError(f"{self.endpoint}: {self._not_there(said)}", again=False)
        if status == 429 and again:
            said = f"too many requests ({said})"
        return FailedCallError(
            f"{self.endpoint} answers {status}: {said}",
            again=again,
            after=wait_of(error.response.headers),
            refused=status in ITSELF,
        )

    def _not_there(self, said: str) -> str:
        """Say what is missing: the model, where others are there, or the interface."""
        try:
            known = self.models()
        except ApiError:
            return f"there is no such page ({said}): an API's address usually ends in /v1"
        if self.model not in known:
            return f"there is no model {self.model!r}, {did_you_mean(self.model, known) if known else 'nor any other'}"
        return f"this interface is not there ({said})"

    def _line(self, text: str) -> str:
        """Return what a server says as part of a line, without the key."""
        return one_line(text if self._key is None else self._key.hidden_in(text), 300)


def body_of(request: CompletionRequest) -> dict[str, Any]:
    """Return the body of a request in the form of the interface that it goes to, without its model."""
    values = request.as_dict()
    values.pop("draw", None)
    extra = values.pop("extra", {})
    if values["n"] == 1:
        del values["n"]
    if request.chat:
        turns = [turn for turn in request.prompt if isinstance(turn, ChatTurn)]
        values = {"messages": [vars(turn) for turn in turns], **{k: v for k, v in values.items() if k != "prompt"}}
        if (k := values.pop("logprobs", None)) is not None:
            values |= {"logprobs": True, "top_logprobs": k}
    return {**values, **extra}


def checked_url(base_url: str) -> str:
    """Return an address without a slash at its end. Raises `ConfigError` where it is none, or holds a password.

    >>> checked_url("http://127.0.0.1:8000/v1/")
    'http://127.0.0.1:8000/v1'
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or not base_url.isprintable():
        raise ConfigError(f"{one_line(base_url)[:100]!r} is no address of an API: write it as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        place = parts.hostname + (f":{port}" if port else "")
        raise ConfigError(f"the address of {place} holds a name, a key or a question: give a key in a file or variable")
    return base_url.rstrip("/")


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait: a number, or a date.

    >>> wait_of({"retry-after": "2"}), wait_of({"retry-after-ms": "1500"}), wait_of({"retry-after": "soon"})
    (2.0, 1.5, None)
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) / unit)
        except ValueError:
            pass
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError):
            pass
    return None


def _message(error: Any) -> str:
    """Return what a server says of an error, in whatever form."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        if said:
            return str(said)
    return str(body or error.message).strip() or "no reason given"
