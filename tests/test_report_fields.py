"""The filmstrip and the picture in Chromium: what they show is the account's, or plan's."""

import base64

import numpy as np
import pytest
from png import lines_of
from test_report_browser import S6, SET_UNIT, shown_region, torch_account

import budgetnet
from budgetnet import plan
from budgetnet.budget.advice import coverage
from budgetnet.cli.parser import main
from budgetnet.report import render_html

FRAMES = """buttons => buttons.map(button => ({
  layer: Number(button.dataset.layer), field: button.dataset.field,
  seen: Number(button.dataset.seen), words: button.innerText,
  covers: button.parentElement.className === 'covers',
  pressed: button.getAttribute('aria-pressed'),
}))"""


def account_named(name):
    if name in ("s6", "unet", "ds_cnn"):
        return budgetnet.account(name)
    return torch_account(name)


def seen_by(row, size):
    """Positions of the input that the unit in the middle reads, counted one by one."""
    unit = [0] * len(size) if row.is_global else [n // 2 for n in row.output_shape[1:]]
    reads = row.receptive_field.reads(*unit)
    return int(
        np.prod([sum(0 <= i < n for i in axis) for axis, n in zip(reads, size, strict=True)])
    )


@pytest.mark.parametrize(
    "name", ["s6", "unet", "ds_cnn", "resnet50", "mobilenet_v3_small", "densenet121", "vit_b_16"]
)
def test_frames_are_what_the_account_says(show, name):
    account = account_named(name)
    tab = show(render_html(account))
    frames = tab.eval_on_selector_all("#frames button", FRAMES)
    layers = account.layers()
    assert 2 <= len(frames) <= 12
    assert [f["layer"] for f in frames] == sorted({f["layer"] for f in frames})
    for frame in frames:
        row = layers[frame["layer"]]
        assert "x".join(map(str, row.receptive_field.size)) == frame["field"]
        assert seen_by(row, account.input_size) == frame["seen"]
    first, _ = coverage(account)
    marked = [k for k, frame in enumerate(frames) if frame["covers"]]
    if first is None:
        all_of_it = [
            k
            for k, f in enumerate(frames)
            if layers[f["layer"]].is_global and f["seen"] == np.prod(account.input_size)
        ]
        assert all_of_it[:1] == marked
    else:
        (at,) = marked
        before = frames[at - 1]["layer"] if at else -1
        assert before < next(i for i, row in enumerate(layers) if row == first)
        if layers[frames[at]["layer"]] != first:
            ending = f"{(first.path or first.kind).rpartition('.')[2]} on"
            assert frames[at]["words"].replace("\n", "").endswith(ending)


def test_frames_and_the_other_parts_show_one_selection(show):
    tab = show(render_html(account_named("resnet50")))
    frame = tab.locator("#frames button", has_text="layer2")
    frame.click()
    assert "true" == frame.get_attribute("aria-pressed")
    assert 1 == tab.locator('#frames [aria-pressed="true"]').count()
    last = int(frame.get_attribute("data-layer"))
    assert str(last) == tab.input_value("#layer")
    tab.select_option("#layer", "0")
    assert "false" == frame.get_attribute("aria-pressed")
    assert tab.locator("#frames button").first.get_attribute("aria-pressed") == "true"


CHANGED = [
    ("c16 c16s2 c16d2 c16k5 gap10", (1, 40, 40)),
    ("c8d3 p3s2 ds16k5x3 c4p1d2 t8 c4 gap3", (3, 44, 36)),
    ("c4k2d4 c4k3d2", (1, 20, 30)),
]


@pytest.mark.parametrize(("spec", "shape"), CHANGED)
def test_after_what_if_regions_are_those_of_plan(show, spec, shape):
    link = f"#spec={spec.replace(' ', '+')}&input={'x'.join(map(str, shape))}"
    tab = show(render_html(plan(S6, (1, 28, 28), name="s6")), fragment=link)
    changed, original = plan(spec, shape), plan(S6, (1, 28, 28))
    by_path = {row.path: row for row in original.layers()}
    options = tab.eval_on_selector_all("#layer option", "all => all.map(o => o.textContent)")
    assert [row.path for row in changed.layers()] == [text.split()[0] for text in options]
    for i, row in enumerate(changed.layers()):
        if row.is_global:
            tab.evaluate(SET_UNIT, [i, 0, 0])
            assert row.receptive_field.region(0, 0) == shown_region(tab)[1]
            continue
        height, width = row.output_shape[1:]
        for unit in {(0, 0), (height - 1, width - 1), (height // 2, width // 3)}:
            tab.evaluate(SET_UNIT, [i, *unit])
            assert (unit, row.receptive_field.region(*unit)) == shown_region(tab), row.path
            cells = tab.get_attribute("#stage .seen", "d").count("M")
            assert (
                np.prod([len(runs_of(axis)) for axis in row.receptive_field.reads(*unit)]) == cells
            )
            ghost = tab.get_attribute("#ghost", "d")
            assert bool(ghost) == (row.path in by_path)
            if ghost:
                assert ghost in ghosts_of(by_path[row.path])
    for frame in tab.eval_on_selector_all("#frames button", FRAMES):
        row = changed.layers()[frame["layer"]]
        assert "x".join(map(str, row.receptive_field.size)) == frame["field"]
        assert seen_by(row, shape[1:]) == frame["seen"]
    tab.click("#spec-reset")
    assert "" == tab.get_attribute("#ghost", "d")
    tab.evaluate(SET_UNIT, [3, 0, 0])
    assert original.layers()[3].receptive_field.region(0, 0) == shown_region(tab)[1]


def runs_of(positions):
    """Positions in a row."""
    return [i for i in positions if i - 1 not in positions]


def ghosts_of(row):
    """The outlines of all units of a layer."""
    units = [(0, 0)] if row.is_global else np.ndindex(*row.output_shape[1:])
    regions = (row.receptive_field.region(*unit) for unit in units)
    return {f"M{left} {top}H{right + 1}V{bottom + 1}H{left}z"
            for (top, bottom), (left, right) in regions}  # fmt: skip


def test_a_layer_that_the_changed_network_lacks_is_told(show):
    tab = show(render_html(plan(S6, (1, 28, 28))))
    tab.locator('#layers [data-layer="4"]').first.click()
    tab.fill("#spec", "c16 c8 gap2")
    assert "pool1 is not in the changed network" in tab.inner_text("#readout")
    tab.locator('#graph [data-layer="1"]').first.click()
    assert "Dashed: the report's own, 5x5" in tab.inner_text("#readout")


def png(content):
    """A PNG as `(H, W, 4)`, read by hand."""
    width, height, depth, kind, body = lines_of(content)
    assert (8, 6) == (depth, kind)
    lines = np.frombuffer(body, np.uint8).reshape(height, 1 + 4 * width)
    done = np.zeros((height, width, 4), np.int64)
    for y in range(height):
        line, above = lines[y, 1:].reshape(width, 4).astype(np.int64), done[y - 1] if y else 0
        done[y] = unfiltered(lines[y, 0], line, above + np.zeros((width, 4), np.int64))
    return done


def unfiltered(kind, line, above):
    """One line of a PNG; its filters are in section 9 of the standard."""
    if kind in (0, 2):
        return (line + (above if kind == 2 else 0)) % 256
    if kind == 1:
        return np.cumsum(line, axis=0) % 256
    out, left, corner = np.zeros_like(line), np.zeros(4, np.int64), np.zeros(4, np.int64)
    for x in range(len(line)):
        if kind == 3:
            out[x] = (line[x] + (left + above[x]) // 2) % 256
        else:
            guess = left + above[x] - corner
            away = [abs(guess - each) for each in (left, above[x], corner)]
            nearest = np.where((away[0] <= away[1]) & (away[0] <= away[2]), left,
                               np.where(away[1] <= away[2], above[x], corner))  # fmt: skip
            out[x] = (line[x] + nearest) % 256
        left, corner = out[x], above[x]
    return out


def test_the_strip_is_saved_as_png_with_the_users_own_picture(show, tmp_path):
    from budgetnet.report.pictures import data_address

    colours = np.zeros((28, 28, 3), np.uint8)
    colours[..., 0], colours[..., 2] = 200, 40
    file = tmp_path / "red.png"
    file.write_bytes(base64.b64decode(data_address(colours).partition(",")[2]))
    tab = show(render_html(plan(S6, (1, 28, 28), name="s/6 <b>"), image=file))
    with tab.expect_download() as waited:
        tab.click("#film-save")
    assert "s-6-b--fields.png" == waited.value.suggested_filename
    waited.value.save_as(tmp_path / "strip.png")
    found = png((tmp_path / "strip.png").read_bytes())
    assert found.shape[0] > 500
    assert (255 == found[..., 3]).all()
    # Where all is seen the picture is as bright as it was; elsewhere it is dimmed.
    flat = found[..., :3].reshape(-1, 3)
    whole = (flat == (200, 0, 40)).all(1).sum() / (400 * 400)
    account = plan(S6, (1, 28, 28))
    shares = sum(seen_by(row, (28, 28)) for row in account.layers()
                 if row.path != "head.conv") / 28**2  # fmt: skip
    assert whole == pytest.approx(shares, rel=0.1)


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
@pytest.mark.parametrize("name", ["s6", "unet", "densenet121", "mobilenet_v3_small"])
def test_no_word_of_a_frame_is_cut(show, name, width):
    tab = show(render_html(account_named(name)), viewport={"width": width, "height": 900})
    cut = """all => all.filter(e => e.scrollWidth > e.clientWidth + 1)
        .filter(e => getComputedStyle(e).display !== 'inline').map(e => e.textContent)"""
    assert [] == tab.eval_on_selector_all("#film *:not(svg, svg *)", cut)
    boxes = tab.eval_on_selector_all(
        "#frames li", "all => all.map(e => e.getBoundingClientRect()).map(b => [b.left, b.right])"
    )
    assert all(0 <= left < right <= width for left, right in boxes)


def test_footprints_of_any_unit_that_was_asked_for(show, tmp_path, capsys):
    file = tmp_path / "s6.html"
    asked = ["--footprint", "conv4@0,3", "--footprint", "conv4@19,19", "--footprint", "conv2"]
    assert 0 == main(["report", "s6", *asked, "--weights", "mnist", "-o", str(file)])
    tab = show(file.read_text(encoding="utf-8"))
    tab.select_option("#layer", "3")
    assert (0, 3) == shown_region(tab)[0]
    assert "the gradient measured at this unit" in tab.inner_text("#readout")
    assert ["measured at 0, 3", "measured at 19, 19"] == tab.locator(
        "#measured-units button"
    ).all_inner_texts()
    tab.locator("#measured-units button").last.click()
    assert (19, 19) == shown_region(tab)[0]
    assert tab.get_attribute("#stage image:nth-of-type(2)", "href").startswith("data:image/png")
    tab.select_option("#layer", "1")
    assert (12, 12) == shown_region(tab)[0]
    tab.select_option("#layer", "0")
    assert 0 == tab.locator("#measured-units button").count()
