import dataclasses

import pytest
from fake_runs import PASSPORT

from heed.errors import ConfigError, DataError
from heed.report.figure_kinds import FIGURES
from heed.report.passport import Passport, check_comparable, differences

BASE = Passport.from_dict(PASSPORT)


def other(**changes):
    return dataclasses.replace(BASE, **changes)


def test_a_passport_survives_a_file():
    assert Passport.from_dict(BASE.as_dict()) == BASE
    smaller, beside = other(weights="int8"), other(weights="int8", cache="a neural cache")
    assert Passport.from_dict(beside.as_dict()) == beside
    assert list(beside.as_dict()) == [field.name for field in dataclasses.fields(Passport)]
    assert smaller.as_dict().keys() == beside.as_dict().keys() - {"cache"}  # as trained, alone: is not said
    assert BASE.as_dict().keys() == smaller.as_dict().keys() - {"weights"}
    assert beside.sentence() == smaller.sentence().removesuffix(".") + ", beside a neural cache."
    assert smaller.sentence() == BASE.sentence().removesuffix(".") + ", the model's weights in int8."
    assert differences(BASE, smaller, "loss") == ["weights"]


def test_what_was_not_counted_is_not_said():
    whole = other(words=11_000, bytes=70_000).sentence()
    assert "11,000 words and 70,000 bytes" in whole
    assert "words" not in other(words=0, bytes=70_000).sentence()
    assert ", 70,000 bytes, with up to" in other(words=0, bytes=70_000).sentence()
    assert "bytes" not in other(words=0, bytes=0).sentence()


def test_a_damaged_passport_names_every_field():
    values = {**PASSPORT, "context": "128", "partial": 0, "tokens": True, "strides": 3}
    del values["stride"]
    with pytest.raises(DataError) as caught:
        Passport.from_dict(values)
    message = str(caught.value)
    assert "stride is missing" in message
    assert "strides is unknown, did you mean 'stride'" in message
    assert "context must be int, not '128'" in message
    assert "partial must be bool, not 0" in message
    assert "tokens must be int, not True" in message


@pytest.mark.parametrize("changes", [{"documents": "both"}, {"stride": 0}, {"stride": 129}, {"tokens": -1}])
def test_an_impossible_passport_is_refused(changes):
    with pytest.raises(ConfigError, match="passport"):
        other(**changes)


@pytest.mark.parametrize("figure", FIGURES)
def test_equal_passports_are_comparable(figure):
    check_comparable(BASE, other(), figure)


def test_a_tokenizer_moves_token_figures_and_no_others():
    foreign = other(tokenizer="bpe 8192 77aa0011", tokens=15_000)
    for figure in ("loss", "token_perplexity"):
        assert differences(BASE, foreign, figure) == ["tokenizer", "tokens"]
        with pytest.raises(ConfigError, match=r"tokenizer \(bpe 4096 1f3a9c20 and bpe 8192 77aa0011\)"):
            check_comparable(BASE, foreign, figure)
    check_comparable(BASE, foreign, "word_perplexity")
    check_comparable(BASE, foreign, "bits_per_byte")


def test_the_denominator_matters_to_its_own_figure_alone():
    assert differences(BASE, other(words=9), "word_perplexity") == ["words"]
    assert differences(BASE, other(word_rule="words + line ends"), "word_perplexity") == ["word_rule"]
    assert differences(BASE, other(words=9), "bits_per_byte") == []
    assert differences(BASE, other(bytes=9), "bits_per_byte") == ["bytes"]
    assert differences(BASE, other(bytes=9, words=9), "token_perplexity") == []


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize(
    "changes", [{"context": 256}, {"stride": 64}, {"documents": "separate"}, {"split": "test"}, {"corpus": "x"}]
)
def test_text_and_view_matter_to_every_figure(figure, changes):
    with pytest.raises(ConfigError, match=f"passports differ in {next(iter(changes))}"):
        check_comparable(BASE, other(**changes), figure)


def test_a_difference_can_be_allowed_by_name():
    longer = other(context=256, stride=64)
    check_comparable(BASE, longer, "loss", allow={"context", "stride"})
    with pytest.raises(ConfigError, match=r"stride \(128 and 64\)") as caught:
        check_comparable(BASE, longer, "loss", allow={"context"})
    assert "context" not in str(caught.value)
    with pytest.raises(ConfigError, match="did you mean 'context'"):
        check_comparable(BASE, longer, "loss", allow={"contexts"})


def test_an_unknown_figure_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'word_perplexity'"):
        check_comparable(BASE, BASE, "word_perplexty")


def test_the_sentence_says_when_only_a_part_was_read():
    assert "the beginning of the validation split" in other(partial=True).sentence()
    assert "17,920 tokens (bpe 4096 1f3a9c20), with up to" in other(partial=True, words=0, bytes=0).sentence()
    assert "windows that do not overlap" in BASE.sentence()
    assert "words (counted as words + line ends)" in other(word_rule="words + line ends").sentence()
