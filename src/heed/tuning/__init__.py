"""Pretrained encoders on labelled texts: full, head, prompt, prefix, LoRA and other tuning, through the one loop."""
