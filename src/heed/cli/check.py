"""`heed check`: every problem of a configuration at once, and what the run would cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import tyro

from heed.cli.settings import SECTIONS, parse, split_settings
from heed.config import BY_CLASS, BY_TEXT, Config, Section, aim_of, inspect_config, overlay, read_yaml
from heed.errors import ConfigError, HeedError, one_line


class CheckFlags(Section):
    """Report every problem of a configuration file at once; nothing is trained. Exit code 2 if there is any.

    Settings may be given as flags too (--model.n-layers 6), as in `heed train`.

    examples:
      heed check configs/quickstart.yaml
      heed check experiment.yaml --model.preset small
      heed check study.yaml                       the file of a study too; heed compare --dry-run says what it costs
      heed check --schema > heed.schema.json      for your editor
    """

    file: Annotated[Path | None, tyro.conf.Positional] = None
    """The YAML file; without one, the defaults and the flags are checked."""
    schema_: Annotated[bool, tyro.conf.arg(name="schema")] = False
    """Print the JSON schema of a configuration file."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object: ok, problems, and what the run would cost."""


def main(argv: list[str]) -> int:
    """Check, print what is wrong or what the run would cost; 0 when all is well, else 2."""
    settings, rest = split_settings(argv)
    flags = parse(CheckFlags, rest, "check", SECTIONS)
    if flags.schema_:
        print(json.dumps(Config.model_json_schema(), indent=2))
        return 0
    facts: dict[str, Any] = {}
    problems: list[str] = []
    with _noted(problems):
        given = read_yaml(flags.file) if flags.file else {}
        if flags.file and "budget" in given and ("variants" in given or "axes" in given):
            facts = examine_study(flags.file, settings)
        else:
            facts = examine(overlay(given, settings), problems)
    if flags.json_:
        print(json.dumps({"ok": not problems, "problems": problems, **facts}, indent=2))
    for problem in [] if flags.json_ else problems:
        print(f"heed: {one_line(problem)}", file=sys.stderr)
    if not problems and not flags.json_:
        labels = {key: key.replace("_at_most", " (at most)").replace("_", " ") for key in facts}
        print("\n".join(f"{labels[key]:<32}{value:,}" for key, value in facts.items()))
    return 2 if problems else 0


def examine_study(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return how much there is to run in a study. Raises `ConfigError` that holds every problem of it."""
    from heed.studies.plan_reading import read_plan

    if settings:
        raise ConfigError(f"{path} is the file of a study, which takes no settings as flags: write them into its base")
    plan = read_plan(path)
    variants, seeds = len(plan.variants), len(plan.seeds)
    return {"variants": variants, "seeds": seeds, "runs": variants * seeds}


def examine(values: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Add every problem of a configuration to `problems`; return what its run would cost if there is none."""
    import torch

    from heed.build import check_attention
    from heed.text.corpus import NO_TEST
    from heed.text.named import NAMED, locate
    from heed.text.qa import read_questions
    from heed.text.sources import find_files
    from heed.text.tokenizers import load_tokenizer
    from heed.training.start import settle
    from heed.training.trackers import find_trackers

    config, found = inspect_config(values)
    problems += found
    with _noted(problems):
        config = settle(config)
    asks = aim_of(config).asks
    for name in ("source", "validation", "test", "questions"):
        source = getattr(config.data, name)
        if source not in (None, NO_TEST, BY_CLASS, BY_TEXT, *NAMED) and not source.startswith("hf:"):
            with _noted(problems, f"data.{name}: "):
                find_files(locate(source), NAMED)
                if name in asks:
                    read_questions(locate(source), encoding=config.data.encoding)
    with _noted(problems), torch.device("meta"):  # shapes without memory
        if not any(line.startswith("model.n_") for line in found):  # heads that do not divide are told already
            check_attention(config.model)
    with _noted(problems):
        find_trackers(config.train.trackers)
    facts: dict[str, Any] = {}
    asked = config.tokenizer
    with _noted(problems, "tokenizer.file: "):
        if asked.file is not None:
            facts["vocabulary"] = load_tokenizer(asked.file).vocab_size
        else:  # characters and words may well be fewer; only the text can tell
            facts["vocabulary" if asked.kind == "bpe" else "vocabulary_at_most"] = asked.vocab_size
    if not problems:
        with _noted(problems):
            facts |= cost(config, *facts.values())
    return {} if problems else facts


def cost(config: Config, vocabulary: int) -> dict[str, Any]:
    """Return what the run of `config` would cost: parameters, tokens, floating-point operations, bytes of state.

    Raises `ConfigError` for parts of the model that do not go together.
    """
    import torch

    from heed.build import build_model
    from heed.models.sampled import sample_softmax
    from heed.objectives import objective_of
    from heed.text.labelled import LabelledCorpus

    # only the text knows its classes
    corpus = objective_of(config).open(config)[0] if aim_of(config).labelled else None
    classes = len(corpus.classes) if isinstance(corpus, LabelledCorpus) else None
    with torch.device("meta"):  # shapes without memory
        model = build_model(config.model, vocabulary, classes=classes)
    sample_softmax(model, config.train.sampled_softmax)
    size = config.train.batch_size
    # fp32 weights and gradients, and Adam's two moments; activations come on top
    facts = {"parameters": model.parameter_count(), "bytes_of_weights_and_optimizer": 16 * model.parameter_count()}
    if size != "auto":
        tokens = size * config.train.accumulation * config.train.steps * config.model.context
        costs = {"training_tokens": tokens, "training_flops": tokens * model.flops_per_token()}
        # texts may be shorter than the context, and of the tokens that are read only some are hidden
        facts |= costs if model.causal else {f"{name}_at_most": value for name, value in costs.items()}
    return facts


@contextmanager
def _noted(problems: list[str], setting: str = "") -> Iterator[None]:
    """Add to `problems` what is refused inside, and go on."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems
    except HeedError as error:
        problems.append(f"{setting}{error}")
