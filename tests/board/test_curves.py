"""No live view: curves as they grow, read on from where they were read last, and thinned without losing an extreme."""

import json
import random

import pytest

from heed.board.curves import MOST, Curve, MetricsReader, news
from heed.records.events import TrainEvent, hold, read_event, scalars
from heed.report.record import gather
from report.fake_runs import metrics, write_run


def write(path, lines, mode="a"):
    with path.open(mode) as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def train(step, loss):
    return {"event": "train", "step": step, "loss": loss, "tokens": 10 * step, "seconds": step / 10}


class Page:
    """What a page does with what it is told."""

    def __init__(self):
        self.known, self.curves = {}, {}

    def take(self, found):
        for name, one in found.items():
            self.known[name] = one["known"]
            self.curves[name] = self.curves.get(name, [])[: one["from"]] + one["buckets"]


def test_a_curve_is_what_the_whole_file_says(tmp_path):
    """By the other route: the record that the page of a run is made of."""
    folder = write_run(tmp_path / "run")
    reader = MetricsReader(folder)
    reader.read()
    record = gather(folder)
    assert reader.curves["train/loss"].values == [event.loss for event in record.train]
    assert [place[0] for place in reader.curves["validation/loss"].places] == [e.step for e in record.evaluations]
    assert reader.curves["validation/word_perplexity"].values == [e.word_perplexity for e in record.evaluations]
    assert reader.last_sample()["step"] == record.drafts[-1]["step"]


def test_what_is_told_in_parts_is_what_is_told_at_once(tmp_path):
    """Whatever is appended, cut off, resumed and asked for in between."""
    noise = random.Random(3)
    for trial in range(8):
        folder = tmp_path / str(trial)
        folder.mkdir()
        path, reader, page, step, lines = folder / "metrics.jsonl", MetricsReader(folder), Page(), 0, []
        for _ in range(noise.randrange(1, 30)):
            if lines and noise.random() < 0.25:
                step = noise.randrange(step + 1)
                part = [{"event": "resume", "step": step}]
            else:
                part = []
                for _ in range(noise.choice([1, 3, 400])):
                    step += 1
                    part.append(train(step, noise.random()))
            lines += part
            write(path, part)
            if noise.random() < 0.3:
                with path.open("a") as file:
                    file.write('{"event": "tr')  # a process that dies, whose line is cut off when it is resumed
                reader.read()
                text = path.read_bytes()
                path.write_bytes(text[: text.rfind(b"\n") + 1])
            if noise.random() < 0.5:  # it is not asked each time
                reader.read()
                page.take(news(reader, ["train/loss"], page.known))
        reader.read()
        page.take(news(reader, ["train/loss"], page.known))
        fresh, whole = MetricsReader(folder), Page()
        fresh.read()
        whole.take(news(fresh, ["train/loss"], {}))
        assert page.curves == whole.curves
        held = [e.loss for e in hold(read_event(line) for line in lines)[0] if isinstance(e, TrainEvent)]
        assert reader.curves["train/loss"].values == held if held else True
        assert news(reader, ["train/loss"], page.known) == {}  # nothing is told twice


def test_points_that_were_taken_back_between_two_looks_are_told_anew(tmp_path):
    """The run was resumed and is farther than before, so that the number of points alone says nothing."""
    write(tmp_path / "metrics.jsonl", [train(step, 1.0) for step in range(1, 11)])
    reader, page = MetricsReader(tmp_path), Page()
    reader.read()
    page.take(news(reader, ["train/loss"], page.known))
    write(tmp_path / "metrics.jsonl", [{"event": "resume", "step": 5}, *(train(step, 2.0) for step in range(6, 21))])
    reader.read()
    page.take(news(reader, ["train/loss"], page.known))
    assert [bucket[3] for bucket in page.curves["train/loss"]] == [1.0] * 5 + [2.0] * 15


@pytest.mark.parametrize("count", [1, MOST, MOST + 1, 5 * MOST + 3, 10_000])
def test_thinning_keeps_mean_and_extremes(count):
    noise, curve = random.Random(count), Curve()
    for step in range(1, count + 1):
        curve.places.append((step, 10 * step, step / 10))
        curve.values.append(noise.gauss(0, 1) + 50 * (step == count // 2))
    _, buckets = curve.since(0)
    assert len(buckets) <= MOST
    assert buckets[0][0] == 1
    assert buckets[-1][0] == count  # a curve ends where the run is
    size = curve.size
    if size == 1:
        assert [bucket[3] for bucket in buckets] == pytest.approx(curve.values, rel=1e-6)
        return
    assert min(bucket[4] for bucket in buckets) == pytest.approx(min(curve.values), rel=1e-6)
    assert max(bucket[5] for bucket in buckets) == pytest.approx(max(curve.values), rel=1e-6)
    for n in (0, len(buckets) // 2, len(buckets) - 1):
        part = curve.values[n * size : (n + 1) * size]
        assert buckets[n][3] == pytest.approx(sum(part) / len(part), rel=1e-6, abs=1e-7)


def test_a_run_that_is_written_over_begins_anew(tmp_path):
    folder = tmp_path
    write(folder / "metrics.jsonl", [train(step, 1.0) for step in range(1, 9)])
    reader, page = MetricsReader(folder), Page()
    reader.read()
    page.take(news(reader, ["train/loss"], page.known))
    (folder / "metrics.jsonl").unlink()
    reader.read()
    page.take(news(reader, ["train/loss"], page.known))
    assert page.curves["train/loss"] == []
    write(folder / "new", [train(step, 2.0) for step in range(1, 30)])
    (folder / "new").rename(folder / "metrics.jsonl")
    reader.read()
    page.take(news(reader, ["train/loss"], page.known))
    assert [bucket[3] for bucket in page.curves["train/loss"]] == [2.0] * 29


def test_damaged_lines_are_counted_and_passed_over(tmp_path):
    write(tmp_path / "metrics.jsonl", [train(1, 1.0)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train"\n[1]\n"a"\n{"event": "train", "step": "x"}\n' + "[" * 100_000 + "\n")
    write(tmp_path / "metrics.jsonl", [train(2, float("nan")), train(3, 3.0)])
    reader = MetricsReader(tmp_path)
    reader.read()
    assert reader.curves["train/loss"].values == [1.0, 3.0]
    assert reader.damaged == 4


def test_names_of_numbers():
    lines = metrics(100, 10)
    names = {name for line in lines for name in scalars(line)}
    assert names >= {"train/loss", "train/learning_rate", "validation/loss", "validation/bits_per_byte"}
    assert not {name for name in names if name.rpartition("/")[2] in ("step", "tokens", "seconds")} - {
        "validation/tokens"
    }
