"""Speed of training steps: what is measured, on a machine with and without a GPU."""

import json

import pytest
import torch
from scipy import stats

from heed.benches import device_speed as devices
from heed.benches.device_speed import measure_devices, prepare, time_steps, tokens_of_step
from heed.cli.bench_training import said_ratios
from heed.config import make_config
from heed.errors import ConfigError
from heed.report.statistics import median_interval

TINY = {
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 8, "context": 16},
    "tokenizer": {"kind": "char", "vocab_size": 10},
    "train": {"batch_size": 2, "accumulation": 3},
}


def test_warm_up_does_not_count(monkeypatch):
    ticks = iter([0.0, 9.0, 0.0, 9.0, 0.0, 9.0, 10.0, 10.5, 20.0, 20.25])
    waits = []
    monkeypatch.setattr(devices, "synchronise", waits.append)
    monkeypatch.setattr(devices.time, "perf_counter", Clock(ticks))
    assert time_steps(make_config(TINY), torch.device("cpu"), 2) == [0.5, 0.25]
    assert len(waits) == 2 * (devices.WARM_UP + 2)  # before and after each step


class Clock:
    """Steps of the warm-up read the clock once, since their end does not count."""

    def __init__(self, ticks):
        self.ticks, self.calls = list(ticks), 0

    def __call__(self):
        self.calls += 1
        return (
            self.ticks[2 * (self.calls - 1)]
            if self.calls <= devices.WARM_UP
            else self.ticks[self.calls + devices.WARM_UP - 1]
        )


def test_speed_is_tokens_over_the_median_and_ratio_is_to_the_first(monkeypatch):
    times = iter([[0.3, 0.1, 0.2], [0.1, 0.05, 0.2]])
    monkeypatch.setattr(devices, "time_steps", lambda config, device, steps: next(times))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    one, all_threads = measure_devices(make_config(TINY), 3)
    assert tokens_of_step(make_config(TINY)) == 2 * 3 * 16
    assert (one.device, one.median, one.ratio) == ("cpu, 1 thread", 0.2, 1.0)
    assert one.tokens_per_second == pytest.approx(96 / 0.2)
    assert (all_threads.device, all_threads.ratio) == ("cpu, 2 threads", pytest.approx(2.0))


def test_threads_are_as_they_were():
    before = torch.get_num_threads()
    measure_devices(make_config(TINY), 1)
    assert torch.get_num_threads() == before


def test_every_device_gets_the_same_model_and_batches():
    (model, _, batches), (other, _, others) = (prepare(make_config(TINY), torch.device("cpu")) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert len(batches) == 3
    assert all((a.source == b.source).all() for a, b in zip(batches, others, strict=True))
    assert (batches[0].source[:, 1:] == batches[0].target[:, :-1]).all()


@pytest.mark.parametrize("wrong", [{"train": {"batch_size": "auto"}}, {"model": {"kind": "encoder"}}])
def test_what_cannot_be_measured_is_refused(wrong):
    with pytest.raises(ConfigError):
        measure_devices(make_config(wrong), 1)


def bench(*words):
    from heed.cli import main

    return main(["bench", *map(str, words)])


SHAPE = ["--model.n-layers", 1, "--model.d-model", 8, "--model.n-heads", 2, "--model.context", 16,
         "--tokenizer.kind", "char", "--tokenizer.vocab-size", 16, "--train.batch-size", 4]  # fmt: skip


def test_bench_devices_on_the_command_line(capsys):
    assert bench("devices", "--steps", 2, *SHAPE, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["config"]["batch_size"] == 4
    assert content["devices"][0]["threads"] == 1
    assert content["devices"][0]["tokens_per_second"] > 0
    assert bench("devices", "--steps", 1, *SHAPE) == 0
    out = capsys.readouterr().out
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert "There is one device only" in out


def test_bench_memory_on_the_command_line(capsys, tmp_path):
    assert bench("memory", *SHAPE, "--contexts", 8, 16, "--out", tmp_path) == 0
    out = capsys.readouterr().out
    assert "activations" in out
    rows = json.loads((tmp_path / "memory.json").read_text())["steps"]
    assert [(row["batch_size"], row["context"]) for row in rows] == [(b, c) for c in (8, 16) for b in (1, 2, 4, 8)]
    assert (tmp_path / "memory.svg").stat().st_size > 0
    # a run folder or its config.yaml, with its own settings
    (tmp_path / "config.yaml").write_text("model: {n_layers: 1, d_model: 8, n_heads: 2, context: 8}\n")
    for what in (tmp_path, tmp_path / "config.yaml"):
        assert bench("memory", what, "--batch-sizes", 1, "--json") == 0
        assert json.loads(capsys.readouterr().out)["steps"][0]["context"] == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("devics",), "did you mean 'devices'"),
        (("memory", "--data.source", "x"), "no --data settings"),
        (("memory", "--contexts", 0), "at least 1"),
        (("memory", "nowhere.yaml"), "no such configuration file"),
        (("devices", "--train.stepz", 3), "did you mean 'steps'"),
        (("memory", "--train.batch-size", "auto"), "--batch-sizes"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys):
    assert bench(*words) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_no_device_is_called_faster_out_of_noise(monkeypatch):
    slow = [0.20, 0.21, 0.19, 0.22, 0.20, 0.18, 0.21, 0.20]
    for second, shown in (([x / 2 for x in slow], True), ([0.19, 0.4, 0.17, 0.2, 0.18, 0.21, 0.5, 0.19], False)):
        times = iter([slow, second])
        monkeypatch.setattr(devices, "time_steps", lambda config, device, steps, times=times: next(times))
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        found = measure_devices(make_config(TINY), 8)
        low, high = found[1].ratio_interval
        assert (low > 1) == shown
        # with eight steps the interval of a median is from the lowest to the highest: 1 - 2 / 2^8 = 99.2 %
        assert (low, high) == pytest.approx((min(slow) / max(second), max(slow) / min(second)))
        (line,) = said_ratios(found)
        assert line.endswith("no difference was shown.") != shown
    assert median_interval(list(range(100))) == (39, 60)  # k = 40: 2 P(X < 40) = 0.035
    assert stats.binom.cdf(39, 100, 0.5) * 2 <= 0.05 < stats.binom.cdf(40, 100, 0.5) * 2
