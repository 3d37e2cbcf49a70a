"""heed: a laboratory for attention and transformer language models."""

import os

__version__ = "0.1.0"

# the threads of `tokenizers` follow those of torch, unless they were asked for by themselves
if asked := os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]:
    os.environ.setdefault("RAYON_NUM_THREADS", asked)

# threads of torch that wait for another one spin for a tenth of a millisecond or so, then sleep. Longer, as OpenMP has
# it, they hold the core that the late one needs on a busy machine; asleep at once, an idle one loses two fifths of
# the speed of a small model. OpenMP reads this once, when torch is loaded.
if os.environ.keys().isdisjoint(("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
    os.environ["GOMP_SPINCOUNT"] = "3000"
