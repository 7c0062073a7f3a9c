"""The report driven in headless Chromium: what the page shows is what the library says.

Needs Debian's package `chromium` and Playwright for Python (`pip install playwright`); the check
for accessibility also needs axe-core (`npm install axe-core` here, or `AXE` set to axe.min.js).
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from budgetnet import Account, Budget, plan
from budgetnet.report import render_html

S6 = "c16 c16 c16 c16 p c16 c16 c16 gap10"
EVIL = "</script><img src=x onerror=\"document.title='broken'\">"


@pytest.fixture
def show(browser, tmp_path):
    """Open a page from a file; at the end it has said nothing wrong and asked for nothing."""
    wrong, contexts = [], []

    def open_page(page, fragment="", **options):
        file = tmp_path / "report.html"
        file.write_text(page, encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.on(
            "console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None
        )
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        own = (file.as_uri(), "data:", "blob:")
        tab.on("request", lambda r: None if r.url.startswith(own) else wrong.append(r.url))
        tab.goto(file.as_uri() + fragment)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert [] == wrong


def s6(**options):
    return render_html(plan(S6, (1, 28, 28), name="s6"), **options)


def torch_account(name):
    """A network with branches, traced."""
    import torch
    from torch import nn

    import budgetnet
    from budgetnet import blocks

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.pool = blocks.ConvBNReLU(1, 4), nn.MaxPool2d(2)
            self.floor, self.dilated = blocks.ConvBNReLU(4, 8), nn.Conv2d(8, 8, 3, dilation=2)
            self.up, self.join = nn.ConvTranspose2d(8, 4, 6, 2), blocks.ConvBNReLU(8, 2)

        def forward(self, x):
            across = self.down(x)
            out = self.up(self.dilated(self.floor(self.pool(across))))
            return self.join(torch.cat([across[:, :, :24, :24], out[:, :, 2:26, 2:26]], 1))

    if name == "unet":
        return budgetnet.account(UNet(), (1, 32, 32), name="unet")
    zoo = pytest.importorskip("torchvision.models", reason="its networks are the test")
    with torch.device("meta"):
        return budgetnet.account(zoo.get_model(name, weights=None), (3, 224, 224), name=name)


def shown_region(tab):
    data = tab.eval_on_selector("#stage", "stage => ({...stage.dataset})")
    ends = [data[axis].split("..") for axis in ("rows", "columns")]
    unit = tuple(int(i) for i in data["unit"].split(","))
    return unit, tuple((int(lo), int(hi)) for lo, hi in ends)


SET_UNIT = """([layer, row, column]) => {
  const put = (id, value, name) => {
    const input = document.getElementById(id);
    input.value = value;
    input.dispatchEvent(new Event(name));
  };
  put('layer', layer, 'change');
  put('unit-row', row, 'input');
  put('unit-column', column, 'input');
  const path = document.getElementById('region').getAttribute('d');
  return path;
}"""


@pytest.mark.parametrize("name", ["s6", "unet", "resnet18"])
def test_overlay_regions_equal_those_of_the_library(show, name):
    account = plan(S6, (1, 28, 28)) if name == "s6" else torch_account(name)
    tab = show(render_html(account))
    checked = 0
    for i, row in enumerate(account.layers()):
        if row.is_global:
            continue
        height, width = row.output_shape[1:]
        for unit in {(0, 0), (height - 1, width - 1), (height // 2, width // 3), (0, width - 1)}:
            path = tab.evaluate(SET_UNIT, [i, *unit])
            expected = row.receptive_field.region(*unit)
            assert (unit, expected) == shown_region(tab), row.path
            (top, bottom), (left, right) = expected
            assert f"M{left} {top}H{right + 1}V{bottom + 1}H{left}z" == path
            checked += 1
    assert checked > 3 * len(account.layers()) / 2


def test_cells_of_a_dilated_field_are_those_that_are_read(show):
    account = plan("c4d2 c4k2d3", (1, 20, 20))
    tab = show(render_html(account))
    tab.evaluate(SET_UNIT, [1, 1, 2])
    cells = tab.get_attribute("#stage .seen", "d")
    found = set()
    for left, top, wide, high in re.findall(r"M(-?\d+) (-?\d+)h(\d+)v(\d+)", cells):
        found |= {(int(top) + r, int(left) + c) for r in range(int(high)) for c in range(int(wide))}
    rows, columns = (w.reads(i) for w, i in zip(account.layers()[1].receptive_field.axes, (1, 2),
                                                strict=True))  # fmt: skip
    assert {(r, c) for r in rows for c in columns} == found


def test_keyboard_moves_unit_and_layer(show):
    tab = show(s6())
    stage = tab.locator("#stage")
    stage.focus()
    assert ((2, 2), ((4, 25), (4, 25))) == shown_region(tab)
    stage.press("ArrowRight")
    stage.press("ArrowUp")
    assert ((1, 3), ((2, 23), (6, 27))) == shown_region(tab)
    stage.press("Home")
    assert (0, 0) == shown_region(tab)[0]
    stage.press("ArrowUp")
    assert (0, 0) == shown_region(tab)[0]
    stage.press("PageUp")
    assert "conv7, unit (2, 2) reads rows 4 to 25" in tab.inner_text("#readout")
    assert "true" == tab.get_attribute('#graph [data-layer="7"]', "aria-pressed")
    node = tab.locator('#graph [data-layer="7"]')
    node.focus()
    node.press("Home")
    assert "conv1" in tab.inner_text("#readout")
    assert "true" == tab.get_attribute('#layers tr[data-layer="0"]', "aria-current")


def test_every_control_is_reached_by_tab(show):
    tab = show(s6())
    seen = []
    for _ in range(80):
        tab.keyboard.press("Tab")
        seen.append(tab.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"save", "layer", "unit-row", "unit-column", "stage", "spec", "spec-input"} <= set(seen)


def test_the_pointer_picks_the_nearest_unit(show):
    tab = show(s6())
    tab.locator("#stage").scroll_into_view_if_needed()
    box = tab.locator("#stage image").first.bounding_box()
    tab.mouse.move(box["x"] + 1, box["y"] + box["height"] - 2)
    assert (3, 0) == shown_region(tab)[0]


def test_padding_is_told_and_hatched(show):
    tab = show(render_html(plan("c4p1", (1, 8, 8))))
    tab.evaluate(SET_UNIT, [0, 0, 0])
    assert "5 of 9 on padding, hatched" in tab.inner_text("#readout")
    assert "url(#off-input)" == tab.get_attribute("#stage .onpad", "clip-path")


def test_footprints_lie_over_the_unit_they_were_measured_at(show):
    footprint = np.zeros((28, 28))
    footprint[10:16, 10:16] = 1
    tab = show(s6(footprints={"conv4": footprint}))
    tab.select_option("#layer", "3")
    assert tab.get_attribute("#stage image:nth-of-type(2)", "href").startswith("data:image/png")
    assert tab.is_visible("#footprint-label")
    tab.locator("#stage").press("ArrowLeft")
    assert tab.get_attribute("#stage image:nth-of-type(2)", "href") is None
    tab.select_option("#layer", "2")
    assert not tab.is_visible("#footprint-label")


def visible_names(tab):
    return tab.eval_on_selector_all(
        "#layers tbody tr:not([hidden]) th", "cells => cells.map(cell => cell.textContent)"
    )


def test_sorting_keeps_modules_together(show):
    account = plan(S6, (1, 28, 28), name="s6")
    tab = show(render_html(account))
    before = visible_names(tab)
    assert [*(row.path for row in account.layers()[:8]), "head", "head.conv", "head.pool"] == before
    tab.click('#layers [data-column="8"]')
    assert "descending" == tab.get_attribute("#layers th:nth-child(9)", "aria-sort")
    macs = sorted(account.layers()[:8], key=lambda row: -row.macs)
    expected = [row.path for row in macs if row.macs > 2560]
    assert [*expected, "head", "head.conv", "head.pool", "pool1"] == visible_names(tab)
    tab.click('#layers [data-column="8"]')
    assert "ascending" == tab.get_attribute("#layers th:nth-child(9)", "aria-sort")
    assert "pool1" == visible_names(tab)[0]
    tab.click('#layers [data-column="8"]')
    assert before == visible_names(tab)
    tab.click('#layers [data-column="0"]')
    assert sorted(before[:8]) == [n for n in visible_names(tab) if "head" not in n]
    tab.click('[data-do="reset"]')
    assert before == visible_names(tab)


def test_folding_hides_what_lies_below(show):
    tab = show(s6())
    tab.click("#layers .fold")
    assert "head.conv" not in visible_names(tab)
    assert "false" == tab.get_attribute("#layers .fold", "aria-expanded")
    tab.click('[data-do="unfold"]')
    assert "head.conv" in visible_names(tab)
    resnet = show(render_html(torch_account("resnet50")))
    tops = ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"]
    assert tops == [name for name in visible_names(resnet) if name != "(model)"]


READ = "navigator.clipboard.readText()"


def expect_text(tab, selector, text):
    """Wait until an element has a text.

    `wait_for_function` would evaluate a string in the page when its first look finds nothing,
    and the page's own policy refuses that.
    """
    tab.locator(selector, has_text=text).wait_for()


def test_copies_equal_what_the_library_writes(show):
    account = plan(S6, (1, 28, 28), name="s6")
    tab = show(render_html(account), permissions=["clipboard-read", "clipboard-write"])
    tab.click('[data-do="csv"]')
    expect_text(tab, "#copied", "CSV")
    assert account.to_csv() == tab.evaluate(READ)
    tab.click('[data-do="markdown"]')
    expect_text(tab, "#copied", "Markdown")
    assert account.to_markdown() == tab.evaluate(READ)


def figures_shown(tab):
    return tab.eval_on_selector_all(
        "#planned dd",
        "all => Object.fromEntries(all.map(d => [d.dataset.figure, d.dataset.value]))",
    )


def figures_planned(spec, shape):
    account = plan(spec, shape)
    names = ("params", "macs", "depth", "weight_bytes", "peak_activation_bytes")
    found = {name: str(getattr(account, name)) for name in names}
    return found | {"receptive_field": "x".join(map(str, account.receptive_field.size))}


def test_what_if_equals_plan(show):
    tab = show(s6())
    assert figures_planned(S6, (1, 28, 28)) == figures_shown(tab)
    for stage, field, value in (
        ("conv2", "out", "24"), ("conv5", "kernel", "5x3"), ("pool1", "stride", "1"),
        ("conv4", "stride", "2"), ("head", "classes", "7"),
    ):  # fmt: skip
        tab.fill(f'[data-stage="{stage}"][data-field="{field}"]', value)
        spec = tab.input_value("#spec")
        assert figures_planned(spec, (1, 28, 28)) == figures_shown(tab)
        account = plan(spec, (1, 28, 28))
        layers = tab.eval_on_selector_all(
            "#planned-layers tbody tr",
            "rows => rows.map(r => [...r.cells].map(c => c.textContent))",
        )
        cells = [(row[0], row[1], row[3], row[4], row[5], row[6], row[8])
                 for row in account.to_table().rows]  # fmt: skip
        assert cells == [tuple(layer) for layer in layers]
    assert "c16 c24 c16 c16s2 ps1 c16k5x3 c16 c16 gap7" == spec
    tab.fill("#spec", "c8 x9")
    assert "word 2, 'x9'" in tab.inner_text("#spec-error")
    tab.click("#spec-reset")
    assert figures_planned(S6, (1, 28, 28)) == figures_shown(tab)


def test_what_if_judges_by_the_limits_of_the_report(show):
    budget = Budget(params="12k..15k", macs="4M", receptive_field=22, require=["Conv2d"])
    tab = show(s6(budget=budget))
    for width, kernel in ((16, "3"), (17, "3"), (12, "3"), (16, "1"), (16, "5x3"), (64, "5")):
        tab.fill('[data-stage="conv5"][data-field="out"]', str(width))
        tab.fill('[data-stage="conv5"][data-field="kernel"]', kernel)
        found = budget.check(plan(tab.input_value("#spec"), (1, 28, 28)))
        signs = {"within": "✓ pass", "over": "✗ fail: over", "under": "✗ fail: under"}
        expected = {f.name: f"{signs[f.verdict]}, {f.limit}" for f in found if f.bound}
        assert expected == tab.eval_on_selector_all(
            "#planned dd:has(.good, .bad)",
            "all => Object.fromEntries(all.map(d => [d.dataset.figure, d.lastChild.textContent]))",
        )


def test_a_link_carries_a_chain(show):
    tab = show(s6(), fragment="#spec=c8+p+ds16k5+gap3&input=3x32x24")
    assert figures_planned("c8 p ds16k5 gap3", (3, 32, 24)) == figures_shown(tab)
    tab.fill("#spec", "c8 gap2")
    tab.click("#spec-link")
    expect_text(tab, "#spec-link", "Link copied")
    assert tab.evaluate("location.hash") == "#spec=c8+gap2&input=3x32x24"


@pytest.mark.parametrize(
    "text", ["same c16 bb32s2 gap10", "c8silu gap10", "c8drop0.2 gap10", "c8 [ c4 | c4 ] gap10"]
)
def test_what_if_says_which_words_it_knows(show, text):
    tab = show(render_html(text, (3, 32, 32)))
    assert "knows chains of the words c, ds, t, p and gap only" in tab.inner_text("#what-if")
    assert 0 == tab.locator("#spec").count()


def test_what_if_plans_what_is_written_with_settings(show):
    text = "-act c8 c8 relu c8 gap10"
    tab = show(render_html(text, (3, 32, 32)))
    assert "c8-act c8-act c8 gap10" == tab.input_value("#spec")
    assert figures_planned(text, (3, 32, 32)) == figures_shown(tab)


def test_names_do_nothing_but_be_read(show):
    data = plan(S6, (1, 28, 28)).to_dict()
    data["name"], data["unused"] = EVIL, [EVIL]
    for row in data["rows"]:
        row["path"] = row["path"].replace("conv5", EVIL)
        row["kind"] = row["kind"].replace("ReLU", EVIL)
    account = Account.from_dict(json.loads(json.dumps(data)))
    page = render_html(account, budget=Budget(params=1, forbid=[EVIL]), against=account)
    tab = show(page, fragment=f"#spec={EVIL}&input={EVIL}")
    assert f"{EVIL} - budgetnet" == tab.title()
    assert 0 == tab.locator("img").count()
    assert EVIL in tab.inner_text("h1")
    option = tab.locator("#layer option", has_text="onerror").first
    tab.select_option("#layer", option.get_attribute("value"))
    assert EVIL in tab.inner_text("#readout")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_its_width(show, scheme, width):
    tab = show(s6(budget=Budget(params="20k")), color_scheme=scheme,
               viewport={"width": width, "height": 800})  # fmt: skip
    assert width == tab.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("name", ["s6", "resnet18"])
def test_print_shows_every_layer(show, name):
    account = plan(S6, (1, 28, 28)) if name == "s6" else torch_account(name)
    tab = show(render_html(account))
    tab.emulate_media(media="print")
    assert not tab.locator("#what-if").is_visible()
    shown = tab.locator("#layers tr[data-layer]")
    assert len(account.layers()) == shown.count()
    assert all(row.is_visible() for row in shown.all())  # folded ones as well
    # All of the diagram, on one page.
    box = tab.locator("#graph .map > svg").bounding_box()
    size = [float(n) for n in tab.get_attribute("#graph .map > svg", "viewBox").split()]
    assert [0, 0] == size[:2]
    assert box["height"] < 24 / 2.54 * 96
    boxes = tab.locator("#graph .node").all()
    assert all(one.bounding_box()["y"] + 20 < box["y"] + box["height"] for one in boxes)


AXE = Path(os.environ.get("AXE", "node_modules/axe-core/axe.min.js"))


@pytest.mark.skipif(not AXE.exists(), reason=f"axe-core is not at {AXE}")
@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [
        ("s6", "light", 1280),
        ("s6", "dark", 360),
        ("unet", "dark", 1280),
        ("resnet18", "light", 360),
    ],
)
def test_axe_finds_no_violations(browser, tmp_path, name, scheme, width):
    small = plan("c16 c16 p c32 gap10", (1, 28, 28), name="small")
    limits = Budget(params="20k", macs="3M", forbid=["Dropout"])
    page = s6(budget=limits, against=small) if name == "s6" else render_html(torch_account(name))
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    # axe is put into the page from outside, which the page's own policy rightly forbids.
    context = browser.new_context(
        color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 800}
    )
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.add_script_tag(path=str(AXE))
    found = tab.evaluate("axe.run()")["violations"]
    context.close()
    assert [] == [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found]


def odd_accounts():
    """Networks of other shapes, and with figures that are unknown."""
    import torch
    from torch import nn

    import budgetnet

    class Inverse(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x, y):
            return self.one(x) + self.two(y)

    conv = nn.Conv2d(3, 8, 3)
    return {
        "unknown": budgetnet.account(nn.Sequential(conv, Inverse(), nn.Conv2d(8, 8, 3)),
                                     (3, 16, 16), strict=False),
        "one axis": budgetnet.account(nn.Sequential(nn.Conv1d(2, 4, 5, 2), nn.ReLU()), (2, 40)),
        "three axes": budgetnet.account(nn.Sequential(nn.Conv3d(1, 2, 3)), (1, 8, 8, 8)),
        "two inputs": budgetnet.account(Two(), ((1, 12, 12), (3, 12, 12))),
        "no axis": budgetnet.account(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), (8,)),
        "context": budgetnet.account(nn.Sequential(conv, nn.GroupNorm(2, 8)), (3, 9, 9)),
        "no layer": budgetnet.account(nn.Identity(), (3, 9, 9)),
        "upsampled": budgetnet.account(nn.Sequential(nn.ConvTranspose2d(3, 4, 3, 3),
                                                     nn.Conv2d(4, 2, 2)), (3, 6, 6)),
        "no edges": plan("c8 p gap10", (1, 28, 28)),
        "transposed with gaps": budgetnet.account(nn.Sequential(nn.ConvTranspose2d(1, 1, 1, 2)),
                                                  (1, 5, 5)),
    }  # fmt: skip


def test_odd_networks_have_a_report(show):
    accounts = odd_accounts()
    data = accounts["no edges"].to_dict() | {"version": 1}
    for row in data["rows"]:
        del row["reads"]
    accounts["no edges"] = Account.from_dict(json.loads(json.dumps(data)))
    for name, account in accounts.items():
        tab = show(render_html(account, budget=Budget(macs="1k", receptive_field=3)))
        words = tab.inner_text("body")
        assert account.name in words, name
        assert ("saved by an earlier release" in words) == (name == "no edges")
        if name == "unknown":
            assert "unknown MACs" in words
            assert 2 == tab.locator('[data-verdict="unknown"]').count()
        if name in ("one axis", "upsampled", "context"):
            assert " reads rows " in tab.inner_text("#readout")
        if name == "transposed with gaps":
            tab.evaluate(SET_UNIT, [0, 1, 1])
            assert "reads nothing" in tab.inner_text("#readout")
        if name in ("two inputs", "three axes", "no axis"):
            assert "Regions are shown for one input" in words
