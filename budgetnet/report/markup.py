"""HTML and SVG elements as text, escaped by construction."""

from __future__ import annotations

import base64
import zlib
from importlib.resources import files
from typing import Any

from markupsafe import Markup as Markup
from markupsafe import escape

_VOID = {"img", "input", "meta", "br", "link"}
# What XML forbids even as a reference; a file name may hold it all the same.
_ALLOWED = (9, 10, 13)  # of the control characters: tab and the ends of lines
_CODES = (*range(32), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000))
_FORBIDDEN = dict.fromkeys((c for c in _CODES if c not in _ALLOWED), "\ufffd")


def text(value: object) -> Markup:
    """A value as text of a page: markup as it is, anything else escaped.

    >>> print(text("</script><img onerror=alert(1)>"))
    &lt;/script&gt;&lt;img onerror=alert(1)&gt;
    """
    return value if isinstance(value, Markup) else escape(str(value).translate(_FORBIDDEN))


def tag(name: str, /, *children: object, **attributes: Any) -> Markup:
    """An element. `cls` is its class; in names `_` stands for `-`, and one at the end is dropped.

    An attribute that is `None` or `False` is left out, and one that is `True` stands alone.

    >>> print(tag("td", "a < b", cls="num", data_row=3, hidden=True))
    <td class="num" data-row="3" hidden>a &lt; b</td>
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = "class" if key == "cls" else key.rstrip("_").replace("_", "-")
        parts.append(label if value is True else f'{label}="{text(value)}"')
    opened = f"<{' '.join(parts)}>"
    return Markup(opened if name in _VOID else f"{opened}{join(children)}</{name}>")


def join(children: Any) -> Markup:
    """Children one after the other, each escaped unless it is markup."""
    return Markup("".join(map(text, children)))


def asset(name: str) -> str:
    """A script or a style of the page, without indentation and lines that are comments alone."""
    source = files(__package__).joinpath("assets", name).read_text(encoding="utf-8")
    lines = map(str.strip, source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def packed_script(name: str, value: str) -> Markup:
    """Text for scripts, compressed: zlib's form in base64.

    >>> print(packed_script("a", "text"))
    <script type="application/zlib" id="a">eNorSa0oAQAEZwHG</script>
    """
    body = base64.b64encode(zlib.compress(value.encode(), 9)).decode()
    return Markup(f'<script type="application/zlib" id="{text(name)}">{body}</script>')
