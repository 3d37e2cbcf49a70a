"""Each of the usual mistakes, made in the solution, is found and called by its name."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from heed.coursework import EXERCISES
from heed.coursework import attention_cases as attention
from heed.coursework import bpe_cases as bpe
from heed.coursework import layer_norm_cases as layer_norm
from heed.coursework import lora_cases as lora
from heed.coursework import span_cases as spans
from heed.coursework.cases import first_difference
from heed.coursework.grader import PASSES, judged
from heed.coursework.student_file import loaded
from heed.coursework.worker import outcome

SOLUTION = Path(__file__).parent / "solution"


def grade(file: Path) -> dict[str, tuple[str, str]]:
    """Return state and sentence of each function of a file, in this process."""
    module, cases = loaded(file), importlib.import_module(EXERCISES[file.name]).CASES
    found = {}
    for name, some in cases.items():
        outcomes = (judged(case, json.loads(json.dumps(outcome(case.call, module, name, file)))) for case in some)
        found[name] = next((one for one in outcomes if one[0] != PASSES), (PASSES, ""))
    return found


@pytest.fixture
def altered(tmp_path):
    """Grade a file of the solution with some of its text replaced; an empty text replaces nothing."""

    def call(name: str, old: str, new: str):
        text = (SOLUTION / name).read_text(encoding="utf-8")
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
        return grade(tmp_path / name)

    return call


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name):
    assert {state for state, _ in grade(SOLUTION / name).values()} == {"passes"}


HIDE = "scores = scores.masked_fill(~allowed, -torch.inf)"
PLAIN = "return torch.softmax(scores, dim=-1)"
SPLIT = "return x.reshape(B, T, n_heads, D // n_heads).transpose(1, 2)"
MERGE = "return x.transpose(1, 2).reshape(B, T, H * K)"
BEST = "min(counts, key=lambda pair: (-counts[pair], pair))"
ENCODE = """    for number, pair in enumerate(merges):
        ids = joined(ids, tuple(pair), 256 + number)
"""
LEFT_TO_RIGHT = """    named, at = {tuple(pair): 256 + number for number, pair in enumerate(merges)}, 0
    while at < len(ids) - 1:
        if tuple(ids[at : at + 2]) in named:
            ids[at : at + 2] = [named[tuple(ids[at : at + 2])]]
            at = 0
        else:
            at += 1
"""
LONGEST = """    pieces = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    rest, ids = text.encode(), []
    while rest:
        ids.append(max((i for i, piece in enumerate(pieces) if rest.startswith(piece)), key=lambda i: len(pieces[i])))
        rest = rest[len(pieces[ids[-1]]) :]
"""
PIECES = 'b"".join(pieces[id] for id in ids).decode(errors="replace")'
CENTRED = "(x - mean) / torch.sqrt(variance + epsilon)"
SCALE = "alpha / A.shape[0] * (x @ A.T @ B.T)"
START = "int(random.integers(0, size - length + 1))"
LENGTH = "int(random.integers(1, 2 * middle))"
FIRST = "torch.randn(rank, inputs) / inputs**0.5, torch.zeros(outputs, rank)"
MOVED = "text[:start] + MASK + text[start + length :] + MASK + text[start : start + length]"

MISTAKES = [
    ("attention.py", "attend", "/ math.sqrt(q.shape[-1])", "", attention.UNSCALED),
    ("attention.py", "scaled_scores", "/ math.sqrt(q.shape[-1])", "/ q.shape[-1]", attention.BY_WIDTH),
    ("attention.py", "scaled_scores", "math.sqrt(q.shape[-1])", "math.sqrt(k.shape[-2])", attention.BY_KEYS),
    ("attention.py", "causal_mask", ".tril()", ".triu()", "the other triangle"),
    ("attention.py", "causal_mask", ".tril()", ".tril(-1)", attention.BLIND),
    ("attention.py", "causal_mask", ".tril()", ".tril(1)", attention.AHEAD),
    ("attention.py", "causal_self_attention", ".tril()", ".tril(1)", attention.AHEAD),
    ("attention.py", "causal_mask", ".tril()", ".triu(1)", "here it means hidden"),
    ("attention.py", "causal_mask", ", dtype=torch.bool", "", "a tensor of float32, a tensor of bool is needed"),
    ("attention.py", "attention_weights", HIDE, "return torch.softmax(scores, dim=-1) * allowed", attention.AFTER),
    ("attention.py", "causal_self_attention", HIDE, "return torch.softmax(scores, -1) * allowed", attention.AFTER),
    ("attention.py", "attention_weights", HIDE, "scores = scores.masked_fill(~allowed, -1e4)", attention.FILL),
    ("attention.py", "attention_weights", HIDE, "scores = scores - 1e4 * ~allowed", attention.ADDED),
    ("attention.py", "attention_weights", HIDE, "scores = scores.masked_fill(~allowed, 0.0)", attention.ZERO),
    ("attention.py", "attention_weights", HIDE, "scores = scores * allowed", attention.ZERO),
    ("attention.py", "attention_weights", HIDE, "scores = scores.masked_fill(allowed, -torch.inf)", "[0, 0, 0] is 0"),
    ("attention.py", "attention_weights", HIDE, "pass", attention.NO_MASK),
    ("attention.py", "attention_weights", PLAIN, "return torch.softmax(scores, dim=-2)", attention.QUERIES),
    ("attention.py", "attention_weights", PLAIN, "return torch.softmax(scores, dim=0)", attention.FIRST_DIMENSION),
    ("attention.py", "attention_weights", HIDE,
     "w = torch.softmax(scores, -1) * allowed; return w / w.sum(-1, keepdim=True)", attention.RENORMALISED),
    ("attention.py", "split_heads", SPLIT, "return x.reshape(B, T, D // n_heads, n_heads).permute(0, 3, 1, 2)",
     attention.MODULO),
    ("attention.py", "causal_self_attention", SPLIT,
     "return x.reshape(B, T, D // n_heads, n_heads).permute(0, 3, 1, 2)", "[0, 0, 1] is"),
    ("attention.py", "split_heads", SPLIT, "return x.reshape(B, n_heads, T, D // n_heads)", attention.RESHAPED),
    ("attention.py", "split_heads", SPLIT, "return x.reshape(B, T, n_heads, D // n_heads)", attention.NOT_EXCHANGED),
    ("attention.py", "merge_heads", MERGE, "return x.permute(0, 2, 3, 1).reshape(B, T, H * K)", attention.MODULO),
    ("attention.py", "merge_heads", MERGE, "return x.reshape(B, T, H * K)", "a reshape alone mixes heads"),
    ("attention.py", "causal_self_attention", "q, k, v = (split", "x = x * 2**0.5; q, k, v = (split", "[0, 0, 0] is"),
    ("attention.py", "causal_self_attention", "merge_heads(attend(q, k, v,",
     "merge_heads(attend(q / n_heads**0.5, k, v,", attention.BY_MODEL),
    ("bpe.py", "train", "often[word]", "1", bpe.ONCE),
    ("bpe.py", "train", BEST, "counts.most_common(1)[0][0]", bpe.FIRST_MET),
    ("bpe.py", "train", BEST, "max(counts, key=lambda pair: (counts[pair], pair))", bpe.LARGEST),
    ("bpe.py", "train", "list(word.encode())", "list(map(ord, word))", bpe.CHARACTERS),
    ("bpe.py", "train", "    merges = []",
     "    pieces, often = {'w': list(''.join(words).encode())}, {'w': 1}\n    merges = []",
     bpe.ACROSS),
    ("bpe.py", "train", "if not counts:", "if False:", "fewer pairs than merges: ValueError"),
    ("bpe.py", "encode", ENCODE, LEFT_TO_RIGHT, "it joins whatever pair comes first in the text"),
    ("bpe.py", "encode", ENCODE, LONGEST, "as WordPiece does"),
    ("bpe.py", "encode", "list(text.encode())", "list(map(ord, text))", bpe.CHARACTERS),
    ("bpe.py", "decode", PIECES, '"".join(pieces[id].decode(errors="replace") for id in ids)', "decoded one by one"),
    ("bpe.py", "decode", '.decode(errors="replace")', '.decode("latin-1")', "bytes are taken for characters"),
    ("bpe.py", "decode", 'errors="replace"', "", "half a letter becomes U+FFFD: UnicodeDecodeError"),
    ("layer_norm.py", "layer_norm", "unbiased=False, ", "", layer_norm.UNBIASED),
    ("layer_norm.py", "layer_norm", CENTRED, "(x - mean) / (variance.sqrt() + epsilon)", layer_norm.OUTSIDE),
    ("layer_norm.py", "layer_norm", CENTRED, "(x - mean) / variance.sqrt()", layer_norm.NO_EPSILON),
    ("layer_norm.py", "layer_norm", "dim=-1", "dim=-2", layer_norm.TIME),
    ("layer_norm.py", "layer_norm", "dim=-1", "dim=(0, 1, 2)", layer_norm.ALL),
    ("layer_norm.py", "layer_norm", " * weight + bias", " + bias", layer_norm.NO_WEIGHT),
    ("layer_norm.py", "layer_norm", " * weight + bias", " * weight", layer_norm.NO_BIAS),
    ("layer_norm.py", "layer_norm", f"{CENTRED} * weight + bias", f"({CENTRED} + bias) * weight", layer_norm.EARLY),
    ("layer_norm.py", "layer_norm", CENTRED, "(x - mean) / torch.sqrt(variance + 1e-5)", "epsilon is not used"),
    ("layer_norm.py", "rms_norm", "return x / ", "x = x - x.mean(-1, keepdim=True)\n    return x / ",
     "RMSNorm divides only"),
    ("layer_norm.py", "rms_norm", "(x * x).mean", "(x * x).sum", "added up, not averaged"),
    ("layer_norm.py", "rms_norm", "keepdim=True) + epsilon)", "keepdim=True))", layer_norm.NO_EPSILON),
    ("span_corruption.py", "cut", "most + 1)", "most)", "it is included"),
    ("span_corruption.py", "cut", "min(4, most)", "1", "4 are the fewest"),
    ("span_corruption.py", "cut", "context * 7 // 8", "context", "56 are the most"),
    ("span_corruption.py", "cut", "random.integers(min(4, most), most + 1)", "most", "the length must be drawn"),
    ("span_corruption.py", "draw_span", START, "int(random.integers(0, size - length))", "that one included"),
    ("span_corruption.py", "draw_span", START, "int(random.integers(0, size))", "is not within a text of 40"),
    ("span_corruption.py", "draw_span", START, "1 + int(random.integers(0, size - length))", "never hidden"),
    ("span_corruption.py", "draw_span", LENGTH, "middle", "lengths must vary"),
    ("span_corruption.py", "draw_span", LENGTH, "int(random.integers(0, 2 * middle + 1))", "at least one character"),
    ("span_corruption.py", "draw_span", LENGTH, "int(random.integers(1, middle))", "the mean length is 5."),
    ("span_corruption.py", "move_span", MOVED, MOVED.replace("+ MASK + text[start :", "+ text[start :"),
     spans.ONE_MASK),
    ("span_corruption.py", "move_span", MOVED, MOVED + " + MASK", "a third mask"),
    ("span_corruption.py", "move_span", "text[start + length :]", "text[start:]", "it gives"),
    ("span_corruption.py", "move_span", MOVED, "text + MASK + text[start : start + length]", spans.KEPT),
    ("span_corruption.py", "restore", "prefix + span + suffix", "prefix + suffix + span", spans.END_PUT),
    ("span_corruption.py", "source_and_target", "padded[1:]", "padded[:-1]", spans.NOT_SHIFTED),
    ("span_corruption.py", "source_and_target", "padded = row + PAD * (width + 1 - len(row))", "padded = row",
     "not padded"),
    ("lora.py", "update", SCALE, "alpha * (x @ A.T @ B.T)", lora.NOT_DIVIDED),
    ("lora.py", "forward", SCALE, "alpha * (x @ A.T @ B.T)", lora.NOT_DIVIDED),
    ("lora.py", "forward", SCALE, "x @ A.T @ B.T", lora.NO_SCALE),
    ("lora.py", "update", SCALE, "alpha / A.shape[0] ** 0.5 * (x @ A.T @ B.T)", lora.ROOT),
    ("lora.py", "update", SCALE, "alpha * A.shape[0] * (x @ A.T @ B.T)", lora.MULTIPLIED),
    ("lora.py", "update", SCALE, "alpha / A.shape[1] * (x @ A.T @ B.T)", lora.BY_INPUTS),
    ("lora.py", "forward", "x @ W.T + update", "update", lora.UPDATE_ALONE),
    ("lora.py", "merge", "W + alpha / A.shape[0] * (B @ A)", "W + alpha * (B @ A)", lora.NOT_DIVIDED),
    ("lora.py", "merge", "(B @ A)", "(A.T @ B.T if W.shape[0] == W.shape[1] else B @ A)", lora.TRANSPOSED),
    ("lora.py", "first_matrices", "torch.zeros(outputs, rank)", "torch.randn(outputs, rank)", "B is not 0"),
    ("lora.py", "first_matrices", "torch.randn(rank, inputs)", "torch.zeros(rank, inputs)", "no gradient ever reaches"),
    ("lora.py", "first_matrices", FIRST, "torch.zeros(rank, inputs), torch.randn(outputs, rank)",
     "the other way round"),
    ("lora.py", "first_matrices", "torch.randn(rank, inputs)", "torch.ones(rank, inputs)", "the rank is 1"),
    ("lora.py", "trained_parameters", "(inputs + outputs)", "inputs", "A and B are both trained"),
    ("lora.py", "trained_parameters", "matrices * rank", "rank", "there are several"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "function", "old", "new", "named"), MISTAKES)
def test_a_mistake_is_called_by_its_name(altered, file, function, old, new, named):
    state, said = altered(file, old, new)[function]
    assert state == "fails"
    assert named in said
    assert "\n" not in said


def test_a_mistake_that_is_named_differs_from_the_right_answer():
    """In one of the cases that know it, at least: elsewhere it may happen to be right."""
    seen = {}
    for name in EXERCISES:
        for some in importlib.import_module(EXERCISES[name]).CASES.values():
            for case in some:
                for sentence, wrong in getattr(case, "mistakes", {}).items():
                    apart = bool(first_difference(wrong, case.right, case.tolerance))
                    seen[name, sentence] = seen.get((name, sentence), False) or apart
    assert f"there are {len(seen)}, from" in (Path(__file__).parents[2] / "docs/guide/grade.md").read_text(
        encoding="utf-8"
    )
    assert [key for key, apart in seen.items() if not apart] == []


def test_no_two_mistakes_of_a_case_give_the_same():
    """Else the second one could never be named."""
    for name in EXERCISES:
        for function, some in importlib.import_module(EXERCISES[name]).CASES.items():
            for case in some:
                told = [
                    (sentence, wrong)
                    for sentence, wrong in getattr(case, "mistakes", {}).items()
                    if first_difference(wrong, case.right, case.tolerance)
                ]
                for i, (sentence, wrong) in enumerate(told):
                    for other, another in told[i + 1 :]:
                        assert first_difference(wrong, another, case.tolerance), (function, sentence, other)


def test_lora_is_that_of_peft():
    peft = pytest.importorskip("peft")
    base = torch.nn.Sequential(torch.nn.Linear(5, 4, bias=False))
    with torch.no_grad():
        base[0].weight.copy_(lora.W)
    config = peft.LoraConfig(r=lora.RANK, lora_alpha=int(lora.ALPHA), lora_dropout=0.0, target_modules=["0"])
    model = peft.get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(lora.A if "lora_A" in name else lora.B)
        torch.testing.assert_close(model(lora.X), lora.X @ lora.W.T + lora.update_of(lora.X))


def test_differences_are_the_first_ones():
    eye = torch.eye(2)
    assert first_difference(eye, eye.double()) == ""
    assert first_difference([[1, 0], [0, 1]], eye) == "it gives a list, a tensor of float32 is needed"
    assert first_difference(eye.T[:1], eye) == "its shape is (1, 2), (2, 2) is right"
    assert first_difference(torch.tensor([[1, 0], [torch.nan, 1]]), eye) == "[1, 0] is nan, 0 is right"
    assert first_difference(None, 3) == "it gives nothing (None), a int is needed"
    assert first_difference([(1, 2), (3, 4)], [(1, 2), (3, 5)]) == "[1]: [1] is 4, 5 is right"
    assert first_difference(["a"], ["a", "b"]) == "it has 1 entries, 2 is right"
    assert first_difference(("ab",), ["ac"]) == "[0] is 'ab', 'ac' is right"
    assert first_difference(torch.inf * torch.ones(1), torch.ones(1)) == "[0] is inf, 1 is right"
    assert first_difference(torch.tensor(True), torch.tensor(True)) == ""
