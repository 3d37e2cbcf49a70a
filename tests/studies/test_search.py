"""The search: equal trials for every variant, repeatable, resumable, and its best values used."""

import json
import math
import sys

import pytest
from small_studies import made_up, plan_of

from heed.errors import CheckpointError, ConfigError, MissingPackageError
from heed.records.study import Outcome
from heed.studies.compare import run_study

SPACE = {"train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "train.weight_decay": [0.0, 0.1]}


def valley(task):
    """A figure that is best at a learning rate of 1e-3 for pre and of 1e-2 for post, without decay."""
    train = task.values["train"]
    best = -3 if "/pre/" in task.folder.as_posix() else -2
    return made_up(task, 1 + (math.log10(train["learning_rate"]) - best) ** 2 + train["weight_decay"])


def search_of(out):
    return json.loads((out / "study.json").read_text())["search"]


def trials_of(out):
    return [{key: value for key, value in trial.items() if key != "seconds"} for trial in search_of(out)["trials"]]


def test_every_variant_has_as_many_trials_and_its_best_values_are_used(tmp_path):
    used = {}

    def toy(task):
        if "search" not in task.folder.parts:
            used[task.name] = task.values["train"]
        return valley(task)

    plan = plan_of(tmp_path, search={"parameters": SPACE, "trials": 12}, seeds=[1])
    assert run_study(plan, tmp_path / "out", run_cell=toy)
    found = search_of(tmp_path / "out")
    assert [sum(trial["variant"] == name for trial in found["trials"]) for name in ("pre", "post")] == [12, 12]
    for name, goal in (("pre", -3), ("post", -2)):
        own = [trial for trial in found["trials"] if trial["variant"] == name]
        best = min(own, key=lambda trial: trial["figure"])
        assert found["best"][name] == best["values"]
        assert used[f"{name}, seed 1"]["learning_rate"] == best["values"]["train.learning_rate"]
        assert abs(math.log10(best["values"]["train.learning_rate"]) - goal) < 0.5
    first = [trial["values"] for trial in found["trials"] if trial["number"] == 0]
    assert first[0] == first[1]  # equal luck: the first trials of all variants try the same


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path):
    plan = plan_of(tmp_path, search={"parameters": SPACE, "trials": 14}, variants={"pre": {}}, seeds=[1])
    assert run_study(plan, tmp_path / "whole", run_cell=valley)
    made = []

    def dies(task):
        made.append(task.name)
        if len(made) == 12:
            raise KeyboardInterrupt  # nothing is written, as after SIGKILL
        return valley(task)

    with pytest.raises(KeyboardInterrupt):
        run_study(plan, tmp_path / "cut", run_cell=dies)
    assert run_study(plan, tmp_path / "cut", run_cell=valley)
    assert trials_of(tmp_path / "cut") == trials_of(tmp_path / "whole")


def test_a_search_that_was_killed_is_not_gone_on_with_as_another(tmp_path):
    def dies(task):
        raise KeyboardInterrupt

    search = {"parameters": {"train.clip": [1.0, 2.0]}, "trials": 2}
    with pytest.raises(KeyboardInterrupt):
        run_study(plan_of(tmp_path, search=search), tmp_path / "out", run_cell=dies)
    search = {"parameters": {"train.clip": [3.0, 4.0, 5.0]}, "trials": 2}
    with pytest.raises(ConfigError, match="holds another study: the search differs"):
        run_study(plan_of(tmp_path, search=search), tmp_path / "out", run_cell=valley)


def test_a_trial_that_was_cut_off_keeps_the_seeds_that_it_has(tmp_path):
    search = {"parameters": {"train.clip": [1.0, 2.0]}, "method": "grid", "seeds": [7, 8]}
    plan, made = plan_of(tmp_path, search=search, variants={"pre": {}}, seeds=[1]), []

    def toy(task):
        made.append(task.name)
        if len(made) == 2:
            raise KeyboardInterrupt
        return made_up(task, task.values["train"]["clip"])

    with pytest.raises(KeyboardInterrupt):
        run_study(plan, tmp_path / "out", run_cell=toy)
    assert run_study(plan, tmp_path / "out", run_cell=toy)
    trial = "pre, trial 0, seed"
    assert made[:3] == [f"{trial} 7", f"{trial} 8", f"{trial} 8"]  # 7 has its record, and no weights to go on from
    assert len(made) == 6
    assert {trial["figure"] for trial in search_of(tmp_path / "out")["trials"]} == {1.0, 2.0}


def test_a_grid_runs_every_combination_once_also_side_by_side(tmp_path):
    parameters = {"train.learning_rate": [1e-3, 1e-2, 1e-1], "train.weight_decay": [0.0, 0.1]}
    plan = plan_of(tmp_path, search={"parameters": parameters, "method": "grid"}, variants={"pre": {}}, seeds=[1])
    assert run_study(plan, tmp_path / "out", run_cell=valley, jobs=4)
    tried = [tuple(trial["values"].values()) for trial in search_of(tmp_path / "out")["trials"]]
    assert sorted(tried) == sorted((rate, decay) for rate in (1e-3, 1e-2, 1e-1) for decay in (0.0, 0.1))
    assert search_of(tmp_path / "out")["best"]["pre"] == {"train.learning_rate": 1e-3, "train.weight_decay": 0.0}


def test_the_baseline_alone_may_be_searched_and_the_mean_over_seeds_counts(tmp_path):
    search = {"parameters": {"train.clip": [1.0, 2.0]}, "method": "grid", "seeds": [1, 2], "per_variant": False}
    seen = {}

    def toy(task):
        seen[task.name] = task.values["train"]["clip"]
        return made_up(task, task.values["train"]["clip"] + task.values["run"]["seed"])

    assert run_study(plan_of(tmp_path, search=search, seeds=[1]), tmp_path / "out", run_cell=toy)
    assert {trial["figure"] for trial in search_of(tmp_path / "out")["trials"]} == {2.5, 3.5}
    assert seen["post, seed 1"] == 1.0


def test_a_trial_that_breaks_down_counts_and_without_any_figure_the_cells_fail(tmp_path):
    search = {"parameters": {"train.clip": [1.0, 2.0]}, "method": "grid"}
    plan = plan_of(tmp_path, search=search, variants={"pre": {}}, seeds=[1])
    assert run_study(plan, tmp_path / "out", run_cell=lambda task: Outcome.of("broke down", "NaN"))
    assert [trial["state"] for trial in search_of(tmp_path / "out")["trials"]] == ["fail", "fail"]
    cell = json.loads((tmp_path / "out" / "study.json").read_text())["cells"][0]
    assert (cell["state"], cell["message"]) == ("failed", "no trial of the search came to a figure")


def test_poor_trials_are_pruned_by_their_evaluations(tmp_path):
    def toy(task):
        found = made_up(task, task.values["train"]["clip"])
        lines = [{"event": "evaluation", "step": 3 * n, "loss": task.values["train"]["clip"]} for n in range(1, 10)]
        (task.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return found

    values = [float(n) for n in range(1, 13)]
    search = {"parameters": {"train.clip": values}, "method": "grid", "pruner": "hyperband"}
    plan = plan_of(tmp_path, search=search, variants={"pre": {}}, seeds=[1], budget={"steps": 27})
    shown = []
    assert run_study(plan, tmp_path / "out", run_cell=toy, watch=shown.append)
    assert {row.state for rows in shown for row in rows} >= {"running", "finished", "pruned"}
    trials = search_of(tmp_path / "out")["trials"]
    states = {trial["state"] for trial in trials}
    assert states == {"complete", "pruned"}
    best = [trial for trial in trials if trial["values"]["train.clip"] == 1.0]
    assert best[0]["state"] == "complete"


def test_what_would_make_pruning_empty_is_refused(tmp_path):
    search = {"parameters": {"train.clip": [1.0]}, "pruner": "hyperband", "seeds": [1, 2]}
    with pytest.raises(ConfigError) as caught:
        plan_of(tmp_path, search=search, budget={"steps": 3}, variants={"pre": {}})
    assert caught.value.problems == (
        "search.pruner: hyperband looks at the evaluations of one run: give one of search.seeds",
        "pre: train.eval_every: must be below the budget of steps, or there is nothing to prune by",
    )


def test_optuna_is_needed_by_a_search_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run_study(plan_of(tmp_path, seeds=[1]), tmp_path / "out", run_cell=lambda task: made_up(task, 1.0))
    plan = plan_of(tmp_path, search={"parameters": SPACE})
    with pytest.raises(MissingPackageError, match=r"pip install 'heed-lm\[lab\]'"):
        run_study(plan, tmp_path / "other", run_cell=valley)


def test_a_file_of_trials_that_cannot_be_read_is_one_line(tmp_path):
    plan = plan_of(tmp_path, search={"parameters": SPACE, "trials": 2}, seeds=[1])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(CheckpointError, match=r"study\.sqlite cannot be used: file is not a database"):
        run_study(plan, tmp_path / "out", run_cell=valley)
