"""Runs of every kind in one small workplace, ways to damage a file of them, and what a verb then comes to.

`Bench` trains once; `trial` damages one file of a copy, runs the verbs on it in this process and says of each whether
it gave what the undamaged copy gives (`same`), ended in one line that names the file (`refused`), or made a page that
names it in its notes (`noted`). Anything else is a fault, and told.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cli.conftest import TINY, settled, write_text
from heed.cli import main

SECONDS = 60
"""After so long a verb hangs."""
Verb = tuple[str, ...]
SMALL = [*TINY, "--run.threads", "1", "--run.device", "cpu", "--train.precision", "fp32", "--train.keep-last", "3"]
KINDS: dict[str, tuple[str, list[Verb]]] = {
    "language": (
        "runs/language",
        [
            ("eval", "runs/language", "--json"),
            ("sample", "runs/language", "--prompt", "the cat", "--max-tokens", "6", "--json"),
            ("export", "runs/language", "--out", "out"),
            ("report", "runs/language"),
            ("train", "--resume", "runs/language", "--train.steps", "8", "--json"),
        ],
    ),
    "classes": (
        "runs/classes",
        [
            ("eval", "runs/classes", "--json"),
            ("report", "runs/classes"),
            ("train", "--resume", "runs/classes", "--train.steps", "8", "--json"),
        ],
    ),
    "questions": (
        "runs/questions",
        [
            ("ask", "runs/questions", "Where was Ada Ek born?", "--corpus", "lines.txt", "--max-tokens", "6", "--json"),
            ("eval", "runs/questions", "--json"),
            ("report", "runs/questions"),
            ("train", "--resume", "runs/questions", "--train.steps", "8", "--json"),
        ],
    ),
    "tuned": (
        "tune",
        [
            ("predict", "tune", "a joy , the cat", "--json"),
            ("predict", "tune/runs/lora-1", "a joy , the cat", "--json"),
            ("export", "tune/runs/lora-1", "--to", "peft", "--out", "out"),
            ("tune", "tune", "--report"),
            ("tune", "--json"),
        ],
    ),
    "study": ("study", [("compare", "study", "--report"), ("compare", "study.yaml", "--out", "study", "--json")]),
}
STUDY = """
base:
  data: {source: lines.txt, workers: 1}
  tokenizer: {kind: char}
  model: {n_layers: 1, n_heads: 2, d_model: 16, context: 16}
  train: {batch_size: 4, eval_every: 3, checkpoint_every: 3, precision: fp32}
  run: {device: cpu, threads: 1}
variants: {pre: {}, post: {model.norm_order: post}}
seeds: [1, 2]
budget: {steps: 6}
figure: loss
"""
TUNE = [
    "reviews.csv", "--methods", "head,lora", "--encoders", "encoder", "--seeds", "2", "--epochs", "1", "--rates",
    "1e-2", "--batch-size", "16", "--max-length", "16", "--threads", "1", "--train.precision", "fp32", "--out", "tune",
]  # fmt: skip
UNSTEADY = re.compile(rb"seconds|per_second|memory|time|machine|command|commit")


class Bench:
    """A workplace with one run of a kind; `whole` is what each verb comes to on it."""

    def __init__(self, place: Path, kind: str) -> None:
        self.place, self.kind = place, kind
        self.root, self.verbs = KINDS[kind]
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        (place / "whole").mkdir(parents=True)
        with working(place / "whole"):
            write_texts()
            make(kind)
        self.files = sorted(
            path.relative_to(place / "whole")
            for folder in (self.root, "runs/.tokens", "study/.tokens")
            for path in (place / "whole" / folder).rglob("*")
            if path.is_file() and path.suffix not in (".html", ".log")
        )
        with self.copy():
            self.whole = [run(verb) for verb in self.verbs]
        bad = [found for found in self.whole if found[0] != 0]
        assert not bad, bad

    @contextlib.contextmanager
    def copy(self):
        """Work in a fresh copy of the workplace, always of the same name: pages and messages say where they are."""
        there = self.place / "copy"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(self.place / "whole", there)
        with working(there):
            yield there

    def trial(self, seed: int) -> None:
        """Damage a file of a copy and run every verb."""
        draw = random.Random(seed)
        with self.copy():
            file = draw.choice(self.files)
            how = damage(file, draw)
            for verb, (_, expected, page) in zip(self.verbs, self.whole, strict=True):
                code, told, made = run(verb)
                outcome = judge(file, code, told, made, expected, page)
                self.counts[f"{verb[0]}: {outcome or 'FAULT'}"] += 1
                if outcome is None:
                    if code == 0 and (told, made) != (expected, page):
                        told = f"{first_difference(expected, told)}, {first_difference(str(page), str(made))}"
                    self.faults.append(f"seed {seed}: {how} in {file}: heed {' '.join(verb)}: {code} {told[-1500:]}")


def first_difference(a: str, b: str) -> str:
    """Return where two texts differ."""
    place = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    here = slice(max(0, place - 40), place + 60)
    return f"{a[here]!r} became {b[here]!r}"


def judge(file: Path, code: int, told: str, made: bytes, expected: str, page: bytes) -> str | None:
    """Return same, refused or noted; None: a fault."""
    if code in (0, 1) and told == expected and made == page:
        return "same"
    lines = told.strip().splitlines()
    names = {file.name, *(part for part in file.parts if part.startswith("step-"))}
    if code == 2 and lines and lines[-1].startswith("heed: ") and any(name in lines[-1] for name in names):
        return "refused"
    if (
        code in (0, 1)
        and (made, told) != (page, expected)
        and any(name.encode() in made + told.encode() for name in names)
    ):
        return "noted"
    return None


def run(verb: Verb) -> tuple[int, str, bytes]:
    """Run a verb; return its exit code, what it says (standard output, or the error) and the files that it made."""
    out, err = io.StringIO(), io.StringIO()
    words = ["tune", *TUNE, "--json"] if verb == ("tune", "--json") else list(verb)

    def too_long(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
    except (Exception, SystemExit):
        return -1, traceback.format_exc(), b""
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if code == 2:
        return code, err.getvalue(), b""
    told = out.getvalue()
    if "report" in verb[0] or verb[-1] == "--report":
        made = b"".join(steady_page(path) for path in sorted(Path.cwd().rglob("report.html")))
        return code, told, made
    with contextlib.suppress(ValueError):
        told = json.dumps(steady(json.loads(told)))
    if verb[0] == "export":
        return code, told, b"".join(path.read_bytes() for path in sorted(Path("out").rglob("*")) if path.is_file())
    if verb[0] == "train":
        folder = Path(verb[2])
        made = sorted(folder.glob("checkpoints/*8/model.safetensors"))
        return code, told, b"".join(hashlib.sha256(path.read_bytes()).digest() for path in made)
    return code, told, b""


def steady(value):
    """Return plain values without what is measured by a clock."""
    if isinstance(value, dict):
        return {key: steady(each) for key, each in value.items() if not UNSTEADY.search(key.encode())}
    return [steady(each) for each in value] if isinstance(value, list) else value


def steady_page(path: Path) -> bytes:
    """Return a page without the moment of its making."""
    return re.sub(rb"20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?", b"", path.read_bytes())


@contextlib.contextmanager
def working(folder: Path):
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def write_texts() -> None:
    """Write running text, questions and labelled texts."""
    write_text(Path("lines.txt"), 120)
    draw = random.Random(0)
    names = [f"{first} {last}" for first in ("Ada", "Chen", "Dora") for last in ("Ek", "Fox", "Hay", "Iwo")]
    asked = [f"Where was {name} born?\t{draw.choice(['Rome', 'Oslo', 'Lima'])}" for name in names]
    Path("questions.tsv").write_text("\n".join(asked) + "\n", encoding="utf-8")
    good, bad = ["a joy", "so warm", "great fun"], ["a bore", "so cold", "no fun"]
    rows = [f'"{draw.choice(good if n % 2 else bad)} , the cat {n}",{n % 2}' for n in range(48)]
    Path("reviews.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")


def make(kind: str) -> None:
    """Make the run, tune or study of a kind."""
    common = [*SMALL, "--run.folder", "runs", "--run.name", kind, "--tokenizer.kind", "char"]
    argv = {
        "language": ["train", "lines.txt", *common],
        "classes": ["train", "reviews.csv", *common, "--model.kind", "encoder", "--data.label", "label"],
        "questions": [
            "train", "questions.tsv", *common, "--data.objective", "answers", "--data.layout", "padded",
            "--model.context", "48",
        ],
        "tuned": ["tune", *TUNE],
        "study": ["compare", "study.yaml", "--out", "study"],
    }[kind]  # fmt: skip
    if kind == "tuned":
        write_encoder()
    Path("study.yaml").write_text(STUDY, encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        assert main(settled(argv)) == 0, said.getvalue()


def write_encoder() -> None:
    """Write a tiny pretrained encoder: BERT, its words those of the reviews."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = sorted(
        {w for line in Path("reviews.csv").read_text().splitlines() for w in re.findall("[a-z]+|[0-9]+", line)}
    )
    Path("vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", *words]))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words) + 6, max_position_embeddings=32, **sizes)).save_pretrained("encoder")
    BertTokenizerFast("vocab.txt").save_pretrained("encoder")


def damage(file: Path, draw: random.Random) -> str:
    """Damage a file in a way that is drawn; return which."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, cut_out, zero, empty]
    if file.suffix in (".json", ".yaml", ".jsonl"):
        ways += [other_number, other_number, other_value, other_value, doubled_key, swapped_lines, lost_line]
    if file.name == "tokenizer.json":
        ways += [swapped_ids, swapped_ids, swapped_ids]
    way = draw.choice([*ways, "deleted", "folder", "another file"])
    if not callable(way):
        if way == "another file":
            other = draw.choice(
                [path for path in sorted(file.parent.iterdir()) if path != file and path.is_file()] or [file]
            )
            file.write_bytes(other.read_bytes())
            return f"the content of {other.name}"
        file.unlink()
        if way == "folder":
            file.mkdir()
        return way
    before = file.read_bytes()
    for _ in range(20):
        after = way(before, draw)
        if after != before:
            break
    file.write_bytes(after)
    return way.__name__


def flip(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content)) if content else 0
    return (
        content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :] if content else b"x"
    )


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))] if content else b"x"


def cut_out(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + content[start + draw.randrange(1, 40) :]


def zero(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + bytes(len(content[start : start + 16])) + content[start + 16 :]


def empty(content: bytes, draw: random.Random) -> bytes:
    return b""


NUMBER = re.compile(rb"(?<![\w.])-?\d+(\.\d+)?(e-?\d+)?(?![\w.])")
OTHERS = [
    b"0",
    b"-1",
    b"1",
    b"3",
    b"NaN",
    b".nan",
    b"1e400",
    b"9" * 400,
    b"null",
    b'"x"',
    b"[]",
    b"{}",
    b"true",
    b"1.5",
]


def other_number(content: bytes, draw: random.Random) -> bytes:
    """A number that is near to the one before."""
    found = list(NUMBER.finditer(content))
    if not found:
        return flip(content, draw)
    one = draw.choice(found)
    number = float(one[0])
    new = (
        str(int(number) + draw.choice([-1, 1, 2])) if b"." not in one[0] and b"e" not in one[0] else repr(number * 1.01)
    )
    return content[: one.start()] + new.encode() + content[one.end() :]


def other_value(content: bytes, draw: random.Random) -> bytes:
    """Something of another kind where a number, a word or a list was."""
    found = list(re.finditer(rb"(?<=: )[^\s,{}][^\n,]*", content)) or list(NUMBER.finditer(content))
    if not found:
        return flip(content, draw)
    one = draw.choice(found)
    return content[: one.start()] + draw.choice(OTHERS) + content[one.end() :]


def doubled_key(content: bytes, draw: random.Random) -> bytes:
    """A key twice, the second time with another value."""
    lines = content.split(b"\n")
    places = [n for n, line in enumerate(lines) if re.search(rb'": \S+,?$|^ *\w+: \S+$', line)]
    if not places:
        return flip(content, draw)
    place = draw.choice(places)
    second = re.sub(rb"(: )([^,]*)(,?)$", lambda m: m[1] + draw.choice(OTHERS) + m[3], lines[place])
    first = lines[place] if lines[place].endswith(b",") or b'"' not in lines[place] else lines[place] + b","
    return b"\n".join([*lines[:place], first, second, *lines[place + 1 :]])


def swapped_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def lost_line(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    del lines[draw.randrange(len(lines))]
    return b"\n".join(lines)


def swapped_ids(content: bytes, draw: random.Random) -> bytes:
    data = json.loads(content)
    vocabulary = data["model"]["vocab"]
    a, b = draw.sample(sorted(vocabulary), 2)
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    return json.dumps(data, ensure_ascii=False).encode()
