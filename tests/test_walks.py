"""The walks of docs/walks.md go through files and names that are there."""

import re
from pathlib import Path

import pytest

import heed

SOURCE = Path(heed.__file__).parent
WALKS = (SOURCE.parents[1] / "docs" / "walks.md").read_text(encoding="utf-8")
STEPS = re.findall(r"`([\w/]+\.py)` `(\w+)`", WALKS)


def test_there_are_three_walks():
    assert len(re.findall(r"^## ", WALKS, flags=re.M)) == 3
    assert len(STEPS) > 25


@pytest.mark.parametrize(("file", "name"), STEPS)
def test_a_step_is_there(file, name):
    assert re.search(
        rf"^(class |def |    def |type )?{name}\b", (SOURCE / file).read_text(encoding="utf-8"), flags=re.M
    )
