"""Servers in this process, asked through the official client."""

import pytest
from openai import OpenAI
from serving_doubles import make_served
from starlette.testclient import TestClient

from heed.serving.app import make_app
from heed.serving.settings import ServerSettings


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
