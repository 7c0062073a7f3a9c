"""The filmstrip: what the middle unit of each stage reads, over the picture of the input.

Stages and regions are worked out in the page, by report/assets/filmstrip.js, since what-if changes
them.
"""

from __future__ import annotations

from .markup import Markup, join, tag


def filmstrip() -> Markup:
    """The place that the script fills, with a button that saves the strip as a picture."""
    words = (
        "What the unit in the middle of each stage reads: bright, the rest of the input is dimmed."
    )
    return join((
        tag("p", words, cls="note"),
        tag("div", tag("button", "Save as PNG", type="button", id="film-save"),
            tag("span", "", id="film-note", cls="note", role="status"), cls="tools"),
        tag("ol", "", id="frames"),
        tag("noscript", tag("p", "The filmstrip needs scripts.")),
    ))  # fmt: skip
