"""Coding exercises of courses on attention, and what grades them: which functions are right, and what is wrong.

A student's file is a few functions. It is run in a process of its own, held against heed's own parts and against cases
made by hand, and a wrong answer is compared with what the usual mistakes give, so that the mistake is named.
"""

EXERCISES = {
    "attention.py": "heed.coursework.attention_cases",
    "bpe.py": "heed.coursework.bpe_cases",
    "layer_norm.py": "heed.coursework.layer_norm_cases",
    "span_corruption.py": "heed.coursework.span_cases",
    "lora.py": "heed.coursework.lora_cases",
}
"""From the name of a student's file to the module whose `CASES` hold each of its functions to account."""
