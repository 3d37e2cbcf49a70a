"""`heed bench` and the tables of `heed list attention`."""

import json

import pytest

from heed.attention import MECHANISMS, PROJECTIONS
from heed.cli.list import columns

NARROW = ["--model.n-layers", 1, "--model.d-model", 16, "--model.n-heads", 2, "--tokenizer.vocab-size", 300]
SMALL = ["--lengths", 16, 24, 32, "--widths", 16, "--threads", 1]


def test_bench_writes_table_json_and_figure(heed, tmp_path):
    answer = heed("bench", "attention", "sliding-window", *SMALL, "--option", "sliding-window.window=4",
                  "--backward", "--out", tmp_path / "costs")  # fmt: skip
    assert answer.code == 0, answer.err
    assert "forward and backward, causal, batch 1, width 16 in 4 heads" in answer.out
    assert "options: sliding-window window 4" in answer.out
    assert "faster than softmax" in answer.out
    assert "1 of 2: softmax, D = 16" in answer.err
    assert max(map(len, answer.out.splitlines()[1:])) <= 120
    written = json.loads((tmp_path / "costs" / "cost.json").read_text())
    assert [curve["mechanism"] for curve in written["curves"]] == ["softmax", "sliding-window"]
    assert written["curves"][1]["options"] == {"window": 4}
    assert (tmp_path / "costs" / "cost.svg").read_text().startswith("<?xml")
    assert (tmp_path / "costs" / "cost.png").stat().st_size > 0


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_measured(heed, tmp_path):
    (tmp_path / "file").write_text("")
    answer = heed("bench", "attention", "softmax", *SMALL, "--out", tmp_path / "file")
    assert answer.code == 2
    assert "cannot write to" in answer.err
    assert "1 of 1" not in answer.err


def test_bench_json_and_several_widths(heed, tmp_path):
    argv = ["--lengths", 16, 24, "--widths", 16, 32, "--bidirectional", "--json", "--out", tmp_path]
    curves = json.loads(heed("bench", "attention", "fastformer", *argv).out)["curves"]
    assert [(curve["mechanism"], curve["width"]) for curve in curves] == [
        ("softmax", 16), ("fastformer", 16), ("softmax", 32), ("fastformer", 32),
    ]  # fmt: skip
    assert curves[0]["time"]["verdict"] == "too few lengths"
    assert (tmp_path / "cost-32.svg").exists()


def test_bench_of_everything_leaves_out_what_does_not_fit(heed):
    answer = heed("bench", "attention", "--lengths", 16, 24, "--widths", 16, "--json")
    assert answer.code == 0
    names = {curve["mechanism"] for curve in json.loads(answer.out)["curves"]}
    assert names == {name for name, kind in MECHANISMS.items() if kind.facts.causal != "never"}
    assert "left out: attention 'linformer' cannot be causal" in answer.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["linformer"], "attention 'linformer' cannot be causal: add --bidirectional"),
        (["sofmax"], "did you mean 'softmax'?"),
        (["softmax", "--option", "performer.features=3"], "write MECHANISM.OPTION=VALUE"),
        (["sliding-window", "--option", "sliding-window.widow=3"], "did you mean 'window'?"),
        (["softmax", "--widths", 30], "width 30 does not divide into 4 heads"),
        (["softmax", "--widths", 16, 30], "width 30 does not divide into 4 heads"),
        (["softmax", "--lengths", 0], "numbers of at least 1"),
        (["softmax", "--lengths", 16, 16], "--lengths names a number twice"),
        (["softmax", "--lengths", 16, 99999999999999999999], "--lengths: Value error, must be below 2^63"),
        (["softmax", "--lengths", 99999999999999999, "--widths", 16], "no length could be measured"),
        (["softmax", "--batch", 10**16, "--lengths", 16, "--widths", 16], "no length could be measured"),
        (["softmax", "--device", "cuda"], "torch finds no cuda"),
    ],
)  # fmt: skip
def test_bench_refuses_in_a_line(heed, argv, says):
    import torch

    if "cuda" in argv and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    answer = heed("bench", "attention", *argv)
    assert answer.code == 2
    assert says in answer.err
    assert answer.err.count("heed: ") == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["devices", "--steps", 2, "--train.batch-size", 10**14, *NARROW], "out of memory: a batch of"),
        (["memory", "--batch-sizes", 10**20, *NARROW], "--batch-sizes: Value error, must be below 2^63"),
        (["memory", "--contexts", 10**13, *NARROW], "more parameters than there is memory for"),
    ],
)
def test_benches_of_steps_refuse_what_no_memory_holds(heed, argv, says):
    answer = heed("bench", *argv)
    assert (answer.code, answer.err.count("heed: ")) == (2, 1)
    assert says in answer.err


def test_a_step_that_no_memory_holds_is_an_answer(heed):
    answer = heed("bench", "memory", "--batch-sizes", 2, 10**14, "--contexts", 8, "--json", *NARROW)
    assert answer.code == 0, answer.err
    assert [bool(step["problem"]) for step in json.loads(answer.out)["steps"]] == [False, True]


def test_list_attention_is_a_table_that_fits(heed):
    out = heed("list", "attention").out
    assert max(map(len, out.splitlines())) <= 120
    lines = {line.split()[0]: line for line in out.splitlines() if line[:1].strip()}
    assert set(MECHANISMS) < set(lines)
    assert lines["naive-mask"].split()[1] == "LEAKS"
    assert lines["linformer"].split()[1:3] == ["no", "yes"]


@pytest.mark.parametrize("name", sorted(MECHANISMS))
def test_list_attention_says_everything_about_one(heed, name):
    content = json.loads(heed("list", "attention", name, "--json").out)
    assert content["equation"] == MECHANISMS[name].facts.equation
    for option in content["options"].values():
        assert option["about"]
        assert option["type"]
    page = heed("list", "attention", name).out
    assert max(map(len, page.splitlines())) <= 120
    assert all(option in page for option in content["options"])


def test_list_of_one_name_and_of_an_unknown_one(heed):
    assert heed("list", "projections", "shared-qk").out == "shared-qk  queries and keys share a matrix\n"
    assert set(json.loads(heed("list", "projections", "--json").out)) == set(PROJECTIONS)
    assert "did you mean 'scaled-dot'?" in heed("list", "scores", "scaled-dto").err
    assert "did you mean 'softmax'?" in heed("list", "attention", "softmx").err


def test_columns_wrap_where_they_may_and_remarks_take_the_line():
    rows = [["name", "what"], ["a", "word " * 60]]
    lines = columns(rows, shrink=(1,))
    assert max(map(len, lines)) <= 120
    assert len(lines) == 4
    three = columns([["name", "b", "c"], ["x", "1", "2"], ["long name", "a remark"]], shrink=(2,))
    assert three[2] == "long name  a remark"
