"""YAML: nothing is dropped, nothing multiplies, nothing is a traceback."""

import random

import pytest
import yaml

from heed.config import parse_yaml, read_own_yaml, read_yaml, write_yaml
from heed.errors import ConfigError

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {steps: 10}\nmodel: {}\ntrain: {clip: 2}\n", "x.yaml, line 3 is not valid YAML: 'train' stands in"),
        ("train:\n  steps: 10\n  steps: 20\n", "line 3 is not valid YAML: 'steps' stands in line 2 already: leave one"),
        ("a: {true: 1, yes: 2}", "'True' stands in line 1"),
        ("variants: {1: {}, '1': {}}", "'1' stands in line 1"),
        ("a: &a {x: 1}\nb: {<<: *a, <<: *a}", "'<<' stands in line 2"),
        (BOMB, "more than 100,000 values"),
        ("[" * 3000, "nested more than 60 deep"),
        ("a: &a [*a]", "*a refers to itself"),
        ("{a: " * 3000 + "1" + "}" * 3000, "nested more than 60 deep"),
        ("\n".join("  " * n + "a:" for n in range(200)), "nested more than 60 deep"),
        ("when: 2001-99-99", "'2001-99-99' is no timestamp"),
        ("n: " + "1" * 5000, "is no int"),
        ("n: !!int abc", "'abc' is no int"),
        ("n: !!bool maybe", "'maybe' is no bool"),
        ("n: !!timestamp x", "'x' is no timestamp"),
        ("n: !!python/object:os.system x", "could not determine a constructor"),
        ("a: \0", "special characters are not allowed"),
        ("a: [1, 2", "x.yaml, line 1 is not valid YAML"),
        ("- 1", "must hold sections"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, text, words):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "base: &base {a: 1, b: 2}\nc: {<<: *base, b: 3}",  # what is merged may be changed
        "a: &a [1, 2]\nb: [*a, *a]",
        "{1: x, 1.5: y, null: z}",
        "a: 2001-01-01\nb: .nan\nc: !!set {x, y}",
        "a: [[[[[[[[1]]]]]]]]",
        "",
    ],
)
def test_what_is_read_as_before(text):
    assert str(parse_yaml(text, "x")) == str(yaml.safe_load(text))


def test_files_that_are_no_utf8_or_begin_with_a_mark(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbftrain: {steps: 3}\n")
    assert read_yaml(path) == {"train": {"steps": 3}}
    path.write_bytes("run: {name: Käse}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"x\.yaml is not UTF-8 at byte 13: save it as UTF-8"):
        read_yaml(path)
    for name in ("no\0name", "n" * 5000):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(name)


def test_what_heed_wrote_is_read_the_same_by_the_fast_reader(tmp_path):
    """Any settings, with texts that look like something else; and what heed does not write goes the strict way."""
    noise = random.Random(7)
    odd = ["yes", "null", "~", "1e3", "0x1F", "2024-02-30", "1_000", "- a", "a: b", "#", "é\n\nü ", "'", '"', "", " ",
           "\t", "<<", "=", "*a", "&a", "!x", "? a", "%", "@", "`", "012", ".5", "1:30", "True",
           "\u2028", "x" * 300]  # fmt: skip
    values = [None, True, 3, -0.0, 1e-5, 1e300, float("inf"), [], {}, [1, [2, "a"]], {"a": {"b": None}}, *odd]

    class Dumped:
        def model_dump(self):
            return content

    for _ in range(60):
        content = {
            section: {f"k{n}": noise.choice(values) for n in range(noise.randrange(9))} for section in ("data", "model")
        }
        write_yaml(Dumped(), tmp_path / "config.yaml")
        assert read_own_yaml(tmp_path / "config.yaml") == read_yaml(tmp_path / "config.yaml") == content
    for text in ("a: &b [1]\nc: *b\n", "a: 1\na: 2\nb: !!str 3\n", "[1]", "a: {", "a: 2024-13-99"):
        (tmp_path / "config.yaml").write_text(text)
        strict = fast = None
        try:
            strict = read_yaml(tmp_path / "config.yaml")
        except ConfigError as error:
            strict = str(error)
        try:
            fast = read_own_yaml(tmp_path / "config.yaml")
        except ConfigError as error:
            fast = str(error)
        assert fast == strict
