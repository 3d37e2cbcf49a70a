"""What runs in a job: it asks its command to end in time, and queues the job again where that is wanted."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from heed.records.kept import write_record
from heed.records.run import EnvironmentFile
from heed.records.slurm import ManifestFile, ManifestTask
from heed.slurm.node import going_on, run_command

WAITS = """
import pathlib, time
try:
    pathlib.Path("begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    raise SystemExit({})
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Run a job whose cluster writes down what it is asked; it gets a signal once its command has begun."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/scontrol"
    program.write_text('#!/bin/sh\necho "$@" >> asked\n[ "$1" = show ] && cat facts\n[ ! -e refuses ] || exit 1\n')
    program.chmod(0o700)
    (tmp_path / "facts").write_text("JobId=12 StartTime=2026-11-29T10:00:00 PreemptTime=None\n")
    (tmp_path / "asked").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "12")

    def send(number, over):
        while not Path("begun").exists():
            if over.wait(0.02):  # a signal that comes after its job would end the tests
                return
        os.kill(os.getpid(), number)

    def run(code, number, *, run=None, requeues=20, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        said = []
        over = threading.Event()
        sender = threading.Thread(target=send, args=[number, over])
        sender.start()
        try:
            found = run_command([sys.executable, "-c", WAITS.format(code)], "", run, requeues, said.append)
        finally:
            over.set()
            sender.join()
        return found, "\n".join(said), Path("asked").read_text().splitlines()

    return run


def test_at_the_notice_the_job_is_queued_again(job):
    code, said, asked = job(130, signal.SIGUSR1)
    assert (code, asked) == (130, ["requeue 12"])
    assert said == "heed: job 12\nheed: the time is up: the job is queued again"


def test_a_task_of_an_array_is_queued_again_and_not_the_array(job):
    _, _, asked = job(130, signal.SIGUSR1, SLURM_ARRAY_JOB_ID="12", SLURM_ARRAY_TASK_ID="3")
    assert asked == ["requeue 12_3"]


@pytest.mark.parametrize(
    ("when", "again"),
    [("None", False), ("2026-11-29T11:00:00", True), ("2026-11-29T09:00:00", False)],
    ids=["cancelled", "pre-empted", "pre-empted the last time, cancelled now"],
)
def test_at_the_end_it_is_queued_again_where_it_makes_room(job, when, again):
    Path("facts").write_text(f"JobId=12 StartTime=2026-11-29T10:00:00 PreemptTime={when}\n")
    code, said, asked = job(130, signal.SIGTERM)
    assert (code, asked[1:]) == (130, ["requeue 12"] if again else [])
    assert ("ended as asked" in said) is not again


def test_a_command_that_got_the_signal_first_and_is_dead_already(job, monkeypatch):
    """Slurm sends TERM to every process of a job, and no order is promised."""
    Path("facts").write_text("JobId=12 StartTime=2026-11-29T10:00:00 PreemptTime=2026-11-29T11:00:00\n")
    wait = subprocess.Popen.wait

    def dies_first(process, timeout=None):
        if process.args[0] != sys.executable:
            return wait(process, timeout)
        process.terminate()
        code = wait(process, timeout)
        Path("begun").touch()  # so that ours comes now
        return code

    monkeypatch.setattr(subprocess.Popen, "wait", dies_first)
    code, said, asked = job(130, signal.SIGTERM)
    assert (code, asked[1:]) == (130, ["requeue 12"])
    assert "pre-empted: queued again" in said


@pytest.mark.parametrize("code", [0, 2])
def test_what_was_done_in_time_or_is_wrong_is_not_begun_again(job, code):
    assert job(code, signal.SIGUSR1)[::2] == (code, [])


def test_not_for_ever_and_what_to_do_then(job):
    code, said, asked = job(130, signal.SIGUSR1, run=Path("runs/a b"), requeues=2, SLURM_RESTART_COUNT="2")
    assert (code, asked) == (130, [])
    assert "begun 3 times" in said
    assert "which is --slurm.requeues: heed train --resume 'runs/a b' --on slurm goes on" in said


def test_a_cluster_that_refuses_is_one_line(job):
    Path("refuses").touch()
    code, said, _ = job(130, signal.SIGUSR1)
    assert code == 130
    assert "heed: the job could not be queued again: scontrol refuses: it ended with 1; what was done is kept" in said


def test_exit_codes_pass_and_a_task_is_told_its_order(heed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert heed("slurm", "run", "--", sys.executable, "-c", "raise SystemExit(7)").code == 7
    write = "import sys; open('told', 'w').write(sys.stdin.readline())"
    task = ManifestTask(name="pre, seed 1", command=[sys.executable, "-c", write], order={"record": "ä.json"})
    write_record(Path("manifest.json"), ManifestFile(tasks=[task, task]))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert heed("slurm", "run", "--manifest", "manifest.json").err == "heed: pre, seed 1\nheed: job 12_1\n"
    assert json.loads(Path("told").read_text()) == {"record": "ä.json"}
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert "SLURM_ARRAY_TASK_ID is '2', and 2 tasks are there" in heed("slurm", "run", "--manifest=manifest.json").err


def test_only_the_run_that_this_job_began_goes_on(tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    first = ["srun", "bash", "python", "-m", "torch.distributed.run", "-m", "heed", "pretrain", "a.txt", "--json",
             "--overwrite", "--processes", "2"]  # fmt: skip
    assert going_on(first, run, "12") == first  # nothing is there yet
    write_record(run / "environment.json", EnvironmentFile(job="11"))
    assert going_on(first, run, "12") == first  # what --overwrite is to delete
    write_record(run / "environment.json", EnvironmentFile(job="12"))
    assert going_on(first, run, "12") == [*first[:7], "train", "--resume", str(run), "--json", "--processes", "2"]
    assert going_on(first, run, None) == first


def test_a_signal_before_the_command_has_begun_and_more_than_one_are_one_wish(job, monkeypatch):
    begin, refused = subprocess.Popen, []

    def late(words, **options):
        if words[0] == sys.executable:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            os.kill(os.getpid(), signal.SIGTERM)  # while the cluster is asked
            refused.append(words[0])
        return begin(words, **options)

    monkeypatch.setattr(subprocess, "Popen", late)
    code, said, _ = job(130, signal.SIGTERM)
    assert (code in (130, 128 + signal.SIGINT), refused) == (True, ["scontrol"])
    assert "ended as asked" in said
