"""The mechanisms: one file each; those that share sums (`kernel.py`, `chunks.py`, `means.py`) share a file for them."""
