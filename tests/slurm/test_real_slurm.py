"""Against a real Slurm of three nodes on this machine: submit, follow, cancel, queue again with equal bits, studies."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from cluster import Cluster, missing
from slurm_flags import TINY, write_animals

from heed.cli import jobs, main
from heed.records.study import Outcome
from heed.slurm.queue import ENDED, queue
from heed.studies import on_slurm
from heed.studies.compare import run_study
from heed.studies.plan_reading import read_plan
from heed.studies.worker import run_cell
from heed.training.checkpoint import latest_step, load_checkpoint, step_name

sys.path.insert(0, str(Path(__file__).parents[1] / "tuning"))
from small import write_table
from tiny_encoders import save_tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
ENDLESS = ["--train.steps", "1000000", "--train.eval-every", "1000000", "--train.checkpoint-every", "1000000"]


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("slurm") / "lab") as cluster:
        yield cluster


SIXTY = ["--train.steps", "60", "--train.eval-every", "30", "--train.checkpoint-every", "30"]
SIXTY += ["--train.accumulation", "80"]  # steps that last, so that there is time to hold the training after the first
MAKES_ROOM = "[ -e begun-$SLURM_JOB_ID ] || { touch begun-$SLURM_JOB_ID; sleep 600; }"


@pytest.fixture(scope="module")
def early(slurm, tmp_path_factory):
    """The jobs that wait longest, for Slurm looks at limits twice a minute: begun before the tests that need little.

    Two pairs of jobs make room for another one; and a training gets the notice of its time limit while it is held, so
    that it does not depend on any speed.
    """
    folder = tmp_path_factory.mktemp("early")
    write_animals(folder)
    with contextlib.chdir(folder):
        asked = ["--on", "slurm", "--slurm.time", "10", "--slurm.notice", "595", "--json"]
        said = told("train", "ani mals.txt", *TINY, *SIXTY, "--run.name=--job", *asked)
        training = json.loads(said)["job"]
        rooms = []
        for partition in ("low", "low", "patient", "patient"):
            flags = ["--slurm.partition", partition, "--slurm.time", "10", "--", "bash", "-c", MAKES_ROOM]
            rooms.append((submitted(told("slurm", "script", *flags)), partition))
        for number, _ in rooms:
            until(Path(f"begun-{number}").exists, "the jobs that are to make room")
        words = ["--partition=urgent", "--cpus-per-task=4", "--output=/dev/null", "--wrap=true"]
        subprocess.run(["sbatch", *words], check=True, capture_output=True)
        run = folder / "runs/--job"
        [process] = until(lambda: run.exists() and ranks_of(training, "0"), "the training")
        until(lambda: steps_of(run), "its first step")
        process.suspend()
        assert steps_of(run) < 60, "the training was over before it was held"
        waiter = threading.Thread(target=let_go_at_notice, args=[process, training])
        waiter.start()
    yield SimpleNamespace(folder=folder, training=training, rooms=[(n, folder / f"log-{n}.out", p) for n, p in rooms])
    waiter.join()


def let_go_at_notice(process, number):
    """Let a process that is held go on as soon as Ctrl-C waits for it, after two minutes in any case; one is enough."""
    pending = lambda: int(re.search(r"ShdPnd:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())[1], 16)
    end = time.monotonic() + 120
    while process.is_running() and not pending() & 1 << signal.SIGINT - 1 and time.monotonic() < end:
        time.sleep(0.2)
    subprocess.run(["scontrol", "update", f"JobId={number}", "TimeLimit=60"], check=True)
    process.resume()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(on_slurm, "LATE", 1.0)
    monkeypatch.setattr(on_slurm, "GRACE", 3.0)
    monkeypatch.setattr(jobs, "PAUSE", 1.0)


def until(there, what="", seconds=180):
    """Return what `there` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := there()):
        if time.monotonic() > end:
            log = Path(os.environ["SLURM_CONF"]).with_name("slurmctld.log").read_text()
            pytest.fail(f"{what}: {[(job.id, job.state, job.reason) for job in queue()]}\n{log[-3000:]}")
        time.sleep(0.2)
    return found


def told(*argv):
    """Run a verb and return what it prints, where there is no test that could."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(list(argv)) == 0
    return out.getvalue()


def state_of(number):
    return next((job.state for job in queue() if number in (job.id, job.array)), "gone")


def ended(number):
    """Wait for the end of a job, which is to be a good one."""
    assert until(lambda: (state := state_of(number)) in ENDED and state, number) == "COMPLETED"


def number_of(answer):
    assert answer.code == 0, answer.err
    return json.loads(answer.out)["job"] if answer.out.startswith("{") else re.match(r"job (\d+):", answer.out)[1]


def submitted(script):
    """Submit a script as people do and return the number of its job."""
    Path("job.sbatch").write_text(script)
    return subprocess.run(["sbatch", "--parsable", "job.sbatch"], capture_output=True, text=True).stdout.strip()


def by_hand(heed, *argv):
    """Submit what `heed slurm script` prints and return job and log."""
    number = submitted(heed("slurm", "script", *argv).out)
    return number, Path(f"log-{number}.out")


def weights_of(run):
    step = latest_step(run / "checkpoints")
    saved = load_checkpoint(run / "checkpoints" / step_name(step))
    return step, {name: tensor.tolist() for name, tensor in {**saved.model, **saved.tensors}.items()}


def ranks_of(number, rank):
    """The processes of a job that train as this rank, on whichever node."""
    found = []
    for process in psutil.process_iter():
        try:
            variables, words = process.environ(), process.cmdline()
        except psutil.Error:
            continue
        trains = "train" in words and "run" not in words and "torch.distributed.run" not in words
        if variables.get("SLURM_JOB_ID") == number and trains and variables.get("RANK", "0") == rank:
            found.append(process)
    return found


def steps_of(run):
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return max((json.loads(line).get("step", 0) for line in lines), default=0)


@pytest.mark.usefixtures("early")  # so that they wait while others run
def test_by_hand_gpus_and_dependencies(heed, place):
    say = "echo gpu $CUDA_VISIBLE_DEVICES threads $OMP_NUM_THREADS in $PWD"
    asked = ["--slurm.time", "5", "--slurm.gpus", "1", "--slurm.cpus", "2", "--slurm.setup", "export PLACE='a b'"]
    first, log = by_hand(heed, *asked, "--", "bash", "-c", f'{say}; echo "$PLACE"')
    second, other = by_hand(heed, "--slurm.time", "5", "--slurm.after", first, "--", "bash", "-c", "sleep 0.1; exit 3")
    third, never = by_hand(heed, "--slurm.time", "5", "--slurm.after", f"afterok:{second}", "--", "true")
    until(lambda: state_of(second) == "FAILED", "the second job")
    assert f"gpu 0 threads 2 in {place}\na b\n" in log.read_text()
    assert other.exists()
    assert "job " + second in heed("jobs", "follow", second).out
    until(lambda: "Never" in next(job.reason for job in queue() if job.id == third), "the cluster to see it")
    waits = heed("jobs", "follow", third)
    assert (waits.code, "a job that it comes after has failed: cancel it with" in waits.err) == (2, True)
    assert heed("jobs", "cancel", third).out.startswith(f"{third}: cancelled")
    until(lambda: state_of(third) == "CANCELLED", "the third job")
    assert not never.exists()


def test_a_job_that_is_cancelled_is_not_queued_again(heed, place):
    number, log = by_hand(heed, "--slurm.time", "5", "--", "bash", "-c", MAKES_ROOM)
    until(Path(f"begun-{number}").exists, "the job")
    assert heed("jobs", "cancel", number).code == 0
    until(lambda: state_of(number) == "CANCELLED", "its end")
    assert "ended as asked" in log.read_text()


def test_two_nodes_under_torchrun_go_on_bit_for_bit(heed, place):
    steps = ["--train.steps", "40", "--train.eval-every", "20", "--train.checkpoint-every", "20"]
    asked = ["--on", "slurm", "--slurm.time", "10", "--slurm.nodes", "2", "--run.name", "two"]
    number = number_of(heed("train", "ani mals.txt", *TINY, *steps, *asked))
    run = Path("runs/two")
    [process] = until(lambda: run.exists() and ranks_of(number, "0"), "the job")
    until(lambda: steps_of(run), "its first step")
    process.suspend()
    nodes = {one.environ()["SLURMD_NODENAME"] for rank in "01" for one in ranks_of(number, rank)}
    subprocess.run(["scancel", "--signal=USR1", "--batch", number], check=True)  # what the time limit sends
    time.sleep(2)
    process.resume()
    assert main(["train", "ani mals.txt", *TINY, *steps, "--run.name", "straight", "--processes", "2"]) == 0
    shown = heed("jobs", "follow", number)
    assert (nodes, state_of(number)) == ({"n1", "n2"}, "COMPLETED"), shown.out
    assert "going on from step" in shown.out
    assert weights_of(run) == weights_of(Path("runs/straight"))


def test_a_cancelled_training_has_its_checkpoint_and_goes_on_by_hand(heed, place):
    number = number_of(heed("train", "ani mals.txt", *TINY, *ENDLESS, "--on", "slurm", "--slurm.time", "10"))
    run = Path("runs/ani-mals-gpt-1")
    until(lambda: steps_of(run), "its first step")
    assert heed("jobs", "cancel", "slurm/ani-mals-gpt-1").out == f"{number}: cancelled, ani-mals-gpt-1\n"
    until(lambda: state_of(number) == "CANCELLED", "its end")
    assert latest_step(run / "checkpoints") == steps_of(run)
    assert "ended before, cancelled" in heed("jobs", "cancel", number).out


def test_a_tune_and_few_shot_prompts(heed, place):
    encoder = save_tiny("bert-base-uncased", place / "encoder")
    table = write_table(place / "films.csv", 40, classes=("0", "1"))
    flags = ["--encoders", encoder, "--methods", "head", "--seeds", "1", "--epochs", "1", "--search", "none"]
    asked = ["--on", "slurm", "--slurm.time", "10"]
    small = [word if word != "16" or TINY[at - 1] != "--model.context" else "64" for at, word in enumerate(TINY[:-6])]
    small += ["--tokenizer.kind", "bpe", "--tokenizer.vocab-size", "270", "--train.steps", "2"]
    ended(number_of(heed("train", "ani mals.txt", *small, "--run.name", "small", *asked)))
    prompt = ["--data", table, "--run", "runs/small", "--by", "logprob", "--shots", "0", "--items", "2"]
    asks = heed("prompt", "sst2", *prompt, "--out", "asked", *asked)
    found = heed("tune", table, *flags, "--batch-size", "8", "--max-length", "16", "--device", "cpu", *asked)
    assert found.code == 0, found.err
    assert re.findall(r"job \d+: (.*?);", found.err) == ["head-measure", "head-1"]
    assert [arm["status"] for arm in json.loads(Path("tunes/films/tune.json").read_text())["arms"]] == ["done"]
    ended(number_of(asks))
    assert json.loads(Path("asked/prompt.json").read_text())["state"] == "done"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--slurm.partition", "gpu"], "Invalid partition name specified: sinfo lists the partitions"),
        (["--slurm.constraint", "fast"], "Invalid feature specification: sinfo -o '%P %f' lists what nodes have"),
        (["--slurm.more=--no-such"], "unrecognized option '--no-such'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_the_cluster_refuses_is_one_line_and_leaves_nothing(heed, place, flags, said):
    answer = heed("train", "ani mals.txt", *TINY, "--on", "slurm", *flags)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
    assert list(Path("slurm").iterdir()) == []


def test_names_that_look_like_something_else(heed, place):
    """Each is the name of its job to the letter, its log is found, and the command within has its words."""
    jobs = {}
    for name in ("--help", "a b", "100 % of 'it'", 'say "so"', "näme #1", "$HOME;ls", "a" * 90):
        (place / name).mkdir()
        os.chdir(place / name)
        jobs[name], _ = by_hand(heed, "--slurm.time", "5", f"--name={name}", "--", "printf", "<%s>\\n", name)
    for name, number in jobs.items():
        ended(number)
        os.chdir(place / name)
        assert f"\n<{name}>\n" in heed("jobs", "follow", number).out
        assert next(job.name for job in queue() if job.id == number) == name


def test_a_job_that_makes_room_is_queued_again(early):
    for number, log, partition in early.rooms:
        ended(number)
        assert "begun 2 times" in log.read_text()
        # the other partition does it by itself
        assert ("pre-empted: queued again" in log.read_text()) is (partition == "low")


def test_a_run_goes_on_bit_for_bit_after_its_time_was_up(heed, early, monkeypatch):
    monkeypatch.chdir(early.folder)
    run = Path("runs/--job")
    assert main(["train", "ani mals.txt", *TINY, *SIXTY, "--run.name", "straight"]) == 0
    shown = heed("jobs", "follow", early.training)
    assert (shown.code, state_of(early.training)) == (0, "COMPLETED"), shown.out
    assert "the time is up: the job is queued again" in shown.out
    assert re.search(r"begun \d times: .* train --resume runs/--job", shown.out)
    assert 0 < int(re.search(r"going on from step (\d+)", shown.out)[1]) < 60
    assert weights_of(run) == weights_of(Path("runs/straight"))
    assert json.loads((run / "environment.json").read_text())["job"] == early.training


STUDY = """
base:
  tokenizer: {kind: char}
  model: {n_layers: 1, n_heads: 2, d_model: 16, context: 16}
  train: {batch_size: 4, learning_rate: 0.01, eval_every: 3, checkpoint_every: 2}
  data: {source: ani mals.txt, workers: 1}
  run: {device: cpu, threads: 1}
variants: {pre: {}, post: {model.norm_order: post}}
seeds: 3
budget: {steps: 6}
"""


def test_a_study_of_six_cells_that_is_left_and_found_again(heed, place, slurm):
    """Ctrl-C leaves it, its jobs go on, the same command finds them; the queue may be away meanwhile."""
    Path("study.yaml").write_text(STUDY)
    command = ["compare", "study.yaml", "--out", "my study"]
    asked = ["--on", "slurm", "--slurm.time", "10", "--slurm.array-limit", "2"]
    most = []

    class Board:
        """Counts what runs; Ctrl-C as soon as something does."""

        def __enter__(self):
            return self

        def __exit__(self, *error):
            """Nothing is left to do."""

        def __call__(self, rows):
            most.append(sum(row.state == "running" for row in rows))
            if most[-1] and max(most[:-1], default=0) == 0:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heed.cli.compare.board", Board)
        first = heed(*command, *asked)
        assert first.code == 130
        assert "their jobs go on" in first.err
        assert "heed jobs cancel 'my study'" in first.err
        refused = heed(*command)  # here, while the cluster is at it
        assert refused.code == 2
        assert re.fullmatch(r"heed: runs of my study are under way as job \d+: .*\n", refused.err.splitlines(True)[-1])
        slurm.stop_controller()
        try:
            away = heed("jobs")
        finally:
            slurm.start_controller()
        assert (away.code, away.err.count("\n")) == (2, 1)
        assert "Unable to contact slurm controller (connect failure): the cluster does not answer now" in away.err
        until(lambda: subprocess.run(["squeue"], capture_output=True).returncode == 0, "slurmctld")
        second = heed(*command, *asked)
    assert second.code == 0, second.err
    assert 1 <= max(most) <= 2
    assert len(list(Path("my study/slurm").iterdir())) == 1  # nothing was submitted twice
    assert "6 runs, 2 at a time" in first.err
    assert "my study: post, seed 3" in heed("jobs").out
    assert run_study(read_plan(Path("study.yaml")), Path("here"), run_cell=lambda task: run_cell(task.values))
    for cell in sorted(Path("here/records").rglob("seed-*.json")):
        on_nodes, here = (figures_of(folder / cell.relative_to("here")) for folder in (Path("my study"), Path("here")))
        assert on_nodes == here


def figures_of(record):
    """What a run came to, but for the time that it took to measure it."""
    figures = Outcome.model_validate_json(record.read_text()).plain()["figures"]
    return {split: {**found, "evaluation_seconds": 0} for split, found in figures.items()}
