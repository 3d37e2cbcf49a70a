"""In which formats a tuned run is written: hf (a plain model of transformers), peft (an adapter), onnx (a graph)."""

from __future__ import annotations

TOKENS, ADAPTERS = ("prompt", "prefix"), ("prompt", "prefix", "lora", "dora", "ia3")
"""Methods that train tokens, which no weights can take in; those that peft keeps."""


def formats(method: str, *, native: bool) -> tuple[str, ...]:
    """Return the formats of a method with the architecture's own head, or with heed's on the mean of the tokens.

    Of the latter some architectures have a hf as well: see `heed.tuning.mean_heads`.

    >>> formats("lora", native=True), formats("lora+bitfit", native=False), formats("head", native=False)
    (('hf', 'peft', 'onnx'), ('peft', 'onnx'), ('onnx',))
    """
    parts = method.split("+")
    tokens, adapter = any(part in TOKENS for part in parts), any(part in ADAPTERS for part in parts)
    plain = ("hf",) if native and not tokens else ()
    return (*plain, *(("peft",) if adapter else ()), *(() if tokens else ("onnx",)))
