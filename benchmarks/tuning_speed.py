"""Examples per second and peak memory of fine-tuning: heed beside transformers' Trainer, in one run.

    python benchmarks/tuning_speed.py --threads 2 --repeat 2

all-MiniLM-L6-v2 (22.7 million parameters) on sentences of SST-2, 32 a step, one pass over the first 1,024 sentences of
train after a pass over 128. Each measurement is a fresh process, the sides take turns, and the medians are compared.

  heed             heed tune --methods full, as it comes: sentences of about the same length together, no dropout of
                   attention weights, bfloat16 with attention in float32 where the CPU has AMX
  heed fp32        the same in float32
  Trainer          transformers.Trainer as it comes (float32, sentences in random order, all dropouts 0.1)
  Trainer, tuned   with what heed has: grouped by length, no dropout of attention weights, bf16 where heed has it
  heed head        heed tune --methods head: vectors computed once, then 30 passes over them
  Trainer head     Trainer with a frozen encoder, a pass; 30 of them are assumed to take 30 times as long

Processes beside this one disturb wall clocks on few cores: CPU seconds are the second figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIDES = ("heed", "heed fp32", "Trainer", "Trainer, tuned", "heed head", "Trainer head")
EXAMPLES, WARM_UP, BATCH, PASSES = 1024, 128, 32, 30


def heed_side(side: str, threads: int) -> dict[str, float]:
    import torch

    from heed.config import RunConfig, TrainConfig
    from heed.config.tuning import TUNING, MethodConfig, TuneConfig, TuneData
    from heed.text.splits import open_splits
    from heed.training.devices import has_amx
    from heed.training.step import Updater
    from heed.training.streams import Streams
    from heed.tuning.encoders import load_encoder
    from heed.tuning.tuned_run import Material, batches_of, build

    torch.set_num_threads(threads)
    head = side == "heed head"
    precision = "bf16" if has_amx() and side == "heed" else "fp32"
    train = TrainConfig.model_validate(TUNING | {"precision": precision, "warmup_steps": 0, "steps": 1000})
    config = TuneConfig(
        data=TuneData(source="sst2"), method=MethodConfig(name="head" if head else "full"), train=train, run=RunConfig()
    )
    splits = open_splits("sst2", train_examples=EXAMPLES)
    encoder = load_encoder(config.encoder, splits.classes, native=False)
    whole = Material.of(splits, encoder, 128)
    material = Material(splits, {"train": whole.encoded["train"]})
    warm = Material(splits, {"train": material.encoded["train"].take(range_of(WARM_UP))})
    tuned, _, _ = build(config, splits.classes)
    updater = Updater(tuned.train(), train, torch.device("cpu"), Streams(1), lambda line: None)

    def passes(some: Material, count: int) -> None:
        batches = batches_of(config, some, tuned)
        for step in range(1, count * batches.steps_per_epoch + 1):
            updater.update(step, [next(batches)])

    passes(warm, 1)
    begin, cpu = time.perf_counter(), time.process_time()
    passes(material, PASSES if head else 1)
    return figures(begin, cpu, EXAMPLES * (PASSES if head else 1))


def trainer_side(side: str, threads: int) -> dict[str, float]:
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from heed.text.splits import open_splits
    from heed.training.devices import has_amx
    from heed.tuning.encoders import find_encoder

    torch.set_num_threads(threads)
    folder, _ = find_encoder("minilm")
    tuned = side == "Trainer, tuned"
    dropout = {"attention_probs_dropout_prob": 0.0} if tuned else {}
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, **dropout)
    if side == "Trainer head":
        model.base_model.requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = open_splits("sst2", train_examples=EXAMPLES).rows["train"]
    ids = tokenizer(rows.texts, truncation=True, max_length=128)["input_ids"]
    examples = [{"input_ids": one, "labels": int(label)} for one, label in zip(ids, rows.labels, strict=True)]

    def train(some: list[dict[str, Any]]) -> None:
        with tempfile.TemporaryDirectory() as out:
            grouped: dict[str, Any] = {"train_sampling_strategy": "group_by_length"} if tuned else {}
            arguments = TrainingArguments(
                out, per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=1e-4, use_cpu=True,
                report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
                bf16=tuned and has_amx(), **grouped,
            )  # fmt: skip
            Trainer(
                model=model, args=arguments, train_dataset=some, processing_class=tokenizer,
                data_collator=DataCollatorWithPadding(tokenizer),
            ).train()  # fmt: skip

    train(examples[:WARM_UP])
    begin, cpu = time.perf_counter(), time.process_time()
    train(examples)
    return figures(begin, cpu, EXAMPLES)


def range_of(count: int) -> Any:
    import numpy as np

    return np.arange(count)


def figures(begin: float, cpu: float, examples: int) -> dict[str, float]:
    """Return examples per second by the wall and by the processor, and the peak resident memory in MiB."""
    return {
        "wall": examples / (time.perf_counter() - begin),
        "cpu": examples / (time.process_time() - cpu),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = heed_side if arguments.side.startswith("heed") else trainer_side
        print(json.dumps(side(arguments.side, arguments.threads)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1"}
    for _ in range(arguments.repeat):
        for side in SIDES:
            command = [sys.executable, str(Path(__file__)), "--side", side, "--threads", str(arguments.threads)]
            answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if answer.returncode:
                sys.exit(f"{side} failed:\n{answer.stderr}")
            found[side].append(json.loads(answer.stdout.splitlines()[-1]))
    median = {
        side: {key: statistics.median(one[key] for one in some) for key in some[0]} for side, some in found.items()
    }
    print(f"{'':<16}{'examples/s':>12}{'per CPU s':>12}{'peak MiB':>10}{'to Trainer':>12}{'CPU':>8}")
    for side, one in median.items():
        base = median["Trainer head" if side.endswith("head") else "Trainer"]
        ratios = f"{one['wall'] / base['wall']:>12.2f}{one['cpu'] / base['cpu']:>8.2f}"
        print(f"{side:<16}{one['wall']:>12.1f}{one['cpu']:>12.1f}{one['memory']:>10.0f}{ratios}")


if __name__ == "__main__":
    main()
