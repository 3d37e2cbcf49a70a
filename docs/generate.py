"""Write the pages that come from the code: `python docs/generate.py`. A test holds them up to date.

guide/settings.md    every setting with its type, default and meaning
heed.schema.json     the JSON schema of a configuration file, for editors
attention/index.md   its table of mechanisms, from what each declares; the words around it are written by hand
explore/index.html   the page of cards as one file; and its puzzles, src/heed/explore/static/puzzle_data.js
attention/figures/   what each mechanism lets a word depend on, computed by the mechanism itself: `influence`
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor

from heed.attention import MECHANISMS
from heed.attention.masks import make_mask
from heed.attention.shape import Shape
from heed.cli.list import attention, mechanism_rows
from heed.config import PRESETS, Config
from heed.config.tuning import TUNING, TuneConfig
from heed.explore.cards import single_file
from heed.explore.puzzle_data import puzzle_module

HERE = Path(__file__).parent
PUZZLES = HERE.parent / "src" / "heed" / "explore" / "static" / "puzzle_data.js"
WORDS = re.findall(r"\w+", "the dog saw the cat and the cat saw the dog but the dog ran home")
WIDTH = 16
CELL, LEFT, TOP = 17, 44, 44
STYLE = (
    ".influence{--ink:#333;--blue:#0072b2}@media(prefers-color-scheme:dark){.influence{--ink:#ddd;--blue:#56b4e9}}"
    "[data-md-color-scheme=default] .influence{--ink:#333;--blue:#0072b2}"
    "[data-md-color-scheme=slate] .influence{--ink:#ddd;--blue:#56b4e9}"
    ".influence text{font:12px system-ui,sans-serif;fill:var(--ink)}.influence rect{fill:var(--blue)}"
    ".influence path{stroke:var(--ink);stroke-opacity:.25;fill:none}"
)


class Drawn(NamedTuple):
    """How a mechanism is drawn: on 16 words, so small that a window or a block ends within them."""

    options: Mapping[str, Any] = MappingProxyType({})
    causal: bool = True


DRAWN = {
    **{name: Drawn(causal=MECHANISMS[name].facts.causal != "never") for name in MECHANISMS},
    "aft-local": Drawn({"window": 4}),
    "bigbird": Drawn({"block": 2, "window_blocks": 1, "global_blocks": 2, "random_blocks": 1}, causal=False),
    "linformer": Drawn({"rank": 4}, causal=False),
    "sliding-window": Drawn({"window": 4}),
    "softmax-encoder": Drawn(causal=False),
}


def mixing(name: str, path: str = "reference") -> tuple[Any, Tensor]:
    """Return the mixing of a figure, x (B, T, K) to y (B, T, K) in float64, and its words x (T, K).

    One head; a word is its own query, key and value: a vector drawn from N(0, 1), the same for equal words, and a tenth
    of one drawn for its place. Without that, equal keys tie, and what argmax takes hangs on the last bit of a product.
    """
    drawn, T = DRAWN[name], len(WORDS)
    generator = torch.Generator().manual_seed(0)
    vectors = {word: torch.randn(WIDTH, generator=generator, dtype=torch.float64) for word in dict.fromkeys(WORDS)}
    kind = MECHANISMS[name.removesuffix("-encoder")]
    mechanism = kind(Shape(WIDTH, 1, T, causal=drawn.causal), path=path, **drawn.options).double().eval()
    mechanism.initialise(generator)
    mask = make_mask(T, causal=drawn.causal)

    def mix(x: Tensor) -> Tensor:
        heads = x[:, None]
        return mechanism(heads, heads, heads, mask)[:, 0]

    places = torch.randn(T, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return mix, torch.stack([vectors[word] for word in WORDS]) + places / 10


def influence(name: str) -> Tensor:
    """Return how much each output depends on each word: the Frobenius norm of dy_t / dx_s, (T, T)."""
    mix, words = mixing(name)
    slopes = torch.autograd.functional.jacobian(lambda x: mix(x[None])[0], words)
    return slopes.square().sum(dim=(1, 3)).sqrt()


def shades(norms: Tensor) -> list[list[int]]:
    """Return norms (T, T) in parts of 20 of the largest in each row: 0 is none at all, 1 is anything to 1/20."""
    parts = (norms / norms.amax(dim=1, keepdim=True) * 20).ceil().int()
    return parts.masked_fill(norms < 1e-9, 0).tolist()


def influence_figure(name: str) -> str:
    """Return `influence` as SVG: a row for each word that looks, a column for each that it may depend on."""
    size = CELL * len(WORDS)
    cells, words = [], []
    for t, row in enumerate(shades(influence(name))):
        y, word = TOP + CELL * t, escape(WORDS[t])
        words.append(f'<text x="{LEFT - 6}" y="{y + 13}" text-anchor="end">{word}</text>')
        words.append(f'<text transform="translate({LEFT + CELL * t + 13} {TOP - 6}) rotate(-90)">{word}</text>')
        for s, shade in enumerate(row):
            if shade:
                x, opacity = LEFT + CELL * s, 0.08 + 0.046 * shade
                cells.append(f'<rect x="{x + 1}" y="{y + 1}" width="15" height="15" opacity="{opacity:.3f}"/>')
    frame = f'<path d="M{LEFT} {TOP}h{size}v{size}h-{size}z"/><path d="M{LEFT} {TOP}l{size} {size}"/>'
    width, height = LEFT + size + 2, TOP + size + 2
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="influence" {box}>'
    return "\n".join([head, f"<style>{STYLE}</style>", *words, *cells, frame, "</svg>"]) + "\n"


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
        meaning = str(field.description).replace("|", "\\|")
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
        **{HERE / "attention" / "figures" / f"{name}.svg": influence_figure(name) for name in DRAWN},
    }


if __name__ == "__main__":
    PUZZLES.write_text(puzzle_module(), encoding="utf-8")  # before the page that holds them
    for file, content in pages().items():
        file.write_text(content, encoding="utf-8")
