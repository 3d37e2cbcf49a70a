"""The documentation tells the truth of today: generated pages are current, verbs and links are there."""

import importlib.util
import re
from pathlib import Path

import pytest

from heed.cli import VERBS
from heed.config import make_config, read_yaml
from heed.studies.plan_reading import read_plan

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])


def generated() -> dict[Path, str]:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_generated_pages_are_current():
    for file, content in generated().items():
        assert file.read_text(encoding="utf-8") == content, f"{file.name} is stale: python docs/generate.py"


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
