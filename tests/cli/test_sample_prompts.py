"""`heed sample --prompts`: a file of prompts, each answered as it is alone, and what is wrong with a line."""

import io
import json
import sys
from types import SimpleNamespace

import pytest

ASK = ["--max-tokens", 8, "--temperature", 1.3]


def answers(out):
    return [json.loads(line) for line in out.splitlines()]


def test_each_line_gives_the_text_that_it_gives_alone(heed, trained, tmp_path):
    lines = ["the cat ", "a dog", "", "my heron s"] + ["one fox "] * 20  # more than one batch
    (tmp_path / "prompts.txt").write_text("\n".join(lines), encoding="utf-8")
    found = heed("sample", trained, "--prompts", tmp_path / "prompts.txt", *ASK, "--seed", 5, "--json")
    assert found.code == 0
    content = answers(found.out)
    assert [one["line"] for one in content] == [1, 2, *range(4, 25)]
    for line, one in zip([line for line in lines if line], content, strict=True):
        assert one["prompt"] == line
    for one in content[:4]:
        alone = heed("sample", trained, "--prompt", one["prompt"], *ASK, "--seed", 5)
        assert alone.out == one["prompt"] + one["text"] + "\n"
    text = heed("sample", trained, "--prompts", tmp_path / "prompts.txt", *ASK, "--seed", 5)
    assert text.out == "".join(f"{one['prompt']}{one['text']}\n{'-' * 40}\n" for one in content)


def test_empty_lines_are_counted(heed, trained, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("the cat \n\n  \na dog\n")
    found = heed("sample", trained, "--prompts", path, *ASK)
    assert f"note: 2 empty lines of {path} are skipped; among JSON lines a prompt without text is" in found.err
    path.write_text('{"prompt": ""}\n\n')
    found = heed("sample", trained, "--prompts", path, *ASK, "--json")
    assert "note: 1 empty line" in found.err
    assert [one["prompt"] for one in answers(found.out)] == [""]
    path.write_text("the cat \na dog\n")
    assert "empty" not in heed("sample", trained, "--prompts", path, *ASK).err


def test_json_lines_may_have_seeds_of_their_own_and_n_texts(heed, trained, tmp_path):
    values = [{"prompt": "the cat "}, {"prompt": "the cat ", "seed": 9}, {"prompt": ""}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(value) + "\r\n" for value in values))
    found = heed("sample", trained, "--prompts", tmp_path / "p.jsonl", *ASK, "--n", 2, "--json", "--logprobs", 1)
    assert found.code == 0
    content = answers(found.out)
    assert [one["line"] for one in content] == [1, 1, 2, 2, 3, 3]
    assert len(content[0]["top_logprobs"]) == 8
    for start, seed in ((0, 1), (2, 9)):
        argv = ["--prompt", "the cat ", *ASK, "--seed", seed, "--n", 2, "--json"]
        alone = json.loads(heed("sample", trained, *argv).out)["completions"]
        assert [one["text"] for one in alone] == [one["text"] for one in content[start : start + 2]]
    assert content[0]["text"] != content[2]["text"]


def test_bad_lines_are_named_and_the_others_go_on(heed, trained, tmp_path):
    lines = [
        b'{"prompt": "a dog"}', b"{", b'{"text": "a"}', b'{"prompt": 3}', b'{"prompt": "a", "sead": 1}',
        b'{"prompt": "a", "seed": -1}', b'{"prompt": "\xff"}', b'{"prompt": "\\ud800"}', "{\"prompt\": \"§\"}".encode(),
        b"[" * 5000, b'{"prompt": "the cat"}',
    ]  # fmt: skip
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = heed("sample", trained, "--prompts", path, *ASK, "--json")
    assert found.code == 1
    content = answers(found.out)
    assert [one["line"] for one in content] == list(range(1, 12))
    assert [one["line"] for one in content if "error" in one] == list(range(2, 11))
    words = [
        "is no JSON",
        'no text "prompt"',
        'no text "prompt"',
        "'sead'",
        "seed -1",
        "UTF-8",
        "surrogate",
        "§",
        "JSON",
    ]
    for word, one in zip(words, content[1:10], strict=True):
        assert word in one["error"]
    assert found.err == (
        "heed: 9 of 11 prompts could not be answered, the first in line 2 (is no JSON (Expecting property name "
        "enclosed in double quotes))\n"
    )
    plain = heed("sample", trained, "--prompts", path, *ASK)
    assert "[line 2 is no JSON" in plain.out
    strict = heed("sample", trained, "--prompts", path, *ASK, "--strict")
    assert (strict.code, strict.out) == (2, "")
    assert "bad.jsonl: line 2 is no JSON" in strict.err
    assert "and 4 more" in strict.err
    assert strict.err.count("\n") == 1


def test_a_prompt_that_is_too_long_is_one_bad_line(heed, trained, tmp_path):
    (tmp_path / "p.txt").write_text("the cat sees the cat\na dog\n")
    found = heed("sample", trained, "--prompts", tmp_path / "p.txt", "--max-tokens", 4, "--on-overflow", "error")
    assert found.code == 1
    assert "[line 1 the prompt has 20 tokens, and the model reads 16" in found.out
    assert "\na dog" in found.out


def test_standard_input_is_read(heed, trained, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\xef\xbb\xbfa dog\r\nthe cat\n")))
    found = heed("sample", trained, "--prompts", "-", *ASK, "--json")
    assert [one["prompt"] for one in answers(found.out)] == ["a dog", "the cat"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--prompts", "no/such/file"], "no/such/file cannot be read: No such file or directory"),
        (["--prompts", "."], "cannot be read: Is a directory"),
        (["--prompts", "\0"], "cannot be read"),
        (["--prompts", "x" * 5000], "cannot be read: File name too long"),
        (["--prompts", "/dev/null"], "holds no prompts"),
        (["--prompts", "a", "--prompt", "b"], "take --prompt or --prompts"),
        (["--strict"], "--strict is about the lines of --prompts"),
        (["--repetition-penalty-scope", "prompt"], "repetition-penalty-scope"),
    ],
)
def test_mistakes_are_one_line(heed, trained, argv, words):
    found = heed("sample", trained, *argv)
    assert found.code == 2
    assert words in found.err
    assert found.err.count("\n") == 1
    assert len(found.err) < 600
