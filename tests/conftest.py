"""What every test needs: one thread, warnings as errors, and the folder of real data."""

import gc
import os
import sys
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two threads on two busy cores are many times slower
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # many processes: heed itself lets threads spin for a moment
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach the network

from pathlib import Path

import pytest

gc.set_threshold(10_000)  # as the program does


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: $HEED_DATA, or shared/data beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HEED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data: set HEED_DATA (looked in {folder})")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _what_was_imported_stays() -> None:
    """Nobody looks for garbage again among the million objects of torch and transformers, which takes a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _threads_are_as_they_were() -> Iterator[None]:
    """Whatever a test runs leaves torch with as many threads as before: the sums of the next one depend on them."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else int(os.environ["OMP_NUM_THREADS"])
    yield
    if torch := sys.modules.get("torch"):
        assert torch.get_num_threads() == before
