"""What is shown: on a terminal, in a log, and nowhere."""

import io
import itertools
from types import SimpleNamespace

import pytest
from doubles import Figure, TinyModel, Windows, new_run, plan
from rich.console import Console

from heed.training import fit as loop
from heed.training.progress import Live, Pace, ProgressLines, Silent, describe, make_progress

FIGURES = Pace(loss=1.90421, tokens_per_second=23_400, memory_bytes=365 * 2**20, seconds_left=118)


def test_figures_as_text():
    text = describe(FIGURES)
    assert text == "loss 1.9042  23.4 k tokens/s  365 MiB  1 min 58 s left"


def test_lines_come_now_and_then_and_at_the_end():
    out = io.StringIO()
    with ProgressLines(100, out, every=1000) as progress:
        for step in (1, 2, 50, 100):
            progress.update(step, FIGURES)
        progress.phase("evaluating")
        progress.say("done")
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 1/100", "step 100/100", "done"]


def test_every_line_when_time_has_passed():
    out = io.StringIO()
    progress = ProgressLines(100, out, every=0)
    for step in (1, 2, 3):
        progress.update(step, FIGURES)
    assert len(out.getvalue().splitlines()) == 3


def test_the_live_bar_shows_phase_step_and_figures():
    out = io.StringIO()
    with Live(2000, Console(file=out, force_terminal=True, width=140)) as progress:
        progress.update(812, FIGURES)
        progress.phase("evaluating")
        progress.say("step 812: validation loss 1.5000 [not markup]")
    text = out.getvalue()
    assert "812/2,000" in text
    assert "1 min 58 s left" in text
    assert "evaluating" in text
    assert "[not markup]" in text


def test_a_pipe_gets_lines_and_a_terminal_the_bar(monkeypatch):
    out = io.StringIO()
    assert isinstance(make_progress(10, out), ProgressLines)
    monkeypatch.setattr(out, "isatty", lambda: True)
    assert isinstance(make_progress(10, out), Live)


def test_silence():
    with Silent() as progress:
        progress.update(1, FIGURES)
        progress.phase("training")
        progress.say("nobody hears this")


def test_a_stream_may_ask_for_more_lines():
    out = io.StringIO()
    out.every = 1.0  # pyright: ignore[reportAttributeAccessIssue]
    progress = make_progress(10, out)
    assert isinstance(progress, ProgressLines)
    assert progress.every == 1.0


def test_before_the_first_evaluation_nobody_knows_how_long_one_takes():
    assert describe(Pace(1.0, 1000, 2**20, 60, whole=False)).endswith("1 min 00 s and evaluations left")


class Seen(Silent):
    """Remembers what was shown, and when."""

    def __init__(self, clock):
        self.clock, self.shown = clock, []

    def update(self, step, pace):
        self.shown.append((step, pace, self.clock.now))


@pytest.mark.parametrize(("settings", "steps"), [({"steps": 23}, 23), ({"steps": 1000, "seconds": 23}, 23)])
def test_what_is_left_is_everything_that_is_left(tmp_path, monkeypatch, settings, steps):
    """On a clock that moves by a second in a step and by ten in an evaluation, the end is known from the first one."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    class Slow(Windows):
        def __next__(self):
            clock.now += 1
            return super().__next__()

    def validation():
        clock.now += 10
        return Figure(1.0)

    seen = Seen(clock)
    asked = plan(**settings, eval_every=5, warmup_steps=0, checkpoint_every=1000)
    loop.fit(
        TinyModel(), Slow(), asked, new_run(tmp_path / "run"), validation=validation, progress=seen, log_every=7,
        evaluations_after=2.5,
    )  # fmt: skip
    assert {step for step, _, _ in seen.shown} == set(range(1, steps + 1))
    end = clock.now + 25  # what measures the end
    for step, pace, now in seen.shown:
        assert pace.whole == (step > 5)
        expected = end - now if step > 5 else steps - step
        assert pace.seconds_left == pytest.approx(expected), step


def test_it_moves_ten_times_a_second_at_most(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    class Fast(Windows):
        def __next__(self):
            clock.now += 0.04
            return super().__next__()

    seen = Seen(clock)
    loop.fit(TinyModel(), Fast(), plan(steps=100), new_run(tmp_path / "run"), progress=seen, log_every=1000)
    times = [now for _, _, now in seen.shown]
    assert all(later - before > 0.099 for before, later in itertools.pairwise(times[:-1]))
    assert 30 <= len(times) <= 42
