"""How fast heed decodes against transformers' `generate`, both greedy, with a cache, on the same random weights' shape.

    python benchmarks/generation_speed.py                      # four shapes, two threads
    python benchmarks/generation_speed.py --threads 1          # CPU seconds: the figure to trust on a busy machine
    python benchmarks/generation_speed.py --sides heed transformers --shape "6/384 batch 1"

heed with its weights in float32, float16, bfloat16 and int8 (`heed sample --weights`), transformers in float32 and with
the whole model in bfloat16. Each side runs in a process of its own, and they take turns, so that a disturbance of the
machine meets all. Tokens/s is the median over the turns of (tokens generated / wall-clock seconds), after one warm-up;
CPU seconds a thousand tokens likewise. Reading the prompt is included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from functools import partial

SHAPES = {  # name: (layers, width, heads, vocabulary, context, batch, prompt, new tokens)
    "6/384 batch 1": (6, 384, 6, 65, 256, 1, 8, 128),
    "6/384 batch 16": (6, 384, 6, 65, 256, 16, 8, 128),
    "12/768 vocabulary 50257 batch 1": (12, 768, 12, 50_257, 256, 1, 8, 32),
    "6/384 prompt 512 batch 8": (6, 384, 6, 65, 1024, 8, 512, 64),
}


def heed_side(shape: tuple[int, ...], weights: str):
    from heed.config import ModelConfig
    from heed.generation import Sampling, generate
    from heed.models import GPT, pack

    class Bytes:  # only the ids matter here
        end_id = None

        def encode(self, text: str) -> list[int]:
            return list(text.encode())

        def token_bytes(self, id: int) -> bytes:
            return b"x"

    layers, width, heads, vocabulary, context, batch, prompt, new = shape
    config = ModelConfig(n_layers=layers, d_model=width, n_heads=heads, context=context, activation="gelu-tanh")
    model = pack(GPT(config, vocabulary).eval(), weights)
    prompts = [[(7 * row + t) % vocabulary for t in range(prompt)] for row in range(batch)]

    def run() -> int:
        answers = generate(model, Bytes(), prompts, Sampling(temperature=0), max_tokens=new)
        return sum(len(answer.ids) for [answer] in answers)

    return run


def transformers_side(shape: tuple[int, ...], weights: str):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, width, heads, vocabulary, context, batch, prompt, new = shape
    config = GPT2Config(n_layer=layers, n_embd=width, n_head=heads, vocab_size=vocabulary, n_positions=context)
    config.bos_token_id = config.eos_token_id = None  # as on heed's side, nothing ends early
    model = GPT2LMHeadModel(config).eval().to({"fp32": torch.float32, "bf16": torch.bfloat16}[weights])
    ids = torch.tensor([[(7 * row + t) % vocabulary for t in range(prompt)] for row in range(batch)])

    def run() -> int:
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            use_cache=True,
            max_new_tokens=new,
            pad_token_id=0,
        )
        return (out.shape[1] - ids.shape[1]) * batch

    return run


SIDES = {
    "heed": partial(heed_side, weights="fp32"),
    "heed fp16": partial(heed_side, weights="fp16"),
    "heed bf16": partial(heed_side, weights="bf16"),
    "heed int8": partial(heed_side, weights="int8"),
    "transformers": partial(transformers_side, weights="fp32"),
    "transformers bf16": partial(transformers_side, weights="bf16"),
}


def serve(side: str, name: str, threads: int) -> None:
    """Run once for each line on standard input, and answer with the figures as JSON."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(threads)
    run = SIDES[side](SHAPES[name])
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = run()
        print(json.dumps([tokens, time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


def start(side: str, name: str, threads: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--serve", side, "--shape", name, "--threads", str(threads)]
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert worker.stdout is not None
    if worker.stdout.readline().strip() != "ready":
        raise SystemExit(f"{side} did not start: run {' '.join(command)} to see why")
    return worker


def turn(worker: subprocess.Popen[str]) -> list[float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def compare(name: str, sides: list[str], turns: int, threads: int) -> None:
    """Let the sides take turns on a shape, and print a line for each."""
    workers = {side: start(side, name, threads) for side in sides}
    results: dict[str, list[list[float]]] = {side: [] for side in workers}
    for _ in range(turns):
        for side, worker in workers.items():
            results[side].append(turn(worker))
    for worker in workers.values():
        worker.communicate()
    speed = {side: statistics.median(n / wall for n, wall, _ in rows) for side, rows in results.items()}
    cpu = {side: statistics.median(1000 * used / n for n, _, used in rows) for side, rows in results.items()}
    peers = [side for side in sides if side.startswith("transformers")]
    for side in sides:
        by_wall = " ".join(f"{speed[side] / speed[peer]:6.2f}" for peer in peers)
        by_cpu = " ".join(f"{cpu[peer] / cpu[side]:6.2f}" for peer in peers)
        print(f"{name:32} {side:18} {speed[side]:9.1f} {by_wall:>14} {cpu[side]:10.3f} {by_cpu:>14}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="measured runs of each side")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch, on all sides")
    parser.add_argument("--shape", choices=SHAPES, help="only this one")
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=list(SIDES), help="only these")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.shape, args.threads)
        return
    peers = " and ".join(side for side in args.sides if side.startswith("transformers"))
    print(f"{args.threads} threads; times the speed of {peers}" if peers else f"{args.threads} threads")
    print(f"{'shape':32} {'side':18} {'tokens/s':>9} {'ratios':>14} {'CPU s/1000':>10} {'ratios':>14}")
    for name in [args.shape] if args.shape else SHAPES:
        compare(name, args.sides, args.turns, args.threads)


if __name__ == "__main__":
    main()
