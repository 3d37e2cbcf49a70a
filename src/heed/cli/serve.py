"""`heed serve`: trained models behind an OpenAI-compatible API."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from heed.cli.listening_flags import ListenFlags, address_of, hosts_of, keys_of
from heed.cli.settings import parse
from heed.errors import ConfigError, require


class ServeFlags(ListenFlags):
    """Serve models as OpenAI's completions API does: /v1/completions, /v1/models, and a page to try them at /.

    Requests are decoded together, joining and leaving at any token; the text of a request with a seed is the same
    alone and in company. Every classic parameter is honoured, or refused by name. Nothing that is written or asked is
    logged. The server listens to this machine alone, unless it has an API key.

    --top-logprobs, --logprobs, --round-logprobs, --bias, --latency and --fail-rate mimic closed APIs, to develop
    against.

    examples:
      heed serve runs/quickstart
      heed serve runs/small runs/large --port 8001
      heed serve hf:openai-community/gpt2 --weights bf16
      heed serve runs/quickstart --top-logprobs 2 --logprobs processed
      HEED_API_KEY=... heed serve runs/quickstart --host 0.0.0.0
      curl localhost:8000/v1/completions -H 'Content-Type: application/json' -d '{"prompt": "The import"}'
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Run folders, folders of transformers, or hf:NAME. A model is called by the name of its folder."""
    name: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Other names for the models, one each: --name a --name b."""
    checkpoint: str = "best"
    """best, last, or a step."""
    chat_template: Path | None = None
    """A chat template in Jinja, for all models, in the place of their own; /v1/chat/completions needs one."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes cuda, then mps, then cpu."""
    weights: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    """What the matrices are kept in: fp32 as they were trained; fp16, faster on any x86; with AMX, bf16 for many texts
    or long prompts, and int8 for one text. heed eval --weights says what that costs."""
    rows: int = Field(default=32, ge=1)
    """Texts of a model that are written together at most; each takes memory for its context."""
    queue: int = Field(default=256, ge=1)
    """Requests that wait at most; more are told to come again (429)."""
    max_choices: int = Field(default=256, ge=1)
    """Texts that one request may ask for: its prompts times best_of."""
    max_tokens: int | None = None
    """Tokens that a text may ask for. Default: as many as the context holds."""
    max_body: int = Field(default=4_000_000, ge=100)
    """Bytes of a request."""
    connections: int = Field(default=1000, ge=1)
    """Requests that are open at once."""
    time_limit: float = Field(default=300.0, gt=0)
    """Seconds that a request may take, waiting included."""
    grace: float = Field(default=10.0, ge=0)
    """Seconds that requests are given to end when the server is stopped."""
    on_overflow: Literal["error", "slide"] = "error"
    """A text that might outgrow the context is refused, or the older half of it is forgotten."""
    top_logprobs: int = Field(default=5, ge=0)
    """How many of the likeliest tokens requests may ask to see."""
    logprobs: Literal["raw", "processed"] = "raw"
    """The log-probabilities that are reported: the model's own, or those after penalties and bias. Neither is after
    temperature and top-p."""
    round_logprobs: float | None = None
    """Round them to multiples of this."""
    bias: Literal["shown", "hidden"] = "shown"
    """With --logprobs processed: whether logit_bias moves what is reported, or only what is drawn."""
    latency: float = 0.0
    """Seconds to wait before each answer."""
    fail_rate: float = 0.0
    """Share of the requests that fail (500)."""
    access_log: bool = True
    """Write a line for each request, without what it asks."""


def main(argv: list[str]) -> int:
    """Open the models, listen, and answer until a signal comes; 0 then."""
    flags = parse(ServeFlags, argv, "serve")
    if not flags.runs:
        raise ConfigError("there is nothing to serve: name a run folder, such as: heed serve runs/quickstart")
    require("fastapi", "serve")
    require("uvicorn", "serve")
    from heed.serving.listening import bind, listen
    from heed.serving.settings import ServerSettings

    shared = {name: getattr(flags, name) for name in ServerSettings.__dataclass_fields__ if hasattr(flags, name)}
    settings = ServerSettings(api_keys=keys_of(flags), hosts=hosts_of(flags), **shared)
    listener = bind(flags.host, flags.port)  # before models, which may take long
    with listener:
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
        logging.getLogger("heed.access").setLevel(logging.INFO)
        from heed.serving.app import make_app

        app = make_app(open_models(flags), settings)
        names, ending = ", ".join(app.state.server.served), app.state.engine.close
        print(f"serving {names} at {address_of(flags, listener)}/v1 (Ctrl-C ends it)", flush=True)
        listen(app, listener, grace=flags.grace, connections=flags.connections, ending=ending)
    return 0


def open_models(flags: ServeFlags) -> list:
    """Open each model under its own name."""
    from heed.cli import tell
    from heed.serving.served_model import name_of, open_served

    names = flags.name or tuple(map(name_of, flags.runs))
    if len(names) != len(flags.runs):
        raise ConfigError(f"--name is given {len(names)} times for {len(flags.runs)} models: one each, or none")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"two models are called {twice[0]!r}: give each a --name")
    how = {"checkpoint": flags.checkpoint, "device": flags.device, "template": flags.chat_template}
    return [
        open_served(run, name=name, weights=flags.weights, say=tell, **how)
        for run, name in zip(flags.runs, names, strict=True)
    ]
