import dataclasses
import math
import re
import subprocess
import sys
from itertools import pairwise

import pytest
from fake_runs import metrics, write_run

from heed.report.drawing import draw
from heed.report.drawing_plane import GAP, draw_plane, ends
from heed.report.figure import MOST_POINTS, Figure, Line, Plane, Row, Scale, lines_figure, rows_figure
from heed.report.figures import loss_sentence, perplexity_sentence, run_figures, stretches
from heed.report.record import gather


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return gather(write_run(tmp_path_factory.mktemp("runs") / "run"))


@pytest.fixture(scope="module")
def drawn(record):
    return run_figures(record)


def told(tmp_path, losses, trained=(), **changes):
    """A record of evaluations every 100 steps and training losses every 10."""
    events = [{"event": "train", "step": 10 * (i + 1), "loss": loss} for i, loss in enumerate(trained)]
    events += [{"event": "evaluation", "step": 100 * (i + 1), "loss": loss} for i, loss in enumerate(losses)]
    return gather(write_run(tmp_path / "run", events=events, evaluation={}, **changes))


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        ([3.0, 2.0, 1.52], "Validation loss falls to 1.52 and is still falling at step 300"),
        ([3.0, 1.52, 1.521], "Validation loss falls to 1.52; best at step 200"),
        ([2.0], "Validation loss is 2.00 at step 100"),
        ([3.0, 1.5, 1.8], "Best at step 200: after it validation rises from 1.50 to 1.80"),
        ([], "No loss has been logged yet"),
    ],
)
def test_the_title_states_what_the_curve_shows(tmp_path, losses, sentence):
    assert loss_sentence(told(tmp_path, losses)) == sentence


def test_overfitting_is_said(tmp_path):
    falling = [3.0 - 0.05 * i for i in range(30)]
    assert loss_sentence(told(tmp_path, [3.0, 1.52, 1.61], falling)) == (
        "Overfits after step 200: training loss keeps falling, validation rises from 1.52 to 1.61"
    )


def test_training_alone_and_a_breakdown_are_said(tmp_path):
    assert loss_sentence(told(tmp_path / "a", [], [3.0, 2.0])) == (
        "Training loss goes from 3.00 to 2.00; there is no validation yet"
    )
    broken = told(tmp_path / "b", [], [3.0, float("nan")], end="the loss is NaN")
    assert loss_sentence(broken) == "Training broke down after step 20: the loss was no longer a number"


def test_the_titles_of_a_leaking_run_make_no_claim(tmp_path):
    record = dataclasses.replace(told(tmp_path, [2.0]), leaks="position 0 sees token 1")
    assert loss_sentence(record) == "Loss of a model that LEAKS: it sees the tokens that it should predict"
    assert perplexity_sentence(record) == "LEAKING: it says nothing of how unsure the model is"


@pytest.mark.parametrize(
    ("rates", "title"),
    [
        ([1e-4, 4e-4], "The learning rate is 0.0001 at step 1 and 0.0004 at 2"),  # 0.001 is not among them
        ([1e-4, 1e-3, 5e-4], "The learning rate rises to 0.001 by step 2, then falls to 0.0005"),
    ],
)
def test_a_peak_that_was_not_logged_is_not_claimed(tmp_path, rates, title):
    events = [{"event": "train", "step": n, "loss": 2.0, "learning_rate": rate} for n, rate in enumerate(rates, 1)]
    record = gather(write_run(tmp_path / "run", events=events, config={"train": {"learning_rate": 1e-3}}))
    assert run_figures(record)["learning-rate"].title == title


def test_perplexity_is_said_in_tokens(tmp_path):
    # exp(ln 16) = 16, shown with four digits
    assert (
        perplexity_sentence(told(tmp_path, [2.772588722])) == "At best, as unsure as among 16.00 equally likely tokens"
    )


def test_every_figure_is_drawn(drawn):
    names = {f"{what}-{axis}" for what in ("loss", "perplexity") for axis in ("steps", "tokens", "time")}
    assert set(drawn) == names | {"speed", "memory", "learning-rate", "gradient-norm"}
    assert all(draw(figure).count("<figure") == 1 for figure in drawn.values())
    assert drawn["gradient-norm"].title.startswith("The gradient is clipped in ")


def test_the_same_data_give_the_same_bytes(record, drawn):
    assert run_figures(record) == drawn
    assert [draw(figure) for figure in run_figures(record).values()] == [draw(figure) for figure in drawn.values()]


def test_colours_belong_to_the_page_and_text_stays_text(drawn):
    for figure in drawn.values():
        html = draw(figure)
        assert not re.findall(r"#[0-9a-f]{3,6}\b|style=|font-family|http", html)
        assert set(re.findall(r'class="[^"]*\bs(\d)', html)) <= set("0123456")
        assert re.search(r'<p class="unit x">[^<]*(?:step|wall clock|tokens)', html)


def test_ids_are_unique_in_a_page(drawn):
    ids = re.findall(r' id="([^"]*)"', "".join(map(draw, drawn.values())))
    assert ids == [f"figure-{name}" for name in drawn]


def test_names_at_the_ends_do_not_touch():
    lines = tuple(Line(f"line {n}", [0, 1, 2], [1.0, 2.0, 2.0 + n / 1000], series=n) for n in (1, 2, 3))
    html = draw(Figure("ends", "Three", "", "lines", lines, Plane("x", "y", height=200)))
    rows = sorted(int(row) for row in re.findall(r'<li class="s\d y(\d+)"', html))
    assert len(rows) == 3
    assert min(b - a for a, b in pairwise(rows)) >= 100 * GAP / 200 - 1  # a row is a hundredth of the plot


@pytest.mark.parametrize("places", [[0.5] * 5, [0.0, 0.01, 0.02], [0.98, 1.0, 0.2, 0.21], [1.0] * 9, []])
def test_ends_are_pushed_apart_and_stay_in_the_plot(places):
    found = ends(places, 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(sorted(found)))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in found)
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert [found[i] for i in order] == sorted(found)


def test_what_is_written_is_escaped():
    lines = (Line("<i>", [0, 1, 2], [1, 2, 3], 1),)
    html = draw(Figure("x", 'a "quote" & <b>', "<u>", "lines", lines, Plane("<x>", "<y>")))
    assert 'aria-label="a &#34;quote&#34; &amp; &lt;b&gt;"' in html
    assert not re.search(r"<(?:i|b|u|x|y)>(?!\d)", html)


def test_two_dots_are_a_sentence(tmp_path):
    record = told(tmp_path, [3.0, 2.5])
    html = draw(run_figures(record)["loss-steps"])
    assert html == (
        '<p class="few">Validation loss falls to 2.50 and is still falling at step 200. Loss (nats per token): '
        "validation 3 at step 100, 2.5 at step 200.</p>"
    )
    assert draw(run_figures(told(tmp_path / "three", [3.0, 2.5, 2.4]))["loss-steps"]).startswith("<figure")


def test_a_crowd_is_thinned_to_what_can_be_seen():
    lines = [Line(f"line {n}", list(range(500)), [float(n)] * 500, 1) for n in range(40)]
    figure = lines_figure("many", "Many", "", lines, Plane("x", "y"))
    assert sum(len(line.x) for line in figure.lines) <= MOST_POINTS
    assert {(line.x[0], line.x[-1]) for line in figure.lines} == {(0, 499)}


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0], [0.0, 0.0]])
def test_flat_and_single_points_are_drawn(values):
    lines = (Line("a", list(range(len(values))), values, 1),)
    html = draw_plane(Figure("flat", "Flat", "", "lines", lines, Plane("x", "y", zero=True)))
    assert "nan" not in html
    assert "<svg" in html


@pytest.mark.parametrize("low", [-0.5, 0.0])
def test_a_band_that_reaches_below_0_has_no_logarithms(low):
    """Of two windows a 95 % interval of a loss may do so; the script, too, then draws evenly."""
    line = Line("", [0, 1, 2], [3.0, 2.0, 1.0], 1, [2.0, 1.0, low], [4.0, 3.0, 2.5], dots=True)
    drawn = draw_plane(lines_figure("x", "t", "c", [line], Plane("x", "y", log_y=True)))
    assert "data-log-y" not in drawn
    assert "nan" not in drawn
    above = Line("", [0, 1, 2], [3.0, 2.0, 1.0], 1, [2.0, 1.0, 0.5], [4.0, 3.0, 2.5], dots=True)
    assert "data-log-y" in draw_plane(lines_figure("x", "t", "c", [above], Plane("x", "y", log_y=True)))


def test_a_long_log_is_thinned_and_keeps_its_extremes():
    y = [float(n % 7) for n in range(10_001)]
    x, mean, low, high = stretches(list(range(10_001)), y)
    assert len(x) == len(mean) <= 120
    assert (x[0], x[-1]) == (0.0, 10_000.0)
    assert (min(low), max(high)) == (0.0, 6.0)


def test_a_long_run_makes_no_large_page(tmp_path):
    record = gather(write_run(tmp_path / "long", events=metrics(steps=40_000, every=10)))
    assert sum(len(draw(figure)) for figure in run_figures(record).values()) < 200_000


def test_imports_are_lazy():
    # In a process of its own: Jinja2 takes time, torch and matplotlib are not of this page.
    code = """
import sys, heed.report.page
heavy = {"matplotlib", "jinja2", "torch"} & set(sys.modules)
assert not heavy, heavy
from heed.report.drawing import draw
from heed.report.figure import Figure, Line, Plane
draw(Figure("a", "A", "", "lines", (Line("a", [0, 1, 2], [1, 2, 3], 1),), Plane("x", "y")))
assert "matplotlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---------------------------------------------------------------------- training beside validation


def lines_of(record, name):
    """What is drawn in a figure, by the name of each line, and the figure."""
    figure = run_figures(record)[name]
    return {line.label: line for line in figure.lines}, figure


def test_training_perplexity_is_smoothed_and_says_how(tmp_path):
    """Each point is exp of a weighted mean of all losses so far: weights 0.9^age, which sum to 1."""
    losses = [5.0, 4.0, 4.4, 3.0, 3.3]
    lines, figure = lines_of(told(tmp_path, [3.0, 2.5], losses), "perplexity-steps")
    for n, value in enumerate(lines["training"].y, 1):
        weights = [0.9 ** (n - 1 - i) for i in range(n)]
        mean = sum(w * loss for w, loss in zip(weights, losses, strict=False)) / sum(weights)
        assert value == pytest.approx(math.exp(mean), rel=1e-12)
    assert len(lines["training"].y) == 5
    assert lines["validation"].y == pytest.approx([math.exp(3.0), math.exp(2.5)])
    assert "of the exponential mean of the logged losses, which keeps 0.9 of what went before" in figure.caption
    assert "bias-corrected" in figure.caption


def test_a_long_log_is_smoothed_before_it_is_thinned(tmp_path):
    losses = [3.0 + (-1) ** i for i in range(1000)]
    lines, _ = lines_of(told(tmp_path, [3.0], losses), "perplexity-steps")
    assert len(lines["training"].y) <= 120
    assert all(abs(math.log(value) - 3.0) < 0.1 for value in lines["training"].y[5:])


def test_what_is_measured_of_training_stands_beside_validation(tmp_path):
    events = [
        {"event": "evaluation", "step": 100 * i, "tokens": 3000 * i, "seconds": 60.0 * i, "loss": 3.0 - 0.1 * i,
         "train": {"loss": 2.9 - 0.3 * i}} for i in (1, 2, 3)
    ]  # fmt: skip
    record = gather(write_run(tmp_path / "run", events=events, evaluation={}))
    lines, figure = lines_of(record, "loss-steps")
    assert lines["training, measured"].x == lines["validation"].x == [100, 200, 300]
    assert lines["training, measured"].y == pytest.approx([2.6, 2.3, 2.0])
    assert "at the same steps and in the same way as validation" in figure.caption
    lines, _ = lines_of(record, "perplexity-steps")
    assert lines["training, measured"].y == pytest.approx([math.exp(y) for y in (2.6, 2.3, 2.0)])
    lines, _ = lines_of(record, "loss-time")
    assert lines["training, measured"].x == lines["validation"].x  # in the same unit of time


def test_losses_of_sequences_are_drawn_in_one_unit_and_have_no_training_perplexity(tmp_path):
    events = [{"event": "train", "step": 10 * i, "loss": 4.0 - 0.1 * i} for i in range(1, 21)]
    events += [
        {"event": "evaluation", "step": 100 * i, "loss": 3.0, "sequence_mean_loss": 2.8 - 0.1 * i} for i in (1, 2)
    ]  # fmt: skip
    config = {"train": {"loss": "sequence"}, "data": {"layout": "padded"}}
    record = gather(write_run(tmp_path / "run", events=events, evaluation={}, config=config))
    lines, _ = lines_of(record, "loss-steps")
    assert lines["validation"].y == pytest.approx([2.7, 2.6])
    lines, _ = lines_of(record, "perplexity-steps")
    assert set(lines) == {"validation"}
    assert lines["validation"].y == pytest.approx([math.exp(3.0)] * 2)


def test_the_gap_is_validation_minus_training(tmp_path):
    events = [{"event": "evaluation", "step": n, "loss": 2.0 + n, "train": {"loss": 1.5}} for n in (1, 2, 3)]
    gap = run_figures(gather(write_run(tmp_path / "run", events=events)))["gap"]
    assert gap.title == "Validation ends 3.5 nats above training"
    assert gap.lines[0].ring == (1, 1.5, "1.5")  # where validation was best


@pytest.mark.parametrize(
    ("gap", "said"),
    [(-0.25, "ends 0.25 nats below"), (0.0004, "and training end at the same loss"), (0.012345, "0.012 nats above")],
)
def test_how_the_gap_ends_is_said(tmp_path, gap, said):
    """The last evaluation is the best one, so no ring is drawn."""
    events = [{"event": "evaluation", "step": n, "loss": 9.0 - n, "train": {"loss": 9.0 - n - gap}} for n in (1, 2, 3)]
    figure = run_figures(gather(write_run(tmp_path / "run", events=events)))["gap"]
    assert said in figure.title
    assert figure.lines[0].ring is None


def test_the_gap_has_the_unit_of_its_losses(tmp_path):
    loss = {"loss": 3.0, "sequence_mean_loss": 2.8}
    events = [{"event": "evaluation", "step": n, **loss, "train": loss} for n in (1, 2, 3)]
    config = {"train": {"loss": "sequence"}, "data": {"layout": "padded"}}
    figures = run_figures(gather(write_run(tmp_path / "run", events=events, evaluation={}, config=config)))
    assert figures["gap"].plane.y_label == "gap (nats, mean of sequences' means)"


def test_a_zone_that_is_wider_than_the_plot_ends_with_it():
    row = Row("post-norm", "+0.14", value=0.14, interval=(-0.02, 0.3), zone=0.22)
    wide = Row("other", "+0.01", value=0.01, interval=(-0.02, 0.03), zone=9.0)
    svg = draw(rows_figure("x", "title", "caption", (row, wide), Scale("difference"), "intervals"))
    zones = re.findall(r'class="zone" x="(-?[\d.]+)%" y="[\d.]+%" width="([\d.]+)%"', svg)
    assert len(zones) == 2
    assert all(float(x) >= 0 and float(x) + float(width) <= 100.01 for x, width in zones)
