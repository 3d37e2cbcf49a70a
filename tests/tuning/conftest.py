"""The tiny encoders, each written once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_encoders import save_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a tiny encoder, by the name of what it stands for."""
    folder = tmp_path_factory.mktemp("encoders")
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = save_tiny(name, folder)
        return made[name]

    return find
