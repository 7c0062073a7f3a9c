"""The memory of a device in the report: every figure and rectangle is the deployment's."""

import json
import re

import pytest
from hypothesis import assume, given, settings
from test_report_browser import torch_account
from torch import nn

import budgetnet
from budgetnet import Budget, deployment, plan
from budgetnet.accounting.device.deployment import deployment_of
from budgetnet.accounting.device.target import Target
from budgetnet.errors import BudgetnetError
from budgetnet.report import render_html
from budgetnet.report.timeline import timeline
from budgetnet.testing import specs

DETECTOR = (
    "c8s2p1 ds16p1 ds32s2p1 ds32p1 ds64s2p1 ds64p1 ds128s2p1 ds128p1 ds128p1 ds128p1 ds128p1 "
    "ds128p1 ds256s2p1 ds256p1 gap2"
)


def detector():
    return plan(DETECTOR, (3, 96, 96), name="detector")


def told(account, budget=None):
    return timeline(account, account.layers(), budget)


def figures_of(body):
    found = re.findall(r'data-memory="(\w+)" data-value="(\d+)"', body)
    return {name: int(value) for name, value in found}


def test_figures_are_those_of_the_deployment():
    account, budget = detector(), Budget(ram=60_000, flash="300 kB")
    found = deployment(account)
    section = told(account, budget)
    expected = {
        "ram": 73_728, "least": 55_296, "flash": found.flash_bytes,
        "beside": found.persistent_bytes, "limit": 60_000,
    }  # fmt: skip
    assert expected == figures_of(section.body)
    words = re.sub(r"<[^>]*>", "", section.body)
    assert "The peak is separable1.pointwise, step 3 of 29: 55,296 bytes are in memory" in words
    assert "a better plan takes 55,296, 18,432 less (25.0 %), and no plan needs less." in words
    assert "13,728 over" in words


@pytest.mark.parametrize(
    ("limits", "target"),
    [
        ({}, Target()),
        ({"params": "20k"}, Target()),
        ({"ram": 1, "runtime": "executorch", "dtype": "float32"}, Target("executorch", "float32")),
        ({"flash": 1, "dtype": "int16"}, Target("tflm", "int16")),
        ({"ram": 1, "plan": "least"}, Target(plan="least")),
        ({"board": "stm32f446"}, Target("tflm", "int8", "cmsis-nn")),
    ],
)
def test_the_runtime_is_that_of_the_budget(limits, target):
    account = detector()
    found, section = deployment_of(account, target), told(account, Budget(**limits))
    assert f"For {target}, with {target.kernels} kernels." in section.body
    assert found.ram_bytes == figures_of(section.body)["ram"]
    limit = limits.get("ram", 131_072 if "board" in limits else None)
    assert limit == section.data["limit"]


def placed(section, account, k):
    """The buffers of a plan as the script gets them, with names instead of numbers."""
    layers = account.layers()
    return [
        (*numbers, (layers[name].path or layers[name].kind) if isinstance(name, int) else name)
        for *numbers, name in section.data["plans"][k]["at"]
    ]


@given(specs())
@settings(max_examples=40)
def test_every_buffer_is_where_the_plans_put_it(spec):
    try:
        account = plan(spec, (3, 32, 32))
    except BudgetnetError:
        assume(False)
    section = told(account)
    if "is unknown" in section.body:
        with pytest.raises(budgetnet.UnsupportedOp):
            deployment(account)
        return
    found = deployment(account)
    if not found.steps:
        assert section.data is None
        return
    expected = [
        (b.first, b.last, offset, b.bytes, name)
        for b, offset, name in zip(found.plan.buffers, found.plan.offsets, found.buffers,
                                   strict=True)
    ]  # fmt: skip
    assert expected == placed(section, account, 0)
    json.dumps(section.data)
    for k, each in enumerate(section.data["plans"]):
        buffers = placed(section, account, k)
        assert each["size"] == max((at + size for *_, at, size, _ in buffers), default=0)
        for step, operator in enumerate(each["order"], start=1):
            live = [b for b in buffers if b[0] <= step <= b[1]]
            name = found.steps[operator].layer
            assert all(b[4] == f"scratch of {name}" for b in live if b[4].startswith("scratch of"))
            if k == 0:
                assert found.steps[operator].bytes == sum(b[3] for b in live)


def test_a_plan_in_another_order_is_shown_in_its_own():
    account = plan("c8p1 [ c32p1 p | p c4p1 ] gap2", (3, 24, 24))
    budget = Budget(board="stm32f446")  # whose kernels ask for scratch buffers
    found = deployment_of(account, Target("tflm", "int8", "cmsis-nn"))
    section = told(account, budget)
    assert (27_648, 23_904) == (found.ram_bytes, section.data["plans"][1]["size"])
    assert {"least": 23_904, "bound": 27_648}.items() <= figures_of(section.body).items()
    assert "a better plan in another order of steps takes 23,904" in section.body
    order = section.data["plans"][1]["order"]
    assert sorted(order) == [*range(len(found.steps))] != order
    scratch = [b for b in placed(section, account, 1) if b[4].startswith("scratch of ")]
    asked = [(found.steps[k].layer, size) for k in order for size in found.graph.scratch[k]]
    assert [(f"scratch of {layer}", -(-size // 16) * 16) for layer, size in asked] == [
        (name, size) for *_, size, name in scratch
    ]
    for first, _, _, _, name in scratch:
        assert name == f"scratch of {found.steps[order[first - 1]].layer}"


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(8, 4, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]


def test_why_there_is_no_picture_is_told_in_one_line():
    for account, budget, words in (
        (budgetnet.account(Recurrent(), (5, 8)), None, "tflm int8 is unknown: gru: GRU is several"),
        (detector(), Budget(ram="1 MiB", runtime="eager"), "eager float32 plans no memory; its"),
        (budgetnet.account(nn.Identity(), (3, 9, 9)), None, "No operator runs"),
    ):  # fmt: skip
        section = told(account, budget)
        assert section.data is None
        assert words in section.body
        assert 1 == section.body.count("<p")
        assert "memory-stage" not in re.sub(
            r"<(script|style).*?</\1>", "", render_html(account, budget=budget), flags=re.S
        )


def test_what_is_assumed_is_said():
    section = told(torch_account("mobilenet_v3_small"))
    assert "Some of it is assumed, see below." in section.body
    assert "Taken as one operator each: " in section.body


# ---- in Chromium


def drawn(tab):
    return tab.eval_on_selector_all(
        "#memory-stage .buffer",
        """all => all.map(e => [...['buffer', 'bytes', 'offset'].map(n => Number(e.dataset[n])),
            ...['x', 'y', 'width', 'height'].map(n => Number(e.getAttribute(n)))])""",
    )


@pytest.mark.parametrize("name", ["detector", "resnet8", "unet", "resnet50"])
def test_rectangles_are_to_scale(show, name):
    account = detector() if name == "detector" else (
        torch_account(name) if name == "resnet50" else budgetnet.account(name))  # fmt: skip
    found, tab = deployment(account), show(render_html(account))
    (left, right), (base, high) = tab.eval_on_selector(
        "#memory-stage .axis",
        """e => { const n = e.getAttribute('d').match(/[\\d.]+/g).map(Number);
            return [[n[0], n[3]], [n[2], n[2] - n[1]]]; }""",
    )
    column = (right - left) / (len(found.steps) + 1)
    rectangles = drawn(tab)
    shown = [i for i, b in enumerate(found.plan.buffers) if b.bytes and b.last >= 0]
    assert shown == [r[0] for r in rectangles]
    for i, size, offset, x, y, width, height in rectangles:
        buffer = found.plan.buffers[i]
        assert (buffer.bytes, found.plan.offsets[i]) == (size, offset)
        assert left + buffer.first * column == pytest.approx(x, abs=1)
        assert (buffer.last + 1 - buffer.first) * column == pytest.approx(width, abs=1.6)
        assert base - high * (offset + size) / found.ram_bytes == pytest.approx(y, abs=1)
        assert high * size / found.ram_bytes == pytest.approx(height, abs=1)
    bars = tab.eval_on_selector_all("#memory-stage .bar", "all => all.map(e => +e.dataset.bytes)")
    assert [step.bytes for step in found.steps] == bars
    peak = tab.get_attribute("#memory-stage .bar.peak", "data-step")
    assert found.steps.index(found.peak) + 1 == int(peak)
    assert f"peak: {found.peak.layer}" == tab.text_content("#memory-stage .peak-name")
    lines = tab.eval_on_selector_all("#memory-stage .line", "all => all.map(e => +e.dataset.bytes)")
    assert [found.ram_bytes, found.ram_bound] == lines


def test_the_least_plan_is_shown_when_it_is_chosen(show):
    account = detector()
    least = deployment(account).least()
    tab = show(render_html(account, budget=Budget(ram=60_000)))
    assert 3 == tab.locator("#memory-stage .line").count()
    tab.get_by_label("least plan").check()
    assert [*least.plan.offsets] == [r[2] for r in drawn(tab)]
    lines = tab.eval_on_selector_all("#memory-stage .line", "all => all.map(e => +e.dataset.bytes)")
    assert [55_296, 55_296, 60_000] == lines
    assert "Step 3, separable1.pointwise" in tab.inner_text("#memory-readout")


def test_pointer_and_keys_name_and_select(show):
    account = detector()
    tab = show(render_html(account))
    tab.locator('#memory-stage [data-buffer="2"]').hover()
    assert "separable1.depthwise: 18,432 bytes at 36,864, in memory from step 2 to 3." == (
        tab.inner_text("#memory-readout")
    )
    tab.locator('#memory-stage [data-buffer="2"]').click()
    names = [row.path for row in account.layers()]
    assert "separable1.depthwise" == names[int(tab.input_value("#layer"))]
    assert "here" in tab.get_attribute('#memory-stage [data-buffer="2"]', "class")
    tab.locator("#memory-stage").press("ArrowRight")  # from the step of what was clicked: the peak
    assert "Step 3, separable1.pointwise (CONV_2D): 55,296 bytes in memory" in tab.inner_text(
        "#memory-readout"
    )
    tab.locator("#memory-stage").press("ArrowRight")
    assert "separable2.depthwise" == names[int(tab.input_value("#layer"))]
    tab.locator("#memory-stage").press("End")
    assert "Step 29, head.pool (MEAN)" in tab.inner_text("#memory-readout")
    tab.select_option("#layer", "0")
    assert 1 <= tab.locator("#memory-stage .here").count()


def test_it_says_that_what_if_plans_no_memory(show):
    tab = show(render_html(detector()))
    assert not tab.is_visible("#memory-stale")
    tab.fill("#spec", "c8 gap2")
    assert tab.is_visible("#memory-stale")
    tab.click("#spec-reset")
    assert not tab.is_visible("#memory-stale")


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
@pytest.mark.parametrize("name", ["detector", "unet", "densenet121", "mobilenet_v3_small"])
def test_no_word_is_cut_or_lies_on_another(show, name, width):
    if name == "detector":
        account = detector()
    else:
        account = budgetnet.account(name) if name == "unet" else torch_account(name)
    tab = show(render_html(account, budget=Budget(ram=60_000)),
               viewport={"width": width, "height": 900})  # fmt: skip
    cut = """all => all.filter(e => e.scrollWidth > e.clientWidth + 1)
        .filter(e => getComputedStyle(e).display !== 'inline').map(e => e.textContent)"""
    assert [] == tab.eval_on_selector_all("#memory *:not(svg, svg *)", cut)
    boxes = tab.eval_on_selector_all(
        "#memory-stage text",
        """all => all.map(e => [e.textContent, e.getBoundingClientRect()])
            .map(([t, b]) => [t, b.left, b.top, b.right, b.bottom])""",
    )
    frame = tab.locator("#memory").bounding_box()
    for i, (words, left, top, right, bottom) in enumerate(boxes):
        assert frame["x"] <= left < right <= frame["x"] + frame["width"], words
        for other, l2, t2, r2, b2 in boxes[:i]:
            apart = right <= l2 or r2 <= left or bottom <= t2 + 2 or b2 <= top + 2
            assert apart, (words, other)


def test_it_follows_the_width(show):
    tab = show(render_html(detector()), viewport={"width": 1280, "height": 800})
    before = tab.get_attribute("#memory-stage svg", "viewBox")
    tab.set_viewport_size({"width": 400, "height": 800})
    tab.wait_for_function(
        "before => document.querySelector('#memory-stage svg').getAttribute('viewBox') !== before",
        arg=before,
    )
    assert len(drawn(tab)) == len([b for b in deployment(detector()).plan.buffers if b.bytes])
