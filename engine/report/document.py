"""A page that stands alone: plotly.js, style and drawing inlined, no network.

Whatever came from outside (a name, a headline, a reason) is to be escaped before it comes here, and the page's own
policy lets no script run but those whose hashes it carries.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs

HERE = Path(__file__).parent


def document(drawing: Path, title: str, body: str, data: str, *, style: Path | None = None) -> str:
    """Return a page: `body` is HTML, `data` JSON that closes no element; `drawing` and `style` are the page's own."""
    parts = {
        "title": escape(title), "body": body, "data": data, "plotly": get_plotlyjs(),
        "style": _text(HERE / "style.css"), "more": "" if style is None else _text(style),
        "chart": _text(HERE / "chart.js"), "drawing": _text(drawing),
    }  # fmt: skip
    # In one pass, so that a text that looks like a placeholder stays a text.
    filled = _text(HERE / "document.html")
    filled = re.sub(r"\{\{(\w+)\}\}", lambda found: parts.get(found[1], found[0]), filled)
    hashes = " ".join(_hash(script) for script in re.findall(r"<script>(.*?)</script>", filled, re.DOTALL))
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    return filled.replace("{{policy}}", policy, 1)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
