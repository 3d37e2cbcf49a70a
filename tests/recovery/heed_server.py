"""`heed serve` in a process of its own, restricted as a test wants it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forked import heed_process


@contextmanager
def served(run: Path, *flags: str) -> Iterator[str]:
    """Serve a run and give the address of its API."""
    argv = ["serve", run, "--port", "0", "--no-access-log", *flags]
    process = heed_process(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"at (http://\S+/v1)", line)
        assert found, line + process.stderr.read()
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
