"""The documentation tells the truth of today: generated pages are current, verbs and links are there."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from heed.attention import MECHANISMS, POSITIONS, PROJECTIONS, SCORES
from heed.cli import VERBS
from heed.config import make_config, read_yaml
from heed.studies.plan_reading import read_plan

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look for their module there
    spec.loader.exec_module(module)
    return module


def generator() -> Any:
    return loaded("generate")


def test_generated_pages_are_current():
    for file, content in generator().pages().items():
        assert file.read_text(encoding="utf-8") == content, f"{file.name} is stale: python docs/generate.py"


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_has_its_page(name):
    assert "](" in generator().linked(name), f"write docs/attention/{name}.md"


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = (page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md"))
    missing = [page for page in pages if f": {page}\n" not in nav]
    assert not missing, f"name {missing} in the nav of mkdocs.yml"


def test_readme_counts_what_attention_is_made_of():
    families = {
        "mechanisms": MECHANISMS,
        "scores": SCORES,
        "projections": PROJECTIONS,
        "schemes of positions": POSITIONS,
    }
    counts = [f"{len(family)} {name}" for name, family in families.items()]
    assert f"{', '.join(counts[:-1])} and {counts[-1]}, all" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_shows_every_verb():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"`heed {verb}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("file", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda file: file.name)
def test_every_shipped_configuration_is_valid_and_says_how_to_run_it(file):
    read_plan(file) if file.parent.name == "studies" else make_config(read_yaml(file))
    assert file.read_text(encoding="utf-8").splitlines()[0].startswith("# heed ")
