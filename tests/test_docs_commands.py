"""Every `heed ...` of the README and the docs is one: its verb, its flags and their values, and its settings."""

import importlib
import re
import shlex

import pytest

from heed.cli import VERBS
from heed.cli.commands import commands
from heed.cli.settings import parse, place, split_settings, taken
from heed.config import Config, make_config, overlay, read_yaml
from heed.config.tuning import TuneConfig
from test_docs import PAGES, ROOT

TRAINS = {"train", "pretrain", "finetune"}
HISTORY = {"log.md", "CHANGELOG.md"}  # what was typed then
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`heed ([^`]+)`")
ENDS = {">", "|", "&&", "<", ";"}


def whole_lines(block):
    """Yield the lines of a block, those put together that a backslash or an open quotation mark joins."""
    waiting = ""
    for line in re.sub(r"\\\n\s*", " ", block).splitlines():
        waiting += " " + line.strip()
        if waiting.count('"') % 2 == 0:
            yield waiting.strip()
            waiting = ""


def typed(text):
    """Yield the words of each command that stands in a block, without what is said of it behind."""
    for _, language, block in FENCED.findall(text):
        if language not in ("", "bash", "sh", "console"):
            continue
        rounds = [block]
        for name, values in re.findall(r"for (\w+) in ([^;\n]+)", block):
            rounds = [one.replace(f"${name}", value) for one in rounds for value in values.split()]
        for line in (line for one in rounds for line in whole_lines(one)):
            command = re.match(r"(?:\$ )?(?:OMP_NUM_THREADS=1 )?(?:\.venv/bin/)?heed (.*)", line)
            if command:
                lexer = shlex.shlex(re.split(r"\s{3,}|\s+# ", command[1])[0], posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                lexer.commenters = ""
                words = list(lexer)
                yield words[: next((place for place, word in enumerate(words) if word in ENDS), len(words))]


def check(verb, *words):
    """Take the words as the verb would, and do nothing. Raises `ConfigError` for what it does not take."""
    module = importlib.import_module(f"heed.cli.{'import_' if verb == 'import' else verb}")
    main, words = module.main, list(words)
    found = taken(main, words)
    if found.actions:
        verb, main, words = f"{verb} {words[0]}", found.actions[words[0]][0], words[1:]
        found = taken(main, words)
    elif words and words[0] in getattr(module, "ACTIONS", {}):
        verb, words = f"{verb} {words[0]}", words[1:]
    settings, rest = split_settings(words) if verb in TRAINS or found.sections else ({}, words)
    flags = parse(found.flags, rest, verb, found.sections, found.config)
    if verb in TRAINS and getattr(flags, "resume", None) is None:
        file = ROOT / flags.config if flags.config else None
        source = flags.pairs if verb == "finetune" else flags.corpus
        if source is not None:
            place(settings, ["data", "source"], source)
        given = overlay(read_yaml(file) if file and file.is_file() else {}, settings)
        make_config(overlay({"data": getattr(module, "DEFAULTS", {})}, given))
    elif found.config is TuneConfig:
        kinds = TuneConfig.model_fields
        for section, values in settings.items():
            assert set(values) <= set(kinds[section].annotation.model_fields), f"{section}: {values}"
    elif settings:
        assert set(settings) <= set(found.sections), settings
        make_config({name: values for name, values in settings.items() if name in Config.model_fields})


COMMANDS = {
    str(page.relative_to(ROOT)): list(typed(page.read_text(encoding="utf-8")))
    for page in PAGES
    if page.name not in HISTORY
}


def test_commands_are_found_and_cut_where_words_about_them_begin():
    assert sum(map(len, COMMANDS.values())) > 150
    text = (
        '```\nheed list attention      what there is\nheed sample r --prompt "a\n b" > x\n'
        "heed train t \\\n    --resume r # go on\n```\n"
    )
    expected = [["list", "attention"], ["sample", "r", "--prompt", "a b"], ["train", "t", "--resume", "r"]]
    assert list(typed(text)) == expected


@pytest.mark.parametrize("page", [page for page, found in COMMANDS.items() if found])
def test_commands_in_blocks_are_taken(page):
    for words in COMMANDS[page]:
        assert words[0] in VERBS, words
        check(*words)


def test_flags_in_running_text_are_those_of_their_verb():
    known = {one.words: {option.name for option in one.options} for one in commands()}
    strange = []
    for page in PAGES:
        if page.name in HISTORY:
            continue
        for span in SPAN.findall(page.read_text(encoding="utf-8")):
            words = span.split(" -- ")[0].split()
            if not re.fullmatch(r"[a-z]+", words[0]) or "..." in words[0]:
                continue
            options = known.get((words[0],), set()) | known.get(tuple(words[:2]), set())
            for word in words:
                if word.startswith("--") and len(word) > 2:
                    flag = word.split("=")[0].rstrip(",.;:")
                    settings = words[0] in TRAINS and "." in flag
                    if flag not in options and not settings:
                        strange.append(f"{page.name}: heed {span}: {flag}")
            if words[0] not in VERBS:
                strange.append(f"{page.name}: heed {span}")
    assert strange == []


OTHERS = {
    "pip install": "the network; tests/test_packaging.py installs the wheel",
    "lm_eval": "another tool, by hand",
    "vllm": "another tool, which needs an accelerator",
    "python to_gguf.py": "llama.cpp's converter, by hand",
    "python -c": "makes the text of the page: docs/figures.py runs it, or tests/docs_folder.py has the file",
    "torchrun": "tests/training/test_ranks.py starts it",
    "git clone": "how it begins",
    "cp -r examples/student": "tests/docs_folder.py has the copy",
    "cut": "fields of a table, piped",
    "export": "part of a script that heed prints",
}
"""Commands on pages that are no heed's, and what runs them or why nothing does."""


def test_other_commands_are_of_this_repository_or_known():
    odd = []
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for page in PAGES:
        if page.name in HISTORY:
            continue
        for _, language, block in FENCED.findall(page.read_text(encoding="utf-8")):
            for line in whole_lines(block) if language in ("", "bash", "sh", "console") else ():
                known = any(line.startswith(form) for form in OTHERS)
                if found := re.match(r"(?:\.venv/bin/)?python (?:-m pytest )?([\w/.-]+\.py)", line):
                    known |= (ROOT / found[1]).is_file()
                elif found := re.match(r"make ([\w-]+)", line):
                    known = found[1] in targets
                elif not re.match(r"(pip|python|bash|make|cp|git|lm_eval|vllm|torchrun|cut|export|uv|docker) ", line):
                    continue
                odd += [] if known else [f"{page.name}: {line}"]
    assert odd == []
