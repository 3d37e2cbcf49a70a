"""Vocabularies as OpenAI published them: a file of ids and a file of merges, side by side in a folder.

    encoder_bpe_40000.json + vocab_40000.bpe    GPT-1, 40,478 ids: lower-cased words, each ending in `</w>`
    encoder.json + vocab.bpe                    GPT-2, 50,257 ids: bytes
    vocab.json + merges.txt                     either one, as Hugging Face names them

Which of the two ways it is, the merges tell: those of GPT-1 hold `</w>`. A folder is looked for as it is written, then
in the folders of data sets ($HEED_DATA, `shared/data`), so that `tokenizer.file: gpt1-bpe` holds on every machine.
"""

from __future__ import annotations

from pathlib import Path

from heed.errors import DataError
from heed.text.named import data_folders
from heed.text.tokenizers.bpe import Bpe

PAIRS = (("encoder_bpe_40000.json", "vocab_40000.bpe"), ("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))
"""Ids and merges, by the names of their files."""


def find_pair(folder: Path) -> tuple[Path, Path] | None:
    """Return the files of ids and of merges in a folder, or None when it holds no such pair."""
    for ids, merges in PAIRS:
        if (folder / ids).is_file() and (folder / merges).is_file():
            return folder / ids, folder / merges
    return None


def read_pair(ids: Path, merges: Path) -> Bpe:
    """Return the tokenizer of two such files. Raises `DataError` when they cannot be read or do not go together."""
    try:
        ends_words = "</w>" in merges.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{merges} cannot be read: {error}") from error
    try:
        return Bpe.from_gpt1_files(ids, merges) if ends_words else Bpe.from_gpt2_files(ids, merges)
    except DataError as error:
        where = "" if str(ids) in str(error) else f"{ids} and {merges.name}: "
        raise DataError(f"{where}{error}") from error


def in_data_folders(name: str | Path) -> Path | None:
    """Return the folder with this name among the data sets, if it holds a tokenizer; None elsewhere."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    for folder in data_folders():
        place = folder / name
        if place.is_dir() and ((place / "tokenizer.json").is_file() or find_pair(place) is not None):
            return place
    return None
