"""heed: a laboratory for attention and transformer language models."""

import os

__version__ = "0.1.0"

# the threads of `tokenizers` follow those of torch, unless they were asked for by themselves
if asked := os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]:
    os.environ.setdefault("RAYON_NUM_THREADS", asked)
