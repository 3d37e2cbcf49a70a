"""What `heed completion` prints, in the shells that it is for."""

import os
import re
import shutil
import subprocess

import pytest

from heed.cli import VERBS, completion, main
from heed.cli.commands import commands
from heed.cli.manual import man

BASH = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_heed
printf '%s\\n' "${COMPREPLY[@]}"
"""
ASKED = {
    ("heed", "tr"): {"train"},
    ("heed", "train", "--model.ki"): {"--model.kind"},
    ("heed", "train", "--model.kind", "l"): {"lstm", "linear-rnn"},
    ("heed", "train", "--model.attention.mechanism", "bi"): {"bigbird"},
    ("heed", "sample", "--top-"): {"--top-k", "--top-p"},
    ("heed", "jobs", "c"): {"cancel"},
    ("heed", "slurm", "script", "--slurm.ti"): {"--slurm.time"},
    ("heed", "eval", "--task", "q"): {"qa"},
    ("heed", "list", "sc"): {"scores", "schedules"},
    ("heed", "completion", "z"): {"zsh"},
    ("heed", "verify", "--qu"): {"--quiet"},
}
"""Words of which the last is to be completed, and what some of the answers are."""


@pytest.fixture(scope="module")
def found():
    return list(commands())


def script(shell, found, tmp_path):
    if shutil.which(shell) is None:
        assert "CI" not in os.environ, f"CI installs {shell}: these tests are not left out there"
        pytest.skip(f"no {shell} here: apt-get install {shell}")
    file = tmp_path / "completion"
    file.write_text(completion.SHELLS[shell](found))
    return file


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_bash(words, found, tmp_path):
    asked = subprocess.run(
        ["bash", "--norc", "-c", BASH, "x", script("bash", found, tmp_path), *words], capture_output=True, text=True
    )
    answers = set(asked.stdout.split())
    assert not asked.stderr
    assert answers >= ASKED[words] if words[-1] != "l" else answers == ASKED[words]
    assert all(answer.startswith(words[-1]) for answer in answers)


def test_fish(found, tmp_path):
    file = script("fish", found, tmp_path)
    lines = "\n".join(f"complete -C '{' '.join(words)}'; echo END" for words in ASKED)
    asked = subprocess.run(
        ["fish", "--no-config", "-c", f"source {file}\n{lines}"], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert not asked.stderr
    for words, answers in zip(ASKED, asked.stdout.split("END\n"), strict=False):
        assert {line.split("\t")[0] for line in answers.splitlines()} >= ASKED[words], words


def test_zsh(found, tmp_path):
    """In a terminal of zsh's own, since completion asks for its line editor."""
    file = script("zsh", found, tmp_path)
    ask = """
    zmodload zsh/zpty
    zpty shell zsh -f -i
    zpty -w shell "autoload -U compinit; compinit -u -D; source $1; PS1='> '; stty columns 200; print R\\${:-EADY}"
    zpty -r -m shell line '*READY*'
    for words in $argv[2,-1]; do
        zpty -w -n shell $words$'\\t\\t\\C-a\\C-kprint D${:-ONE}\\n'
        zpty -r -m shell line '*DONE*'
        print -r -- $line
        print -r -- END
    done
    """
    asked = subprocess.run(
        ["zsh", "-f", "-c", ask, "x", file, *(" ".join(words) for words in ASKED)], capture_output=True, text=True,
        cwd=tmp_path, timeout=60, env={**os.environ, "TERM": "vt100"},
    )  # fmt: skip
    shown = asked.stdout.split("END\n")
    assert len(shown) == len(ASKED) + 1, asked.stderr
    for (words, wanted), text in zip(ASKED.items(), shown, strict=False):
        plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|[\x07\x08\r]", "", text)
        assert all(word.removeprefix(words[-1]) in plain for word in wanted), (words, text)


def test_every_verb_action_and_setting_is_there(found):
    assert [command.words[0] for command in found if len(command.words) == 1] == list(VERBS)
    assert {"jobs cancel", "slurm script", "bench memory", "tokenizer train", "data biographies"} <= {
        command.name for command in found
    }
    train = {option.name: option for command in found if command.name == "train" for option in command.options}
    assert train["--model.norm"].values == ("layer", "rms")
    assert "--model.no-bias" in train
    assert train["--model.no-bias"].switch
    assert {"--train.learning-rate", "--resume", "--slurm.time", "--json", "--quiet"} <= train.keys()


def test_manual_page(found):
    page = man(found)
    assert page.startswith('.TH HEED 1 "" "heed')
    for verb in VERBS:
        assert f".SS heed {verb}\n" in page
    assert "\n.Ctrl" not in page
    if shutil.which("groff"):
        read = subprocess.run(["groff", "-man", "-ww", "-Tascii"], input=page, capture_output=True, text=True)
        assert not read.stderr
        assert "heed jobs cancel" in re.sub(r".\x08|\x1b\[\d*m", "", read.stdout)


def test_on_the_command_line(capsys):
    assert main(["completion", "bash"]) == 0
    assert "complete -o bashdefault -o default -F _heed heed" in capsys.readouterr().out
    assert main(["completion", "powershell"]) == 2
    assert "'powershell'" in capsys.readouterr().err
