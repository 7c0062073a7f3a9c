"""The page: an account as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._version import __version__
from ..accounting.account import Account
from ..accounting.rows import Row
from ..budget.advice import advise
from ..budget.budget import Budget
from ..budget.figures import LISTED
from ..budget.limits import Finding
from ..spec.chains import chain_of
from ..spec.spec import Spec
from ..spec.stages import Conv, Head, Pool, Separable, Transition
from ..trace.account import account as account_of
from .comparison import figures_beside, layers_beside
from .curves import SCALE, curves, is_map
from .filmstrip import filmstrip
from .listing import listing
from .markup import Markup, asset, join, packed_script, tag
from .network_map import map_data, network_map
from .pictures import footprint_address, picture
from .strip import Network, costs_of, live_of, strips
from .timeline import timeline
from .verdict import verdict_card

STYLES = ("diagram.css", "report.css", "map.css", "filmstrip.css", "timeline.css")
SCRIPTS = (
    "page.js", "plan.js", "grid.js", "drawing.js", "ghost.js", "map.js", "regions.js",
    "overlay.js", "filmstrip.js", "strip.js", "curves.js", "timeline.js", "verdict.js",
    "listing.js", "whatif.js",
)  # fmt: skip


def render_html(
    model: Any,
    input_shape: Any = None,
    *,
    budget: Budget | None = None,
    image: str | Path | None = None,
    against: Any = None,
    footprints: Mapping[str, Any] | None = None,
) -> str:
    """Render a report as one HTML file that contains its styles, scripts and pictures.

    Args:
        model: an `Account`, or anything that `account` takes.
        input_shape: as for `account`; an `Account` knows its own.
        budget: limits to judge it by.
        image: a picture to show under the receptive fields, stretched to the input; a drawn
            digit, landscape or wave by default.
        against: another network to compare with, by default on the same input.
        footprints: measured influence, by layer: an array `(H, W)` over the input of how much
            each position changes the unit in the middle of the layer's map; or such arrays by
            unit `(row, column)`.

    Raises:
        ArgumentError: the picture cannot be read.

    >>> page = render_html("c16 c16 p c32 gap10", (1, 28, 28))
    >>> page.startswith("<!doctype html>"), len(page) < 150_000
    (True, True)
    """
    account = account_of(model, input_shape, strict=False)
    layers = account.layers()
    chain = chain_of(account)
    findings = budget.check(account) if budget else ()
    advice = advise(budget.limits if budget else (), account, findings)
    live = live_of(account, layers, chain)
    view = _view(account, layers, live, image, footprints or {})
    text = _editable(chain.spec) if chain and len(account.input_size) == 2 else ""
    view["chain"] = text and {"spec": text, "input": account.input_text}
    view["limits"] = _ranges(budget, findings)
    memory = timeline(account, layers, budget)
    view["memory"] = memory.data
    view["figures"] = {
        name: {"label": figure.label, "value": figure.read(account), "more": figure.more_is_better}
        for name, figure in LISTED.items()
    }
    changed = _editable(advice.change.spec) if text and advice.change else ""
    parts = [verdict_card(account, layers, findings, advice, changed)]
    other = None
    if against is not None:
        shape = None if isinstance(against, Account) else account.input_shape
        other = account_of(against, shape, strict=False)
        parts.append(_section("compare", "Comparison", figures_beside(account, other)))
    parts += [
        _costs(account, layers, live, budget, other),
        tag("div",
            tag("div", _section("graph", "Network", network_map(account, layers)),
                _section("table", "Layers", listing(account, layers)), cls="walk"),
            _overlay(view), cls="beside"),
        _film(view),
        _section("growth", "Growth over depth", curves(account, layers)),
        _section("memory", "Memory on the device", memory.body),
    ]  # fmt: skip
    if other is not None:
        parts.append(_section("pairs", "Layer by layer", layers_beside(account, other)))
    if view["chain"]:
        parts.append(_what_if())
    elif chain:
        note = (
            "What-if knows chains of the words c, ds, t, p and gap only; this network has others."
        )
        parts.append(_section("what-if", "What if", tag("p", note, cls="note")))
    return _document(account, join(parts), view)


def _costs(
    account: Account, layers: Sequence[Row], live: Sequence[int], budget: Budget | None,
    other: Account | None,
) -> Markup:  # fmt: skip
    one = Network(account.name, layers, costs_of(account, layers, live, budget))
    if other is None:
        return _section("costs", "Who pays", strips(one))
    others = other.layers()
    found = live_of(other, others, chain_of(other))
    two = Network(other.name, others, costs_of(other, others, found, None))
    return _section("costs", "Who pays", strips(one, two))


def _document(account: Account, body: Markup, view: Mapping[str, Any]) -> str:
    style = "\n".join(map(asset, STYLES))
    load, code = (_script(*names) for names in (["load.js"], SCRIPTS))
    # Nothing may be fetched, and no script runs but those whose digests stand here.
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {_digest(load)} {_digest(code)}; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=f"budgetnet {__version__}"),
        tag("title", f"{account.name} - budgetnet"),
        tag("style", Markup(style)),
    )
    page = tag(
        "body",
        tag("a", "Skip to the layers", href="#table", cls="skip"),
        _header(account),
        tag("main", body),
        tag("footer", tag("p", f"Written by budgetnet {__version__}. This file loads nothing.")),
        packed_script("account", account.to_json()),
        packed_script("view", json.dumps(view, separators=(",", ":"))),
        packed_script("code", code),
        tag("script", Markup(load)),
    )
    return f"<!doctype html>\n{tag('html', head, page, lang='en')}\n"


def _script(*names: str) -> str:
    return "(() => {\n'use strict';\n" + "\n".join(map(asset, names)) + "\n})();\n"


def _digest(code: str) -> str:
    """A script as the page's policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _header(account: Account) -> Markup:
    facts = {
        "params": f"{account.params:,} parameters",
        "macs": "unknown MACs" if account.macs is None else f"{account.macs:,} MACs",
        "receptive_field": f"receptive field {account.receptive_field_text}",
        "input": f"input {account.input_text}",
        "output": f"output {account.output_text}",
    }
    return tag(
        "header",
        tag("h1", account.name),
        tag("ul", *(tag("li", fact, data_fact=name) for name, fact in facts.items()), cls="facts"),
        tag("button", "Save the account as JSON", type="button", id="save"),
    )


def _section(name: str, title: str, *body: object) -> Markup:
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, *body, id=name, aria_labelledby=f"{name}-title")


def _overlay(view: Mapping[str, Any]) -> Markup:
    title = "Receptive field"
    if not view["size"]:
        words = "Regions are shown for one input with one or two axes."
        return _section("overlay", title, tag("p", words, cls="note"))
    fields = [
        tag("label", "Layer ", tag("select", "", id="layer")),
        tag("label", "Row ", tag("input", type="range", id="unit-row", min=0, value=0)),
        tag("label", "Column ", tag("input", type="range", id="unit-column", min=0, value=0)),
        tag("label", tag("input", type="checkbox", id="grid", checked=True), " stride grid"),
        tag("label", tag("input", type="checkbox", id="footprint", checked=True),
            " measured footprint", id="footprint-label", hidden=True),
    ]  # fmt: skip
    words = "Input with the receptive field of one unit; arrow keys move the unit"
    stage = tag("div", "", id="stage", tabindex=0, role="application", aria_label=words,
                aria_describedby="readout")  # fmt: skip
    hint = "Point at the picture, or use the arrow keys on it; Page Up and Down change the layer."
    return _section(
        "overlay", title,
        tag("div", *fields, cls="tools"),
        stage,
        tag("div", "", id="measured-units", cls="tools"),
        tag("p", "", id="readout", aria_live="polite"),
        tag("p", hint, cls="note"),
        tag("noscript", tag("p", "The overlay needs scripts.")),
    )  # fmt: skip


def _film(view: Mapping[str, Any]) -> Markup:
    if not view["size"] or not any(layer["field"] for layer in view["layers"]):
        return Markup()
    return _section("film", "Receptive fields, stage by stage", filmstrip())


def _what_if() -> Markup:
    """The dock at the lower edge: the chain as text, what its plan says, and a form by stage."""
    field = {"type": "text", "spellcheck": "false", "autocomplete": "off"}
    buttons = {"spec-undo": "Undo", "spec-reset": "Reset", "spec-link": "Copy link"}
    more = tag("button", "Stages", type="button", id="spec-more", aria_expanded="false",
               aria_controls="stages")  # fmt: skip
    return tag(
        "section",
        tag("h2", "What if", id="what-if-title"),
        tag("div",
            tag("label", "Network ",
                tag("input", id="spec", aria_describedby="spec-error", **field), cls="of-spec"),
            tag("label", "Input ", tag("input", id="spec-input", size=10, **field)),
            more,
            *(tag("button", words, type="button", id=name) for name, words in buttons.items()),
            cls="tools"),
        tag("p", "", id="spec-error", role="alert"),
        tag("div", "", id="stages", hidden=True),
        tag("dl", "", id="planned"),
        id="what-if", aria_labelledby="what-if-title",
    )  # fmt: skip


def _view(
    account: Account,
    layers: Sequence[Row],
    live: Sequence[int],
    image: str | Path | None,
    footprints: Mapping[str, Any],
) -> dict[str, Any]:
    """What scripts need beside the account: the layers as they are shown."""
    size = [*account.input_size] if len(account.input_size) in (1, 2) else []
    height, width = size if len(size) == 2 else (1, size[0]) if size else (1, 1)
    return {
        "size": size and [height, width],
        "image": picture(image, account.input_shape[0], height, width) if size else "",
        "layers": [_layer(row, footprints) for row in layers],
        "live": [*live],
        "chart": SCALE,
        "map": map_data(account, layers),
    }


def _editable(spec: Spec) -> str:
    """A spec in words that the page can plan, without settings; "" if it cannot."""
    for stage in spec.stages:
        plain = getattr(stage, "act", None) in (None, "relu") and not getattr(stage, "dropout", 0)
        if not plain or not isinstance(stage, _EDITABLE):
            return ""
    return " ".join(str(Spec((stage,))) for stage in spec.stages)


_EDITABLE = (Conv, Separable, Transition, Pool, Head)  # what report/assets/plan.js knows


def _ranges(budget: Budget | None, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The limits that what-if can judge, each with the finding that it gave."""
    limits = budget.ranges if budget else ()
    found = [finding for finding in findings if finding.figure]
    if len(found) != len(limits):  # a limit of the user's own may name figures as well
        return []
    return [
        {"finding": finding.name, "name": limit.name, "low": limit.low, "high": limit.high,
         "text": limit.text}
        for limit, finding in zip(limits, found, strict=True)
    ]  # fmt: skip


def _layer(row: Row, footprints: Mapping[str, Any]) -> dict[str, Any]:
    field = row.receptive_field if is_map(row) or row.is_global else None
    measured = _measured(row, footprints.get(row.path))
    known = field.to_dict() if field else {}
    known.pop("padding", None)  # windows say it
    found = {
        "path": row.path,
        "kind": row.kind,
        "shape": row.output_shape,
        "global": row.is_global,
        "params": row.params,
        "macs": row.macs,
        "field": known or None,
    }
    return found | {"footprints": measured} if measured else found


def _measured(row: Row, footprints: Any) -> list[dict[str, Any]]:
    """The footprints of a layer, each with its unit; one without is that of the middle."""
    if footprints is None:
        return []
    if not isinstance(footprints, Mapping):
        footprints = {tuple(n // 2 for n in row.output_shape[1:]): footprints}
    return [
        {"unit": [int(i) for i in unit], "image": footprint_address(footprint)}
        for unit, footprint in footprints.items()
    ]
