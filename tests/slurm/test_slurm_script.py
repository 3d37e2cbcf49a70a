"""The text of a job: what it asks for, how names are quoted, and what is refused before anything is submitted."""

import json
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_flags import TINY

from heed.config.slurm import SlurmConfig
from heed.slurm.script import SlurmScript, heed_command

STUDY = """
base: {data: {source: ani mals.txt, workers: 1}, tokenizer: {kind: char}, model: {n_layers: 1, n_heads: 2, d_model: 16}}
variants: {pre: {}, post: {model.norm_order: post}}
seeds: 3
budget: {steps: 6}
"""


def asked(text):
    """The options of #SBATCH, as sbatch reads them."""
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    return dict(re.sub(r"^--", "", "".join(shlex.split(line))).partition("=")[::2] for line in lines)


def last(text):
    """The words of the command that the script ends with."""
    return shlex.split(text[text.rindex("\nexec ") :].replace("\\\n", " "))[1:]


def test_everything_that_can_be_asked_for_is_in_the_script(tmp_path):
    config = SlurmConfig(
        partition="gpu,long", account="p1", qos="high", constraint="a100|h100", time="1-12", memory="16G", cpus=4,
        gpus="a100:2", array_limit=3, after="12,13_1", notice=300, requeues=2, setup="module load cuda",
        more="--mail-type=END --exclude=n7",
    )  # fmt: skip
    text = SlurmScript(config, "norms", tmp_path, tmp_path, tasks=6).text()
    found = asked(text)
    assert found == {
        "job-name": "norms", "output": f"{tmp_path}/log-%A_%a.out", "open-mode": "append", "chdir": str(tmp_path),
        "comment": f"heed:{tmp_path}", "partition": "gpu,long", "account": "p1", "qos": "high",
        "constraint": "a100|h100", "nodes": "1", "ntasks-per-node": "1", "cpus-per-task": "4",
        "gpus-per-node": "a100:2", "mem": "16G", "time": "1-12", "array": "0-5%3", "dependency": "afterok:12:13_1",
        "signal": "B:USR1@300", "requeue": "", "mail-type": "END", "exclude": "n7",
    }  # fmt: skip
    assert text.startswith("#!/bin/bash\n")
    assert "\nexport OMP_NUM_THREADS=4\nmodule load cuda\n" in text
    assert last(text)[1:] == ["-m", "heed", "slurm", "run", "--requeues=2", f"--manifest={tmp_path}/manifest.json"]


@pytest.mark.parametrize("name", ["--help", "a b", "100 %", 'say "so"', "näme #1", "$HOME;ls 'x'"])
def test_names_are_quoted_and_a_shell_reads_the_command_as_it_was(name, tmp_path):
    folder = tmp_path / name
    script = SlurmScript(SlurmConfig(), name, folder, folder, heed_command(["train", name]), f"runs/{name}")
    found = asked(script.text())
    assert (found["job-name"], found["chdir"]) == (name, str(folder))
    assert found["output"] == f"{folder}/log-%j.out".replace("100 %/", "100 %%/")
    words = last(script.text())
    assert words[words.index("--") + 1 :] == [sys.executable, "-m", "heed", "train", name]
    folder.mkdir()
    file = tmp_path / "job.sbatch"
    file.write_text(script.text())
    assert subprocess.run(["bash", "-n", str(file)], capture_output=True).returncode == 0


def test_several_nodes_run_torchrun_on_each(heed, place):
    flags = ["--slurm.nodes", "2", "--slurm.gpus", "4", "--slurm.cpus", "3", "--run.name", "two"]
    text = heed("train", "ani mals.txt", "--on", "slurm", "--dry-run", *flags).out
    found, words = asked(text), last(text)
    assert (found["nodes"], found["gpus-per-node"], found["cpus-per-task"]) == ("2", "4", "12")
    assert words[words.index("--") + 1 :][:3] == ["srun", "--kill-on-bad-exit=1", "--cpus-per-task=12"]
    run = words[words.index("torch.distributed.run") :]
    assert run[1:5] == ["--nnodes=2", "--nproc-per-node=4", "-m", "heed"]
    assert run[5:] == ["train", "ani mals.txt", "--run.name", "two"]
    assert "PET_MASTER_PORT" in text
    assert not list(place.glob("*/"))  # nothing was begun


def test_one_node_takes_all_its_gpus(heed, place):
    text = heed("train", "ani mals.txt", "--on=slurm", "--dry_run", "--slurm.gpus=2").out
    assert last(text)[-3:] == ["ani mals.txt", "--run.name=ani-mals-gpt-1", "--gpus=2"]
    text = heed("train", "ani mals.txt", "--on", "slurm", "--dry-run", "--gpus", "2", "--run.name", "x").out
    assert (asked(text)["gpus-per-node"], last(text)[-4:]) == ("2", ["--gpus", "2", "--run.name", "x"])
    text = heed("train", "ani mals.txt", "--on", "slurm", "--dry-run", "--processes", "3").out
    assert asked(text)["cpus-per-task"] == "3"


def test_every_verb_prints_its_script(heed, place):
    Path("study.yaml").write_text(STUDY)
    Path("pairs.tsv").write_text("".join(f"who is {n}?\tname {n}\n" for n in range(40)))
    shell = ["--on", "slurm", "--dry-run", "--slurm.time", "30"]
    compare = asked(heed("compare", "study.yaml", *shell).out)
    assert (compare["array"], compare["time"]) == ("0-5%8", "30")
    assert asked(heed("tune", "sst2", "--methods", "head,lora", *shell).out)["array"] == "0-1%8"
    pretrain = heed("pretrain", "ani mals.txt", *shell).out
    assert last(pretrain)[-3:] == ["pretrain", "ani mals.txt", "--run.name=ani-mals-gpt-1"]
    script = heed("slurm", "script", "--slurm.time", "30", "--", "heed", "pretrain", "ani mals.txt").out
    assert script == pretrain
    study = heed("slurm", "script", "--slurm.time", "30", "--", "heed", "compare", "study.yaml", "--jobs", "2").out
    assert last(study)[-4:] == ["compare", "study.yaml", "--jobs", "2"]
    mine = heed("slurm", "script", "--name", "mine", "--", "python", "my.py", "--on", "x").out
    assert (asked(mine)["job-name"], last(mine)[-4:]) == ("mine", ["python", "my.py", "--on", "x"])
    line = "srun --partition=mig_class --cpus-per-task=1 --gpus-per-node=1 --mem=16G --time=30 --pty bash -l\n"
    flags = ["--slurm.partition", "mig_class", "--slurm.gpus", "1", "--slurm.time", "30", "--slurm.memory", "16G"]
    assert heed("slurm", "interact", *flags).out == line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--slurm.time", "soon"], "'soon' is no time: write minutes"),
        (["--slurm.time", "1", "--slurm.notice", "60"], "60 seconds are no less than the time limit"),
        (["--slurm.memory", "16 GB"], "'16 GB' is no size: write it as in 16G"),
        (["--slurm.gpus", "0"], "'0' is no number of GPUs"),
        (["--slurm.after", "yesterday"], "'yesterday' names no jobs"),
        (["--slurm.partition", "a b"], "'a b' is no name of Slurm's"),
        (["--slurm.more=--time=3"], "heed writes --time itself"),
        (["--slurm.more=-t 3"], "'-t' is no option"),
        (["--slurm.more=--a='"], "No closing quotation"),
        (["--slurm.setup", " "], "is empty: leave it out"),
        (["--slurm.cpus", "0"], "greater than or equal to 1"),
        (["--slurm.tiem", "3"], "did you mean '--slurm.time'?"),
        (["--slurm.time", "3", "--slurm.time", "4"], "--slurm.time is given twice"),
        (["--gpus", "2", "--slurm.gpus", "4"], "--gpus 2, and a job with --slurm.gpus 4: leave out --gpus"),
        (["--run.name", "a\\b"], "sbatch takes no line end and no backslash"),
        (["--no-such"], "unknown option --no-such"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_before_it_is_submitted(heed, place, flags, said):
    answer = heed("train", "ani mals.txt", "--on", "slurm", "--dry-run", *flags)
    assert (answer.code, answer.err.count("\n"), answer.out) == (2, 1, "")
    assert said in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--slurm.time", "30"], "--slurm.time is for a cluster: add --on slurm"),
        (["train", "--dry-run"], "--dry-run goes with --on slurm; heed check FILE"),
        (["tune", "sst2", "--dry-run"], "--dry-run goes with --on slurm"),
        (["tune", "sst2", "--on", "slurm", "--slurm.gpus", "2"], "one process with one GPU at most"),
        (["tune", "sst2", "--on", "slurm", "--overfit", "10"], "--overfit is done here: leave out --on slurm"),
        (["tune", "sst2", "--on", "slurm", "--batch-size", "auto"], "what fits is measured here"),
        (["compare", "x.yaml", "--on", "slurm", "--report"], "--report is done here"),
        (["prompt", "sst2", "--api", "http://localhost:1/v1", "--model", "m", "--on", "slurm"], "another machine"),
        (["tune", "sst2", "--on", "slurm", "--jobs", "2"], "with --on slurm say --slurm.array-limit"),
        (["train", "--on", "mars"], "--on: 'mars' is none of here, slurm"),
        (["train", "ani mals.txt", "--resume", "runs/none", "--on", "slurm"], "runs/none does not exist"),
        (["jobs", "folow", "3"], "did you mean 'follow'?"),
        (["jobs", "cancel"], "heed jobs cancel needs numbers"),
        (["slurm", "script"], "heed slurm script needs a command"),
        (["slurm", "script", "--name", "x", "--", "heed", "train"], "give --run.name to the command"),
        (["slurm", "run"], "heed slurm run needs a command"),
    ],
    ids=str,
)
def test_flags_that_do_not_go_together(heed, place, words, said):
    answer = heed(*words)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err


def test_a_name_that_is_taken_is_told_at_once(heed, place):
    (place / "runs/mine").mkdir(parents=True)
    (place / "runs/mine/notes.txt").write_text("mine")
    answer = heed("train", "ani mals.txt", "--on", "slurm", "--dry-run", "--run.name", "mine")
    assert (answer.code, "is no run folder: choose another name" in answer.err) == (2, True)


# ---------------------------------------------------------------------- clusters that do not do what they should


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put a script in the place of a program of Slurm's: no real cluster fails to order."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(name, text):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(stat.S_IRWXU)

    return write


def test_without_slurm_a_line_says_what_to_do(heed, place, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    answer = heed("train", "ani mals.txt", *TINY, "--on", "slurm")
    assert (answer.code, answer.err) == (2, (
        "heed: there is no sbatch on this machine: log in where your cluster takes jobs (its login node), or leave out "
        "--on slurm; --dry-run prints the script\n"
    ))  # fmt: skip
    assert list(Path("slurm").iterdir()) == []
    for words in (["jobs"], ["tune", "sst2", "--on", "slurm"], ["compare", "x.yaml", "--on", "slurm"]):
        assert heed(*words).err.startswith("heed: there is no s")


@pytest.mark.parametrize(
    ("text", "said", "left"),
    [
        ("echo 'sbatch: error: QOSMaxSubmitJob' >&2; exit 1", "sbatch refuses: QOSMaxSubmitJob\n", 0),
        ("exit 3", "sbatch refuses: it ended with 3\n", 0),
        ("printf 'a\\033[2Jb\\n'", "sbatch answered 'a\\\\x1b[2Jb' and no number of a job: see squeue\n", 0),
        ("sleep 60", "sbatch has not answered for 0 seconds: the job may have been submitted: see squeue\n", 1),
    ],
    ids=["error", "silent error", "odd answer", "slow"],
)
def test_an_sbatch_that_fails_is_one_line(heed, place, programs, monkeypatch, text, said, left):
    monkeypatch.setattr("heed.slurm.queue.PATIENCE", 0.3)
    programs("sbatch", text)
    answer = heed("train", "ani mals.txt", *TINY, "--on", "slurm")
    assert (answer.code, answer.err) == (2, f"heed: {said}")
    assert len(list(Path("slurm").iterdir())) == left  # of a job that may be there its script stays


def test_what_is_asked_for_wins_over_variables_and_those_of_another_job_are_not_handed_on(
    heed, place, programs, monkeypatch
):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    programs("sbatch", 'echo "$@" > said; env | grep ^SLURM > variables; echo "12;lab"')
    answer = heed("train", "ani mals.txt", *TINY, "--on", "slurm", "--slurm.partition", "gpu", "--json")
    found = json.loads(answer.out)
    assert (found["job"], found["run"]) == ("12", "runs/ani-mals-gpt-1")
    assert found["log"] == f"{place}/slurm/ani-mals-gpt-1/log-12.out"
    assert "--partition=gpu" in Path("said").read_text()
    assert Path("variables").read_text() == "SLURM_CONF=/etc/slurm.conf\n"
    again = heed("train", "ani mals.txt", *TINY, "--on", "slurm")  # before the first has begun
    assert "it trains runs/ani-mals-gpt-2" in again.out


ROWS = (
    "12|12|N/A|PENDING|PartitionTimeLimit|0:00|9:00:00||gpu|heed:{place}/slurm/one|one",
    "13_2|13|2|RUNNING|None|0:07|5:00|n1|gpu|heed:{place}/slurm/study|norms",
    "14|14|N/A|RUNNING|None|0:07|5:00|n1|gpu||others' | job",
)


@pytest.fixture
def queued(place, programs):
    """A queue of three jobs, one of them not heed's."""
    rows = "\n".join(ROWS).format(place=place).split("\n")
    lines = "\n".join("\x1f".join(row.split("|", 10)) for row in rows)
    (place / "queue").write_text(lines + "\nslurm: a line that is none\n")
    programs("squeue", f"cat '{place}/queue'")
    programs("scancel", 'echo "$@" >> cancelled')
    return place


def test_jobs_are_listed_and_cancelled(heed, queued):
    shown = heed("jobs").out.splitlines()
    assert [line.split()[0] for line in shown] == ["job", "12", "13_2"]
    assert "pending (PartitionTimeLimit)" in shown[1]
    assert shown[2].endswith("slurm/study")
    assert "others' | job" in heed("jobs", "--all").out
    assert heed("jobs", "cancel", "12", "slurm/study").out == "12: cancelled, one\n13_2: cancelled, norms\n"
    assert Path("cancelled").read_text() == "12\n13\n"
    assert heed("jobs", "cancel", "99").err == "heed: no job of yours is 99: heed jobs --all lists them\n"


def test_names_are_whole_beside_a_folder_that_is_far_from_here(heed, queued):
    row = f"15|15|N/A|RUNNING|None|0:07|5:00|n1|gpu|heed:/{'far/' * 40}slurm/a|my study: post, seed 3"
    with (queued / "queue").open("a") as file:
        file.write("\x1f".join(row.split("|", 10)) + "\n")
    assert "my study: post, seed 3" in heed("jobs").out


def test_a_queue_that_fails_is_one_line(heed, place, programs):
    programs("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    for words in (["jobs"], ["jobs", "follow", "3"], ["jobs", "cancel", "3"]):
        answer = heed(*words)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "the cluster does not answer now: try again" in answer.err


def test_logs_of_a_job_that_the_queue_has_forgotten(heed, place, programs):
    programs("squeue", "true")
    folder = place / "slurm/study"
    folder.mkdir(parents=True)
    for task, text in ((2, "two\n"), (10, "ten\n")):
        (folder / f"log-5_{task}.out").write_text(text)
    assert heed("jobs", "follow", "5").out == "==> 5_2 <==\ntwo\n==> 5_10 <==\nten\n"
    assert heed("jobs", "follow", "5_10").out == "ten\n"
    assert heed("jobs", "follow", "slurm/study").out == heed("jobs", "follow", "5").out
    assert "give the folder that holds them" in heed("jobs", "follow", "6").err
    assert "is no job's number and no folder of logs" in heed("jobs", "follow", "--", "--x").err
