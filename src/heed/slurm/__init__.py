"""Clusters that Slurm runs: what is submitted (`script.py`), the queue (`queue.py`), what runs in a job (`node.py`)."""
