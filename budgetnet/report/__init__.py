"""Reports: turn an Account into one self-contained HTML file or an SVG. No torch."""

from __future__ import annotations

from .drawing import draw_svg
from .loggers import log_to, metrics
from .page import render_html

__all__ = ["draw_svg", "log_to", "metrics", "render_html"]
