"""The mechanisms, one file each, and what several share: `kernel.py`, `chunks.py`, `means.py`, `windows.py`."""
