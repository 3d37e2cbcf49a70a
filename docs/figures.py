"""Hold the figures of README and docs against the commands that make them: `python docs/figures.py --quick`.

docs/figures.yaml lists, for each page, what it claims: the words around its figures, the command, where that says them
again, and how near they have to be. A test asks that each figure of a page that is listed belongs to a claim, or to
what is not to be compared, with the reason.

    --list            every claim: its page, seconds, how near, command
    --quick           run those of less than a minute, and compare (continuous integration: those that train nothing)
    --all             run all that can be run; hours
    --page README.md  the claims of one page alone (again for another)
    --only WORD       the claims whose command holds this
    --keep FOLDER     run there, and leave what the commands write; else in a folder that is deleted

Exit code 0: all hold. 1: some do not. 2: the list itself is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "figures.yaml"
QUICK = 60
NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
UNITS = (
    r"%|nats|bits|ms|s|seconds?|minutes?|min|hours?|[kMG]B|MiB|GiB|MB/s|GB/s|tokens?/s|tokens per second"
    r"|tokens a second|examples/s|times|points?|(?:M|million) parameters|thousand tokens|perplexity"
)
FIGURE = re.compile(
    rf"(?<![\w.-]){NUMBER}(?: (?:k|thousand|million))? ?(?:CPU )?(?:{UNITS})(?![\w-])"
    rf"|(?:perplexity|loss|accuracy)(?: of)? {NUMBER}"
)
CELL = re.compile(rf"(?<=\|) *\*{{0,2}}{NUMBER}(?:[^|a-zA-Z]|\bto\b|\band\b)*(?=\|)")
FENCE = re.compile(r"^( *)```(\w*)\n.*?^\1```", re.DOTALL | re.MULTILINE)


class WrongListError(Exception):
    """Something in docs/figures.yaml that cannot be meant."""


@dataclass(frozen=True)
class Claim:
    """Figures of a page, and what makes them."""

    page: str
    says: list[str]
    run: str = ""
    seconds: float = 0
    reads: list[str] = field(default_factory=list)
    within: str = "exactly"
    table: list[str] = field(default_factory=list)
    why: str = ""  # it is not run, or not compared

    @property
    def runs(self) -> bool:
        """Whether this script can run the command."""
        return bool(self.run and self.reads)


def pattern(template: str) -> re.Pattern[str]:
    """Return the regular expression of a text with {name} for a number, {_} for any number, ... for any words.

    >>> pattern("loss {loss} nats ... bits").search("a loss  2.5 nats, 3 bits")["loss"]
    '2.5'
    """
    out = []
    for part in re.split(r"(\{\w+\}|\.\.\.|\s+)", template.strip()):
        if part == "...":
            out.append(r"[^|]{0,300}?")
        elif part.isspace():
            out.append(r"\s+")
        elif part == "{_}":
            out.append(NUMBER)
        elif re.fullmatch(r"\{\w+\}", part):
            out.append(f"(?P<{part[1:-1]}>{NUMBER})")
        else:
            out.append(re.escape(part))
    return re.compile("".join(out))


@cache
def table() -> dict[str, Any]:
    """Return docs/figures.yaml."""
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def claims(read: dict[str, Any] | None = None) -> list[Claim]:
    """Return every claim of the table. Raises `WrongListError`."""
    out = []
    for page, entries in (read or table())["pages"].items():
        for entry in entries:
            unknown = set(entry) - {*Claim.__dataclass_fields__} | set(entry) & {"page"}
            if unknown:
                raise WrongListError(f"{page}: unknown key {', '.join(sorted(unknown))}")
            lists = {key: [value] if isinstance(value, str) else value for key, value in entry.items()}
            plain = {key: entry[key] for key in ("run", "seconds", "within", "why") if key in entry}
            claim = Claim(page, **{"says": [], **lists, **plain})
            named = {name for says in claim.says for name in pattern(says).groupindex}
            again = {name for reads in claim.reads for name in pattern(reads).groupindex}
            shown = (claim.says or claim.table or ["nothing"])[0]
            if not claim.runs and not claim.why:
                raise WrongListError(f"{page}: {shown}: neither run and read nor a reason")
            if claim.runs and (named - again if claim.within != "printed" else False):
                raise WrongListError(f"{page}: {shown}: not read: {', '.join(sorted(named - again))}")
            if claim.runs and not claim.seconds:
                raise WrongListError(f"{page}: {shown}: how many seconds?")
            out.append(claim)
    return out


def figures(text: str) -> Iterator[re.Match[str]]:
    """Yield each number with a unit, and in tables each cell that is a number; not in blocks of a language."""
    spans = [block.span() for block in FENCE.finditer(text) if block[2] in ("python", "yaml", "json", "math")]
    rows = [row.span() for row in re.finditer(r"^ *\|.*\|$", text, re.MULTILINE)]
    found = {one.span(): one for one in FIGURE.finditer(text)}
    for first, last in rows:
        found |= {one.span(): one for one in CELL.finditer(text, first, last)}
    for start, end in sorted(found):
        if not any(first <= start < last for first, last in spans):
            yield found[start, end]


def tables(text: str) -> dict[str, tuple[int, int]]:
    """Return where each table of a page begins and ends, by its first line."""
    found = re.finditer(r"^( *\|.*\|)$(?:\n *\|.*\|$)*", text, re.MULTILINE)
    return {table[1].strip(): table.span() for table in found}


def places(claim: Claim, text: str) -> list[tuple[int, int]]:
    """Return where on its page a claim stands. Raises `WrongListError` for words that are not there once."""
    out = []
    for says in claim.says:
        found = list(pattern(says).finditer(text))
        if len(found) != 1:
            raise WrongListError(f"{claim.page}: {len(found)} times on the page: {says}")
        out.append(found[0].span())
    for head in claim.table:
        spans = [span for first, span in tables(text).items() if first.startswith(head)]
        if len(spans) != 1:
            raise WrongListError(f"{claim.page}: {len(spans)} tables begin with {head}")
        out += spans
    return out


def unclaimed(page: str, listed: list[Claim], text: str | None = None) -> list[str]:
    """Return the lines of a page with a figure that no claim holds."""
    text = (ROOT / page).read_text(encoding="utf-8") if text is None else text
    spans = [span for claim in listed if claim.page == page for span in places(claim, text)]
    words = [says for entry in table()["words"] for says in entry["says"]]
    spans += [found.span() for says in words for found in pattern(says).finditer(text)]
    out = []
    for figure in figures(text):
        if not any(start < figure.end() and figure.start() < end for start, end in spans):
            line = text.count("\n", 0, figure.start()) + 1
            out.append(f"{page}:{line}: {figure[0].strip()}: {text.splitlines()[line - 1].strip()}")
    return out


def value(written: str) -> float:
    """Return the number: 1,234.5 is 1234.5."""
    return float(written.replace(",", ""))


def near(page: str, now: str, within: str) -> bool:
    """Return whether a figure is as near to that of a page as `within` says.

    exactly      rounded to the digits that both have, the same
    2 %          of the page's; 0.5 points: so far from it
    factor 3     neither three times as much nor a third: seconds and rates, of another machine
    printed      not compared

    >>> near("2.86", "2.8576", "exactly"), near("100", "97.9", "2 %"), near("1.2", "4", "factor 3")
    (True, False, False)
    """
    one, other = value(page), value(now)
    if within == "printed":
        return True
    if within == "exactly":
        if "e" in page + now:
            return one == other
        digits = min(len(text.partition(".")[2]) for text in (page, now))
        return abs(one - other) <= 0.5000001 * 10**-digits if page != now else True
    if share := re.fullmatch(r"([\d.]+) %", within):
        return abs(one - other) <= abs(one) * float(share[1]) / 100
    if points := re.fullmatch(r"([\d.]+) points?", within):
        return abs(one - other) <= float(points[1])
    if factor := re.fullmatch(r"factor ([\d.]+)", within):
        return one > 0 and other > 0 and 1 / float(factor[1]) <= other / one <= float(factor[1])
    raise WrongListError(f"within: {within}: exactly, N %, N points, factor N or printed")


def compare(claim: Claim, output: str) -> list[str]:
    """Return a line for each figure of a claim that its command's output does not bear out."""
    text = (ROOT / claim.page).read_text(encoding="utf-8")
    written = {k: v for says in claim.says for k, v in pattern(says).search(text).groupdict().items()}  # type: ignore
    now: dict[str, str] = {}
    wrong = []
    for reads in claim.reads:
        found = pattern(reads).search(output)
        if found is None:
            wrong.append(f"the command does not say: {reads}")
        else:
            now |= found.groupdict()
    for name, figure in written.items():
        if name in now and not near(figure, now[name], claim.within):
            wrong.append(f"{name}: the page has {figure}, the command {now[name]} (within: {claim.within})")
    return wrong


def run(command: str, folder: Path) -> tuple[str, int, float]:
    """Return what a command says, its exit code and its seconds; ROOT in it is the folder of the repository."""
    env = {**os.environ, "ROOT": str(ROOT), "NO_COLOR": "1", "COLUMNS": "1000", "PYTHONWARNINGS": "ignore"}
    data = next((up / "shared" / "data" for up in (ROOT, *ROOT.parents) if (up / "shared" / "data").is_dir()), None)
    if data is not None:
        env.setdefault("HEED_DATA", str(data))
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    begun = time.perf_counter()
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout, done.returncode, time.perf_counter() - begun


def hold(chosen: list[Claim], folder: Path) -> int:
    """Run what is to be run, each command once, say what holds and what does not; return how many do not."""
    for name in ("configs", "examples", "benchmarks"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(ROOT / name)
    said: dict[str, tuple[str, int, float]] = {}
    failed = 0
    for claim in chosen:
        if not claim.runs:
            print(f"not run   {claim.page}: {(claim.says or claim.table)[0][:90]}\n          {claim.why}")
            continue
        if claim.run not in said:
            said[claim.run] = run(claim.run, folder)
        output, code, seconds = said[claim.run]
        wrong = [f"exit code {code}: {output.strip()[-400:]}"] if code else compare(claim, output)
        failed += bool(wrong)
        print(
            f"{'differs' if wrong else 'holds':9} {claim.page}: {claim.says[0][:90] if claim.says else claim.table[0]}"
        )
        print(f"          {claim.run}   ({seconds:.1f} s)")
        for line in wrong:
            print(f"          {line}")
        if claim.within == "printed":
            print("\n".join(f"          > {line}" for line in output.strip().splitlines()[-30:]))
        sys.stdout.flush()
    return failed


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    for name in ("list", "quick", "all"):
        what.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--page", action="append")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    try:
        every = claims()
        missing = [line for page in table()["pages"] for line in unclaimed(page, every)]
    except WrongListError as error:
        print(f"docs/figures.yaml: {error}")
        return 2
    if missing:
        print("no claim holds", *missing, sep="\n")
        return 2
    chosen = [one for one in every if asked.only in one.run and (not asked.page or one.page in asked.page)]
    if asked.list:
        for claim in chosen:
            head = (claim.says or claim.table)[0]
            how = f"{claim.seconds:g} s, {claim.within}: {claim.run}" if claim.runs else f"not run: {claim.why}"
            print(f"{claim.page}: {head[:100]}\n    {how}")
        return 0
    if asked.quick:
        chosen = [claim for claim in chosen if claim.runs and claim.seconds < QUICK]
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
        return min(hold(chosen, asked.keep.resolve()), 1)
    with tempfile.TemporaryDirectory() as scratch:
        return min(hold(chosen, Path(scratch)), 1)


if __name__ == "__main__":
    sys.exit(main())
