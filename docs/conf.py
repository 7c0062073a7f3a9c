"""How Sphinx builds the site: `python -m sphinx -W --keep-going -n docs SITE`."""

import os
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import budgetnet
from budgetnet.cli import parser as cli

project = "budgetnet"
author = "The budgetnet authors"
release = version = budgetnet.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["results"]  # raw data

html_theme = "furo"
html_show_copyright = False
html_title = f"budgetnet {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
pygments_style, pygments_dark_style = "xcode", "monokai"

myst_enable_extensions = ["colon_fence"]  # directives in ::: stay apart from the snippets in ```
myst_heading_anchors = 3

default_role = "code"  # docstrings write `name` as Markdown does
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # attributes that a docstring lists are not documented twice
python_maximum_signature_line_length = 72
# Names of other libraries are not links: the site builds without the net, so without their indexes.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|nn|numpy|collections|fractions|importlib|pathlib)\..*"),
    (r"py:class", r"Tensor|ExportedProgram|Path|SearchStrategy"),
    (
        r"py:class",
        r"shipped\.Weights|SpecLike|budgetnet\.trace\.rules\.core\.R",
    ),  # as annotations spell them
    (r"py:.*", r"budgetnet\.trace\.rules\.parts\.Part|CannotRun"),  # inner ones
]

os.environ |= {"COLUMNS": "96", "NO_COLOR": "1"}  # how argparse lays its help out


class CommandHelp(SphinxDirective):
    """`:::{command-help} check` shows what `budgetnet check --help` prints."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Ask the parser itself, so that the page cannot drift from it."""
        (commands,) = (
            a.choices for a in cli.build_parser()._actions if isinstance(a.choices, dict)
        )
        text = commands[self.arguments[0]].format_help()
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this file adds."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
