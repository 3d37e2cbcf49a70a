"""Flags of a run that takes a second."""

TINY = [
    "--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16", "--model.context", "16",
    "--train.batch-size", "4", "--train.warmup-steps", "1", "--data.workers", "1", "--tokenizer.kind", "char",
    "--run.device", "cpu", "--run.threads", "1",
]  # fmt: skip
