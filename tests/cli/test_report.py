"""`heed report` on a folder of runs that were asked, on a run among them, and on neither."""

import json


def test_a_folder_of_answers_gets_a_page_and_a_run_keeps_its_own(heed, tmp_path):
    run = tmp_path / "runs" / "asked"
    run.mkdir(parents=True)
    line = {"prompt": "Where was Ada born?", "gold": "Rome", "answer": "Rome", "probability": 0.9, "correct": True}
    (run / "answers.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    answer = heed("report", tmp_path / "runs")
    assert answer.code == 0
    assert answer.out.strip() == str(tmp_path / "runs" / "knowledge.html")
    (run / "metrics.jsonl").write_text('{"event": "train", "step": 1, "loss": 2.0}\n', encoding="utf-8")
    answer = heed("report", run)
    assert answer.code == 0
    assert answer.out.strip() == str(run / "report.html")


def test_a_folder_without_either_is_one_line(heed, tmp_path):
    answer = heed("report", tmp_path)
    assert answer.code == 2
    assert "no run folder" in answer.err
    assert answer.err.count("\n") == 1


def test_the_folder_of_a_study_has_a_verb_of_its_own(heed, tmp_path):
    (tmp_path / "study.json").write_text("{}")
    found = heed("report", tmp_path)
    assert found.code == 2
    assert f"heed compare {tmp_path} --report" in found.err.replace("\n", " ")
