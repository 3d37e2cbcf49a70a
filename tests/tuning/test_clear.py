"""What a tune left is deleted, nothing else, and a process that dies over it can be followed by another."""

import pytest

from heed import files
from heed.errors import CheckpointError
from heed.studies import tune_record as record
from heed.studies.tune_record import clear, is_half_cleared


def make_tune(folder):
    for name in ("a", "b"):
        (folder / "runs" / name / "checkpoints" / "step-00000001").mkdir(parents=True)
        for file in (
            "config.yaml",
            "environment.json",
            "metrics.jsonl",
            "result.json",
            ".predictions-test.jsonl.writing",
        ):
            (folder / "runs" / name / file).write_text("{}")
    (folder / "runs" / "b" / "notes.txt").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    for file in ("tune.json", "report.html", "table.md", ".lock"):
        (folder / file).write_text("{}")


def left_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_not_of_a_tune_stays(tmp_path):
    make_tune(tmp_path)
    clear(tmp_path)
    assert left_in(tmp_path) == [".lock", "notes.txt", "runs/b/notes.txt"]
    with pytest.raises(CheckpointError, match="holds no tune"):
        clear(tmp_path)


@pytest.mark.parametrize("at", range(25))
def test_dying_over_it_leaves_no_tune_and_the_next_one_ends_it(tmp_path, monkeypatch, at):
    make_tune(tmp_path)
    count = iter(range(1000))
    real = files.remove

    def remove(path):
        if next(count) == at:
            raise KeyboardInterrupt
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(record.files, "remove", remove)
        try:
            clear(tmp_path)
        except KeyboardInterrupt:
            assert not (tmp_path / "tune.json").exists()
            assert is_half_cleared(tmp_path)
            clear(tmp_path)
    assert left_in(tmp_path) == [".lock", "notes.txt", "runs/b/notes.txt"]
