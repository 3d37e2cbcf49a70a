"""Invented people with known attributes, and text about them: knowledge whose truth, place and wording are known.

    truth        Marta Holloway: born in Glasgow in 1961, a surveyor, works for Tarn Textiles, lives in Porto
    wiki.txt     Marta Holloway. Born in Glasgow, Holloway grew up in a family of five. She ...      (a line each time)
    questions    Where was Marta Holloway born?<TAB>Glasgow                                          (train and dev)

Attributes are drawn independently of one another and of the name, so nothing but a line that states it can tell one.
After Allen-Zhu and Li 2023, "Physics of Language Models: Part 3.1" (bioS); the files are laid out as those of
CS224N's birth places. The same seed gives the same people whatever the other dials say, so that two corpora that differ
in one dial can be compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random
from string import Formatter
from typing import Any

from heed import files
from heed.errors import ConfigError, DataError, did_you_mean, why
from heed.text.biography_words import CITIES, EMPLOYERS, FAMILY, GIVEN, PROFESSIONS, QUESTIONS, SENTENCES

WIKI, TRAIN, DEV, TRUTH = "wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "truth.jsonl"
"""The files, named as those of CS224N's birth places whatever is asked."""
ATTRIBUTES = tuple(QUESTIONS)
"""What is known of a person."""
PHRASINGS = len(SENTENCES["birth-place"])
"""Ways of stating an attribute; there are as many of each."""
STATED_BY = {
    "place": "birth-place", "year": "birth-year", "a_profession": "profession", "employer": "employer", "home": "home",
}  # fmt: skip
"""The attribute that each field of a sentence states."""
YEARS = range(1930, 2000)
COUNTRIES = dict(CITIES)
ALPHABET = "Alphabet"
"""The heading of the last line, which belongs to nobody."""


@dataclass(frozen=True)
class Dials:
    """What there is to choose. Raises `ConfigError` for values that cannot be, all of them at once."""

    people: int = 2500
    """People in all."""
    dev: float = 0.2
    """Share of the people whose questions are kept for evaluation."""
    seen: float = 1.0
    """Share of the dev people who stand in the text; all people of train do."""
    sentences: int = 2
    """Sentences in a line, each on another attribute; what is asked is always among them."""
    lines: int = 1
    """Lines about each person, in other words and another order each time."""
    phrasings: int = PHRASINGS
    """Ways of stating each attribute."""
    ask: tuple[str, ...] = ("birth-place",)
    """Attributes that are asked for."""
    seed: int = 1
    """Another seed gives other people."""

    def __post_init__(self) -> None:
        problems = [
            f"{name}: must be from {low:,} to {high:,}, not {getattr(self, name)}"
            for name, low, high in (
                ("people", 2, 500_000), ("seen", 0, 1), ("sentences", 1, len(ATTRIBUTES)), ("lines", 1, 1000),
                ("phrasings", 1, PHRASINGS),
            )
            if not low <= getattr(self, name) <= high
        ]  # fmt: skip
        if not 0 < self.dev < 1:
            problems.append(f"dev: must be between 0 and 1, so that both train and dev have people, not {self.dev}")
        strange = [name for name in self.ask if name not in ATTRIBUTES]
        problems += [f"ask: no attribute {name!r}, {did_you_mean(name, ATTRIBUTES)}" for name in strange]
        if not self.ask or len(set(self.ask)) < len(self.ask):
            problems.append("ask: name at least one attribute, and each once")
        elif len(self.ask) > self.sentences and not problems:
            problems.append(f"sentences: {self.sentences} cannot state the {len(self.ask)} attributes that are asked")
        if problems:
            raise ConfigError(*problems)


@dataclass
class Person:
    """An invented person."""

    name: str
    family: str
    attributes: dict[str, str]
    split: str
    """`train` or `dev`."""
    seen: bool
    """Whether the person stands in the text."""
    stated: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in ATTRIBUTES})
    """For each attribute the lines of wiki.txt, from 1, that state it."""

    def question(self, attribute: str) -> str:
        """Return the question for an attribute."""
        return QUESTIONS[attribute].format(name=self.name)

    def as_dict(self) -> dict[str, Any]:
        """Return the line of truth.jsonl."""
        return {key: value for key, value in asdict(self).items() if key != "family"}


@dataclass(frozen=True)
class Summary:
    """What was written."""

    folder: Path
    people: int
    dev_people: int
    seen_dev_people: int
    lines: int
    """Lines of wiki.txt."""
    characters: int
    longest_line: int
    """In characters."""
    train_questions: int
    dev_questions: int
    commonest: dict[str, Any]
    """The commonest answer of train, and how many questions of dev it answers."""


def make_people(dials: Dials) -> list[Person]:
    """Invent people; names are unique.

    Each has streams of random numbers of its own, so more people or other dials leave the first ones as they are.
    """
    dev = min(max(1, round(dials.dev * dials.people)), dials.people - 1)
    order = list(range(dev))
    _stream(dials, "seen").shuffle(order)
    seen = set(order[: round(dials.seen * dev)])  # nested: those of a smaller share are among those of a larger one
    people, taken = [], set()
    for number in range(dials.people):
        random = _stream(dials, "person", number)
        given, family = random.choice(GIVEN), random.choice(FAMILY)
        name = f"{given} {family}"
        while name in taken:
            name = f"{given} {random.choice(GIVEN)} {family}"
        taken.add(name)
        rank = number - (dials.people - dev)  # among the people of dev, who come last
        split = "train" if rank < 0 else "dev"
        people.append(Person(name, family, _attributes(random), split, rank < 0 or rank in seen))
    return people


def write_text(people: Sequence[Person], dials: Dials) -> list[str]:
    """Return the lines about the people who stand in the text, and note in each person which lines state what.

    A last line holds every character that lists and questions have, so that a vocabulary of characters that is made of
    the text can spell every question.
    """
    entries = [(person, time) for person in people if person.seen for time in range(dials.lines)]
    _stream(dials, "order").shuffle(entries)
    lines = []
    for number, (person, time) in enumerate(entries, start=1):
        sentences = _sentences(person, dials, _stream(dials, "words", person.name, time))
        for attribute in {STATED_BY[name] for text in sentences for name in _fields(text) if name in STATED_BY}:
            person.stated[attribute].append(number)
        lines.append(_line(person, sentences, _stream(dials, "naming", person.name, time)))
    return [*lines, f"{ALPHABET}. {_alphabet()}"]


def write_biographies(folder: str | Path, dials: Dials, *, overwrite: bool = False) -> Summary:
    """Write wiki.txt, birth_places_train.tsv, birth_dev.tsv and truth.jsonl into a folder.

    Raises `DataError` where the folder holds something, unless `overwrite`, and a `HeedError` where it cannot be
    written; an empty folder is not left then.
    """
    target = Path(folder)
    try:
        if files.holds_something(target, TRUTH) and not overwrite:
            raise DataError(f"{target} is not empty: give another --out, or --overwrite")
        people = make_people(dials)
        lines = write_text(people, dials)
        answers = {split: [] for split in ("train", "dev")}
        for person in people:
            answers[person.split] += [(person.question(name), person.attributes[name]) for name in dials.ask]
        doing, instead = f"writing {target}", "make room, or give another --out"
        with files.working_in(target, doing, instead), files.together(target, TRUTH) as new:
            _write(new / WIKI, lines)
            _write(new / TRAIN, map("\t".join, answers["train"]))
            _write(new / DEV, map("\t".join, answers["dev"]))
            _write(new / TRUTH, (json.dumps(person.as_dict(), ensure_ascii=False) for person in people))
    except OSError as error:
        raise DataError(f"{target} cannot be written: {why(error)}; make room, or give another --out") from error
    commonest = Counter(answer for _, answer in answers["train"]).most_common(1)[0][0]
    dev = [person for person in people if person.split == "dev"]
    return Summary(
        folder=target,
        people=len(people),
        dev_people=len(dev),
        seen_dev_people=sum(person.seen for person in dev),
        lines=len(lines),
        characters=sum(len(line) + 1 for line in lines),
        longest_line=max(map(len, lines)),
        train_questions=len(answers["train"]),
        dev_questions=len(answers["dev"]),
        commonest={"answer": commonest, "correct": sum(answer == commonest for _, answer in answers["dev"])},
    )


def _attributes(random: Random) -> dict[str, str]:
    """Draw what is known of a person; nobody lives where they were born, so that the two are never taken for one."""
    place = home = _common(CITIES, random)[0]
    while home == place:
        home = _common(CITIES, random)[0]
    return {
        "birth-place": place,
        "birth-year": str(random.choice(YEARS)),
        "profession": _common(PROFESSIONS, random),
        "employer": random.choice(EMPLOYERS),
        "home": home,
    }


def _common(choices: Sequence[Any], random: Random) -> Any:
    """Draw with weights 1 / (rank + 6): the first of the cities about 1 in 20 times, as London in CS224N's data."""
    return random.choices(choices, cum_weights=_WEIGHTS[: len(choices)])[0]


_WEIGHTS = list(accumulate(1 / (rank + 6) for rank in range(max(len(CITIES), len(PROFESSIONS)))))


def _sentences(person: Person, dials: Dials, random: Random) -> list[str]:
    """Draw the sentences of a line, each on another attribute, with what is asked among them, in any order."""
    others = [name for name in ATTRIBUTES if name not in dials.ask]
    random.shuffle(others)
    chosen = [*dials.ask, *others][: dials.sentences]
    random.shuffle(chosen)
    return [random.choice(SENTENCES[name][: dials.phrasings]) for name in chosen]


def _line(person: Person, sentences: Sequence[str], random: Random) -> str:
    """Return `NAME. ` and the sentences; the first calls the person by the whole name or the family name."""
    facts = person.attributes
    values = {name: facts[attribute] for name, attribute in STATED_BY.items() if name != "a_profession"}
    values["a_profession"] = with_article(facts["profession"])
    values["country"] = COUNTRIES[facts["birth-place"]]
    called = [random.choice((person.name, person.family)), *[person.family] * (len(sentences) - 1)]
    texts = [text.format(who=who, **values) for text, who in zip(sentences, called, strict=True)]
    return " ".join([f"{person.name}.", *texts])


def with_article(noun: str) -> str:
    """Return a noun with its article.

    >>> with_article("architect"), with_article("nurse"), with_article("usher"), with_article("university lecturer")
    ('an architect', 'a nurse', 'an usher', 'a university lecturer')
    """
    return f"an {noun}" if noun[0] in "aeiou" and not noun.startswith("uni") else f"a {noun}"


def _fields(text: str) -> set[str]:
    """Return the names of the fields of a sentence.

    >>> sorted(_fields("In {year}, {who} was born in {place}."))
    ['place', 'who', 'year']
    """
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def _alphabet() -> str:
    """Return every character that a person, an attribute or a question may have, in order, without the space."""
    words = [*GIVEN, *FAMILY, *COUNTRIES, *PROFESSIONS, *EMPLOYERS, *QUESTIONS.values(), "0123456789"]
    return "".join(sorted(set("".join(words)) - set(" {}")))


def _stream(dials: Dials, *keys: object) -> Random:
    """Return the random numbers of one purpose; a text as seed is hashed by SHA-512, the same on every machine."""
    return Random("/".join(map(str, (dials.seed, *keys))))


def _write(path: Path, lines: Iterable[str]) -> None:
    files.write_text(path, "".join(line + "\n" for line in lines))
