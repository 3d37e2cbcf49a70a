"""The questions on the page of cards, in a real browser: marked as on the terminal, by keyboard, after a reload."""

import json

import numpy as np
import pytest
from cards_page import opened

from browsing import CONTRAST
from heed.errors import ConfigError
from heed.explore.card_names import card_names
from heed.explore.cards import single_file
from heed.explore.quiz import LETTERS, QuizRound, number_in, read_quiz

pytestmark = pytest.mark.slow  # a browser takes seconds to start
OWN = read_quiz()


@pytest.fixture(scope="module")
def page(browser, address):
    with opened(browser, address) as page:
        yield page


def state(page):
    return page.evaluate("() => heed.quiz.state()")


def asked(page):
    return page.evaluate(
        "() => { const s = heed.quiz.state(); return heed.quiz.roundOf(s.topic, s.seed, s.answers).waiting }"
    )


def right_letters(page):
    """Of the question that is asked now; a number as text."""
    return page.evaluate("""() => {
      const s = heed.quiz.state(), round = heed.quiz.roundOf(s.topic, s.seed, s.answers), question = round.waiting[0];
      if (!question.options.length) return String(question.answer);
      return round.options(question).map((option, i) => option.right ? "abcdefghijkl"[i] : "").join("");
    }""")


def answer(page, right):
    """Answer the question that is asked, by pointer."""
    wanted = right_letters(page)
    box = page.locator("#quiz form")
    if box.locator("input[inputmode]").count():
        box.locator("input[inputmode]").fill(wanted if right else "-12345")
    else:
        every = [each.get_attribute("value") for each in box.locator("input").all()]
        wrong = next(letter for letter in every if letter not in wanted or len(wanted) > 1)
        for letter in wanted if right else wrong:
            box.locator(f"input[value={letter}]").check()
    box.locator(".strong").click()


def test_the_questions_are_those_of_the_terminal(page):
    listed = [question.model_dump(exclude={"function"}) for question in OWN]
    assert page.evaluate("() => heed.quiz.questions") == json.loads(json.dumps(listed))


def test_answers_are_marked_as_on_the_terminal(page):
    """The right one, each option alone, all of them, and random ones; numbers as people write them."""
    draw, tried = np.random.default_rng(3), []
    for question in OWN:
        quiz = QuizRound([question], 5)
        options = [option.model_dump() for option in quiz.options()]
        if options:
            letters = LETTERS[: len(options)]
            answers = [
                *letters,
                letters,
                *("".join(c for c in letters if draw.random() < 0.5) or "a" for _ in range(6)),
            ]
            answers.append("".join(LETTERS[i] for i, option in enumerate(options) if option["right"]))
        else:
            off = question.answer + question.tolerance * np.array([0, 0.99, -0.99, 1.01, 50])
            answers = [*(repr(float(value)) for value in off), "0", f"{question.answer:,}", f"{question.answer} %"]
        tried += [(question, options, given) for given in answers]
    said = page.evaluate(
        "tried => tried.map(([i, options, given]) => heed.quiz.mark(heed.quiz.questions[i], options, given))",
        [[OWN.index(question), options, given] for question, options, given in tried],
    )
    for (question, _, given), mine in zip(tried, said, strict=True):
        mark = QuizRound([question], 5).answer(given)
        assert (mine["right"], mine["told"]) == (mark.right, list(mark.lines)), (question.id, given)
    assert 100 < sum(mine["right"] for mine in said) < len(said) - 100


def test_numbers_are_read_as_on_the_terminal(page):
    number = "given => { try { return heed.quiz.numberIn(given) } catch (error) { return error.message } }"
    for given in (
        "2,362,368",
        "-1.5e-3",
        "66 %",
        "−2",
        "1_000",
        ".5",
        "7.",
        "",
        "a",
        "nan",
        "inf",
        "1,2",
        "0x10",
        "1e999",
    ):
        try:
            wanted = number_in(given)
        except ConfigError as error:
            wanted = str(error)
        found = page.evaluate(number, given)
        assert found == wanted if isinstance(wanted, float) else found.lower() == wanted, given


def test_what_is_wrong_comes_again_and_a_reload_loses_nothing(browser, address):
    with opened(browser, address, "#quiz") as page:
        page.select_option("#quiz select", "tokenizers")
        count = len(asked(page))
        assert count == sum(question.topic == "tokenizers" for question in OWN)
        first = asked(page)[0]["id"]
        answer(page, right=False)
        assert page.text_content("#quiz .verdict") == "✗ Wrong: it comes again."
        assert page.locator("#quiz [role=status] li").count() > 0
        assert page.evaluate("() => document.activeElement.textContent") == "Next"
        link, held = page.url, state(page)
        page.reload()
        page.wait_for_function("globalThis.heed")
        assert (page.url, state(page)) == (link, held)
        assert page.text_content("#quiz .verdict") == "✗ Wrong: it comes again."
        for _ in range(3):
            page.locator("#quiz .strong").click()
            assert asked(page)[0]["id"] != first
            answer(page, right=True)
            assert page.text_content("#quiz .verdict") == "✓ Right."
        page.locator("#quiz .strong").click()
        assert asked(page)[0]["id"] == first
        assert page.text_content("#quiz legend .eyebrow") == "tokenizers, again"
        while asked(page):
            answer(page, right=True)
            page.reload()
            page.wait_for_function("globalThis.heed")
            page.locator("#quiz .strong").click()
        assert page.text_content("#quiz legend") == f"The round is done: {count - 1} of {count} right at first."
        assert page.locator("#quiz form li").count() == 1
        page.get_by_role("button", name="Another round").click()
        assert (state(page)["answers"], len(asked(page))) == ([], count)


def test_by_keyboard_alone(browser, address):
    with opened(browser, address, "#quiz?topic=attention&seed=4") as page:
        page.focus("#quiz select")
        for _ in range(8):
            page.keyboard.press("Tab")  # from the topic, or from "Next": to the first field
            if page.evaluate("() => document.activeElement.matches('#quiz input')"):
                break
        for _ in range(6):
            wanted = right_letters(page)
            assert page.evaluate("() => document.activeElement.matches('#quiz input')")
            if wanted[0].isalpha():
                for letter in page.evaluate("() => [...document.querySelectorAll('#quiz input')].map(i => i.value)"):
                    if page.evaluate("() => document.activeElement.type") == "checkbox":
                        if letter in wanted:
                            page.keyboard.press("Space")
                        page.keyboard.press("Tab")
                    else:
                        page.keyboard.press("Space" if letter == "a" else "ArrowDown")
                        if letter == wanted:
                            break
                page.locator("#quiz input").last.focus()
            else:
                page.keyboard.type(wanted)
            page.keyboard.press("Enter")
            assert page.text_content("#quiz .verdict") == "✓ Right."
            page.keyboard.press("Enter")  # "Next" has the focus
        assert len(state(page)["answers"]) == 6


def test_nothing_chosen_and_bad_links_are_one_sentence(browser, address):
    with opened(browser, address, "#quiz?topic=attention&seed=1") as page:
        page.locator("#quiz .strong").click()
        assert page.locator("#quiz .trouble span").is_visible()
        before = state(page)
        assert before["answers"] == []
        many = ";".join("a" * 80)
        for link, words in (
            ("topic=nothing", "unknown value “nothing”"), ("seed=-1", "whole number"), ("seed=1.5", "whole number"),
            ("answers=z", "Choose"), ("answers=;;", "Choose"), ("topic=heads&answers=" + many, "Choose"),
        ):  # fmt: skip
            page.evaluate("link => heed.quiz.read(link)", link)
            said = page.text_content("#quiz .trouble span")
            assert words in said or "number" in said or "All questions" in said, link
            assert state(page) == before


def test_each_card_that_is_named_opens_as_it_is_named(browser, address):
    links = sorted({question.card for question in OWN if question.card})
    assert len(links) > 12
    with opened(browser, address) as page:
        assert page.evaluate("() => Object.keys(heed)") == list(card_names())
        for link in links:
            name, _, given = link.partition("?")
            page.evaluate("link => { location.hash = link }", f"#{link}")
            page.wait_for_timeout(50)
            assert page.locator(f"#{name} .trouble").is_hidden(), link
            held = page.evaluate(f"() => heed['{name}'].state()")
            for pair in given.split("&") if given else []:
                key, _, value = pair.partition("=")
                found = held[key]
                assert (
                    found == value if isinstance(found, str) else np.allclose(found, np.array(value.split(","), float))
                )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_an_answered_question_fits_and_can_be_read(browser, address, scheme, width):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "reduced_motion": "reduce"}
    with opened(browser, address, "#quiz?topic=batching&seed=2", **options) as page:
        for right in (False, True):
            answer(page, right)
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            assert [entry for entry in page.evaluate(CONTRAST) if entry[0] < 4.5] == []
            if width < 400:
                small = page.evaluate(
                    "() => [...document.querySelectorAll('#quiz button, #quiz label')].filter(e => e.getClientRects()"
                    ".length && e.getBoundingClientRect().height < 39.5).map(e => e.textContent)"
                )
                assert small == []
            page.locator("#quiz .strong").click()


def test_the_single_file_asks_too(browser, tmp_path):
    file = tmp_path / "cards.html"
    file.write_text(single_file(), encoding="utf-8")
    with opened(browser, file.as_uri(), "#quiz?topic=sampling&seed=1") as page:
        answer(page, right=True)
        assert page.locator("#quiz .verdict").count() == 1
        assert len(state(page)["answers"]) == 1
