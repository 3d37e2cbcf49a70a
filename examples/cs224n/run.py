"""Pretrain, fine-tune and evaluate with the command lines of CS224N's assignment; heed does the work.

    python run.py pretrain vanilla wiki.txt --writing_params_path vanilla.pretrain.params
    python run.py finetune vanilla wiki.txt --reading_params_path vanilla.pretrain.params \\
        --writing_params_path vanilla.finetune.params --finetune_corpus_path birth_places_train.tsv
    python run.py evaluate vanilla wiki.txt --reading_params_path vanilla.finetune.params \\
        --eval_corpus_path birth_dev.tsv --outputs_path vanilla.pretrain.dev.predictions

A params path is a run folder of heed. Every setting of heed is a flag besides: --train.seconds 600 --run.seed 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assignment import ANSWER_LENGTH, BATCH, EPOCHS, MODEL, OPTIMIZER, result, run_script, variant_settings

from heed.cli.settings import split_settings
from heed.config import Config, make_config, overlay
from heed.errors import CheckpointError, ConfigError, DataError


def main(argv: Sequence[str]) -> int:
    """Do one function of the assignment; 0 when done, 130 when interrupted."""
    settings, rest = split_settings(argv)
    flags = parser().parse_args(rest)
    model = variant_settings(flags.variant)
    if flags.bottleneck_dim is not None:
        raise ConfigError("--bottleneck_dim is for the variant perceiver, which there is not: leave it out")
    if not Path(flags.pretrain_corpus_path).is_file():
        raise DataError(f"no such file: {flags.pretrain_corpus_path}")
    started = flags.function != "pretrain" and flags.reading_params_path
    if started and not Path(started).is_dir():
        what = "is a file" if Path(started).exists() else "does not exist"
        raise CheckpointError(f"--reading_params_path {started} {what}: give the run folder that run.py wrote")
    if flags.function == "evaluate":
        return evaluate(flags, model, settings)
    configure = pretraining if flags.function == "pretrain" else finetuning
    return train(configure(flags, model, settings), overwrite=flags.overwrite)


def parser() -> argparse.ArgumentParser:
    """Return what reads the assignment's command lines: each function takes its own flags and refuses the others'."""
    parser = argparse.ArgumentParser(
        "run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    functions = parser.add_subparsers(dest="function", required=True)
    for name, about in (
        ("pretrain", "learn the wiki text, a span of each line hidden"),
        ("finetune", "learn questions with answers, after pretraining or from scratch"),
        ("evaluate", "answer questions and count what is right"),
    ):
        one = functions.add_parser(name, help=about, description=about, allow_abbrev=False)
        one.add_argument("variant", help="vanilla, rope, synthesizer, or a causal mechanism of `heed list attention`")
        one.add_argument("pretrain_corpus_path", help="the wiki text; its characters are the vocabulary")
        one.add_argument("--bottleneck_dim", help=argparse.SUPPRESS)
        if name != "pretrain":
            need = name == "evaluate"
            one.add_argument("--reading_params_path", required=need, help="run folder to begin with, or to evaluate")
        if name != "evaluate":
            one.add_argument("--writing_params_path", required=True, help="run folder to write")
            one.add_argument("--overwrite", action="store_true", help="replace the run folder")
            one.add_argument(f"--{name}_lr", type=float, dest="rate", help="learning rate")
            one.add_argument("--epochs", type=int, help="default 650 to pretrain, 75 to fine-tune, 10 a pretrained run")
        if name == "finetune":
            one.add_argument("--finetune_corpus_path", required=True, help="questions with answers to learn")
        if name == "evaluate":
            one.add_argument("--eval_corpus_path", required=True, help="questions to answer, with or without answers")
            one.add_argument("--outputs_path", required=True, help="file for the predictions, one a line")
    return parser


def pretraining(flags: argparse.Namespace, model: Mapping[str, Any], settings: Mapping[str, Any]) -> Config:
    """Return the configuration of the assignment's pretraining: characters, one hidden span a line."""
    values = common(flags, flags.pretrain_corpus_path, EPOCHS["pretrain"], settings)
    values["data"] |= {"objective": "single-span", "separator": "\n"}
    values |= {"tokenizer": {"kind": "char"}, "model": overlay(MODEL, model)}
    return make_config(overlay(values, settings))


def finetuning(flags: argparse.Namespace, model: Mapping[str, Any], settings: Mapping[str, Any]) -> Config:
    """Return the configuration of the assignment's fine-tuning, of a pretrained run or from scratch."""
    started = flags.reading_params_path
    epochs = EPOCHS["finetune a pretrained run" if started else "finetune"]
    values = common(flags, flags.finetune_corpus_path, epochs, settings)
    values["data"] |= {"objective": "answers"}
    if started:  # shape and tokenizer are its own; that it is the variant is checked
        values["model"] = overlay(model, {"start_from": started})
    else:
        values |= {"model": overlay(MODEL, model), "tokenizer": {"file": str(wiki_tokenizer(flags))}}
    return make_config(overlay(values, settings))


def common(flags: argparse.Namespace, corpus: str, epochs: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both trainings have: where they read and write, and how long they learn how fast."""
    if flags.epochs is not None and flags.epochs < 1:
        raise ConfigError(f"--epochs must be at least 1, not {flags.epochs}")
    if not Path(corpus).is_file():
        raise DataError(f"no such file: {corpus}")
    batch = settings.get("train", {}).get("batch_size", BATCH[flags.function])
    rows = int(batch) if str(batch).isdigit() and int(batch) else BATCH[flags.function]
    lines = sum(map(bool, map(bytes.strip, Path(corpus).read_bytes().splitlines())))
    steps = max(1, (flags.epochs or epochs) * -(-lines // rows))
    rate = {"pretrain": 6e-3, "finetune": 6e-4}[flags.function] if flags.rate is None else flags.rate
    path = Path(flags.writing_params_path)
    return {
        "data": {"source": corpus, "layout": "padded", "validation_fraction": 0.0},
        "train": {**OPTIMIZER, "steps": steps, "batch_size": rows, "learning_rate": rate},
        "run": {"folder": str(path.parent), "name": path.name},
    }


def wiki_tokenizer(flags: argparse.Namespace) -> Path:
    """Write a tokenizer whose characters are those of the wiki text, as every model of the assignment has."""
    from heed.text.corpus import open_corpus
    from heed.text.tokenizers import MASK, train_tokenizer

    documents = open_corpus(flags.pretrain_corpus_path, separator="\n", validation_fraction=0.0).documents("train")
    path = Path(f"{flags.writing_params_path}.tokenizer.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    train_tokenizer("char", documents, 100_000, specials=(MASK,)).save(path)
    return path


def train(config: Config, *, overwrite: bool) -> int:
    """Train what `config` says and write the run folder."""
    from heed import experiment
    from heed.cli.train import tell
    from heed.training.progress import make_progress

    outcome = experiment.train(config, overwrite=overwrite, say=tell, progress=make_progress)
    print(f"wrote {outcome.folder}, its page is {outcome.report}")
    return 130 if outcome.fit.reason == "interrupted" else 0


def evaluate(flags: argparse.Namespace, model: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    """Answer questions greedily, write the answers, and print how many are right where answers are given."""
    if settings:
        raise ConfigError(f"evaluate takes no settings of heed, and --{next(iter(settings))}... is one: leave it out")
    from heed.asking.answering import Manner, answer_questions
    from heed.asking.marking import write_predictions
    from heed.text.qa import read_questions
    from heed.training.devices import choose_device
    from heed.training.run import load_run

    folder = flags.reading_params_path
    trained, tokenizer, config = load_run(folder, device=choose_device("auto"))
    has = {"attention": {"mechanism": config.model.attention.mechanism}, "positions": config.model.positions}
    if has != model:
        mechanism = has["attention"]["mechanism"]
        raise ConfigError(f"{folder} is no {flags.variant}: it has {mechanism} with {has['positions']} positions")
    questions = read_questions(flags.eval_corpus_path, answers=False)
    known = any(question.answer is not None for question in questions)
    if known:  # then a line without one is a mistake
        questions = read_questions(flags.eval_corpus_path)
    answered = answer_questions(trained, tokenizer, questions, Manner("greedy", max_tokens=ANSWER_LENGTH))
    output = Path(flags.outputs_path)
    write_predictions(output, answered)
    if not known:
        print(f"Predictions written to {output}; no targets provided")
        return 0
    print(result(sum(answer.correct for answer in answered), len(answered)))
    return 0


if __name__ == "__main__":
    run_script(main)
