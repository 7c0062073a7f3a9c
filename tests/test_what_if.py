"""The page's own `plan` against budgetnet's, to the last integer: both run, and are compared."""

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetnet import Spec, plan
from budgetnet.accounting.rows import layer_places
from budgetnet.errors import BudgetnetError
from budgetnet.spec.plan import live_bytes

RUN = """(calls) => {
%s
  return calls.map(([text, shape]) => {
    try {
      const made = planChain(text, shape);
      return { ...made, layers: foldChain(made.rows), spec: writeSpec(parseSpec(text)) };
    } catch (problem) {
      if (!(problem instanceof SpecProblem)) throw problem;
      return { problem: problem.message };
    }
  });
}"""


@pytest.fixture(scope="module")
def in_the_page(browser):
    source = files("budgetnet.report").joinpath("assets/plan.js").read_text(encoding="utf-8")
    context = browser.new_context()
    tab = context.new_page()
    yield lambda calls: tab.evaluate(RUN % f"'use strict';\n{source}", calls)
    context.close()


def sized(letter, low, high):
    number = st.integers(low, high)
    one = number.map(lambda n: f"{letter}{n}")
    return st.one_of(st.just(""), one, st.tuples(number, number).map(
        lambda pair: f"{letter}{pair[0]}x{pair[1]}"
    ))  # fmt: skip


FLAGS = [st.sampled_from(["", "", option]) for option in ("-bn", "-act", "+bias", "-bias", "same")]
NUMBER = st.one_of(st.just(""), st.integers(1, 24).map(str))


@st.composite
def words(draw):
    word = draw(st.sampled_from(["c", "c", "c", "ds", "t", "p", "gap"])) + draw(NUMBER)
    parts = [
        draw(sized("k", 1, 5)),
        draw(sized("s", 1, 3)),
        draw(sized("p", 0, 2)),
        draw(sized("d", 1, 2)),
        draw(st.sampled_from(["", "", "g2"])),
        *map(draw, FLAGS),
    ]
    kept = [part for part in parts if part and draw(st.integers(0, 2)) == 0]
    return word + "".join(draw(st.permutations(kept)))


SPECS = st.lists(words(), min_size=1, max_size=6).map(" ".join)
SHAPES = st.tuples(st.integers(1, 4), st.integers(6, 40), st.integers(6, 40))


def planned(text, shape):
    try:
        return plan(text, shape)
    except BudgetnetError:
        return None


def same(expected, made, text):
    words = (str(Spec((stage,))) for stage in Spec.parse(text).stages)  # settings shorten rows
    assert " ".join(words) == made["spec"]
    for name in ("params", "macs", "weight_bytes", "peak_activation_bytes", "depth"):
        assert getattr(expected, name) == made[name], (name, text)
    assert list(expected.receptive_field.size) == made["receptive_field"]
    live = live_bytes(Spec.parse(text), expected.input_shape)
    assert [*live] == [row["live"] for row in made["rows"]]
    of_layers = [0] * len(expected.layers())
    for place, size in zip(layer_places(expected.rows), live, strict=True):
        of_layers[place] = max(of_layers[place], size)
    assert of_layers == [row["live"] for row in made["layers"]]
    for rows, found in ((expected.rows, made["rows"]), (expected.layers(), made["layers"])):
        assert [
            (row.path, row.kind, row.role, list(row.output_shape), row.params, row.macs,
             list(row.receptive_field.size), list(row.receptive_field.padding))
            for row in rows
        ] == [
            (row["path"], row["kind"], row["role"], row["shape"], row["params"], row["macs"],
             [axis["size"] for axis in row["field"]], [-axis["first"] for axis in row["field"]])
            for row in found
        ]  # fmt: skip


@settings(max_examples=60)  # many calls each, since reaching the browser takes longest
@given(calls=st.lists(st.tuples(SPECS, SHAPES), min_size=1, max_size=60))
def test_what_if_equals_plan(in_the_page, calls):
    for (text, shape), made in zip(calls, in_the_page(calls), strict=True):
        expected = planned(text, shape)
        assert (expected is None) == ("problem" in made), (text, shape, made)
        if expected is not None:
            same(expected, made, text)


SOME = [
    ("c16 c16 c16 c16 p c16 c16 c16 gap10", (1, 28, 28)),
    ("c8k5s2p2 ds16 t8-bn p3s2p1 c8k3x1-act d gap", (3, 32, 40)),
    ("c8k5s2p2 ds16d2 t8-bn p3s2p1 c8k3x1-act+bias gap10-bn", (3, 64, 48)),
    ("c8k3same ds8k5x3same", (2, 9, 9)), ("c4g2-bias", (2, 8, 8)),
    ("c1p0same", (1, 6, 6)), ("c1samep1", (1, 6, 6)),
    ("gap", (3, 8, 8)), ("p", (3, 8, 8)), ("", (1, 8, 8)), ("gap c8", (1, 8, 8)),
    ("c8k9", (1, 8, 8)), ("c0", (1, 8, 8)), ("c8g3", (1, 8, 8)), ("t8k3", (1, 8, 8)),
]  # fmt: skip


@pytest.mark.parametrize("text", ["same c8", "c8silu", "bb8", "[ c8 | c8 ]", "2*c8", "c8drop0.2"])
def test_what_if_refuses_the_words_that_it_does_not_know(in_the_page, text):
    (made,) = in_the_page([(text, (1, 8, 8))])
    assert "word 1" in made["problem"]


@pytest.mark.parametrize(("text", "shape"), SOME)
def test_what_if_equals_plan_on_chosen_specs(in_the_page, text, shape):
    (made,) = in_the_page([(text, shape)])
    expected = planned(text, shape)
    assert (expected is None) == ("problem" in made), made
    if expected is not None:
        same(expected, made, text)
