"""What is shown: on a terminal, in a log, and nowhere."""

import io

from rich.console import Console

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
