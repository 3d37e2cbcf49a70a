"""What the pages of a server share: the look, and the policy that goes with each of their files."""

from __future__ import annotations

from pathlib import Path

TEMPLATES = Path(__file__).with_name("templates")
LOOK = {"style.css": TEMPLATES / "style.css", "controls.css": TEMPLATES / "controls.css"}
"""Colours, letters and figures; fields, buttons and knobs."""
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
"""Media types by the end of a file's name."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""A page may ask its own server and nobody else."""
