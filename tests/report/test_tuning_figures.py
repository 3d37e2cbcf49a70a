"""The figures of a tune: SVG in the colours of the page, with titles that say what is there."""

import doctest
import re

import pytest

from fake_tuning import write_tune
from heed.records.tune import CurvePoint
from heed.report import tuning_figures as module
from heed.report.drawing import draw
from heed.report.figure import Row, Scale, rows_figure
from heed.report.tuning_advice import gaps_of
from heed.report.tuning_figures import colours, front, mean_curve, tuning_figures
from heed.report.tuning_record import read_tuning


def drawn(folder):
    record = read_tuning(folder)
    return record, tuning_figures(record, gaps_of(record))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    methods = ("full", "head")
    return drawn(write_tune(tmp_path_factory.mktemp("plain"), methods=methods, seeds=(1, 2), n=200, sizes=True))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    broken = {"full": ("does not fit", "out of memory")}
    folder = tmp_path_factory.mktemp("odd")
    return drawn(
        write_tune(folder, methods=("full", "head", "lora"), seeds=(1,), n=40, broken=broken, waiting=("lora",))
    )


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_everything_is_drawn(plain):
    record, figures = plain
    names = {"accuracy", "gaps", "memory", "front-memory", "front-time", "rates", "sizes"}
    assert set(figures) == names | {f"{kind}-{i}" for kind in ("curve", "reliability") for i in range(2)}
    for figure in figures.values():
        assert figure.title
        assert figure.caption
        assert draw(figure).startswith(("<figure", '<p class="few">'))
    assert len({series for series, _ in colours(record).values()}) == 2


def test_titles_say_what_is_seen(plain):
    record, figures = plain
    best = max(record.ran, key=lambda arm: arm.mean("accuracy", "test"))
    assert figures["accuracy"].title.startswith(f"{best.name} has the highest accuracy as a point estimate, ")
    assert "always the commonest class" in figures["accuracy"].title
    assert figures["memory"].title == "head needs 95.3 MiB, full 547 MiB"
    assert figures["rates"].title == "The chosen rates go from 0.0001 (full) to 0.01 (head)"
    assert figures["front-memory"].title.startswith("What accuracy costs in memory: from head, 95.3 MiB, to ")
    assert "validation loss is lowest at epoch" in figures["curve-0"].title
    assert "32 rows of 32 tokens" in figures["memory"].caption


def test_broken_arms_are_0_and_marked(odd):
    _, figures = odd
    assert {"accuracy", "memory", "reliability-0", "curve-0"} <= set(figures)
    assert not {"gaps", "front-memory", "front-time", "sizes"} & set(figures)  # one arm has run
    for name in ("accuracy", "memory"):
        assert "0: does not fit" in draw(figures[name])
    assert "not run yet" in draw(figures["accuracy"])
    assert "failed or did not fit" in figures["accuracy"].caption


def test_before_any_run(tmp_path):
    _, figures = drawn(write_tune(tmp_path, methods=("lora",), n=20, waiting=("lora",)))
    assert set(figures) == {"memory", "rates"}


def test_the_front_holds_what_no_other_beats():
    costs = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 2.0, "e": 4.0}
    assert front(costs, {"a": 0.9, "b": 0.7, "c": 0.8, "d": 0.75, "e": 0.9}) == ["b", "c", "a"]


def test_curves_are_means_over_the_epochs_that_all_have():
    def points(*values):
        return [CurvePoint(epoch=1.0 + i, train_loss=value, validation_loss=value) for i, value in enumerate(values)]

    assert mean_curve([points(1.0, 0.5, 0.25), points(3.0, 1.5)], "train_loss") == (
        [1.0, 2.0], [2.0, 1.0], [1.0, 0.5], [3.0, 1.5],
    )  # fmt: skip
    assert mean_curve([points(1.0)], "validation_accuracy") == ([], [], [], [])
    assert mean_curve([], "train_loss") == ([], [], [], [])


def test_bars_below_zero_reach_from_zero_to_their_value():
    """R² may be negative: what is drawn is read back from the SVG, with the axis as its ruler."""
    rows = [
        Row("better", "8.8", 0, 8.8, (3.0, 14.7)),
        Row("worse", "-9.9", 1, -9.9, (-97.0, 77.3)),
    ]
    svg = draw(rows_figure("r2", "R²", "", rows, Scale("R² (%)", rule=0.0)))
    ticks = dict(re.findall(r'<text x="([\d.]+)%" y="100%" dy="1.5em">(-?[\d.]+)</text>', svg))
    (left, low), *_, (right, high) = [(float(place), float(value)) for place, value in ticks.items()]
    value = lambda place: low + (place - left) / (right - left) * (high - low)
    assert low < 0 < high
    bars = [(value(float(x)), value(float(x) + float(wide))) for x, wide in
            re.findall(r'<rect class="bar s\d" x="([\d.]+)%" y="[\d.]+%" width="([\d.]+)%"', svg)]  # fmt: skip
    assert [*bars[0], *bars[1]] == pytest.approx([0, 8.8, -9.9, 0], abs=0.2)
    ends = [
        (value(float(a)), value(float(b))) for a, b in re.findall(r'interval s0" x1="([\d.]+)%" x2="([\d.]+)%"', svg)
    ]
    assert ends[1] == pytest.approx((-97.0, 77.3), abs=0.3)
