"""What is shipped: a wheel and a source archive that build clean and work in an empty environment."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import heed

ROOT = Path(__file__).parents[1]
SENTENCE = "the cat sees a dog and one fox follows my heron. "


def run(*words, **options):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    program = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("no uv here: pip install uv")
    return program


@pytest.fixture(scope="module")
def built(tmp_path_factory, uv):
    """The two archives, out of a copy of what is under version control or could be."""
    place = tmp_path_factory.mktemp("a package")
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, place / name)
    shutil.copytree(ROOT / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(uv, "build", "-q", "--out-dir", place / "dist", place, env=found_where_pip_does())
    return place / "dist"


def found_where_pip_does():
    return {**os.environ, "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}


@pytest.mark.slow
def test_the_wheel_holds_every_file_and_the_archive_no_tests(built):
    (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    here = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "heed").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert here == {name for name in names if name.startswith("heed/")}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert f"-{heed.__version__}-" in wheel.name
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert {f"src/{name}" for name in here} <= held
    assert not any(name.startswith("tests") for name in held)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_works_in_an_empty_environment(built, uv, tmp_path):
    """Without any extra: training, samples, pages; what needs an extra says which."""
    (wheel,) = built.glob("*.whl")
    run(uv, "venv", "-q", "--python", sys.executable, tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    run(
        uv,
        "pip",
        "install",
        "-q",
        "--python",
        python,
        "-c",
        ROOT / "constraints.txt",
        wheel,
        env=found_where_pip_does(),
    )
    program = tmp_path / "env" / "bin" / "heed"
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "a.txt").write_text((SENTENCE * 5 + "\n") * 60)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    heed_runs = lambda *words: run(program, *words, cwd=place, env=clean)
    assert heed_runs("--version") == f"{heed.__version__}\n"
    small = ["--model.d-model", "16", "--model.n-layers", "1", "--model.n-heads", "2", "--model.context", "16"]
    heed_runs("train", "a.txt", *small, "--tokenizer.kind", "char", "--train.steps", "5", "--run.name", "one")
    assert (place / "runs" / "one" / "report.html").stat().st_size > 50_000
    heed_runs("sample", "runs/one", "--prompt", "the", "--max-tokens", "5")
    heed_runs("explore", "--static", "cards.html")
    assert "pip install 'heed-lm[data]'" in heed_runs("data", "report", "a.txt")
    asked = subprocess.run([program, "tune", "a.csv"], capture_output=True, text=True, cwd=place, env=clean)
    assert (asked.returncode, asked.stderr.count("\n")) == (2, 1)


def test_the_citation_and_the_changelog_are_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == heed.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == heed.__version__


def test_the_dockerfile_copies_what_there_is_and_runs_as_no_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == let_in
    verbs = [line.split()[0] for line in lines if line and not line.startswith(("#", " "))]
    assert verbs[0] == "FROM"
    assert "latest" not in lines[verbs.index("FROM")]
    assert verbs.index("USER") > max(place for place, verb in enumerate(verbs) if verb == "RUN")
    assert set(verbs) <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
