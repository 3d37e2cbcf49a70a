"""The example package, as if it were installed: its mechanism is listed, judged, trained and measured as heed's are."""

import importlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.conftest import TINY, write_text
from forked import forked
from heed.cli import main

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "heed-mean-attention"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with what `pip install` would put into site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    for module in project["tool"]["setuptools"]["py-modules"]:
        shutil.copy(EXAMPLE / f"{module}.py", folder)
    about = project["project"]
    info = folder / f"heed_mean_attention-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    lines = [f"{name} = {value}" for name, value in about["entry-points"]["heed.mechanisms"].items()]
    (info / "entry_points.txt").write_text("[heed.mechanisms]\n" + "\n".join(lines) + "\n")
    return folder


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("heed_mean_attention", None)
    importlib.invalidate_caches()


def test_it_is_listed_with_its_package_and_its_option(installed, capsys):
    assert main(["list", "attention", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decaying-mean"]["package"] == "heed-mean-attention"
    assert main(["list", "attention"]) == 0
    assert "decaying-mean (heed-mean-attention)" in capsys.readouterr().out
    assert main(["list", "attention", "decaying-mean", "--json"]) == 0
    options = json.loads(capsys.readouterr().out)["options"]
    assert options["half_life"]["default"] == 1.0
    assert "4 times as long" in options["half_life"]["about"]


def test_it_is_judged_by_its_name_and_by_its_class(installed, capsys):
    assert main(["audit", "--contracts", "heed_mean_attention:DecayingMean"]) == 0
    assert main(["audit", "--contracts", "decaying-mean"]) == 0
    assert "cache" in capsys.readouterr().out


def test_it_is_trained_and_sampled_with_its_cache(installed, tmp_path, capsys):
    text = write_text(tmp_path / "animals.txt")
    how = ["--model.attention.mechanism", "decaying-mean", "--model.attention.options.half-life", "2"]
    folder = ["--run.folder", str(tmp_path), "--run.name", "mean"]
    assert main(["train", str(text), *TINY, "--tokenizer.kind", "char", *how, *folder]) == 0
    config = (tmp_path / "mean" / "config.yaml").read_text(encoding="utf-8")
    assert "mechanism: decaying-mean" in config
    assert main(["sample", str(tmp_path / "mean"), "--prompt", "the ", "--prompt", "a d", "--max-tokens", "5"]) == 0


def test_its_cost_is_measured(installed, capsys):
    assert main(["bench", "attention", "decaying-mean", "--lengths", "16", "32", "64", "--json"]) == 0
    curves = json.loads(capsys.readouterr().out)["curves"]
    assert [curve["mechanism"] for curve in curves] == ["softmax", "decaying-mean"]


def test_its_own_tests_pass(site, tmp_path):

    def work():
        sys.path.insert(0, str(site))
        sys.dont_write_bytecode = True
        raise SystemExit(int(pytest.main(["-q", "-p", "no:cacheprovider", str(EXAMPLE)])))

    ran = subprocess.run(sys.executable, capture_output=True, text=True, **forked(work, cwd=tmp_path))
    assert ran.returncode == 0, ran.stdout
