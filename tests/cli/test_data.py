"""`heed data biographies` as a user tries it."""

import json

import pytest

from heed.cli.data import main
from heed.errors import ConfigError, DataError


def test_it_says_what_it_wrote(tmp_path, capsys):
    argv = ["biographies", "--out", str(tmp_path / "people"), "--people", "100", "--seen", "0.5"]
    assert main(argv) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split("/")[-1] for line in out] == [
        "wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "truth.jsonl",
    ]  # fmt: skip
    assert "91 lines" in out[0]  # 80 people of train, 10 of the 20 of dev, and the alphabet
    assert "10 of 20 people are in the text" in out[2]
    with pytest.raises(DataError, match="not empty"):
        main(argv)
    assert main([*argv, "--overwrite"]) == 0


def test_json_is_one_object_with_the_dials(tmp_path, capsys):
    argv = ["biographies", "--out", str(tmp_path / "jobs"), "--people", "50", "--ask", "profession", "employer"]
    assert main([*argv, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["dials"]["ask"] == ["profession", "employer"]
    assert (answer["train_questions"], answer["dev_questions"]) == (80, 20)
    assert answer["folder"] == str(tmp_path / "jobs")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["biography"], "unknown action 'biography', did you mean 'biographies'?"),
        (["biographies"], "--out"),
        (["biographies", "--out", "x", "--people", "many"], "--people"),
        (["biographies", "--out", "x", "--ask", "height"], "no attribute 'height', choose one of 'birth-place'"),
        (["biographies", "--out", "x", "--sen", "0.5"], "unknown option --sen, did you mean '--seen'"),
    ],
)
def test_mistakes_are_one_line(argv, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        main(argv)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())


def test_the_family_shows_its_members(capsys):
    assert main(["--help"]) == 0
    assert "biographies" in capsys.readouterr().out
