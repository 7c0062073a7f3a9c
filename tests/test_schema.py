"""The schema of a configuration says what its parser says; jsonschema judges by the schema."""

import json
import os
import re
from fractions import Fraction
from pathlib import Path

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetnet.accounting.device.boards import BOARDS
from budgetnet.accounting.device.target import DTYPES, PLANS, RUNTIMES
from budgetnet.accounting.training import OPTIMIZERS
from budgetnet.budget.contract import CONTRACT
from budgetnet.budget.figures import FIGURES, GROWING
from budgetnet.budget.limits import BYTES, COUNTS, TIMES
from budgetnet.cli.config import KEYS, parse_checks
from budgetnet.cli.parser import main
from budgetnet.cli.schema import schema
from budgetnet.errors import ArgumentError

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "golden" / "latency_table_1.json"
FILE = ROOT / "budgetnet" / "cli" / "schema.json"  # for editors, which run no command
jsonschema = pytest.importorskip("jsonschema", reason="it is the oracle")
VALID = jsonschema.Draft202012Validator(schema())


def refusal(content):
    """What the parser says against a configuration, or "" if it takes it."""
    try:
        parse_checks(tomlkit.dumps(content), Path("pyproject.toml"))
    except ArgumentError as error:
        return str(error)
    return ""


units = st.sampled_from(["", *BYTES, *COUNTS, *TIMES, "Q", "kb"])
numbers = st.one_of(
    st.integers(0, 10**21).map(str),
    st.integers(0, 10**9).flatmap(
        lambda n: st.sampled_from([f"{n:,}", f"{n:_}", f"{n:,}".replace(",", ".")])
    ),
    st.decimals(0, 9999, places=3).map(str),
    st.decimals(0, 99, places=5).map(str),
)
spaces = st.sampled_from(["", "", "", " ", "\t", "\xa0", "\n"])
sizes = st.builds(lambda a, n, b, u, c: a + n + b + u + c, spaces, numbers, spaces, units, spaces)
bounds = st.one_of(
    st.integers(-3, 2**64), st.floats(0, 2.0**64, allow_nan=False), st.sampled_from([1e3, 1.5]),
    sizes,
)  # fmt: skip
junk = st.one_of(
    st.booleans(), st.just([]), st.just({}), st.just(""), st.text(max_size=5),
    st.lists(st.integers(0, 5), max_size=3), st.just([[1]]), st.just(float("inf")),
)  # fmt: skip
limits = st.one_of(
    bounds, st.builds("{}..{}".format, sizes, sizes), st.lists(bounds, min_size=1, max_size=3), junk
)
dimension = st.one_of(st.integers(-1, 10**19), st.integers(0, 300))
spelled = st.builds(lambda a, n, b: f"{a}{n}{b}", spaces, dimension, spaces)
shapes = st.one_of(
    st.lists(dimension, max_size=5), st.lists(st.lists(dimension, max_size=3), max_size=3),
    st.lists(st.lists(spelled, min_size=1, max_size=5).flatmap(
        lambda parts: st.sampled_from("xX,×").map(lambda x: x.join(parts))), min_size=1, max_size=3
    ).map("+".join), junk,
)  # fmt: skip
percents = st.builds("{}{}{}%".format, st.sampled_from(["", "+", "+ ", "-"]), numbers, spaces)
allowed = st.one_of(bounds, percents, sizes.map("+{}".format), junk)
kinds = st.one_of(st.sampled_from(["ReLU", ""]), st.lists(st.sampled_from(["ReLU", "", 3])), junk)


def names(known):
    some = st.sampled_from([*known])
    return st.one_of(some, some.map(str.upper), st.just("tflm2"), junk)


positions = st.one_of(st.integers(-3, 2**64), st.sampled_from([1.0, 1.5]), sizes, junk)
values = dict.fromkeys(FIGURES, limits) | dict.fromkeys(CONTRACT, positions) | {
    "name": st.one_of(st.just("a"), st.text(max_size=3), junk), "model": st.just("s6"),
    "message": st.one_of(st.just("m"), junk), "input": shapes,
    "set": st.one_of(st.dictionaries(st.just("width"), junk), junk),
    "growth": st.one_of(st.dictionaries(st.sampled_from([*GROWING, "depht"]), allowed), junk),
    "board": names(BOARDS), "require": kinds, "forbid": kinds,
    "runtime": names(RUNTIMES), "dtype": names(DTYPES), "plan": names(PLANS), "parms": limits,
    "training_memory": limits, "optimizer": names(OPTIMIZERS),
    "batch": st.one_of(st.integers(-1, 300), positions),
    "table": st.one_of(st.just(str(TABLE)), st.just(str(TABLE)), st.just("none.json"), junk),
}  # fmt: skip


def test_every_key_is_drawn():
    assert {*KEYS, "parms"} == set(values)


def _too_large_or_not_whole(text):
    """Whether a size that is spelled as one is no count of 63 bits; the factors stated again."""
    found = re.fullmatch(r"\s*\+?\s*([0-9,_]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if not found or len(text) > 40:
        return True
    unit = found[2].replace("K", "k")
    powers = {"k": 1, "M": 2, "G": 3, "T": 4, "u": 1, "m": 2, "s": 3}
    base = 1024 if "i" in unit else 1000
    number = Fraction(re.sub("[,_]", "", found[1])) * base ** powers.get(unit[:1], 0)
    return number.denominator != 1 or number >= 2**63


def is_beyond(refused, content):
    """Whether a refusal is one of the three that the schema's docstring says it cannot state."""
    (table,) = content["tool"]["budgetnet"]["check"]
    if "low is above high" in refused:
        return True
    key = re.search(r"check '.*?', (\w+): ", refused, re.DOTALL)[1]
    value = table[key]
    parts = [*value.values()] if isinstance(value, dict) else [value]
    parts = [p for part in parts for p in (part if isinstance(part, list) else [part])]
    texts = [t for part in parts if isinstance(part, str) for t in part.split("..")]
    if key == "table":  # no schema reads files
        return isinstance(value, str)
    if key in ("input", "batch") or key in CONTRACT:  # 1.0 is an integer to JSON Schema
        return any(isinstance(n, float) for n in parts)
    return any(map(_too_large_or_not_whole, texts))


@settings(max_examples=240)
@given(st.lists(st.sampled_from(sorted(values)), max_size=4, unique=True), st.data())
def test_the_schema_takes_what_the_parser_takes(keys, data):
    check = {"model": "s6"} | {key: data.draw(values[key], key) for key in keys}
    content = {"tool": {"budgetnet": {"check": [check]}}}
    refused, valid = refusal(content), VALID.is_valid(content)
    if refused:
        assert not valid or is_beyond(refused, content), refused
    else:
        assert valid, next(VALID.iter_errors(content)).message


@pytest.mark.parametrize("key", sorted(values))
@settings(max_examples=24)
@given(st.data())
def test_each_key_by_itself(key, data):
    test_the_schema_takes_what_the_parser_takes.hypothesis.inner_test([key], data)


BROKEN = [
    {"tool": {"budgetnet": []}},
    {"tool": {"budgetnet": {"chek": []}}},
    {"tool": {"budgetnet": {"check": {}}}},
    {"tool": {"budgetnet": {"check": [{}]}}},
    {"tool": {"budgetnet": {"check": [{"model": ""}]}}},
    {"tool": {"budgetnet": {"check": [{"model": 3}]}}},
    {"tool": {"budgetnet": {"check": [{"model": "s6", "runtime": "executorch", "plan": "least"}]}}},
    {"tool": {"budgetnet": {"check": [{"model": "s6", "runtime": "eager", "dtype": "int8"}]}}},
    {"tool": {"budgetnet": {"check": [{"model": "s6", "runtime": False}]}}},
    {"tool": {"budgetnet": {"check": [{"model": "s6", "dtype": ""}]}}},
]
FINE = [
    {}, {"tool": {}}, {"tool": {"ruff": {"check": 3}}}, {"project": {"name": "mine"}},
    {"tool": {"budgetnet": {}}}, {"tool": {"budgetnet": {"check": []}}},
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN)
def test_what_both_refuse(content):
    assert refusal(content)
    assert not VALID.is_valid(content)


@pytest.mark.parametrize("content", FINE)
def test_what_both_take(content):
    assert "" == refusal(content)
    assert VALID.is_valid(content)


def test_it_is_a_schema_that_is_in_the_package_too(capsys):
    jsonschema.Draft202012Validator.check_schema(schema())
    assert 0 == main(["schema"])
    printed = capsys.readouterr().out
    assert schema() == json.loads(printed)
    if os.environ.get("BUDGETNET_UPDATE_GOLDEN"):
        FILE.write_text(printed, encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == printed


def test_the_checks_of_this_project_are_valid():
    content = tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()
    assert VALID.is_valid(content)
