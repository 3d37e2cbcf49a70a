"""heed: a laboratory for attention and transformer language models."""

import os

__version__ = "0.1.0"

# the threads of `tokenizers` follow those of torch, unless they were asked for by themselves
if asked := os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]:
    os.environ.setdefault("RAYON_NUM_THREADS", asked)

# threads of torch that wait for another one sleep: spinning they hold the core that it needs, on a busy machine many
# times as long as the work takes. OpenMP reads this once, when torch is loaded.
if os.environ.keys().isdisjoint(("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
    os.environ["OMP_WAIT_POLICY"] = "passive"
