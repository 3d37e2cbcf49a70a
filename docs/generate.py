"""Write the pages that come from the code: `python docs/generate.py`. A test holds them up to date.

guide/settings.md    every setting with its type, default and meaning
heed.schema.json     the JSON schema of a configuration file, for editors
attention/index.md   its table of mechanisms, from what each declares; the words around it are written by hand
explore/index.html   the page of cards as one file; and its puzzles, src/heed/explore/static/puzzle_data.js
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import BaseModel

from heed.attention import MECHANISMS
from heed.cli.list import attention, mechanism_rows
from heed.config import PRESETS, Config
from heed.config.tuning import TUNING, TuneConfig
from heed.explore.cards import single_file
from heed.explore.puzzle_data import puzzle_module

HERE = Path(__file__).parent
PUZZLES = HERE.parent / "src" / "heed" / "explore" / "static" / "puzzle_data.js"


def settings_page() -> str:
    """Return the page of settings in Markdown."""
    lines = [
        "# Every setting",
        "",
        "Each is a key of the YAML file and a flag: `train.steps` is `--train.steps 400`. Values are layered, later",
        "ones win: defaults, then the preset (`model.preset`), then the file, then flags. Unknown keys are refused.",
        "",
        "For completion in an editor, begin the file with",
        "`# yaml-language-server: $schema=heed.schema.json` and write that schema with `heed check --schema`.",
    ]
    for name, field in Config.model_fields.items():
        lines += ["", f"## {name}", "", str(field.description), "", "| setting | default | meaning |", "|---|---|---|"]
        lines += rows(name, Config.model_fields[name].annotation)
    lines += [
        "",
        "## heed tune",
        "",
        "What a tuned run has beside; its `train` and `run` are those above, and begin with",
    ]
    lines += [", ".join(f"`train.{name}` {value}" for name, value in TUNING.items()) + "."]
    lines += ["", "| setting | default | meaning |", "|---|---|---|"]
    lines += [line for line in rows("", TuneConfig) if not line.startswith(("| `train.", "| `run."))]
    lines += ["", "## Presets", "", "| preset | what it sets |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(f'`{k}` {v}' for k, v in shape.items())} |" for name, shape in PRESETS.items()]
    return "\n".join(lines) + "\n"


def rows(prefix: str, section: type[BaseModel] | None) -> list[str]:
    """Return one table row a setting, nested sections included."""
    assert section is not None
    out = []
    for name, field in section.model_fields.items():
        key, kind = f"{prefix}.{name}".removeprefix("."), field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            out += rows(key, kind)
            continue
        meaning = " ".join(str(field.description).split()).replace("|", "\\|")
        default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
        out.append(f"| `{key}` | {default} | {meaning} |")
    return out


def attention_page() -> str:
    """Return the page of mechanisms with its table as they declare it today."""
    catalogue = {name: facts for name, facts in attention().items() if name in MECHANISMS}
    head, *body = mechanism_rows(catalogue)
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join([linked(name), *cells]) + " |" for name, *cells in body]
    page = (HERE / "attention" / "index.md").read_text(encoding="utf-8")
    table = "<!-- table: python docs/generate.py -->\n" + "\n".join(lines) + "\n<!-- end of table -->"
    return re.sub(r"<!-- table.*<!-- end of table -->", lambda _: table, page, flags=re.DOTALL)


def linked(name: str) -> str:
    """Return the name of a mechanism as a link to its page, which variants share: aft-full leads to aft.md."""
    parts = name.split("-")
    stems = ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]
    stem = next((stem for stem in stems if (HERE / "attention" / f"{stem}.md").exists()), None)
    return f"`{name}`" if stem is None else f"[{name}]({stem}.md)"


def pages() -> dict[Path, str]:
    """Return the content of each generated file."""
    schema = json.dumps(Config.model_json_schema(), indent=2) + "\n"
    return {
        HERE / "guide" / "settings.md": settings_page(),
        HERE / "heed.schema.json": schema,
        HERE / "attention" / "index.md": attention_page(),
        PUZZLES: puzzle_module(),
        HERE / "explore" / "index.html": single_file(),
    }


if __name__ == "__main__":
    PUZZLES.write_text(puzzle_module(), encoding="utf-8")  # before the page that holds them
    for file, content in pages().items():
        file.write_text(content, encoding="utf-8")
