"""The command line: `heed VERB ...`. One file a verb; nothing heavy is imported before the verb is known.

Exit codes: 0 done; 1 the answer is no (a comparison or check failed); 2 a mistake that the user can mend, told in one
line on standard error; 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from heed import __version__
from heed.cli.streams import as_loud, open_streams, silence, trusting
from heed.errors import ConfigError, HeedError, did_you_mean, one_line
from heed.files import advice, shortened

VERBS: dict[str, str] = {
    "train": "a language model from your text: tokenizer, training, curves, perplexity, samples, report",
    "pretrain": "a language model on text with hidden spans, so that it can be asked afterwards",
    "finetune": "a pretrained run on questions with answers",
    "ask": "answers of a fine-tuned run, each with its probability and the passage it may come from",
    "tune": "a pretrained encoder on labelled texts: full, head, prompt, prefix, LoRA, and which of them to use",
    "predict": "the class of new texts, by a tuned run",
    "sample": "text from a trained model",
    "serve": "trained models behind an OpenAI-compatible API, with a page to try them",
    "prompt": "few-shot evaluation of a language model, behind any OpenAI-compatible API or on this machine",
    "explore": "the attention of a model: maps of its heads, what each is good for, what each layer would say",
    "recover": "the whole next-token distribution out of an API that shows a few words and takes a logit bias",
    "eval": "loss and perplexity of a model on a whole split, with their passport",
    "compare": "does this part matter? variants at the same budget, paired over seeds, with intervals",
    "audit": "whether a model sees the tokens that it should predict; any model",
    "verify": "whether a run is as it was written and comes out again: hashes, figures, some steps of training",
    "runs": "what runs there are, how they are and what they came to: a table, sorted and filtered",
    "board": "all runs on a live page: curves as they grow, settings that differ, samples, studies as they run",
    "report": "the page of a run: curves, speed, samples, settings",
    "tokenizer": "train a tokenizer, or report how well one fits a text",
    "data": "what a text holds, without its duplicates, as token files of any size; invented people with known truth",
    "import": "GPT-2 or Llama weights from Hugging Face into a run folder",
    "export": "a run as a folder that transformers, vLLM and llama.cpp load; a tuned one for peft or ONNX",
    "bench": "what it costs: attention over length, training steps on CPU and GPU, memory of a step",
    "quiz": "concept questions with reasons: attention, recurrent nets, tokenizers, tuning, sampling",
    "grade": "coding exercises of students: which functions are right, and what is wrong with the others",
    "list": "what there is by name: corpora, presets, attention, optimizers, schedules",
    "check": "every problem of a configuration file at once",
    "jobs": "what you have submitted to a cluster: how it is, what it says, and how to end it",
    "slurm": "scripts for a cluster that Slurm runs: for sbatch by hand, and for a shell on a node",
    "doctor": "what this machine can do",
    "completion": "what bash, zsh and fish need to complete all this, and the manual page",
}
"""Every verb and what it is for; `heed VERB --help` tells the rest."""


def usage() -> str:
    """Return the text of `heed --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {text}" for name, text in VERBS.items())
    return (
        f"heed {__version__}: a laboratory for attention and transformer language models\n\n"
        f"usage: heed VERB ...\n\n{verbs}\n\n"
        "examples:\n"
        "  heed train my-texts/                      a model from a folder of text\n"
        "  heed sample runs/my-texts --prompt Once   what it writes\n"
        "  heed VERB --help                          everything that a verb takes, with examples\n"
        "  heed VERB ... --quiet                     results and errors alone; --verbose: every line with the time"
    )


def program() -> NoReturn:
    """Be the process `heed`: `main`, then an end at once.

    torch brings a million objects. Python would look through them again and again while they come, and take them apart
    one by one at the end: a quarter of the CPU seconds of a short verb. What was written is on disk by then, since
    `kill -9` may come at any moment.
    """
    gc.set_threshold(10_000)  # 700 as it comes
    code = 1  # of a traceback

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    atexit.register(leave)  # the first to be registered is the last to be called
    try:
        code = main()
    except SystemExit as end:  # of --help, and of flags that can't be read
        if isinstance(end.code, str):
            tell(end.code)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    arguments, verbose = sys.argv[1:] if argv is None else argv, False
    try:
        open_streams()
        with trusting(arguments) as rest, as_loud(rest) as (words, verbose):
            code = _run(words)
        sys.stdout.flush()
        return code
    except HeedError as error:
        if verbose:
            traceback.print_exc()
        tell(f"heed: {one_line(error)}")
        return 2
    except KeyboardInterrupt:
        tell("heed: interrupted")
        return 130
    except BrokenPipeError:  # the reader (such as `head`) has gone
        silence(sys.stdout)
        return 141
    except OSError as error:  # the last resort: what no verb has a better word for
        if error.errno is None:
            raise
        tell(f"heed: {one_line(said_of(error))}")
        return 2


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(__version__)
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        raise ConfigError(f"unknown verb {shortened(verb)!r}, {did_you_mean(verb[:60], VERBS)}")
    module = importlib.import_module("heed.cli.import_" if verb == "import" else f"heed.cli.{verb}")
    return module.main(arguments[1:])


def said_of(error: OSError) -> str:
    """Return what is said of an `OSError`: which file, what is wrong, what to do next."""
    names = [
        shortened(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)
    ]
    return ": ".join([*names, advice(error)])


def tell(line: str) -> None:
    """Write a line to standard error, if anybody can read it there."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(sys.stderr)
