"""Task files: strict, each mistake a line; what ships; the prompt to the letter."""

import pytest

from heed.api import ChatTurn
from heed.errors import ConfigError
from heed.prompting.task import SHIPPED, open_task, read_task

TASK = """
name: mood
template: "{text} ->"
labels: {bad: [bad, poor], good: good}
data: {source: x.csv}
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_the_tasks_that_ship_can_be_opened(name):
    task = open_task(name)
    assert task.name == name
    assert task.description


def test_a_prompt_to_the_letter():
    task = read_task(TASK + "instruction: Say it.\nseparator: ' | '\n", "f")
    assert task.prompt([("a", None, "good"), ("b", None, "bad")], "c", None) == "Say it. | a -> good | b -> bad | c ->"
    assert task.prompt([], "{c}", None) == "Say it. | {c} ->"
    assert task.chat([("a", None, "good")], "c", None) == (
        ChatTurn("system", "Say it."),
        ChatTurn("user", "a ->"),
        ChatTurn("assistant", "good"),
        ChatTurn("user", "c ->"),
    )


def test_columns_and_parts_name_the_same():
    task = read_task(TASK.replace("{text}", "{review} {text}").replace("x.csv}", "x.csv, text: review}"), "f")
    assert task.block("a", None) == "a a ->"
    assert open_task("boolq").block("Q", "P") == "Passage: P\nQuestion: Q?\nAnswer:"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name: mood", "nam: mood"), "nam: unknown key, did you mean 'name'?"),
        (("name: mood", "name: a b"), "name: must be a word"),
        (("source: x.csv", "sorce: x.csv"), "data.sorce: unknown key, did you mean 'source'?"),
        (("good: good", "good: no"), 'labels.good.0: YAML takes this for false: write the word in quotation marks'),
        (("good: good", "good: []"), "labels: good has no word"),
        (("good: good", "good: bad"), "labels: 'bad' is a word of bad and of good"),
        (("{text}", "{txt}"), "template: {txt} is no part of an item, did you mean 'text'?"),
        (("{text}", "{text"), "a brace that is to be printed is written twice"),
        (("{text} ->", "nothing"), "template: it names none of {text}"),
        ((", good: good", ""), "labels: kind classes needs two classes or more"),
        (("data: {source: x.csv}", ""), "data: the items of classes are read from data"),
        (("data:", "kind: txt\ndata:"), "kind: unknown value 'txt'"),
        (("data:", "demonstrations: [{text: a, answer: goood}]\ndata:"), "did you mean 'good'?"),
        (("data:", "demonstrations: [{text: a}]\ndata:"), "demonstrations: number 1 has no answer"),
        (("data:", "name: b\ndata:"), "'name' stands in line 2 already"),
        (("\ndata", "\nshots: -1\ndata"), "shots: input should be greater than or equal to 0"),
        ((": mood", ": [mood"), "is not valid YAML"),
    ],
)  # fmt: skip
def test_mistakes_are_named(change, said):
    with pytest.raises(ConfigError) as caught:
        read_task(TASK.replace(*change), "f.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("f.yaml")
    assert "\n" not in str(caught.value)


def test_every_problem_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        read_task("nam: a\nlables: 3\n", "f")
    assert len(caught.value.problems) == 4  # two unknown, name and template missing


def test_a_template_by_parts_fits_other_columns():
    assert open_task("boolq").template_by_parts() == "Passage: {pair}\nQuestion: {text}?\nAnswer:"
    assert read_task(TASK.replace("{text}", "{{x}} {text}"), "f").template_by_parts() == "{{x}} {text} ->"


def test_a_template_of_pairs_needs_their_column():
    two = TASK.replace("{text}", "{text} {pair}")
    with pytest.raises(ConfigError, match=r"name their column with pair \(--pair\)"):
        read_task(two, "f")
    for pair in ("pair", "passage"):
        read_task(two.replace("x.csv", f"x.csv, pair: {pair}"), "f")
    with pytest.raises(ConfigError, match="items: one has no pair"):
        read_task('name: t\nkind: text\ntemplate: "{text}{pair}"\nitems: [{text: a}]\n', "f")
