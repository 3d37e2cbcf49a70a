"""Mechanisms of other packages: found by entry point or by full name, and refused in one line."""

import re
import sys
from pathlib import Path

import pytest

from heed.attention import MECHANISMS, Softmax, catalogue, find_mechanism
from heed.attention.contracts import check_mechanism
from heed.errors import ConfigError

MODULE = """
from heed.attention import Mechanism, Softmax

class Mine(Softmax):
    '''Mine.'''

class Factless(Mechanism):
    '''Declares nothing.'''

number = 3
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Pretend to install a package: `package("name", {"entry": "module:Class"}, **modules)`."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def install(name, entries, **modules):
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        lines = "".join(f"{entry} = {value}\n" for entry, value in entries.items())
        (info / "entry_points.txt").write_text(f"[heed.mechanisms]\n{lines}")
        for module, text in modules.items():
            (tmp_path / f"{module}.py").write_text(text)

    yield install
    for module in set(sys.modules) - before:
        del sys.modules[module]


def complaint(name):
    with pytest.raises(ConfigError) as raised:
        find_mechanism(name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_an_entry_point_is_found_and_listed_with_its_package(package):
    package("their-attention", {"mine": "their_module:Mine"}, their_module=MODULE)
    assert find_mechanism("mine").__name__ == "Mine"
    assert catalogue()["mine"].package == "their-attention"
    assert "did you mean 'mine'?" in complaint("mime")


def test_nothing_is_imported_before_it_is_asked_for(package):
    package("their-attention", {"mine": "their_module:Mine"}, their_module=MODULE)
    find_mechanism("softmax")
    complaint("nonsense")
    assert "their_module" not in sys.modules


def test_a_full_name_is_importable_from_the_current_folder(package, tmp_path):
    (tmp_path / "here.py").write_text(MODULE)
    assert find_mechanism("here:Mine").__doc__ == "Mine."


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("here:Factless", "declares no facts"),
        ("here:number", "is not a subclass of heed.attention.Mechanism"),
        ("here:Nothing", "here has no 'Nothing'"),
        ("nowhere.at_all:Mine", "cannot import nowhere.at_all: ModuleNotFoundError: No module named 'nowhere'"),
        ("raises:Mine", "cannot import raises: ZeroDivisionError: division by zero"),
        ("here:Mine:more", "is not of the form package.module:Class"),
        (":Mine", "is not of the form package.module:Class"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(package, tmp_path, name, says):
    (tmp_path / "here.py").write_text(MODULE)
    (tmp_path / "raises.py").write_text("1 / 0\n")
    assert says in complaint(name)


def test_a_broken_package_breaks_nothing_else(package):
    package("broken", {"lost": "not_there:Mine", "mine": "their_module:Mine"}, their_module=MODULE)
    entries = catalogue()
    assert set(MECHANISMS) < set(entries)
    assert entries["lost"].kind is None
    assert "attention 'lost' of the package broken: cannot import not_there" in entries["lost"].problem
    assert entries["mine"].kind is not None
    assert "of the package broken" in complaint("lost")


def test_a_name_of_heeds_own_keeps_its_meaning_and_the_rival_is_told(package):
    package("rival", {"softmax": "their_module:Mine"}, their_module=MODULE)
    assert find_mechanism("softmax") is Softmax
    entry = catalogue()["softmax (rival)"]
    assert entry.kind is None
    assert "the name is heed's own: use their_module:Mine" in entry.problem


def test_two_packages_with_one_name_are_refused(package):
    package("one", {"mine": "their_module:Mine"}, their_module=MODULE)
    package("two", {"mine": "other:Mine"}, other=MODULE)
    assert "offered by two and one: say which, as in other:Mine" in complaint("mine")
    assert catalogue()["mine"].kind is None


def test_the_class_in_the_documentation_keeps_every_contract(package, tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs" / "attention" / "your-own.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "my_module.py").write_text(code)
    findings = check_mechanism(find_mechanism("my_module:Mean"), "mean", options={"power": 0.5})
    assert [finding for finding in findings if not finding.ok] == []
