"""Models to be served, in process: a GPT over characters that was never trained, so that its texts vary."""

import pytest
import torch
from openai import OpenAI
from starlette.testclient import TestClient

from heed.config import ModelConfig
from heed.models import GPT
from heed.serving.app import make_app
from heed.serving.served_model import ServedModel
from heed.serving.settings import ServerSettings
from heed.text.tokenizer import train_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz .,é\n"


def make_served(name="tiny", context=48, seed=3, tokenizer=None, **settings):
    tokenizer = tokenizer or train_tokenizer("char", [LETTERS, LETTERS], 100)
    config = ModelConfig(**{"n_layers": 2, "n_heads": 2, "d_model": 32, "context": context, **settings})
    model = GPT(config, tokenizer.vocab_size, torch.Generator().manual_seed(seed)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)  # so that some tokens are likelier than others
    return ServedModel(name, model, tokenizer)


@pytest.fixture(scope="session")
def served():
    return make_served()


@pytest.fixture
def serve(served):
    """Return a client of `openai` for a server in this process, with these settings."""
    engines, clients = [], []

    def start(*models, **settings):
        app = make_app(models or [served], ServerSettings(**{"access_log": False, **settings}))
        engines.append(app.state.engine)
        http = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        http.__enter__()
        clients.append(http)
        api = OpenAI(api_key="none", base_url="http://localhost/v1", http_client=http, max_retries=0)
        api.http = http
        api.engine = app.state.engine
        return api

    yield start
    for engine in engines:
        engine.close()
    for client in clients:
        client.__exit__(None, None, None)
