"""The report driven in headless Chromium: what the page shows is what the library says.

Needs Debian's package `chromium` and Playwright for Python (`pip install playwright`); the check
for accessibility also needs axe-core (`npm install axe-core` here, or `AXE` set to axe.min.js).
"""

import json
import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from budgetnet import Account, Budget, plan
from budgetnet.budget.advice import advise
from budgetnet.budget.figures import LISTED, figure_text
from budgetnet.report import render_html
from budgetnet.spec.plan import as_spec, live_bytes

S6 = "c16 c16 c16 c16 p c16 c16 c16 gap10"
EVIL = "</script><img src=x onerror=\"document.title='broken'\">"


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
        "#layers tbody tr:not([hidden])", "rows => rows.map(row => row.dataset.name)"
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
    tops = ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "(model)", "fc"]
    opened = visible_names(resnet)
    assert tops == [name for name in opened if "." not in name]
    blocks = [f"layer{stage}.{block}" for stage, count in enumerate((3, 4, 6, 3), start=1)
              for block in range(count)]  # fmt: skip
    assert blocks == [name for name in opened if "." in name]  # each once, and no layer inside
    resnet.click('[data-do="fold"]')
    assert tops == visible_names(resnet)


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
    tab.click("#spec-more")
    for stage, field, value in (
        ("conv2", "out", "24"), ("conv5", "kernel", "5x3"), ("pool1", "stride", "1"),
        ("conv4", "stride", "2"), ("head", "classes", "7"),
    ):  # fmt: skip
        tab.fill(f'[data-stage="{stage}"][data-field="{field}"]', value)
        spec = tab.input_value("#spec")
        assert figures_planned(spec, (1, 28, 28)) == figures_shown(tab)
        account = plan(spec, (1, 28, 28))
        layers = tab.eval_on_selector_all(
            "#layers tbody tr",
            "rows => rows.map(r => [r.dataset.name, r.dataset.kind,"
            " ...[...r.cells].slice(2).map(c => c.textContent)])",
        )
        assert [list(row) for row in account.to_table().rows] == layers
    assert "c16 c24 c16 c16s2 ps1 c16k5x3 c16 c16 gap7" == spec
    tab.fill("#spec", "c8 x9")
    assert "word 2, 'x9'" in tab.inner_text("#spec-error")
    tab.click("#spec-reset")
    assert figures_planned(S6, (1, 28, 28)) == figures_shown(tab)


def test_what_if_judges_by_the_limits_of_the_report(show):
    budget = Budget(params="12k..15k", macs="4M", receptive_field=22, require=["Conv2d"])
    tab = show(s6(budget=budget))
    tab.click("#spec-more")
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
    tab.locator("html[data-ready]").wait_for(state="attached")
    tab.add_script_tag(path=str(AXE))
    found = tab.evaluate("axe.run()")["violations"]
    context.close()
    assert [] == [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in found]


def network(name):
    """One of the six networks that the page is looked at with."""
    return plan(name) if name in ("s6", "unet") else torch_account(name)


@cache
def limited(name):
    """A report that says most of what it can: limits, a strip with a line, an advised change."""
    account = network(name)
    budget = Budget(params=account.params - 400, macs=2 * account.macs, receptive_field=16)
    return account, budget, render_html(account, budget=budget)


SIX = ["s6", "resnet50", "densenet121", "mobilenet_v3_small", "unet", "vit_b_16"]


FLEX = "Number(/flex:([0-9]+)/.exec(i.getAttribute('style'))[1])"  # as written, to the last digit


def exact(tab, selector):
    """Figures by name: the exact one, which a short one has in its title."""
    return tab.eval_on_selector_all(
        selector, "all => Object.fromEntries(all.map(box => [box.dataset.figure,"
        " box.querySelector('dd').title || box.querySelector('dd').textContent]))"
    )  # fmt: skip


@pytest.mark.parametrize("name", SIX)
def test_every_figure_is_that_of_the_account(show, name):
    account, budget, page = limited(name)
    tab = show(page)
    figures = {key: figure_text(figure.read(account)) for key, figure in LISTED.items()}
    assert figures == exact(tab, "#verdict [data-figure]")
    limits = tab.eval_on_selector_all(
        "[data-limit]", "all => all.map(li => li.querySelector('.used').textContent)"
    )
    found = budget.check(account)
    assert [f"{f.measured_text}, {f.limit} {f.headroom_text}" for f in found] == limits
    over = f"OVER by {account.params - budget.limits[0].high:,} params"
    assert over in tab.inner_text("#verdict-title")
    reasons = tab.eval_on_selector_all("#why li", "all => all.map(li => li.textContent)")
    assert [*advise(budget.limits, account, found).lines] == reasons
    for cost, values in (("macs", [row.macs for row in account.layers()]),
                         ("params", [row.params for row in account.layers()])):  # fmt: skip
        shown = tab.eval_on_selector_all(
            f".strip.{cost} i[data-layer]",
            f"all => all.map(i => [Number(i.dataset.layer), {FLEX}])",
        )
        assert [[i, value] for i, value in enumerate(values) if value] == shown
    rows = tab.eval_on_selector_all(
        "#layers tr[data-layer]", "rows => rows.map(r => [r.dataset.name, r.dataset.kind,"
        " ...[...r.cells].slice(2).map(c => c.textContent)])"
    )  # fmt: skip
    assert [list(row) for row in account.to_table().rows] == rows


def test_live_memory_is_drawn_where_it_is_known(show):
    tab = show(s6(budget=Budget(peak_activation_bytes=100_000)))
    live = live_bytes(as_spec("s6"), (1, 28, 28))
    heights = tab.eval_on_selector_all(
        ".strip.live i", "all => all.map(i => parseFloat(i.style.height))"
    )
    assert 10 == len(heights)
    assert 100 == max(heights)
    assert f"{max(live):,}" == tab.get_attribute('[data-cost="live"] .total', "title")
    at = tab.get_attribute('[data-cost="live"] .limit-at', "style")
    assert f"bottom:{100 * 100_000 / max(live):.2f}%" == at
    assert 0 == show(render_html(torch_account("unet"))).locator(".strip.live").count()


def chosen_everywhere(tab, layer, path):
    """Whether all parts of the page show one layer as the chosen one."""
    assert "true" == tab.get_attribute(f'#layers tr[data-layer="{layer}"]', "aria-current")
    assert path in tab.inner_text("#readout")
    assert path in tab.get_attribute(".strip.macs", "aria-valuetext")
    marked = tab.eval_on_selector_all(".strip .here", "all => all.map(i => i.dataset.layer)")
    assert {str(layer)} == set(marked)
    assert all(
        words.startswith(f"{path}:") for words in tab.locator(".curves .at").all_inner_texts()
    )


def test_one_choice_moves_all_parts(show):
    tab = show(s6())
    tab.click('.strip.macs i[data-layer="1"]')
    chosen_everywhere(tab, 1, "conv2")
    tab.click('#layers tr[data-layer="5"] td:nth-child(7)')
    chosen_everywhere(tab, 5, "conv5")
    chart = tab.locator('[data-curve="MACs by layer"] svg')
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * 0.19, "y": box["height"] / 2})
    chosen_everywhere(tab, 0, "conv1")
    strip = tab.locator(".strip.params")
    strip.focus()
    strip.press("ArrowRight")
    strip.press("ArrowRight")
    chosen_everywhere(tab, 2, "conv3")
    assert "conv3: 1,115,136 MACs (29.9 %), 2,336 parameters (16.3 %)" in tab.inner_text(
        "#cost-readout"
    )
    strip.press("End")
    assert "true" == tab.get_attribute('#layers tr[data-layer="9"]', "aria-current")
    tab.hover('.strip.macs i[data-layer="3"]')
    assert tab.inner_text("#cost-readout").startswith("conv4: 921,600 MACs")


def changed_figures(tab):
    """What header, card, strips, curves and table say of a network, without its ghost."""
    return tab.evaluate("""() => {
      const flex = (i) => Number(/flex:([0-9]+)/.exec(i.getAttribute('style'))[1]);
      const own = (node) => [...node.childNodes].filter((n) => n.nodeName !== 'S')
        .map((n) => n.textContent).join('').trim();
      const all = (selector, read) => [...document.querySelectorAll(selector)].map(read);
      return {
        facts: all('.facts li', own),
        figures: Object.fromEntries(all('#verdict .figures > :not(.dim)', (box) =>
          [box.dataset.figure, box.querySelector('dd').title || own(box.querySelector('dd'))])),
        macs: all('.strip.macs:not(.ghost) i:not(.spare)', flex),
        params: all('.strip.params:not(.ghost) i:not(.spare)', flex),
        bars: all('[data-curve="MACs by layer"] .bars:not(.ghost)', (path) =>
          path.getAttribute('d').split('M').length - 1),
        total: all('#layers tfoot td', (cell) => cell.textContent),
      };
    }""")


def planned_figures(spec, shape):
    account = plan(spec, shape)
    names = ("params", "macs", "receptive_field", "depth", "weight_bytes", "peak_activation_bytes")
    return {
        "facts": [
            f"{account.params:,} parameters", f"{account.macs:,} MACs",
            f"receptive field {account.receptive_field}", f"input {account.input_text}",
            f"output {account.output_text}",
        ],
        "figures": {name: figure_text(LISTED[name].read(account)) for name in names},
        "macs": [row.macs for row in account.layers() if row.macs],
        "params": [row.params for row in account.layers() if row.params],
        "bars": [sum(bool(row.macs) for row in account.layers())],
        "total": list(account.to_table().totals[1:]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("c16 c14 c16 c16 p c16 c16 c16 gap10", (1, 28, 28)),
        ("c8k5s2p2 ds16 t8-bn p3s2p1 c8k3x1-act gap", (3, 64, 48)),
        ("c16 c16 gap10", (1, 28, 28)),
    ],
)
def test_all_parts_show_the_changed_network(show, spec, shape):
    tab = show(s6(budget=Budget(params="14k")))
    tab.evaluate("choose => 0", 0)
    before = changed_figures(tab)
    tab.fill("#spec-input", "x".join(map(str, shape)))
    tab.fill("#spec", spec)
    assert planned_figures(spec, shape) == changed_figures(tab)
    assert "As changed" in tab.inner_text("#verdict-title")
    ghosts = tab.locator("s.ghost, .strip.ghost, path.ghost")
    assert 3 < ghosts.count()
    assert tab.locator(".facts s.ghost").first.inner_text() == "14,372 parameters"
    tab.click("#spec-reset")
    assert before == changed_figures(tab)
    assert 0 == ghosts.count()
    assert "" == tab.evaluate("location.hash")


def test_a_button_tries_the_advised_change(show):
    budget = Budget(params="14k", receptive_field=22)
    tab = show(s6(budget=budget))
    words = tab.inner_text("#verdict")
    assert "OVER by 372 params" in words
    assert "conv2 to conv4 hold 49 % of the parameters" in words
    assert "Narrow conv2 from 16 to 14 channels: 13,792 params" in words
    tab.click("#try")
    assert "c16 c14 c16 c16 p c16 c16 c16 gap10" == tab.input_value("#spec")
    assert "As changed: within budget" == tab.inner_text("#verdict-title")
    assert budget.check(plan(tab.input_value("#spec"), (1, 28, 28)))[0].ok
    tab.click("#spec-undo")
    assert S6 == tab.input_value("#spec")
    assert "OVER by 372 params" == tab.inner_text("#verdict-title")


def test_widths_are_stepped_undone_and_carried_by_the_link(show):
    tab = show(s6())
    tab.click("#spec-more")
    width = tab.locator('[data-stage="conv2"][data-field="out"]')
    width.press("ArrowUp")
    width.press("Shift+ArrowUp")
    width.press("ArrowDown")
    assert "c16 c24 c16 c16 p c16 c16 c16 gap10" == tab.input_value("#spec")
    assert "#spec=c16+c24+c16+c16+p+c16+c16+c16+gap10&input=1x28x28" == tab.evaluate(
        "location.hash"
    )
    kernel = tab.locator('[data-stage="conv1"][data-field="kernel"]')
    kernel.press("ArrowUp")
    assert "c16k5 c24" == tab.input_value("#spec")[:9]
    for _ in range(3):
        tab.click("#spec-undo")
    assert "c16 c17 c16" == tab.input_value("#spec")[:11]
    tab.locator("#spec").focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowUp")  # the caret stands at the first width
    assert "c17 c17" == tab.input_value("#spec")[:7]


def test_an_invalid_word_dims_the_old_figures_and_lists_the_words(show):
    tab = show(s6())
    opacity = "box => Number(getComputedStyle(box).opacity)"
    parts = ("#planned", ".facts", "#verdict", ".cost", ".curves", "#layers")
    tab.fill("#spec", "c16 x9 gap10")
    assert all(0.6 > tab.eval_on_selector(part, opacity) for part in parts)
    said = tab.inner_text("#spec-error")
    for word in ("c16 convolution", "ds16", "t16", "p pooling", "gap10", "k3 kernel", "same"):
        assert word in said
    assert "true" == tab.get_attribute("#spec", "aria-invalid")
    tab.fill("#spec", "c16 gap10")
    assert all(1 == tab.eval_on_selector(part, opacity) for part in parts)
    assert "" == tab.inner_text("#spec-error")


def test_sorting_reacts_to_the_whole_head_and_the_keyboard(show):
    tab = show(s6())
    head = tab.locator("#layers th:nth-child(9)")
    box = head.bounding_box()
    head.click(position={"x": 2, "y": box["height"] - 3})
    assert "descending" == head.get_attribute("aria-sort")
    tab.locator('#layers [data-column="6"]').press("Enter")
    assert "descending" == tab.get_attribute("#layers th:nth-child(7)", "aria-sort")


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_head_and_picture_stay_in_sight_beside_the_table(show, name):
    tab = show(render_html(torch_account(name)), viewport={"width": 1280, "height": 800})
    tab.click('[data-do="unfold"]')
    tab.locator("#layers tbody tr").nth(30).scroll_into_view_if_needed()
    assert tab.evaluate("document.querySelector('#layers thead').getBoundingClientRect().top < 0")
    assert 0 == tab.evaluate("document.querySelector('#layers th').getBoundingClientRect().top")
    stage = tab.locator("#stage").bounding_box()
    assert 0 <= stage["y"] < 400
    assert stage["y"] + stage["height"] < 800


def test_what_was_copied_is_told_for_a_while(show):
    tab = show(s6(), permissions=["clipboard-read", "clipboard-write"])
    tab.click('[data-do="csv"]')
    expect_text(tab, "#copied", "Copied 12 lines of CSV")
    tab.wait_for_function("() => document.getElementById('copied').textContent === ''")


# Boxes of texts in one line or one drawing: none may lie over another, or leave what holds it.
TEXTS = """() => {
  const boxes = [];
  const groups = 'header .facts, #verdict .limits li, #verdict .figures, .cost-head, .stage-names,'
    + ' #layers tr, #against tr, #side-by-side tr, .curves svg, #what-if .tools, #planned';
  for (const group of document.querySelectorAll(groups)) {
    const walker = document.createTreeWalker(group, NodeFilter.SHOW_TEXT);
    const own = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const holder = node.parentElement;
      const style = getComputedStyle(holder);
      const isHidden = style.visibility === 'hidden' || holder.nodeName === 'OPTION';
      if (!node.textContent.trim() || isHidden) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const box of range.getClientRects()) {
        if (!box.width) continue;
        own.push([box.left, box.top, box.right, box.bottom, node.textContent.trim()]);
        const wrong = box.left < -0.5 || box.right > innerWidth + 0.5;
        if (wrong) boxes.push(`cut at the edge: ${node.textContent}`);
        const frame = holder.closest('td, th, .stage-names span, svg')?.getBoundingClientRect();
        if (frame && (box.left < frame.left - 1 || box.right > frame.right + 1)) {
          boxes.push(`cut: ${node.textContent}`);
        }
      }
    }
    own.forEach(([left, top, right, bottom, text], i) => own.slice(i + 1).forEach((other) => {
      const wide = Math.min(right, other[2]) - Math.max(left, other[0]);
      const high = Math.min(bottom, other[3]) - Math.max(top, other[1]);
      if (wide > 1 && high > 3) boxes.push(`${text} over ${other[4]}`);
    }));
  }
  return [...new Set(boxes)];
}"""


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
@pytest.mark.parametrize("name", SIX)
def test_no_text_is_cut_or_lies_over_another(show, name, width):
    account, budget, page = limited(name)
    if name == "s6":
        page = render_html(account, budget=budget, against=account)
    tab = show(page, viewport={"width": width, "height": 800})
    if name == "s6":  # with ghosts as well
        tab.fill("#spec", "c128 c128 c16 c16 p c16 c16 c16 gap10")
    tab.click('[data-do="unfold"]')
    assert [] == tab.evaluate(TEXTS)
    assert width == tab.evaluate("document.documentElement.scrollWidth")
    visible = tab.eval_on_selector_all(
        "#layers thead th", "all => all.filter(th => th.offsetWidth).map(th => th.textContent)"
    )
    assert {"Layer", "Params", "MACs"} <= set(visible)


def test_controls_are_large_enough_for_a_finger(show):
    tab = show(s6(budget=Budget(params="14k")), viewport={"width": 360, "height": 740},
               has_touch=True, is_mobile=True)  # fmt: skip
    tab.fill("#spec", "c16 c15 p gap10")
    tab.click("#spec-more")
    small = tab.eval_on_selector_all(
        "button, select, summary, input",
        "all => all.filter(b => b.checkVisibility())"
        ".map(b => [b.textContent || b.id || b.dataset.field, b.getBoundingClientRect()])"
        ".filter(([, box]) => box.width < 24 || box.height < 24)"
        ".map(([name]) => name)",
    )
    assert [] == small


def test_the_reference_network_prints_on_two_pages(show):
    tab = show(s6(budget=Budget(params="14k", macs="4M", receptive_field=22)))
    printed = tab.pdf(format="A4")
    assert 2 == len(re.findall(rb"/Type\s*/Page\b", printed))
    tab.emulate_media(media="print")
    height = tab.evaluate("document.querySelector('#costs').getBoundingClientRect().bottom")
    assert height < 1000  # verdict, figures and strips stand on the first page


def test_better_and_worse_are_told_apart(show):
    small = plan("c16 c16 p c32 gap10", (1, 28, 28), name="small")
    tab = show(s6(against=small))
    cells = dict(tab.eval_on_selector_all(
        "#against tbody tr", "rows => rows.map(r => [r.dataset.figure, r.lastChild.textContent])"
    ))  # fmt: skip
    assert "✗ worse +6,848 (+91.0 %)" == cells["params"]
    assert "✓ better +" == cells["receptive_field"][:10]
    colours = [tab.eval_on_selector(f"#against .{cls}", "c => getComputedStyle(c).color")
               for cls in ("better", "worse")]  # fmt: skip
    assert colours[0] != colours[1]
    widths = {row.macs for row in small.layers() if row.macs}
    other = tab.eval_on_selector_all(
        ".strip.other.macs i:not(.spare)", f"all => all.map(i => {FLEX})"
    )
    assert widths == set(other)
    top = "document.querySelector('#compare').getBoundingClientRect().top"
    assert tab.evaluate(top) < tab.evaluate(top.replace("compare", "graph"))


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
