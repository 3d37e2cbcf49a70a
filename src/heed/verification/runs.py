"""A run of a language model or a classifier, verified: hashes, text, final figures, some steps of its training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heed import seals
from heed.errors import CheckpointError, HeedError, why
from heed.experiment import final_figures, final_samples, resume
from heed.objectives import is_another_text, open_text
from heed.records.answers import ANSWERS
from heed.records.checkpoints import CONFIG, saved_states
from heed.records.events import METRICS
from heed.records.folder import TOKENIZER
from heed.records.kept import read_record
from heed.records.run import ENVIRONMENT, EVALUATION, LENGTHS, EvaluationFile
from heed.report.knowledge_record import read_answers
from heed.report.record import gather
from heed.text.tokenfile import AlteredTokensError, TokenFile
from heed.text.tokenizers import load_tokenizer
from heed.training.devices import take_device, take_threads
from heed.training.run import Run, environment, load_run
from heed.training.threads import take_recorded, threads_of_record
from heed.verification.checks import VerifiedFolder
from heed.verification.hashes import check_checkpoints, check_hashes
from heed.verification.repeated import repeat

Say = Callable[[str], None]
SAMPLES = "samples.jsonl"


def verify_run(folder: Path, steps: int, say: Say) -> VerifiedFolder:
    """Verify a run folder of `heed train`. Raises `CheckpointError` where it is none."""
    found = VerifiedFolder(str(folder), "run")
    check_hashes(found, folder, needed=(CONFIG, ENVIRONMENT, TOKENIZER, METRICS))
    check_checkpoints(found, folder)
    with_text(found, folder, steps, say)
    if (folder / ANSWERS).is_file():
        check_answers(found, folder)
    if (folder / LENGTHS).is_file():
        found.note(
            "other contexts", "not checked", f"{LENGTHS} is hashed; heed eval {folder} --context N measures again"
        )
    return found


def with_text(found: VerifiedFolder, folder: Path, steps: int, say: Say) -> None:
    """Verify what needs the text: the token files, the final figures, the samples, some steps."""
    with trying(found, "run"):
        run = Run.open(folder)
        found.elsewhere = elsewhere(run)
        found.elsewhere += [f"it was resumed at step {step:,}, where is not known" for step in resumed(run)]
        with run.at_home():
            files = check_text(found, run, say)
        if files is None:
            return
        check_figures(found, run, files, say)
        if next(saved_states(run.checkpoints), {}).get("optimizer") is None:
            found.note("training", "not checked", "it has no training of heed to repeat (imported, or not begun)")
            return
        with trying(found, "training"), run.at_home():  # of the run, not of its copy
            say("repeating some steps of the training")
            repeat(found, folder, steps, lambda copy, until: resume(copy, until=until))


@contextmanager
def trying(found: VerifiedFolder, name: str) -> Iterator[None]:
    """Note an error of heed's that ends the block: a record that cannot be used differs, the rest was not checked."""
    try:
        yield
    except (CheckpointError, AlteredTokensError) as error:
        found.note(name, "differs", str(error))
    except HeedError as error:
        found.note(name, "not checked", str(error))
    except (OSError, ValueError) as error:  # a file without a hash that is no JSON, or not there
        found.note(name, "differs", f"a record cannot be read: {why(error)}")


def elsewhere(run: Run[Any]) -> list[str]:
    """Take the threads of a run; return what is not as it was when it was made, of all that its bits hang on."""
    take_threads(run.config.run.threads)
    take_recorded(run)
    then, now, device = run.environment, environment(0, {}), run.config.run.device
    then = then.but(machine=then.machine.but(threads=threads_of_record(run)))
    pairs = [(name, getattr(then, name), getattr(now, name)) for name in ("heed", "python", "torch", "numpy")]
    machines = [one.machine.plain() for one in (then, now)]
    pairs += [(name, *(machine.get(name) for machine in machines)) for name in ("processor", "threads")]
    if device != "cpu":
        pairs.append(("gpus", *(machine.get("gpus") or [] for machine in machines)))
    odd = [f"{name} {before} then, {after} now" for name, before, after in pairs if before != after]
    if now.machine.gpus and device != "cpu":
        odd.append("a GPU adds up in an order that varies")
    if then.ranks is not None:
        odd.append(f"{then.ranks:.0f} processes trained it, and one repeats it")
    return odd


def resumed(run: Run) -> list[int]:
    """Return the steps at which a run was resumed: environment.json tells where it was begun alone."""
    return [step for step in gather(run.folder).resumptions if step]


def check_text(found: VerifiedFolder, run: Run, say: Say) -> dict[str, TokenFile] | None:
    """Read the token files wholly and see whether the text is that of the training; None: no more can be tried."""
    with trying(found, "text"):
        config, tokenizer = run.config, load_tokenizer(run.folder)
        files = open_text(config, tokenizer, classes=run.classes, say=say, verify=True)
        if is_another_text(config, tokenizer, files, next(saved_states(run.checkpoints), {})):
            found.note("text", "differs", f"{config.data.source} has changed since the training")
            return None
        tokens = sum(len(one.ids) for one in files.values())
        found.note("text", "same", f"{len(files)} splits, {tokens:,} tokens, each token file read wholly")
        return files
    return None


def check_figures(found: VerifiedFolder, run: Run, files: dict[str, TokenFile], say: Say) -> None:
    """Measure the best checkpoint again as at the end of the training, and let it write again."""
    if not (run.folder / EVALUATION).is_file():
        found.note(
            "final figures", "not checked", f"there is no {EVALUATION}: the training has not ended, or it is imported"
        )
        return
    with trying(found, "final figures"):
        kept = read_record(EvaluationFile, run.folder / EVALUATION)
        device = take_device(run.config.run, say)
        model, tokenizer, config = load_run(run.folder, "best", device)
        measured = final_figures(model, tokenizer, files, config, device, say)
        again = EvaluationFile.model_validate({split: figures.as_dict() for split, figures in measured.items()})
        found.compare("final figures", kept.plain(), json.loads(json.dumps(again.plain())))
        if not (run.folder / SAMPLES).is_file():
            return
        if found.elsewhere:
            found.note("samples", "not checked", "elsewhere a draw may fall otherwise")
            return
        lines = [json.loads(line) for line in seals.read_text(run.folder / SAMPLES).splitlines()]
        texts = json.loads(json.dumps(final_samples(model, tokenizer, config)))
        now = [{"step": line.get("step"), **text} for line, text in zip(lines, texts, strict=False)]
        found.compare("samples", {"": lines}, {"": now})


def check_answers(found: VerifiedFolder, folder: Path) -> None:
    """Count the answers to questions again."""
    with trying(found, "answers"):
        asked = read_answers(folder, folder)
        said = "; ".join(asked.notes) or f"{asked.right:,} of {asked.total:,} right, as counted again from {ANSWERS}"
        found.note("answers", "differs" if asked.notes else "same", said)
        found.note(
            "answers anew", "not checked", "the questions are no part of a run: heed eval --task qa asks them again"
        )
