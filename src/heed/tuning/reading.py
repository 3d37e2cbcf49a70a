"""How much of some texts an encoder reads: what it cuts, what its vocabulary lacks, and which texts become one.

A text in a script that the vocabulary lacks is a row of unknown tokens, and a hundred such texts are the same one to
the model: no training helps there. What is counted is what the model is given, after texts were cut.
"""

from __future__ import annotations

from typing import Any

from heed.tuning.pretrained import Pretrained
from heed.tuning.texts import EncodedTexts


def describe_reading(texts: EncodedTexts, encoder: Pretrained, given: int) -> dict[str, Any]:
    """Return how a split is read: texts that are cut, the share of unknown tokens, and texts that come again.

    `given`: texts of the split that come again before they are encoded. What surrounds texts counts as no token.
    """
    unknown, around = unknown_token(encoder.tokenizer)
    own = sum(int((texts.ids == token).sum()) for token in around)
    count = 0 if unknown is None else int((texts.ids == unknown).sum())
    return {
        "cut": texts.cut,
        "unknown": count / max(1, len(texts.ids) - own),
        "alike": alike(texts),
        "duplicates": given,
    }


def unknown_token(tokenizer: Any) -> tuple[int | None, frozenset[int]]:
    """Return the token that stands for what the vocabulary lacks, None where it lacks nothing, and those around texts.

    Tokenizers that can spell every byte name another special token so (GPT-2's is the end of a text).
    """
    kinds = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id", "mask_token_id")
    around = frozenset(token for kind in kinds if (token := getattr(tokenizer, kind, None)) is not None)
    unknown = getattr(tokenizer, "unk_token_id", None)
    return (None if unknown in around else unknown), around


def alike(texts: EncodedTexts) -> int:
    """Return how many texts have the tokens of an earlier one."""
    seen, starts = set(), texts.ends - texts.lengths
    for start, end in zip(starts.tolist(), texts.ends.tolist(), strict=True):
        seen.add(texts.ids[start:end].tobytes() + texts.parts[start:end].tobytes())
    return len(texts) - len(seen)


def reading_lines(name: str, read: dict[str, dict[str, Any]], max_length: int) -> list[str]:
    """Return what is to be said of how an encoder reads the splits, a line each; none where it reads all."""
    lines = []
    if any(one["cut"] for one in read.values()):
        counts = ", ".join(f"{one['cut']:,} of {split}" for split, one in read.items() if one["cut"])
        lines.append(f"note: longer than {max_length} tokens and cut: {counts}")
    if any(one["unknown"] for one in read.values()):
        from heed.report.numbers import format_percent

        shares = ", ".join(f"{format_percent(one['unknown'])} of {split}" for split, one in read.items())
        lines.append(f"note: tokens that {name} does not know: {shares}")
    more = {split: one["alike"] for split, one in read.items() if one["alike"] > one["duplicates"]}
    if more:
        counts = ", ".join(f"{count:,} of {split}" for split, count in more.items())
        lines.append(f"note: texts that are the same as an earlier one to {name}: {counts}")
    return lines
