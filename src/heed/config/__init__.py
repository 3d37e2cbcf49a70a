"""The typed configuration of a run: five sections, from YAML and flags.

One definition serves four purposes: the command-line flags (`--model.n-layers 6`), the YAML file, the resolved
`config.yaml` in a run folder, and the JSON schema that editors use. Values are layered, later ones win:

    defaults  <  preset (model.preset)  <  YAML file  <  command-line flags

Unknown keys are refused, and every problem of a file is reported at once.
"""

from heed.config.aims import SPANS, SPANS_CONTEXT, Aim, aim_of, aim_of_values, unit_of_spans
from heed.config.checks import RECURRENT, UNREAD, contradictions
from heed.config.reading import flatten, inspect_config, make_config, overlay, read_own_yaml, read_yaml, write_yaml
from heed.config.sections import (
    BY_CLASS,
    BY_TEXT,
    NO_FIGURE,
    PRESETS,
    AttentionConfig,
    Config,
    DataConfig,
    ModelConfig,
    RecurrentConfig,
    RunConfig,
    Section,
    TokenizerConfig,
    TrainConfig,
    held_out,
)
from heed.config.strict_yaml import parse_yaml

__all__ = [
    "BY_CLASS",
    "BY_TEXT",
    "NO_FIGURE",
    "PRESETS",
    "RECURRENT",
    "SPANS",
    "SPANS_CONTEXT",
    "UNREAD",
    "Aim",
    "AttentionConfig",
    "Config",
    "DataConfig",
    "ModelConfig",
    "RecurrentConfig",
    "RunConfig",
    "Section",
    "TokenizerConfig",
    "TrainConfig",
    "aim_of",
    "aim_of_values",
    "contradictions",
    "flatten",
    "held_out",
    "inspect_config",
    "make_config",
    "overlay",
    "parse_yaml",
    "read_own_yaml",
    "read_yaml",
    "unit_of_spans",
    "write_yaml",
]
