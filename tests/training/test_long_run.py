"""Training after training in one process: neither memory nor open files grow.

HEED_MINUTES says for how long (half a minute where it is not set).
"""

import gc
import os
import shutil
import statistics
import time

import psutil
import pytest

from cli.conftest import TINY, write_text
from heed.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
MINUTES = float(os.environ.get("HEED_MINUTES", "0.5"))


def test_memory_and_descriptors_are_flat(tmp_path, capfd):
    write_text(tmp_path / "a.txt", 300)
    folder, process = tmp_path / "runs", psutil.Process()
    flags = [*TINY, "--tokenizer.kind", "char", "--run.folder", str(folder), "--run.name", "one", "--overwrite"]
    begin, seen, bits = time.monotonic(), [], set()
    while time.monotonic() - begin < 60 * MINUTES or len(seen) < 8:
        assert main(["train", str(tmp_path / "a.txt"), *flags]) == 0
        weights = folder / "one" / "checkpoints" / "step-00000006" / "model.safetensors"
        bits.add(weights.read_bytes())
        assert main(["sample", str(folder / "one"), "--max-tokens", "8", "--seed", "1"]) == 0
        gc.collect()
        seen.append((process.memory_info().rss / 1e6, process.num_fds(), process.num_threads()))
    quarter = max(2, len(seen) // 4)
    first, last = (
        statistics.median(memory for memory, _, _ in part) for part in (seen[1 : quarter + 1], seen[-quarter:])
    )
    with capfd.disabled():
        print(
            f"\n{MINUTES:g} minutes, {len(seen)} trainings in one process: resident {first:.0f} MB in the first "
            f"quarter, {last:.0f} MB in the last; descriptors {seen[1][1]} and {seen[-1][1]}; threads {seen[1][2]} and "
            f"{seen[-1][2]}"
        )
    assert len(bits) == 1, "the same configuration came to other bits in the same process"
    assert last < first + 30
    assert seen[-1][1] <= seen[1][1] + 1
    assert seen[-1][2] <= seen[1][2] + 1
    shutil.rmtree(folder)
