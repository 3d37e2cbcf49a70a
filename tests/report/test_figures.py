import dataclasses
import math
import re
import subprocess
import sys
from itertools import pairwise

import pytest
from fake_runs import metrics, write_run

from heed.report.figures import loss_sentence, perplexity_sentence, run_figures, stretches
from heed.report.record import gather
from heed.report.svg import Axes2D, Line, draw
from heed.report.svg_sheet import COLOURS


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


def test_every_figure_is_drawn_in_both_sizes(drawn):
    names = {f"{what}-{axis}" for what in ("loss", "perplexity") for axis in ("steps", "tokens", "time")}
    assert set(drawn) == names | {"speed", "memory", "learning-rate", "gradient-norm"}
    assert all(figure.wide != figure.narrow for figure in drawn.values())
    assert drawn["gradient-norm"].title.startswith("The gradient is clipped in ")


def test_the_same_data_give_the_same_bytes(record, drawn):
    assert run_figures(record) == drawn


def test_colours_belong_to_the_page_and_text_stays_text(drawn):
    for figure in drawn.values():
        for image in (figure.wide, figure.narrow):
            assert not re.findall(r"(?:fill|stroke): #[0-9a-f]{3,6}", image)
            assert set(re.findall(r"var\(--([\w-]+)\)", image)) <= set(COLOURS)
            assert "font-family" not in image
            assert ">step</text>" in image or "wall clock" in image or "tokens" in image
            assert "<style" not in image
            assert "<?xml" not in image
            assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", image)


def test_ids_are_unique_in_a_page_and_references_are_met(drawn):
    page = "".join(figure.wide + figure.narrow for figure in drawn.values())
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {*re.findall(r'(?:url\(|href=")#([^")]*)', page)} == set(ids)


def test_names_at_the_ends_do_not_touch():
    lines = [Line(f"line {n}", [0, 1], [1.0, 2.0 + n / 1000], series=n) for n in (1, 2, 3)]
    image = draw("ends", lines, Axes2D("x", "y"), (400, 200), "three lines that end together")
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>line', image))
    assert len(heights) == 3
    assert min(b - a for a, b in pairwise(heights)) > 14  # a 12 px line of text needs about 14


def test_a_label_is_escaped():
    image = draw("x", [Line("a", [0, 1], [1, 2], 1)], Axes2D("x", "y"), (300, 200), 'a "quote" & <b>')
    assert 'aria-label="a &#34;quote&#34; &amp; &lt;b&gt;"' in image


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0], [0.0, 0.0]])
def test_flat_and_single_points_are_drawn(values):
    lines = [Line("a", list(range(len(values))), values, 1)]
    assert "<svg" in draw("flat", lines, Axes2D("x", "y", zero=True), (300, 200), "flat")


def test_a_long_log_is_thinned_and_keeps_its_extremes():
    y = [float(n % 7) for n in range(10_001)]
    x, mean, low, high = stretches(list(range(10_001)), y)
    assert len(x) == len(mean) <= 120
    assert (x[0], x[-1]) == (0.0, 10_000.0)
    assert (min(low), max(high)) == (0.0, 6.0)


def test_a_long_run_makes_no_large_page(tmp_path):
    record = gather(write_run(tmp_path / "long", events=metrics(steps=40_000, every=10)))
    assert sum(len(figure.wide) + len(figure.narrow) for figure in run_figures(record).values()) < 400_000


def test_nothing_global_is_touched_and_imports_are_lazy():
    # In a process of its own: matplotlib and Jinja2 take half a second, torch is not of this room.
    code = """
import sys, heed.report.page
heavy = {"matplotlib", "jinja2", "torch"} & set(sys.modules)
assert not heavy, heavy
import matplotlib
before = matplotlib.rcParams.copy()
from heed.report.svg import Axes2D, Line, draw
draw("a", [Line("a", [0, 1], [1, 2], 1)], Axes2D("x", "y"), (300, 200), "a")
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---------------------------------------------------------------------- training beside validation


def lines_of(monkeypatch, record, name):
    """What is drawn in a figure, by the name of each line, and its caption."""
    from heed.report import figures

    kept = {}
    original = figures.draw

    def spy(title, lines, *rest, **options):
        kept[title] = {line.label: line for line in lines}
        return original(title, lines, *rest, **options)

    monkeypatch.setattr(figures, "draw", spy)
    figure = run_figures(record)[name]
    return kept[f"{name}-wide"], figure


def test_training_perplexity_is_smoothed_and_says_how(tmp_path, monkeypatch):
    """Each point is exp of a weighted mean of all losses so far: weights 0.9^age, which sum to 1."""
    losses = [5.0, 4.0, 4.4, 3.0, 3.3]
    lines, figure = lines_of(monkeypatch, told(tmp_path, [3.0, 2.5], losses), "perplexity-steps")
    for n, value in enumerate(lines["training"].y, 1):
        weights = [0.9 ** (n - 1 - i) for i in range(n)]
        mean = sum(w * loss for w, loss in zip(weights, losses, strict=False)) / sum(weights)
        assert value == pytest.approx(math.exp(mean), rel=1e-12)
    assert len(lines["training"].y) == 5
    assert lines["validation"].y == pytest.approx([math.exp(3.0), math.exp(2.5)])
    assert "of the exponential mean of the logged losses, which keeps 0.9 of what went before" in figure.caption
    assert "bias-corrected" in figure.caption


def test_a_long_log_is_smoothed_before_it_is_thinned(tmp_path, monkeypatch):
    losses = [3.0 + (-1) ** i for i in range(1000)]
    lines, _ = lines_of(monkeypatch, told(tmp_path, [3.0], losses), "perplexity-steps")
    assert len(lines["training"].y) <= 120
    assert all(abs(math.log(value) - 3.0) < 0.1 for value in lines["training"].y[5:])


def test_what_is_measured_of_training_stands_beside_validation(tmp_path, monkeypatch):
    events = [
        {"event": "evaluation", "step": 100 * i, "tokens": 3000 * i, "seconds": 60.0 * i, "loss": 3.0 - 0.1 * i,
         "train": {"loss": 2.9 - 0.3 * i}} for i in (1, 2, 3)
    ]  # fmt: skip
    record = gather(write_run(tmp_path / "run", events=events, evaluation={}))
    lines, figure = lines_of(monkeypatch, record, "loss-steps")
    assert lines["training, measured"].x == lines["validation"].x == [100, 200, 300]
    assert lines["training, measured"].y == pytest.approx([2.6, 2.3, 2.0])
    assert "at the same steps and in the same way as validation" in figure.caption
    lines, _ = lines_of(monkeypatch, record, "perplexity-steps")
    assert lines["training, measured"].y == pytest.approx([math.exp(y) for y in (2.6, 2.3, 2.0)])
    lines, _ = lines_of(monkeypatch, record, "loss-time")
    assert lines["training, measured"].x == lines["validation"].x  # in the same unit of time


def test_losses_of_sequences_are_drawn_in_one_unit_and_have_no_training_perplexity(tmp_path, monkeypatch):
    events = [{"event": "train", "step": 10 * i, "loss": 4.0 - 0.1 * i} for i in range(1, 21)]
    events += [
        {"event": "evaluation", "step": 100 * i, "loss": 3.0, "sequence_mean_loss": 2.8 - 0.1 * i} for i in (1, 2)
    ]  # fmt: skip
    config = {"train": {"loss": "sequence"}, "data": {"layout": "padded"}}
    record = gather(write_run(tmp_path / "run", events=events, evaluation={}, config=config))
    lines, _ = lines_of(monkeypatch, record, "loss-steps")
    assert lines["validation"].y == pytest.approx([2.7, 2.6])
    lines, _ = lines_of(monkeypatch, record, "perplexity-steps")
    assert set(lines) == {"validation"}
    assert lines["validation"].y == pytest.approx([math.exp(3.0)] * 2)
