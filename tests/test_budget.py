"""Budgets: limits read and judged, messages, advice that holds, hints, and the pytest plugin."""

import dataclasses
from fractions import Fraction
from math import prod

import pytest
import torch
from golden import check_golden
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

import budgetnet
from budgetnet import Account, Budget, BudgetExceeded, Finding, Spec, assert_budget, models, plan
from budgetnet.budget.advice import cheapest_change, coverage, scaled_change
from budgetnet.budget.hints import find_hints
from budgetnet.budget.limits import parse_size
from budgetnet.errors import ArgumentError, BudgetnetError, SpecError
from budgetnet.spec.chains import chain_of
from budgetnet.spec.stages import BRANCHES, STAGES, Conv, Head, Pool, Separable, Transition
from budgetnet.testing import specs

S6 = plan(models.get_reference("s6").spec, (1, 28, 28), name="s6")
SIZES = ["params", "trainable_params", "macs", "weight_bytes", "peak_activation_bytes", "depth"]


@st.composite
def chains(draw, kinds=(*STAGES, *BRANCHES)):
    """A spec with an input shape that fits."""
    spec = draw(specs(kinds=kinds))
    shape = (draw(st.integers(1, 6)), draw(st.integers(4, 24)), draw(st.integers(4, 24)))
    try:
        plan(spec, shape)
    except BudgetnetError:
        assume(False)
    return spec, shape


def total(account, name):
    """A figure computed again from the rows, by a way of its own."""
    rows = account.rows
    if name in ("params", "trainable_params"):
        return sum(row.params for row in rows)
    if name == "macs":
        return sum(row.macs for row in rows)
    if name == "depth":
        return len([row for row in rows if row.kind in ("Conv2d", "ConvTranspose2d", "Linear")])
    norms = [row for row in rows if row.kind in ("BatchNorm1d", "BatchNorm2d")]
    if name == "weight_bytes":  # a norm keeps mean and variance, and one counter of 8 bytes
        running = sum(2 * row.output_shape[0] for row in norms)
        return 4 * (sum(row.params for row in rows) + running) + 8 * len(norms)
    raise AssertionError(name)


@given(
    st.data(),
    chains(),
    st.sampled_from([name for name in SIZES if name != "peak_activation_bytes"]),
)
def test_a_verdict_is_what_the_rows_say(data, drawn, name):
    account = plan(*drawn)
    measured = total(account, name)
    low = data.draw(st.integers(0, 2 * measured + 2))
    high = data.draw(st.integers(low, 2 * measured + 2))
    (below,) = Budget(**{name: high}).check(account)
    (within,) = Budget(**{name: (low, high)}).check(account)
    assert (measured <= high, high - measured) == (below.ok, below.headroom)
    assert (low <= measured <= high) == within.ok
    assert min(measured - low, high - measured) == within.headroom
    assert within.verdict == (
        "under" if measured < low else "over" if measured > high else "within"
    )


@given(chains(), st.integers(0, 60))
def test_a_receptive_field_must_be_reached_along_every_axis(drawn, least):
    account = plan(*drawn)
    (found,) = Budget(receptive_field=least).check(account)
    assert all(size >= least for size in account.receptive_field.size) == found.ok


def test_a_receptive_field_may_have_both_bounds():
    uneven = plan("c4k3x9 gap2", (1, 12, 12))
    wanted = {3: "within", 4: "under"}
    for low, verdict in wanted.items():
        (found,) = Budget(receptive_field=(low, 9)).check(uneven)
        assert verdict == found.verdict
    (found,) = Budget(receptive_field=(3, 8)).check(uneven)
    assert ("over", -1, "3x9") == (found.verdict, found.headroom, found.measured_text)


@pytest.mark.parametrize(
    ("text", "in_bytes", "expected"),
    [
        (20_000, False, 20_000), ("20_000", False, 20_000), ("20,000", False, 20_000),
        ("20k", False, 20_000), ("20 K", False, 20_000), ("3M", False, 3_000_000),
        ("1.25G", False, 1_250_000_000), (2e6, False, 2_000_000), (0, False, 0),
        ("60 KiB", True, 61_440), ("60kB", True, 60_000), ("60 KB", True, 60_000),
        ("1.5MiB", True, 1_572_864), ("512 B", True, 512), ("512", True, 512),
        ("2 GiB", True, 2 * 1024**3), ("2GB", True, 2 * 10**9),
        ("1,234.5k", False, 1_234_500), ("14_372", False, 14_372), ("1,000,000", False, 10**6),
        ("14372", False, 14_372), (2**63 - 1, False, 2**63 - 1), ("1,024 KiB", True, 2**20),
    ],
)  # fmt: skip
def test_sizes(text, in_bytes, expected):
    assert expected == parse_size(text, in_bytes=in_bytes)


@pytest.mark.parametrize(
    ("text", "in_bytes"),
    [
        (-1, False), ("-1", False), (1.5, False), ("0.3", False), (True, False), (None, False),
        ("20 KiB", False), ("many", False), ("", False), ("3m", False), ("1e6", False),
        ("60 K", True), ("0.3 B", True), (float("nan"), False), (float("inf"), False), ([], False),
        ("1.0001 kB", True),
        # Thousands are groups of exactly three, set apart by one sign.
        ("1,5k", False), ("1,5", False), ("1,,,5", False), ("1,", False), (",100", False),
        ("1,00", False), ("1,0000", False), ("1000,000", False), ("1_5", False), ("1__000", False),
        ("1_000,000", False), ("1,000_000", False), ("1,5 KiB", True), ("1,2,3", False),
        # A fraction needs a unit, and digits are those of this keyboard.
        ("1.000", False), ("2.0", False), ("1.0 B", True), (".5k", False), ("1.k", False),
        ("1.5.0k", False), ("\u0661k", False), ("\uff11\uff10", False), ("0x10", False),
        ("+5", False), ("2**10", False), ("1 k k", False), ("k", False),
        # Too large to be meant, or to be printed.
        (2**63, False), (10**4000, False), ("9" * 5000, False), ("99999999T", False),
        (1e300, False),
        (b"5", False), ({"a": 1}, False), ((1, 2, 3), False), (object(), False), (1 + 0j, False),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_read(text, in_bytes):
    with pytest.raises(
        ArgumentError, match=r"params=.* is not a valid size\. Write a whole number"
    ) as caught:
        parse_size(text, "params", in_bytes)
    assert len(str(caught.value)) < 250


GROUPED = [("20000", "20,000"), ("1,5k", None), ("1,,,5", None), ("1500", "1_500"), ("1,00", None)]


@pytest.mark.parametrize(("plain", "grouped"), GROUPED, ids=[plain for plain, _ in GROUPED])
def test_flags_files_and_python_read_numbers_alike(plain, grouped, tmp_path, capsys, monkeypatch):
    from budgetnet.cli.parser import main

    monkeypatch.chdir(tmp_path)
    limits = set()
    for text in (plain, grouped or plain):
        file = tmp_path / "pyproject.toml"
        file.write_text(f'[[tool.budgetnet.check]]\nmodel = "c4 gap2"\ninput = "1x9x9"\n'
                        f'params = "{text}"\n')  # fmt: skip
        codes = {
            main(["check"]),
            main(["check", "c4 gap2", "--input", "1x9x9", "--params", text]),
            main(["report", "c4 gap2", "--input", "1x9x9", "--params", text, "-o", "out.html"]),
        }  # fmt: skip
        assert {0 if grouped else 2} == codes, capsys.readouterr()
        if grouped:
            limits.add(Budget(params=text).limits)
        else:
            assert 3 == capsys.readouterr().err.count(f"params={text!r} is not a valid size")
            with pytest.raises(ArgumentError, match="is not a valid size"):
                Budget(params=text)
    assert len(limits) == bool(grouped)


@pytest.mark.parametrize(
    "growth", ["1,5", "+1,,5", "1_0 %", "1,000 %", "\u0661%", "9" * 5000 + "%"]
)
def test_growths_that_cannot_be_read(growth):
    from budgetnet.budget.limits import parse_growth

    with pytest.raises(ArgumentError, match=r" is not a valid growth of params\."):
        parse_growth("params", growth, 100)
    assert 1_600 == parse_growth("params", "+1,500", 100).high


NO_KINDS = [3, True, {"a": 1}, [""], [3], ["Conv2d", None], b"Conv2d", 1.5, "", None]


@pytest.mark.parametrize("kinds", NO_KINDS, ids=repr)
@pytest.mark.parametrize("key", ["require", "forbid"])
def test_what_names_no_kinds(key, kinds):
    with pytest.raises(ArgumentError, match=rf"^{key}=.* does not name kinds\. Write"):
        Budget(**{key: kinds})
    assert Budget(require=("a", "b")).limits == Budget(require=iter(["a", "b"])).limits


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[\d.,_ ]{1,6}[kKMGiB]{0,3}")), st.booleans())
def test_any_text_is_a_size_or_an_error(text, in_bytes):
    try:
        size = parse_size(text, in_bytes=in_bytes)
    except ArgumentError:
        return
    assert size >= 0
    assert size == parse_size(f"{size:,}", in_bytes=in_bytes)


def test_budgets_compose_and_take_limits_of_ones_own():
    def shallow(account):
        """At most three convolutions."""
        return account.depth <= 3

    def named(account):
        return Finding("title", "within" if account.name else "under", account.name, "a title")

    common = Budget(params="20k", require="Conv2d")
    budget = Budget(*common.limits, shallow, named, forbid=["Linear", "Dropout*"])
    found = budget.check(S6)
    assert ["forbid Linear", "forbid Dropout*", "params", "require Conv2d", "shallow", "title"] == [
        f.name for f in found
    ]
    assert [True, True, True, True, False, True] == [f.ok for f in found]
    assert "At most three convolutions." == found[4].reason
    assert common == Budget(params=20_000, require=["Conv2d"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        common.limits = ()


def test_an_unknown_figure_is_a_violation():
    class Inverse(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    model = nn.Sequential(nn.Conv2d(1, 2, 3), Inverse())
    assert_budget(model, (1, 8, 8), params=20)
    with pytest.raises(BudgetExceeded, match="no accounting rule covers") as raised:
        assert_budget(model, (1, 8, 8), params=20, macs="1M")
    assert ["within", "unknown"] == [f.verdict for f in raised.value.findings]


def test_assert_budget_takes_models_specs_and_accounts():
    model = models.get_model("s6")
    assert 14_372 == assert_budget(model, (1, 28, 28), params="20k", receptive_field=22).params
    assert S6 == assert_budget(S6, budget=Budget(params=14_372))
    assert 14_372 == assert_budget(models.get_reference("s6").spec, (1, 28, 28)).params
    with pytest.raises(ArgumentError, match="the shape of the input is missing"):
        assert_budget(model, params="20k")
    with pytest.raises(AssertionError, match="4,372 over"):
        assert_budget(S6, params="10k")


MESSAGES = {
    "params": ("c16 c16 p c32 gap10", {"params": "7k"}),
    "macs": ("c16 c16 p c32 gap10", {"macs": "1.5M", "params": "20k"}),
    "receptive_field": ("c16 c16 p c32 gap10", {"receptive_field": 16}),
    "receptive_field_range": ("c16k3x9 c16 gap10", {"receptive_field": (6, 8)}),
    "peak": ("c16 c16 p c32 gap10", {"peak_activation_bytes": "80 KiB"}),
    "weight_bytes": ("c16 c16 p c32 gap10", {"weight_bytes": ("16 KiB", "24 KiB")}),
    "depth": ("c16 c16 c16 c16 p c16 gap10", {"depth": 5}),
    "kinds": ("c16 c16 p c32 gap10", {"require": ["AvgPool*"], "forbid": ["MaxPool2d"]}),
    "nothing_helps": ("c16 c16 p c32 gap10", {"params": 300, "receptive_field": 28}),
    "scaled": ("c16 c16 c16 c16 p c16 c16 c16 gap10", {"params": "8k", "macs": "2M"}),
    "covered": ("c16k7s2 c16k5s2 c16k3 c16same c16same gap10", {"params": "12k"}),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name):
    spec, limits = MESSAGES[name]
    with pytest.raises(BudgetExceeded) as raised:
        assert_budget(spec, (1, 28, 28), **limits)
    check_golden(f"budget_{name}", str(raised.value))


@pytest.mark.deep
@given(
    chains(),
    st.sampled_from(["params", "macs", "weight_bytes", "peak_activation_bytes", "depth"]),
    st.integers(30, 99),
)
def test_the_cheapest_change_keeps_its_word(drawn, name, percent):
    spec, shape = drawn
    account = plan(spec, shape)
    budget = Budget(**{name: getattr(account, name) * percent // 100})
    assume(not all(finding.ok for finding in budget.check(account)))
    change = cheapest_change(spec, names_of(spec), budget.limits, shape)
    if change is None:
        return
    budget.enforce(plan(change.spec, shape))
    differing = [a != b for a, b in zip(spec.stages, change.spec.stages, strict=False)]
    shorter = len(change.spec.stages) == len(spec.stages) - 1
    assert shorter or sum(differing) == 1
    assert change.alternatives >= 1


def test_the_cheapest_change_is_the_least_of_all_by_brute_force():
    spec, shape = Spec.parse("c6 c8 p c7 gap10"), (1, 20, 20)
    before, shares = plan(spec, shape).params, []
    for i, stage in enumerate(spec.stages):
        others = [(1, Spec((*spec.stages[:i], *spec.stages[i + 1 :])))] if i < 4 else []
        if hasattr(stage, "out_channels"):
            now = stage.out_channels
            others += [((now - n) / now, _with(spec, i, out_channels=n)) for n in range(1, now)]
            others += [(8 / 9, _with(spec, i, kernel_size=(1, 1)))]
            others += [(1 - 9 / k**2, _with(spec, i, kernel_size=(k, k))) for k in (5, 7, 9, 11)]
        for share, other in others:
            try:
                account = plan(other, shape)
            except BudgetnetError:
                continue
            if account.params <= 1_000:
                moved = abs(before - account.params) / before
                shares.append((share + moved, other))
    change = cheapest_change(spec, names_of(spec), Budget(params=1_000).limits, shape)
    assert min(shares, key=lambda entry: entry[0])[1] == change.spec
    assert change.alternatives <= len(shares)


@given(chains(), st.integers(5, 95))
def test_scaled_widths_meet_the_budget(drawn, percent):
    spec, shape = drawn
    budget = Budget(params=plan(spec, shape).params * percent // 100)
    change = scaled_change(spec, budget.limits, shape)
    if change is not None:
        budget.enforce(plan(change.spec, shape))
        assert len(spec.stages) == len(change.spec.stages)
        at = int(change.text.split()[3])
        assert plan(spec, shape).output_shape[0] == plan(change.spec, shape).output_shape[0]
        has_width = [stage for stage in spec.stages if hasattr(stage, "out_channels")]
        widths = [stage.out_channels for stage in has_width]
        steps = [stage.multiples[1] for stage in has_width]  # as of groups
        made = [s.out_channels for s in change.spec.stages if hasattr(s, "out_channels")]
        pairs = zip(widths, steps, strict=True)
        scaled = [max(step, width * at // 100 // step * step) for width, step in pairs]
        assert made in (scaled, [*scaled[:-1], *widths[-1:]])


def _with(spec, i, **values):
    stage = dataclasses.replace(spec.stages[i], **values)
    return Spec((*spec.stages[:i], stage, *spec.stages[i + 1 :]))


@given(chains((Conv, Separable, Transition, Pool, Head)))
def test_a_chain_is_found_again_in_its_account(drawn):
    spec, shape = drawn
    account = plan(spec, shape)
    assert (spec, tuple(names_of(spec))) == chain_of(account)[:2]
    traced = budgetnet.account(models.build(spec, shape[0]), shape)
    again = chain_of(traced)
    assert _unnamed(traced) == _unnamed(plan(again.spec, shape))
    assert again == chain_of(dataclasses.replace(account, spec=""))


def test_stages_are_called_what_the_network_calls_them():
    spec = Spec.parse("c8 ds8 p c8 gap4")
    assert tuple(names_of(spec)) == chain_of(plan(spec, (3, 16, 16))).names
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3))
    assert ("0", "2", "3") == chain_of(budgetnet.account(net, (1, 12, 12))).names


def names_of(spec):
    return [name for name, _ in spec.named_stages()]


def _unnamed(account):
    """Rows without paths, and without the kinds of dropout, of which a trace has several."""
    return [row._replace(path="", kind=row.kind * (row.role != "dropout")) for row in account.rows]


def test_advice_is_for_networks_with_a_spec():
    norm = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4))
    with pytest.raises(BudgetExceeded) as raised:
        assert_budget(norm, (4, 8, 8), params=100)
    assert "change" not in str(raised.value)
    residual = budgetnet.blocks.Residual(budgetnet.blocks.ConvBNReLU(4, 4, activation_layer=None))
    with pytest.raises(BudgetExceeded) as raised:
        assert_budget(residual, (4, 8, 8), params=100)
    assert "change the kernel of body.conv1 of body.conv from 3x3 to 1x1" in str(raised.value)


def changed_stages(stages):
    """Every single change of stages in a row, those within brackets too, with its share."""
    for i, stage in enumerate(stages):
        options = [(1, ()), *((share, (made,)) for share, made in changed_stage(stage))]
        yield from ((share, (*stages[:i], *made, *stages[i + 1 :])) for share, made in options)


def changed_stage(stage):
    values = []
    for name in ("out_channels", "growth_rate", "num_layers"):
        now = getattr(stage, name, 1)
        values += [(Fraction(now - n, now), {name: n}) for n in range(1, now)]
    if (now := getattr(stage, "expansion", None)) is not None:
        values += [(Fraction(abs(e - now), max(e, now)), {"expansion": e}) for e in range(1, 7)]
    if getattr(stage, "se", None):
        values.append((1, {"se": None}))
    if hasattr(stage, "dilation"):
        was = stage.kernel_size[0] ** 2
        for k in (1, 3, 5, 7, 9, 11):
            padding = {} if stage.pads else {"padding": k // 2}
            values.append(
                (Fraction(abs(k * k - was), max(k * k, was)), {"kernel_size": k} | padding)
            )
    for name in ("body", "shortcut"):
        values += [
            (share, {name: made}) for share, made in changed_stages(getattr(stage, name, ()))
        ]
    branches = getattr(stage, "branches", ())
    for i, branch in enumerate(branches):
        values += [
            (share, {"branches": (*branches[:i], made, *branches[i + 1 :])})
            for share, made in changed_stages(branch)
        ]
    for share, each in values:
        try:
            yield share, dataclasses.replace(stage, **each)
        except SpecError:
            continue


@pytest.mark.parametrize("params", [12_000, 11_000, 9_000, 5_000])
def test_the_cheapest_change_of_blocks_is_the_least_of_all_by_brute_force(params):
    text = "same c8 bb8 db4n3 ir12se4 [ c8 c12-act + ] [ c4 | ds4 ] gap5"
    spec, shape = Spec.parse(text), (3, 16, 16)
    before, shares = plan(spec, shape), []
    for share, stages in changed_stages(spec.stages):
        try:
            account = plan(Spec(stages), shape)
        except BudgetnetError:
            continue
        if account.params <= params and account.output_shape == before.output_shape:
            shares.append(share + Fraction(abs(before.params - account.params), before.params))
    change = cheapest_change(spec, names_of(spec), Budget(params=params).limits, shape)
    assert (change is None) == (not shares)
    if change is not None:
        Budget(params=params).enforce(plan(change.spec, shape))
        moved = Fraction(abs(before.params - change.account.params), before.params)
        share = next(s for s, stages in changed_stages(spec.stages) if Spec(stages) == change.spec)
        assert min(shares) == share + moved


def test_coverage():
    first, later = coverage(plan("c4s2 c4s2 c4same c4same c4same gap10", (1, 15, 15)))
    assert ("conv3", (15, 15)) == (first.path, first.receptive_field.size)
    assert ["conv4", "conv5"] == [row.path for row in later]
    assert (None, ()) == coverage(S6)


HINTS = {
    "bias-before-norm": ("c8+bias c8 c8 gap4", ["conv1.conv"]),
    "activation-on-logits": ("c8 c8 c8 t4 gap", ["transition1.act"]),
    "pool-before-head": ("c8 c8 p gap4", ["pool1"]),
    "small-field": ("c8 gap4", ["head.norm"]),
    "pointwise-field": ("c8 t8 gap4", ["transition1.conv"]),
    "beyond-coverage": ("c8k9 c8same c8same gap4", ["conv3"]),
    "even-kernel": ("c8k4 c8 c8 gap4", ["conv1.conv"]),
}


@pytest.mark.parametrize("name", HINTS)
def test_hints(name):
    spec, where = HINTS[name]
    assert where == [
        hint.where for hint in find_hints(plan(spec, (1, 11, 11))) if hint.name == name
    ]


def test_a_wasted_bias_is_counted():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, bias=False),
                          nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))  # fmt: skip
    (hint,) = [h for h in find_hints(budgetnet.account(model, (3, 9, 9))) if "bias" in h.name]
    assert ("0", "its bias of 8 parameters has no effect") == (hint.where, hint.what)


def test_unused_parameters_are_a_hint():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Conv2d(1, 1, 9), nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return self.used(x)

    hints = [h.where for h in find_hints(budgetnet.account(Idle(), (1, 9, 9)))]
    assert ["idle.weight", "idle.bias"] == hints


def test_a_sound_network_has_no_hints():
    assert () == find_hints(plan("c8 c8 p c8 c8 gap10", (1, 14, 14)))


def test_depth_is_part_of_an_account():
    assert 8 == S6.depth
    assert 8 == S6.to_dict()["depth"]
    assert S6 == Account.from_json(S6.to_json())
    assert prod((2, 4)) == S6.depth
