"""What each of N processes holds of a GPT of 85 million parameters, whole and in parts (`train.shard`).

    python benchmarks/sharding_memory.py [N ...]        default: 1 2 4

Tensors are weights and AdamW's two means between two updates, counted; the rest is resident memory of the process, the
most that it ever had and what it has after three updates of 4 x 64 tokens. All on the CPUs, exchanged by gloo.
"""

import gc
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

from heed.build import build_model
from heed.config import make_config
from heed.text.stream import Batch
from heed.training.ranks import Ranks
from heed.training.step import Updater
from heed.training.streams import Streams

MODEL = {"n_layers": 12, "n_heads": 12, "d_model": 768, "context": 64}
VOCABULARY, ROWS = 64, 4


def work(ranks: Ranks, shard: bool) -> dict[str, int]:
    config = make_config({"model": MODEL, "train": {"shard": shard, "precision": "fp32"}})
    model = build_model(config.model, VOCABULARY, torch.Generator().manual_seed(0))
    updater = Updater(model, config.train, torch.device("cpu"), Streams(1), lambda line: None, None, ranks)
    updater.held.meet(updater.optimizer)
    updater.held.let_go()
    ids = torch.randint(VOCABULARY, (ROWS, MODEL["context"] + 1), generator=torch.Generator().manual_seed(1)).numpy()
    for step in range(1, 4):
        updater.update(step, [Batch(ids[:, :-1].copy(), ids[:, 1:].copy(), None)])
    gc.collect()
    status = Path("/proc/self/status").read_text()
    held = [*updater.held.parameters.values(), *updater.optimizer.state().values()]
    resident = {name: int(re.search(rf"{name}:\s+(\d+)", status)[1]) // 1024 for name in ("VmHWM", "VmRSS")}
    return {"tensors": sum(tensor.nbytes for tensor in held) // 2**20, **resident}


def measure(size: int, shard: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(size):
            if (child := os.fork()) == 0:
                torch.set_num_threads(1)
                if size > 1:
                    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
                Path(folder, str(rank)).write_text(json.dumps(work(Ranks(rank, size), shard)))
                os._exit(0)
            children.append(child)
        if any(os.waitpid(child, 0)[1] for child in children):
            sys.exit("a process failed")
        for rank in range(size):
            found = json.loads(Path(folder, str(rank)).read_text())
            print(f"{'parts' if shard else 'whole'}  rank {rank} of {size}: tensors {found['tensors']:5} MiB", end="")
            print(f", resident at most {found['VmHWM']:5} MiB, after three updates {found['VmRSS']:5} MiB", flush=True)


if __name__ == "__main__":
    for number in map(int, sys.argv[1:] or ["1", "2", "4"]):
        for in_parts in (False, True) if number > 1 else (False,):
            measure(number, in_parts)
