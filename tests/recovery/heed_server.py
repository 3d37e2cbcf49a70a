"""`heed serve` in a process of its own, restricted as a test wants it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(run: Path, *flags: str) -> Iterator[str]:
    """Serve a run and give the address of its API."""
    argv = [sys.executable, "-m", "heed", "serve", str(run), "--port", "0", "--no-access-log", *flags]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
