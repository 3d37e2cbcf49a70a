"""heed: a laboratory for attention and transformer language models."""

__version__ = "0.1.0"
