"""The width of a model from the rank of what it says, and what can be recovered with that."""

from __future__ import annotations

import json

import numpy as np
import pytest

from heed.cli import main
from heed.errors import DataError
from heed.recovery.hidden_size import estimate_rank, estimated_matrix, read_many
from heed.recovery.low_rank import row_space
from heed.recovery.methods import RecoveryWish, recover
from heed.recovery.oracle import BiasQuestion, BiasReply
from heed.report.recovery_record import read_recovery
from recovery.restricted_server import serving
from recovery.simulated_api import SimulatedApi, log_softmax


def model(vocabulary: int = 120, columns: int = 12):
    """Return what gives the logits (V,) after some ids of a model that is `columns` wide."""
    matrix = np.random.default_rng(5).normal(size=(vocabulary, columns))

    def logits(ids: tuple[int, ...]) -> np.ndarray:
        hidden = np.random.default_rng(ids).normal(size=columns)
        return matrix @ hidden * 1.5

    return logits


@pytest.mark.parametrize(("mode", "step"), [("biased", 0.0), ("raw", 0.0), ("biased", 1e-5)])
def test_the_rank_is_the_width(mode, step):
    logits, apis = model(), []

    def about(ids):
        apis.append(SimulatedApi(logits(ids), top=5, mode=mode, dtype=np.float32, step=step))
        return apis[-1]

    prompts = [tuple(row) for row in np.random.default_rng(1).integers(0, 120, (20, 4)).tolist()]
    limits = SimulatedApi(np.zeros(120), top=5).limits
    log_p, error, calls = read_many(about, prompts, range(10, 40), limits)
    found = estimate_rank(log_p, error)
    assert (found.rank, found.bounded) == (12, False)
    assert found.gap > 10
    assert calls == sum(api.calls for api in apis)


def test_too_few_prompts_are_said_to_be():
    logits = model()
    rows = np.stack([SimulatedApi(logits((seed,))).log_p for seed in range(9)])
    assert estimate_rank(rows, 1e-9).bounded
    rows = np.stack([SimulatedApi(logits((seed,))).log_p for seed in range(14)])
    assert estimate_rank(rows, 1e-9).rank == 12


def test_noise_hides_dimensions_and_is_not_counted():
    random = np.random.default_rng(0)
    rows = random.uniform(-0.06, 0.06, (40, 60))
    assert estimate_rank(rows, 0.0625).rank == 0


def test_an_estimated_matrix_does_what_the_known_one_does():
    logits = model()
    earlier = [SimulatedApi(logits((seed,))).log_p for seed in range(100, 120)]
    api = SimulatedApi(logits((7,)), top=5)
    wish = RecoveryWish(method="low-rank", matrix=row_space(earlier, 12), estimated=True)
    _, found = recover(api, api.limits, wish)
    assert found.seen.all()
    assert np.abs(found.log_p - api.log_p).max() < 1e-9
    assert np.all(np.abs(found.log_p - api.log_p) <= found.error)
    assert "estimate" in found.notes[0]
    assert api.calls <= 8


def test_the_verb_estimates_and_takes_its_estimate(tmp_path, capsys):
    logits = model(60, 6)

    class ByPrompt(SimulatedApi):
        ids: tuple[int, ...] = ()

        def answer(self, question: BiasQuestion) -> BiasReply:
            self.logits = logits(self.ids).astype(np.float32)
            return super().answer(question)

    api = ByPrompt(np.zeros(60, dtype=np.float32), top=5, dtype=np.float32)
    with serving(api, most=5) as server:
        server.hears = lambda body: setattr(api, "ids", tuple(body["prompt"]))
        common = ["--api", server.url, "--model", "m", "--vocab-size", "60"]
        size = ["recover", "--hidden-size", "12", *common, "--out", str(tmp_path / "size"), "--json"]
        assert main(size) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["rank"] == 6
        assert result["asked"] <= result["formula"] + 2
        assert main(["report", str(tmp_path / "size")]) == 0
        assert main(["recover", "--hidden-size", "4", *common, "--out", str(tmp_path / "few")]) == 1
    assert "Take more prompts" in capsys.readouterr().out
    assert "The hidden size is 6" in (tmp_path / "size" / "report.html").read_text(encoding="utf-8")


def test_earlier_recoveries_take_the_place_of_the_matrix(tmp_path):
    logits = model(60, 6)
    api = SimulatedApi(np.zeros(60, dtype=np.float32), top=5, dtype=np.float32)
    with serving(api, most=5) as server:

        def hear(body):
            api.logits = logits(tuple(map(ord, body["prompt"]))).astype(np.float32)

        server.hears = hear
        common = ["--api", server.url, "--model", "m", "--vocab-size", "60"]
        earlier = [str(tmp_path / str(number)) for number in range(10)]
        for number, folder in enumerate(earlier):
            assert main(["recover", f"prompt {number}", *common, "--out", folder]) == 0
        wish = ["--method", "low-rank", *(word for folder in earlier for word in ("--estimate-from", folder))]
        assert main(["recover", "another", *common, *wish, "--out", str(tmp_path / "new")]) == 0
        few = ["--method", "low-rank", *(word for folder in earlier[:4] for word in ("--estimate-from", folder))]
        assert main(["recover", "another", *common, *few, "--out", str(tmp_path / "few")]) == 2
    record, tokens = read_recovery(tmp_path / "new")
    truth = log_softmax(logits(tuple(map(ord, "another"))).astype(np.float32).astype(np.float64))
    assert record.facts["columns"] == 6
    assert record.asked <= 6
    assert np.abs(tokens.log_p - truth).max() < 1e-3
    assert np.all(np.abs(tokens.log_p - truth) <= tokens.error)
    assert "estimate" in record.notes[0]


def test_distributions_of_other_models_are_no_matrix(tmp_path):
    from heed.records.recovery import RecoveryFile
    from heed.recovery.readings import Distribution
    from heed.recovery.recovery_folder import write_recovery_files

    values = {"method": "anchor", "shows": "biased", "top": 2, "bias": 100.0, "resolution": "float32", "formula": 1}
    values |= {"asked": 1, "wanted": 1, "seen": 1, "seen_mass": 1.0, "seen_mass_error": 0.0, "unseen_mass": 0.0}
    for number, size in enumerate((30, 30, 40)):
        record = RecoveryFile.model_validate({**values, "vocabulary": size})
        found = Distribution("anchor", SimulatedApi(np.arange(size) * 0.1).log_p, np.zeros(size))
        write_recovery_files(tmp_path / str(number), record, found, [str(i) for i in range(size)], None)
    with pytest.raises(DataError, match="the model may be wider"):
        estimated_matrix([tmp_path / "0"])
    with pytest.raises(DataError, match="of different models"):
        estimated_matrix([tmp_path / "0", tmp_path / "2"])
