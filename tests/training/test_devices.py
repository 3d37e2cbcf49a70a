"""Devices: chosen, refused, described; precision; memory."""

import json
import os
import subprocess
import sys

import pytest
import torch

from heed.errors import ConfigError
from heed.training import devices
from heed.training.devices import (
    available_memory,
    choose_device,
    choose_precision,
    describe_device,
    machine_facts,
    peak_memory,
    take_threads,
    threads_each,
)

CPU = torch.device("cpu")


def pretend(monkeypatch, cuda, mps):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_fastest(monkeypatch, cuda, mps, expected):
    pretend(monkeypatch, cuda, mps)
    assert choose_device("auto").type == expected
    assert choose_device("cpu").type == "cpu"


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    pretend(monkeypatch, cuda=False, mps=False)
    with pytest.raises(ConfigError, match="torch finds no cuda on this machine, only cpu"):
        choose_device("cuda")
    with pytest.raises(ConfigError, match="unknown value 'tpu'"):
        choose_device("tpu")


def test_precision(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(devices, "fast_bf16", lambda device: device.type == "cuda")
    assert choose_precision("auto", cuda) == ("bf16", None)
    assert choose_precision("auto", CPU) == ("fp32", None)
    assert choose_precision("fp32", cuda) == ("fp32", None)
    precision, warning = choose_precision("bf16", CPU)
    assert precision == "bf16"  # asked for is honoured, and said to be slow
    assert "slow" in (warning or "")


def test_memory_is_in_bytes():
    assert 50 * 2**20 < peak_memory(CPU) < 2**40  # torch alone takes more than 50 MB
    before = peak_memory(CPU)
    block = torch.ones(64 * 2**20, dtype=torch.uint8)
    assert peak_memory(CPU) >= before
    assert 0 < available_memory(CPU) < 2**50
    del block


def test_facts_are_plain_and_the_device_is_described():
    facts = json.loads(json.dumps(machine_facts()))
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**28
    assert facts["processor"]
    assert describe_device(CPU).startswith("cpu (")
    assert "thread" in describe_device(CPU)


@pytest.mark.parametrize(
    ("asked", "cores", "jobs", "expected"),
    [
        ("1", 8, 1, 1), ("1", 8, 2, 1), ("4", 2, 2, 4), (" 3 ", 8, 2, 3), ("2,1", 8, 1, 2),  # what is asked for is kept
        (None, 8, 1, 8), (None, 8, 3, 2), (None, 2, 4, 1), ("", 8, 2, 4), ("0", 8, 2, 4), ("many", 8, 2, 4),
    ],
)  # fmt: skip
def test_runs_side_by_side_take_the_threads_that_were_asked_for_or_share_the_cores(
    monkeypatch, asked, cores, jobs, expected
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(devices, "cores", lambda: cores)
    assert threads_each(jobs) == expected


@pytest.mark.parametrize(
    ("asked", "own", "expected"), [("3", None, "3"), ("2,1", None, "2"), ("3", "5", "5"), (None, None, None)]
)
def test_threads_of_tokenizers_follow_those_of_torch(asked, own, expected):
    given = {"OMP_NUM_THREADS": asked, "RAYON_NUM_THREADS": own}
    rest = {name: value for name, value in os.environ.items() if name not in given}
    code = "import heed, os; print(os.environ.get('RAYON_NUM_THREADS'))"
    environment = rest | {name: value for name, value in given.items() if value is not None}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(expected)


def test_threads_are_taken_and_recorded(monkeypatch):
    taken = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    take_threads(None)
    take_threads(3)
    assert taken == [3]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert machine_facts()["threads"] == 3
    assert "3 threads" in describe_device(CPU)
