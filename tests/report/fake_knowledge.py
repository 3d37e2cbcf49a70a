"""A believable folder of runs that were asked where people were born: answers made of numbers alone."""

import json
import random
from pathlib import Path
from typing import Any

from fake_runs import metrics, write_run

from heed.config import read_yaml

PLACES = ("London", "New York", "Paris", "Glasgow", "Berlin", "Rome", "Dublin", "São Paulo", "Kyoto", "Oslo")
FIRST = ("Ada", "Bryan", "Clara", "Dmitri", "Elsie", "Franz", "Gwen", "Hugo", "Ines", "Jonas")
LAST = ("Abel", "Baggaley", "Corrsin", "Dubreuil", "Ender", "Fisher", "Greene", "Haas", "Ibsen", "Jaeger")


def people(n: int = 200) -> list[tuple[str, str, str]]:
    """Return (name, place, where the name was seen): most in pretraining, some nowhere."""
    noise = random.Random(5)
    found = []
    for i in range(n):
        name = f"{FIRST[i % 10]} {LAST[i // 10 % 10]}" + (f" {'I' * (i // 100)}" if i >= 100 else "")
        seen = "pretraining" if i % 10 < 8 else "fine-tuning only" if i % 10 == 8 else "never"
        found.append((name, noise.choice(PLACES), seen))
    return found


def answers(share: float, seed: int = 1, n: int = 200, surplus: float = 0.15) -> list[dict[str, Any]]:
    """Lines of answers.jsonl of a model that knows about `share` of what it has seen, and is too sure by `surplus`."""
    noise = random.Random(seed)
    lines = []
    for number, (name, place, seen) in enumerate(people(n), start=1):
        chance = min(0.97, max(0.02, noise.betavariate(0.8, 0.8 / max(0.02, share) - 0.6)))
        chance *= 1.0 if seen == "pretraining" else 0.15
        right = noise.random() < chance
        said = place if right else noise.choice([other for other in PLACES if other != place])
        probability = min(0.999, chance + surplus * noise.random() * 2 * (1 - chance))
        text = f"{name} (born {1900 + number % 90} in {place}) was a painter, and later lived in Vienna ."
        passage = {"text": text, "line": number, "holds_answer": right} if seen == "pretraining" else None
        lines.append(
            {
                "prompt": f"Where was {name} born?", "gold": place, "answer": said, "probability": probability,
                "correct": right, "seen": seen, "passage": passage,
                "runners_up": [["Vienna", probability / 3], ["London", probability / 7]],
            }
        )  # fmt: skip
    return lines


def write_asked(
    folder: Path, lines: list[dict[str, Any]], *, settings: dict[str, Any] | None = None, summary: Any = None
) -> Path:
    """Write a run folder with answers. `settings` are dotted: "model.start_from" and the like, whatever heed knows."""
    write_run(folder, events=metrics(400, 20))
    set_settings(folder, settings or {})
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if summary is None:
        right = sum(line["correct"] for line in lines)
        london = sum(line["gold"] == "London" for line in lines)
        summary = {
            "run": folder.name, "questions": "dev.tsv", "correct": right, "total": len(lines), "decode": "greedy",
            "baseline": {"answer": "London", "correct": london},
        }  # fmt: skip
    (folder / "evaluation-qa.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def set_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write dotted settings into config.yaml as they are: the page reads them, whether or not a model could."""
    config = read_yaml(folder / "config.yaml")
    for name, value in settings.items():
        section, key = name.split(".", 1)
        target = config[section]
        while "." in key:
            inner, key = key.split(".", 1)
            target = target[inner]
        target[key] = value
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    (folder / "hashes.json").unlink(missing_ok=True)


def write_experiment(folder: Path, seeds: tuple[int, ...] = (1,)) -> Path:
    """Write an experiment: two attentions, each with and without pretraining."""
    for place, (attention, known) in enumerate((("softmax", 0.45), ("synthesizer", 0.3))):
        stage = write_run(folder / f"{attention}-pretraining", events=metrics(400, 20))
        text = {"data.source": "wiki.txt", "data.objective": "single-span", "model.attention.mechanism": attention}
        set_settings(stage, text)
        for seed in seeds:
            end = f"-{seed}" if len(seeds) > 1 else ""
            own = {
                "data.source": "train.tsv", "data.objective": "answers", "model.attention.mechanism": attention,
                "run.seed": seed,
            }  # fmt: skip
            scratch, name = folder / f"{attention}-scratch{end}", folder / f"{attention}-finetuned{end}"
            write_asked(scratch, answers(0.06, 31 * seed + place), settings=own)
            own = {**own, "model.start_from": f"runs/{attention}-pretraining"}
            write_asked(name, answers(known, 17 * seed + place), settings=own)
    return folder
