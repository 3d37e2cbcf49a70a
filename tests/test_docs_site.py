"""The site: few entries in its navigation, equations that are typeset, and figures that are what they say."""

import re

import pytest
import torch
import yaml
from pymdownx.superfences import SuperFencesException

from heed.attention import MECHANISMS
from test_docs import PAGES, ROOT, generator, loaded

DOCS = ROOT / "docs"
EQUATIONS = [(page, block) for page in PAGES for block in re.findall(r"```math\n(.*?)```", page.read_text(), re.DOTALL)]


def test_navigation_is_folded():
    nav = re.search(r"^nav:\n(.*)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(yaml.safe_load(nav[1])) <= 12


def test_nothing_of_the_site_comes_from_elsewhere():
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8") + (DOCS / "style.css").read_text(encoding="utf-8")
    assert "//" not in settings
    assert "font: false" in settings


@pytest.mark.parametrize(("page", "block"), EQUATIONS, ids=[f"{page.stem}" for page, _ in EQUATIONS])
def test_equations_are_typeset(page, block):
    html = loaded("hooks").equations(block)
    assert "<math" in html
    assert "\\" not in html


@pytest.mark.parametrize(
    "bad", [r"\begin{aligned} x &= \nosuch{y} & \end{aligned}", "x = y", r"\begin{aligned} a & b & c & d \end{aligned}"]
)
def test_an_equation_that_cannot_be_typeset_stops_the_build(bad):
    with pytest.raises(SuperFencesException, match="equation in docs"):
        loaded("hooks").equations(bad)


def test_pages_of_mechanisms_and_the_first_page_begin_with_a_figure():
    linked = {re.search(r"\((.*)\)", generator().linked(name))[1] for name in MECHANISMS}
    for page in [DOCS / "index.md", DOCS / "attention" / "index.md", *(DOCS / "attention" / name for name in linked)]:
        assert "figures/" in "".join(page.read_text(encoding="utf-8").splitlines()[:16]), page.name


def differences(generate, name):
    """Return the influences (T, T) by central differences on the path that training takes."""
    mix, words = generate.mixing(name, "auto")
    T, K = words.shape
    step = 1e-5
    moves = torch.eye(T * K, dtype=words.dtype).view(T * K, T, K) * step
    with torch.no_grad():
        slopes = (mix(words + moves) - mix(words - moves)) / (2 * step)  # (s and its component, t, component of y)
    return slopes.view(T, K, T, K).square().sum(dim=(1, 3)).sqrt().T


@pytest.mark.parametrize("name", generator().DRAWN)
def test_figures_show_what_differences_show(name):
    generate = generator()
    norms, other = generate.influence(name), differences(generate, name)
    torch.testing.assert_close(norms, other, rtol=1e-5, atol=1e-6)
    svg = (DOCS / "attention" / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    assert svg.count("<rect") == (other > 1e-6).sum()
    future = torch.ones_like(other).triu(1).bool()
    drawn = generate.DRAWN[name]
    sees = bool((other[future] > 1e-6).any())
    assert sees == (not drawn.causal or MECHANISMS[name.removesuffix("-encoder")].facts.causal == "leaks")
