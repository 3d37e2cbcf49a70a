"""Texts that a model writes from nothing, for its page: how they were drawn, and how likely each token was."""

from __future__ import annotations

from typing import Any

from heed.generation.decoding import beginning
from heed.generation.generate import generate
from heed.generation.logprobs import score
from heed.generation.sampling import Sampling
from heed.models.base import LanguageModel
from heed.text.tokenizers import Tokenizer

SAMPLES, SAMPLE_TOKENS = 3, 160
"""Texts at the end of a run, and tokens in each; half as many while it trains."""


def samples(
    model: LanguageModel, tokenizer: Tokenizer, seed: int, *, max_tokens: int, count: int = SAMPLES
) -> list[dict[str, Any]]:
    """Return texts drawn from `seed`, each token with its log-probability (nats) and rank."""
    sampling = Sampling(temperature=0.8, top_p=0.95)
    start = beginning(tokenizer)
    answers = generate(model, tokenizer, [start], sampling, max_tokens=max_tokens, n=count, seed=seed)
    records = []
    for completion in answers[0]:
        scores = score(model, tokenizer, [[*start, *completion.ids]])[0][1:]
        records.append(
            {
                "prompt": "",
                "prompt_tokens": 0,
                "sampling": {"temperature": 0.8, "top_p": 0.95},
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "tokens": [{"text": token.text, "logprob": token.logprob, "rank": token.rank} for token in scores],
            }
        )
    return records
