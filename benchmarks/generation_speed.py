"""How fast heed decodes against transformers' `generate`, both greedy, with a cache, on the same random weights' shape.

    python benchmarks/generation_speed.py                      # three shapes, two threads
    python benchmarks/generation_speed.py --threads 1          # CPU seconds: the figure to trust on a busy machine

Each side runs in a process of its own, and the two take turns, so that a disturbance of the machine meets both.
Tokens/s is the median over the turns of (tokens generated / wall-clock seconds), after one warm-up; CPU seconds a
thousand tokens likewise. Reading the prompt (8 tokens a row) is included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings

SHAPES = {  # name: (layers, width, heads, vocabulary, batch, new tokens)
    "6/384 batch 1": (6, 384, 6, 65, 1, 128),
    "6/384 batch 16": (6, 384, 6, 65, 16, 128),
    "12/768 vocabulary 50257 batch 1": (12, 768, 12, 50_257, 1, 32),
}
CONTEXT, PROMPT = 256, 8
GOAL = {"6/384 batch 1": 3.0, "6/384 batch 16": 3.0, "12/768 vocabulary 50257 batch 1": 1.5}


def heed_side(shape: tuple[int, ...]):
    from heed.config import ModelConfig
    from heed.generation import Sampling, generate
    from heed.models import GPT

    class Bytes:  # only the ids matter here
        end_id = None

        def encode(self, text: str) -> list[int]:
            return list(text.encode())

        def token_bytes(self, id: int) -> bytes:
            return b"x"

    layers, width, heads, vocabulary, batch, new = shape
    config = ModelConfig(n_layers=layers, d_model=width, n_heads=heads, context=CONTEXT, activation="gelu-tanh")
    model = GPT(config, vocabulary).eval()
    prompts = [[(7 * row + t) % vocabulary for t in range(PROMPT)] for row in range(batch)]

    def run() -> int:
        answers = generate(model, Bytes(), prompts, Sampling(temperature=0), max_tokens=new)
        return sum(len(answer.ids) for [answer] in answers)

    return run


def transformers_side(shape: tuple[int, ...]):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, width, heads, vocabulary, batch, new = shape
    config = GPT2Config(n_layer=layers, n_embd=width, n_head=heads, vocab_size=vocabulary, n_positions=CONTEXT)
    config.bos_token_id = config.eos_token_id = None  # as on heed's side, nothing ends early
    model = GPT2LMHeadModel(config).eval()
    ids = torch.tensor([[(7 * row + t) % vocabulary for t in range(PROMPT)] for row in range(batch)])

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


def serve(side: str, name: str, threads: int) -> None:
    """Run once for each line on standard input, and answer with the figures as JSON."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(threads)
    run = {"heed": heed_side, "transformers": transformers_side}[side](SHAPES[name])
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


def compare(name: str, turns: int, threads: int) -> None:
    workers = {side: start(side, name, threads) for side in ("heed", "transformers")}
    results: dict[str, list[list[float]]] = {side: [] for side in workers}
    for _ in range(turns):
        for side, worker in workers.items():
            results[side].append(turn(worker))
    for worker in workers.values():
        worker.communicate()
    speed = {side: statistics.median(n / wall for n, wall, _ in rows) for side, rows in results.items()}
    cpu = {side: statistics.median(1000 * used / n for n, _, used in rows) for side, rows in results.items()}
    print(
        f"{name:32} {speed['heed']:8.1f} {speed['transformers']:8.1f} {speed['heed'] / speed['transformers']:6.2f} x"
        f"   {cpu['heed']:8.2f} {cpu['transformers']:8.2f} {cpu['transformers'] / cpu['heed']:6.2f} x   {GOAL[name]} x",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="measured runs of each side")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch, on both sides")
    parser.add_argument("--shape", choices=SHAPES, help="only this one")
    parser.add_argument("--serve", choices=("heed", "transformers"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.shape, args.threads)
        return
    print(f"{'tokens/s':>38} {'':8} {'':8}   CPU seconds a 1,000 tokens, {args.threads} threads")
    print(f"{'':32} {'heed':>8} {'transf.':>8} {'ratio':>8}   {'heed':>8} {'transf.':>8} {'ratio':>8}   goal")
    for name in [args.shape] if args.shape else SHAPES:
        compare(name, args.turns, args.threads)


if __name__ == "__main__":
    main()
