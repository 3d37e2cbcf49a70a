"""Decoding: from a model and a prompt to text, and how likely the model finds a text.

generate   n completions of each of many prompts
stream     one completion, piece by piece
score      the log-probability of each token of given texts
"""

from heed.generation.decoding import Alternatives, beginning
from heed.generation.generate import Completion, generate, stream
from heed.generation.logprobs import TokenScore, score
from heed.generation.sampling import Sampling

__all__ = ["Alternatives", "Completion", "Sampling", "TokenScore", "beginning", "generate", "score", "stream"]
