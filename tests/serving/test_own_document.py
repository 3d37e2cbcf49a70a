"""schemathesis asks the server what its own OpenAPI document says, and what it does not say.

Schema-valid requests that are refused are no fault: that best_of is at least n, or that a text fits into the context,
no schema can say.
"""

import os
import subprocess
import sys

import pytest
from serving_doubles import make_chat
from test_port import on_a_port

CALLS = int(os.environ.get("HEED_FUZZ_CALLS", "40"))
"""Calls of each kind for each route; 10,000 calls altogether are about 1,500."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_is_found(tmp_path):
    with on_a_port(make_chat(), top_logprobs=20) as (api, _):
        url = str(api.base_url).removesuffix("v1/") + "openapi.json"
        argv = ["-c", "all", "--exclude-checks", "positive_data_acceptance", "-n", str(CALLS), "--seed", "1"]
        argv += ["--phases", "coverage,fuzzing", "--continue-on-failure", "--suppress-health-check", "all"]
        program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
        found = subprocess.run([program, "run", url, *argv], capture_output=True, text=True, cwd=tmp_path)
    print(found.stdout[-6000:])
    assert found.returncode == 0, found.stdout[-6000:]
