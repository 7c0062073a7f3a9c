"""The map of the network in Chromium: drawn as the library draws it, folded, moved and searched."""

import re
import xml.etree.ElementTree as ET

import pytest
from test_report_browser import S6, torch_account

from budgetnet import plan
from budgetnet.report import render_html
from budgetnet.report.drawing import diagram
from budgetnet.report.folding import folds_of, open_at_first, tree_of
from budgetnet.report.scene import placed

NETWORKS = ["s6", "u-net", "resnet50", "densenet121", "mobilenet_v3_small", "vit_b_16"]


def account_of(name):
    if name in ("s6", "u-net"):
        return plan(S6, (1, 28, 28), name="s6") if name == "s6" else plan("unet")
    return torch_account(name)


DRAWN = """() => [...document.querySelectorAll('#graph #network *')]
  .filter((e) => !e.closest('defs'))
  .map((e) => [e.tagName, Object.fromEntries([...e.attributes].map((a) => [a.name, a.value])),
    e.children.length ? '' : e.textContent])"""
OF_THE_PAGE = {"role", "tabindex", "aria-pressed", "aria-expanded", "aria-label"}
MARKS = r" (holds|near|match)\b"


def plain(elements):
    """Elements with numbers rounded, without what only the page adds."""
    out = []
    for name, attributes, words in elements:
        kept = {
            key: re.sub(r"-?\d+(\.\d+)?", lambda n: f"{float(n[0]):.1f}", re.sub(MARKS, "", value))
            for key, value in attributes.items() if key not in OF_THE_PAGE
        }  # fmt: skip
        out.append((name, kept, words))
    return out


def drawn_by_python(account, opened, room):
    layers = account.layers()
    scene = placed(tree_of(layers), layers, opened, room, inputs=len(account.input_shapes))
    root = ET.fromstring(str(diagram(account, layers, scene, " ")))
    svg = "{http://www.w3.org/2000/svg}"
    group = root.find(f"{svg}g")
    group.remove(group.find(f"{svg}defs"))
    every = [*group.iter()][1:]
    return [(e.tag.removeprefix(svg), dict(e.attrib), "" if len(e) else e.text or "")
            for e in every]  # fmt: skip


ROOM = "[document.querySelector('.map').clientWidth, Math.max(420, 0.74 * innerHeight)]"
TOGGLE = """(key) => document.querySelector(`#graph .node[data-fold="${key}"]`)
  .dispatchEvent(new MouseEvent('click', { bubbles: true }))"""


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_draws_what_the_library_draws(show, name):
    account = account_of(name)
    root = tree_of(account.layers())
    tab = show(render_html(account))
    room = tuple(tab.evaluate(ROOM))
    opened = {*open_at_first(root)}
    assert plain(drawn_by_python(account, opened, room)) == plain(tab.evaluate(DRAWN))
    for fold in [fold for fold in folds_of(root) if fold.key not in opened][:3]:
        tab.evaluate(TOGGLE, f"{fold.first}-{fold.end}")
        opened.add(fold.key)
        assert plain(drawn_by_python(account, opened, room)) == plain(tab.evaluate(DRAWN))
    tab.click("[data-map=open]")
    opened = {fold.key for fold in folds_of(root)}
    assert plain(drawn_by_python(account, opened, room)) == plain(tab.evaluate(DRAWN))
    tab.click("[data-map=shut]")
    assert len(tab.evaluate(DRAWN)) == len(drawn_by_python(account, open_at_first(root), room))


TEXTS = """() => [...document.querySelectorAll('#graph .node, #graph .frame')].map((box) => {
  const rect = (e) => {
    const { left, top, right, bottom } = e.getBoundingClientRect();
    return [left, top, right, bottom];
  };
  const own = [...box.querySelectorAll(':scope > text')].map((e) => [e.textContent, ...rect(e)]);
  return [rect(box.querySelector(':scope > rect:not(.behind)')), own];
})"""


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_text_is_cut_or_lies_on_another(show, name, width):
    tab = show(render_html(account_of(name)), viewport={"width": width, "height": 900})
    for unfolds in (False, True) if name != "vit_b_16" else (False,):
        if unfolds:
            tab.click("[data-map=open]")
        checked = 0
        for (left, _, right, foot), texts in tab.evaluate(TEXTS):
            for i, (words, x, y, a, b) in enumerate(texts):
                assert left <= x, words
                assert a <= right, words
                assert b <= foot + 1, words
                checked += 1
                for other, c, d, e, f in texts[:i]:
                    assert min(a, e) <= max(x, c) or min(b, f) - max(y, d) < 3, (words, other)
        assert checked > 20
    assert width == tab.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("name", ["resnet50", "u-net", "s6"])
def test_all_of_it_is_in_one_screen(show, name):
    tab = show(render_html(account_of(name)), viewport={"width": 1280, "height": 900})
    box = tab.locator("#graph .map").bounding_box()
    assert box["height"] <= 0.75 * 900
    for node in tab.locator("#graph .node").all():
        one = node.bounding_box()
        assert box["x"] <= one["x"]
        assert one["x"] + one["width"] <= box["x"] + box["width"] + 8
        assert box["y"] <= one["y"]
        assert one["y"] + one["height"] <= box["y"] + box["height"] + 8


def seen(tab):
    return [float(n) for n in tab.get_attribute("#graph .map > svg", "viewBox").split()]


def until(tab, holds):
    """Wait for what a browser does in its own time."""
    for _ in range(100):
        if holds():
            return
        tab.wait_for_timeout(30)
    raise AssertionError("it did not happen")


def test_the_wheel_is_the_pages(show):
    tab = show(render_html(account_of("resnet50")), viewport={"width": 1280, "height": 900})
    tab.locator("#graph .map").scroll_into_view_if_needed()
    box = tab.locator("#graph .map").bounding_box()
    tab.mouse.move(box["x"] + 200, box["y"] + 200)
    before, at = seen(tab), tab.evaluate("scrollY")
    tab.mouse.wheel(0, 120)
    until(tab, lambda: tab.evaluate("scrollY") > at)
    assert before == seen(tab)
    tab.keyboard.down("Control")
    tab.mouse.wheel(0, -300)
    tab.keyboard.up("Control")
    until(tab, lambda: seen(tab)[2] < before[2])
    assert tab.locator(".minimap").is_visible()
    zoomed = seen(tab)
    box = tab.locator("#graph .map").bounding_box()
    tab.mouse.move(box["x"] + 300, box["y"] + 300)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 250, box["y"] + 260, steps=4)
    tab.mouse.up()
    assert seen(tab)[0] > zoomed[0]
    assert seen(tab)[1] > zoomed[1]
    tab.click("[data-map=fit]")
    assert before == seen(tab)
    assert not tab.locator(".minimap").is_visible()


def test_the_small_map_moves_the_large_one(show):
    tab = show(render_html(account_of("resnet50")))
    tab.click("[data-map=open]")
    small = tab.locator(".minimap")
    small.click(position={"x": 5, "y": 5})
    first = seen(tab)
    box = small.bounding_box()
    small.click(position={"x": box["width"] - 5, "y": box["height"] - 5})
    assert seen(tab)[0] > first[0] or seen(tab)[1] > first[1]


def test_folds_open_and_shut_by_keyboard(show):
    tab = show(render_html(account_of("resnet50")))
    fold = tab.locator('#graph .node[data-fold="20-32"]')
    assert "false" == fold.get_attribute("aria-expanded")
    fold.focus()
    tab.keyboard.press("ArrowRight")
    title = tab.locator('#graph .frame[data-fold="20-32"] > .title')
    assert "true" == title.get_attribute("aria-expanded")
    assert title.evaluate("e => e === document.activeElement")
    assert "layer2.3" in tab.inner_text("#readout")  # its last layer is chosen
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.dataset.fold") == "20-24"
    tab.keyboard.press("ArrowLeft")
    assert title.evaluate("e => e === document.activeElement")
    tab.keyboard.press("ArrowLeft")
    assert 0 == title.count()
    assert 1 == fold.count()
    assert 1 == tab.locator('#graph [tabindex="0"]').count()


def test_the_search_opens_what_it_finds(show):
    tab = show(render_html(account_of("resnet50")))
    tab.fill("#find", "layer3.4.conv2")
    assert "1 found" == tab.inner_text("#found")
    assert 1 == tab.locator("#graph .match").count()
    tab.press("#find", "Enter")
    assert "1 of 1" == tab.inner_text("#found")
    found = tab.locator('#graph .node[aria-pressed="true"]')
    assert "layer3.4.conv2" in found.text_content()
    box, one = tab.locator("#graph .map").bounding_box(), found.bounding_box()
    assert box["y"] <= one["y"] < box["y"] + box["height"]
    tab.fill("#find", "downsample")
    assert "4 found" == tab.inner_text("#found")
    for i in (1, 2, 3, 4, 1):
        tab.press("#find", "Enter")
        assert f"{i} of 4" == tab.inner_text("#found")
    tab.fill("#find", "nothing like it")
    assert "0 found" == tab.inner_text("#found")
    tab.press("#find", "Enter")


def test_what_if_leaves_the_original_as_a_ghost(show):
    tab = show(render_html(account_of("s6")))
    own = tab.evaluate(DRAWN)
    text = "c16 c20 c16 c16 p c16 c16 gap10"
    tab.fill("#spec", text)
    layers = plan(text, (1, 28, 28)).layers()
    boxes = tab.locator("#graph .node:not(.gone)")
    assert len(layers) == boxes.count()
    for box, row in zip(boxes.all(), layers, strict=True):
        words = box.text_content()
        title = box.locator("title").text_content()
        assert f"parameters {row.params:,}" in title
        assert f"MACs {row.macs:,}" in title
        assert row.path in words
    assert "2,336 → 2,920" in boxes.nth(1).text_content()
    assert 0 < boxes.nth(1).locator(".was").count()
    assert "conv7" in tab.locator("#graph .node.gone").text_content()
    tab.fill("#spec", f"c16 {text}")
    assert 0 == tab.locator("#graph .node.gone").count()
    tab.fill("#spec", f"c16 c16 {text}")
    added = tab.locator("#graph .node.added")
    assert "conv8" in added.text_content()
    tab.select_option("#layer", "0")  # a box that the report's network lacks is never chosen
    added.dispatch_event("click")
    pressed = tab.locator('#graph .node[aria-pressed="true"]')
    assert "conv1" in pressed.text_content()
    tab.click("#spec-reset")
    assert plain(own) == plain(tab.evaluate(DRAWN))
