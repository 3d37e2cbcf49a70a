"""The recipes of docs/guide/elsewhere.md that run here, as they stand on the page."""

import contextlib
import io
import re
import warnings
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "elsewhere.md"


@pytest.mark.slow
def test_onnx_writes_what_heed_writes(heed, trained, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    code = code.replace("runs/NAME", str(trained)).replace('"The king"', '"the cat"')
    names = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter tells of its own insides
        exec(code, names)
    assert len(names["text"]) == len("the cat") + 8
    wanted = heed("sample", trained, "--prompt", "the cat", "--temperature", 0, "--max-tokens", 8)
    assert names["tokenizer"].decode(names["text"]).strip() in wanted.out
    for length in (2, 9, 15):
        ids = torch.tensor([names["text"][:length]])
        (found,) = names["session"].run(None, {"ids": ids.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), names["model"](ids), rtol=1e-4, atol=1e-4)
