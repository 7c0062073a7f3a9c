"""The text form of specs: what is written is read again, and an error points at what is wrong."""

import re
from dataclasses import MISSING, fields

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from budgetnet import Spec
from budgetnet.errors import SpecError
from budgetnet.spec.fields import ACTIVATIONS, FIELDS
from budgetnet.spec.stages import STAGES, Concat, Conv, Sum
from budgetnet.spec.text import MOST_NESTED, MOST_STAGES, SETTINGS
from budgetnet.testing import specs

# ------------------------------------------------------------------ what is written is read again

SPACES = st.sampled_from([" ", "  ", "\n", "\t "])


@settings(max_examples=500)
@given(specs(), st.data())
def test_what_is_written_is_read_again(spec, data):
    assert spec == Spec.parse(str(spec))
    laid_out = "".join(word + data.draw(SPACES) for word in str(spec).split())
    assert spec == Spec.parse(laid_out)


@given(specs(max_stages=3), st.integers(1, 4))
def test_repetitions_and_groups_are_what_they_stand_for(spec, times):
    text = str(spec)
    assert Spec(spec.stages * times) == Spec.parse(f"{times}*({text})")
    assert spec == Spec.parse(f"( ({text}))")


# A word of every kind, without modifiers.
PLAIN = {
    kind.prefix: kind.prefix
    + "8" * any(field.default is MISSING and field.name == kind.number for field in fields(kind))
    for kind in STAGES
}


def error_of(text):
    """What the parser says of a text; "" if it reads it."""
    try:
        Spec.parse(text)
    except SpecError as error:
        return str(error)
    return ""


def takes(word, modifier):
    return "can be followed by" not in error_of(word + modifier)


@given(st.lists(st.sampled_from(sorted(PLAIN.values())), min_size=1), st.sampled_from(SETTINGS))
def test_a_setting_is_what_every_word_after_it_says(words, setting):
    said = [word + setting if takes(word, setting) else word for word in words]
    text = " ".join(said)
    if not error_of(text):  # blocks that pad need convolutions that say how they do
        assert Spec.parse(text) == Spec.parse(" ".join([setting, *words]))


def test_a_word_overrides_a_setting_and_a_later_setting_the_one_before():
    spec = Spec.parse("relu6 -bn c8 c8silu+bn silu +bn c8 [c8 + relu6 c8]")
    assert [("relu6", False), ("silu", True), ("silu", True)] == [
        (stage.act, stage.norm) for stage in spec.stages[:3]
    ]
    last = spec.stages[3]
    assert ("silu", "relu6", "relu6") == (last.body[0].act, last.shortcut[0].act, last.act)


def test_brackets_are_sums_and_concatenations():
    c8 = Conv(8)
    assert Spec([Sum((c8, c8))]) == Spec.parse("[c8 c8 + ]")
    assert Spec([Sum((c8,), (c8,), None)]) == Spec.parse("[c8 + c8]-act")
    assert Spec([Concat(((c8,), (), (c8, c8)))]) == Spec.parse("[c8||2*c8]")
    inner = Concat(((), (c8, Sum((c8,)))))
    assert Spec([inner, inner]) == Spec.parse("2*[ | c8 [c8 +]]")


# ------------------------------------------------------------------ how much is read


def test_a_spec_may_have_so_many_stages_and_no_more():
    assert MOST_STAGES == len(Spec.parse(f"{MOST_STAGES}*c8").stages)
    tenth = MOST_STAGES // 10
    for text in (
        f"{MOST_STAGES + 1}*c8",
        f"{MOST_STAGES}*c8 c8",
        f"c8 {MOST_STAGES}*c8",
        f"{tenth}*[9*c8 + c8]",  # with the sums themselves
        f"same bb8 {tenth}*[{tenth}*c8k1 + ]",
        "9*(" * 9 + "c8" + ")" * 9,
        "9999999999999999999*c8",
    ):
        assert re.search(r"more than 100,000 stages|1 to 100,000 times", error_of(text)), text
    assert not error_of(f"{tenth}*[8*c8 + c8]")


@pytest.mark.parametrize(("opens", "closes"), [("(", ")"), ("[", " + ]"), ("[ | ", "]")])
def test_brackets_may_be_nested_so_deep_and_no_deeper(opens, closes):
    def nested(depth):
        return opens * depth + "c8" + closes * depth

    assert not error_of(nested(MOST_NESTED))
    for depth in (MOST_NESTED + 1, 50 * MOST_NESTED):
        assert f"nested more than {MOST_NESTED} deep" in error_of(nested(depth))


def test_repetitions_nest_like_brackets():
    assert 6 == len(Spec.parse("2*3*c8").stages)
    assert f"nested more than {MOST_NESTED} deep" in error_of("1*" * 5000 + "c8")


# ------------------------------------------------------------------ errors point at what is wrong

PIECES = [
    *PLAIN.values(), *SETTINGS, *(field.letter for field in FIELDS.values() if field.letter),
    "hse", "+bias", "-bias", "nearest", "3*", "0*", "12", "0", "0.25", "3x5", "q", "x8", "3x*", "é",
    *"[]()|+", " ", " ", " ", " | ", " + ", "] ", "\n",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join)


# What begins a modifier of each field.
MODIFIERS = {
    name: (*filter(None, [field.letter]), *(word for word, _ in getattr(field, "words", ())))
    for name, field in FIELDS.items()
}
MODIFIERS["padding"] += ("same", "valid")
MODIFIERS["se"] += ("hse",)


def place_of(error, text):
    """Where an error points: how many characters stand before the mark."""
    _, shown, mark = error.rsplit("\n", 2)
    assert re.fullmatch(r" *\^", mark)
    around, column = shown[2:], len(mark) - 3
    before = around[:column].removeprefix("...")
    after = around[column:].removesuffix("...")
    flat = re.sub(r"\s", " ", text)
    places = [at for at in range(len(text) + 1)
              if flat[:at].endswith(before) and flat[at:].startswith(after)
              and (at == len(before) or around.startswith("..."))]  # fmt: skip
    assert places, f"{error} shows other text than {text!r}"
    return places


@settings(max_examples=1000)
@given(TEXTS | st.text("cdgstpkx0123456789+-abinruelw[]()|*. ", max_size=16))
@example("c8 3x* c8")
@example("[c8 + c8 | c8]")
@example("c8 [c8 + ]relu7")
@example("serelu[")
def test_any_text_is_read_or_refused_with_a_mark_at_what_is_wrong(text):
    said = error_of(text)
    if not said:
        spec = Spec.parse(text)
        assert spec == Spec.parse(str(spec))
    elif "\n" in said:
        places = place_of(said, text)
        if number := re.search(r"character ([0-9]+)", said):
            assert int(number[1]) - 1 in places
        elif found := re.search(r"^word [0-9]+ of the spec: '([^']+)' has '([^']+)', but", said):
            assert any(text[at:].startswith(found[2]) for at in places)
        elif found := re.search(r"' needs a number, such as ([a-z]+)16", said):
            assert any(text[:at].endswith(found[1]) for at in places)
        elif found := re.search(r"' gives (\w+) twice", said):
            assert any(text[at:].startswith(MODIFIERS[found[1]]) for at in places)
        elif "a number of more than" not in said:
            word = re.search(r"^word [0-9]+ of the spec: '([^']+)'", said)[1]
            assert any(text[at:].startswith(word) for at in places)
    else:  # nothing to point at: one word, or none
        assert len(re.findall(r"[0-9]+\*|[\[(|)]|\][^\s\[\]()|]*|[^\s\[\]()|]+", text)) <= 1 or (
            "at least one stage" in said
        )


# Words that cannot be read, and how far into them the offence lies.
WRONG = {
    "x8": 0, "c8q3": 2, "c8k3k5": 4, "c0": 0, "ir8k4": 0, "3x*": 0, "-foo": 0, "ds": 2,
    "c1234567890123": 1, "c8same1": 6, "c8k4same": 0, "c8+c8": 2, "p9p9": 0, "é8": 0,
}  # fmt: skip


@settings(max_examples=300)
@given(specs(max_stages=4), st.sampled_from(sorted(WRONG)), st.data())
def test_the_mark_stands_below_a_wrong_word_wherever_that_is(spec, wrong, data):
    words = str(spec).split()
    at = data.draw(st.integers(0, len(words)))
    before = "".join(word + data.draw(SPACES) for word in words[:at])
    text = " ".join([before + wrong, *words[at:]])
    said = error_of(text)
    assert len(before) + WRONG[wrong] in place_of(said, text)
    number = len([word for word in before.split() if word[0] not in "[]|+" or word in SETTINGS])
    assert said.startswith(f"word {number + 1} of the spec: ")


# ------------------------------------------------------------------ errors list what can be there

ALTERNATIVES = {
    "a word": "c8", "a bracket": "(c8)", "+": " + ", "|": "|", "]": "]", ")": ")", "-act": "-act",
    **{name: name for name in ACTIVATIONS}, "nothing": " ",
}  # fmt: skip


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(["c8 ", "[", "]", "(", ")", "|", " + ", "3*", "]k3", "]relu "]),
                min_size=1, max_size=10).map("".join))  # fmt: skip
def test_what_an_error_lists_can_stand_there(text):
    said = error_of(text)
    listed = re.search(r"character ([0-9]+).*; expected (.*)\. Write words", said)
    if not listed:
        return
    place = int(listed[1]) - 1
    if "is not closed" in said:
        place = len(text)
    elif "nothing to repeat" in said:
        place += 2
    names = re.split(r", or |, | or ", listed[2].replace(" for a sum", ""))
    for name in names:
        apart = "" if "cannot follow" in said else " "  # from a bracket, which it would modify
        better = f"{text[:place]}{apart}{ALTERNATIVES[name]}"
        again = re.search(
            r"character ([0-9]+) of the spec: (?!'.' is not closed)", error_of(better)
        )
        assert again is None or "nothing to repeat" in again.string or int(again[1]) - 1 < place, (
            better
        )


EXAMPLES = {letter: letter + "1" for field in FIELDS.values() if (letter := field.letter)} | {
    "hse": "hse1", "drop": "drop0.5"
}  # fmt: skip
FLAGS = [*SETTINGS, "+bias", "-bias", "nearest", "bilinear"]


@pytest.mark.parametrize("prefix", PLAIN)
def test_what_may_follow_a_word_is_what_its_error_lists(prefix):
    word = PLAIN[prefix]
    listed = re.search(r"can be followed by (.*) only\.", error_of(word + "q"))[1].split(", ")
    known = EXAMPLES | {flag: flag for flag in FLAGS}
    assert [name for name in listed if name != "nothing"] == [
        name for name in listed if name in known and takes(word, known[name])
    ]
    assert not [name for name in known if name not in listed and takes(word, known[name])]


# ------------------------------------------------------------------ the texts of errors

WORDS = "c, ds, t, pc, bn, bb, bt, ir, er, db, se, p, ap, u, tc, gap, flatten, l, fc or drop"
AFTER_C = (
    "k, s, p, d, g, drop, same, valid, -bn, +bn, -act, relu, relu6, hardswish, silu, gelu, "
    "leaky_relu, sigmoid, tanh, +bias, -bias"
)
USAGE = 'Write words such as "c16 c16 p c16 gap10".'
TEXT_ERRORS = {
    "": "a spec needs at least one stage.",
    "c16 x8": f"word 2 of the spec: 'x8' does not start with a stage: {WORDS}. {USAGE}\n"
    "  c16 x8\n      ^",
    "c": "word 1 of the spec: 'c' needs a number, such as c16.",
    "c16q": f"word 1 of the spec: 'c16q' has 'q', but c can be followed by {AFTER_C} only.",
    "c16k3k5": "word 1 of the spec: 'c16k3k5' gives kernel_size twice.",
    "p3k5": "word 1 of the spec: 'p3k5' gives kernel_size twice.",
    "c16p1same": "word 1 of the spec: 'c16p1same' gives padding twice.",
    "c16k4same": "word 1 of the spec: 'c16k4same' pads unevenly: same needs an odd kernel; give p "
    "instead.",
    "p-act": "word 1 of the spec: 'p-act' has '-act', but p can be followed by k, s, p only.",
    "c1234567890123": "word 1 of the spec: 'c1234567890123' has a number of more than 12 digits.",
    "ir24q3 gap": "word 1 of the spec: 'ir24q3' has 'q3', but ir can be followed by k, s, d, e, h, "
    "se, hse, -bn, +bn, -act, relu, relu6, hardswish, silu, gelu, leaky_relu, sigmoid, tanh only. "
    f"{USAGE}\n  ir24q3 gap\n      ^",
    "c8 ir16": "word 1 of the spec: 'c8' does not say how it pads, while ir keeps the size of the "
    "map. Begin the spec with same to pad all convolutions, or with valid.\n  c8 ir16\n  ^",
    "[c8 | c8": f"character 1 of the spec: '[' is not closed; expected a word, | or ]. {USAGE}\n"
    "  [c8 | c8\n  ^",
    "[c8] gap": "character 4 of the spec: a bracket has two branches or more; expected + for a "
    f"sum, or |. {USAGE}\n  [c8] gap\n     ^",
    "c8 ] gap": "character 4 of the spec: ']' closes or separates nothing; expected a word or a "
    f"bracket. {USAGE}\n  c8 ] gap\n     ^",
    "[c8 + | c8]": "character 7 of the spec: '|' cannot stand here; expected a word or ]. "
    f"{USAGE}\n  [c8 + | c8]\n        ^",
    "[c8 + ]k3": "character 8 of the spec: 'k3' cannot follow a sum; expected -act, relu, relu6, "
    f"hardswish, silu, gelu, leaky_relu, sigmoid, tanh, or nothing. {USAGE}\n"
    "  [c8 + ]k3\n         ^",
    "c8 3*": "character 4 of the spec: there is nothing to repeat; expected a word or a bracket. "
    f"{USAGE}\n  c8 3*\n     ^",
    "0*c8 gap": f"character 1 of the spec: a word is repeated 1 to 100,000 times. {USAGE}\n"
    "  0*c8 gap\n  ^",
    "[gap | c8]": "the bracket at character 1: Concat: Head cannot stand in a branch, which is "
    "made of maps. Put it behind the bracket.\n  [gap | c8]\n  ^",
    "c8 c0": "word 2 of the spec: 'c0': Conv: out_channels=0 is not valid; expected a whole number "
    "of at least 1 and at most 12 digits.\n  c8 c0\n     ^",
    "c8 c16k3k5": f"word 2 of the spec: 'c16k3k5' gives kernel_size twice. {USAGE}\n"
    "  c8 c16k3k5\n          ^",
    "c8\n\tc": f"word 2 of the spec: 'c' needs a number, such as c16. {USAGE}\n  c8  c\n       ^",
    "c8 2*+": "character 4 of the spec: there is nothing to repeat; expected a word or a bracket. "
    f"{USAGE}\n  c8 2*+\n     ^",
    "3x* gap": f"word 1 of the spec: '3x*' does not start with a stage: {WORDS}. {USAGE}\n"
    "  3x* gap\n  ^",
}


@pytest.mark.parametrize("text", TEXT_ERRORS)
def test_unreadable_text_is_named(text):
    with pytest.raises(SpecError) as caught:
        Spec.parse(text)
    expected = TEXT_ERRORS[text]
    alone = expected.endswith(".")
    assert (f"{expected} {USAGE}" if alone else expected) == str(caught.value)
