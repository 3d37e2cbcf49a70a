"""The command line: `heed VERB ...`. One file a verb; nothing heavy is imported before the verb is known.

Exit codes: 0 done; 1 the answer is no (a comparison or check failed); 2 a mistake that the user can mend, told in one
line on standard error; 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

from heed import __version__
from heed.errors import ConfigError, HeedError, did_you_mean, why

VERBS: dict[str, str] = {
    "train": "a language model from your text: tokenizer, training, curves, perplexity, samples, report",
    "pretrain": "a language model on text with hidden spans, so that it can be asked afterwards",
    "finetune": "a pretrained run on questions with answers",
    "ask": "answers of a fine-tuned run, each with its probability and the passage it may come from",
    "tune": "a pretrained encoder on labelled texts: full, head, prompt, prefix, LoRA, and which of them to use",
    "predict": "the class of new texts, by a tuned run",
    "sample": "text from a trained model",
    "eval": "loss and perplexity of a model on a whole split, with their passport",
    "compare": "does this part matter? variants at the same budget, paired over seeds, with intervals",
    "audit": "whether a model sees the tokens that it should predict; any model",
    "report": "the page of a run: curves, speed, samples, settings",
    "tokenizer": "train a tokenizer, or report how well one fits a text",
    "data": "invented people: text about them, questions with answers, and the truth",
    "import": "GPT-2 or Llama weights from Hugging Face into a run folder",
    "export": "a run as a folder that transformers, vLLM and llama.cpp load; a tuned one for peft or ONNX",
    "bench": "what it costs: attention over length, training steps on CPU and GPU, memory of a step",
    "list": "what there is by name: corpora, presets, attention, optimizers, schedules",
    "check": "every problem of a configuration file at once",
    "doctor": "what this machine can do",
}
"""Every verb and what it is for; `heed VERB --help` tells the rest."""


REFUSED = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EACCES: "ask its owner",
    errno.EPERM: "ask its owner",
    errno.EROFS: "choose a place that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the number of files that may be open (ulimit -n)",
    errno.EIO: "look after the disk",
}
"""What the system may refuse at any place, and what to do then; other `OSError`s are our mistakes."""


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
        "  heed VERB --help                          everything that a verb takes, with examples"
    )


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(usage())
            return 0
        if arguments[0] in ("-V", "--version"):
            print(__version__)
            return 0
        verb = arguments[0]
        if verb not in VERBS:
            raise ConfigError(f"unknown verb {verb!r}, {did_you_mean(verb, VERBS)}")
        module = importlib.import_module("heed.cli.import_" if verb == "import" else f"heed.cli.{verb}")
        return module.main(arguments[1:])
    except HeedError as error:
        print(f"heed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("heed: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader (such as `head`) has gone: point standard output away, so that Python's own flush stays quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        print(f"heed: {name}{why(error)}; {REFUSED[error.errno]}, and give the same command again", file=sys.stderr)
        return 2
