"""Arguments of every type and size for `design`, `account` and the functions behind them.

Each call ends in a documented status, with one line of error at most, within bounds of time and
memory. `BUDGETNET_FUZZ=5000 pytest --deep -s tests/test_fuzz_sizes.py` tries more.
"""

import os
import random
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("needs fork and limits", allow_module_level=True)

from attack import GIB, apart, content, misbehaved, report

import budgetnet
from budgetnet.cli import parser as cli
from budgetnet.errors import BudgetnetError

SECONDS = 40
MEMORY = 4 * GIB
TYPED = (
    "nan", "inf", "-inf", "-1", "0", "1", "2", "3", "8", "16,32", "1.5", "1e5", "1e999", "-0", "+5",
    "99999999", "2147483647", "2147483648", "9223372036854775808", "9" * 40, "9" * 5_000, "", " ",
    ",", "1,", "1..", "..", "..5", "1..5", "5..1", "1..512", "1..3000", "1..1000000000000",
    "-5..5", "1..2..3", "a..b", "0x10", "１２", "1_000", "None", "True", "é😀", "\u202e",
    "x" * 9_999, "[1]", "{}", "*", "%s", "{0}", "same", "valid", "plain", "pool,stride", "1x28x28",
    "8k", "3M",
)  # fmt: skip
FIGURES = ("params", "macs", "rf", "depth", "weight_bytes", "peak_activation_bytes", "cats", "")
VALUES = (
    None, True, False, -1, 0, 1, 2, 3, 7, 64, 10**6, 2**31 - 1, 2**31, 2**52, 2**63, 10**30,
    10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), "", "1", "x", "é", "8k", "same", "plain",
    (), (1,), (1, 2), (5, 1), (1, 2, 3), [None], {}, {"a": 1}, range(0), range(1, 10**12), object(),
    b"1", "max macs", "params,macs", {"macs": 1}, {"macs": "1/0"}, {"macs": 10**30},
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 4, 7, 16, 999, 10**5, 10**8, 2**31, 2**63, 10**30)
SPACE = ("widths", "divisor", "kernels", "kinds", "paddings", "convs", "stage_convs",
         "downsamples", "positions", "downsampling", "expansions", "squeeze_excite", "growths",
         "dense_layers", "activation", "heads", "head_widths", "strides", "stem_stride",
         "stem_kernels", "stem_widths", "stage_widths", "output_stride", "resolutions",
         "width_multipliers")  # fmt: skip


# ---------------------------------------------------------------------------- the command line


def design_call(rng):
    options = {"--input": "1x28x28", "--classes": "10", "--params": "8k", "--time-limit": "3"}
    known = [f"--{name.replace('_', '-')}" for name in (*SPACE, "top", "format", "objective",
             "pareto", "macs", "rf", "depth", "weight_bytes")]  # fmt: skip
    for option in rng.sample([*options, *known], rng.choice([1, 1, 2, 3])):
        options[option] = rng.choice(TYPED)
        if option == "--input":
            options[option] = "x".join(rng.choices([*TYPED, "1", "28", "28"], k=3))
        elif option in ("--objective", "--pareto"):
            options[option] = goal(rng)
    return ["design", *(f"{option}={value}" for option, value in options.items())]


def goal(rng):
    one, two = rng.choices(FIGURES, k=2)
    weight = rng.choice(TYPED)
    forms = (weight, f"max {one}", f"min {one}", f"{one},{two}", f"{one}={weight}",
             f"{one}={weight},{two}=1")  # fmt: skip
    return rng.choice(forms)


def account_call(rng):
    call = ["account", spec(rng), f"--input={rng.choice(['1x28x28', shape(rng)])}"]
    if rng.random() < 0.4:
        call.append(f"--depth={rng.choice(TYPED)}")
    if rng.random() < 0.3:
        call.append(f"--format={rng.choice(['csv', 'json', 'markdown', 'yaml', ''])}")
    if rng.random() < 0.1:
        call[2] = f"--input={rng.choice(TYPED)}"
    return call


def check_call(rng):
    limit = rng.choice(["params", "macs", "peak-activation-bytes"])
    return ["check", spec(rng), f"--input={rng.choice(['1x28x28', shape(rng)])}",
            f"--{limit}={rng.choice([5_000, 10**6, 10**12])}", "--why"]  # fmt: skip


def shape(rng):
    return "x".join(str(rng.choice([1, 3, *NUMBERS])) for _ in range(rng.choice([3, 3, 3, 2, 4])))


def spec(rng):
    if rng.random() < 0.1:
        return rng.choice(TYPED)
    words = []
    for _ in range(rng.choice([1, 2, 5, 40])):
        word = f"{rng.choice(['c', 'c', 'ds', 't', 'p'])}{rng.choice([4, 8, 16, *NUMBERS])}"
        for letter in rng.sample("kspdg", rng.choice([0, 0, 0, 1, 2])):
            word += f"{letter}{rng.choice([1, 2, 3, *NUMBERS])}"
        words.append("p" if word.startswith("p") and rng.random() < 0.7 else word)
    return " ".join([*words, rng.choice(["gap10", "gap", "gap10", "", "gap10 c4"])]).strip()


def typed(count, seed, place):
    fell = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        call = rng.choice([design_call, design_call, account_call, check_call])(rng)
        ended = apart(lambda call=call: cli.main(call), seconds=SECONDS, memory=MEMORY)
        told = ended.code == 1 and call[0] == "design"  # why no network meets it: a table
        wrong = misbehaved(ended._replace(err="told") if told else ended, (0, 1, 2, 130))
        if told and "no network" not in ended.err:
            wrong = f"1 without a verdict: {ended.err[:200]!r}"
        if not wrong and content(place):
            wrong = f"left {sorted(content(place))}"
        if wrong:
            fell.append(f"{number}: {[word[:60] for word in call]}: {wrong}")
    report(count, fell)


def test_some_typed_sizes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed(40, "some", tmp_path)


@pytest.mark.deep
def test_many_typed_sizes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed(int(os.environ.get("BUDGETNET_FUZZ", "80")), "many", tmp_path)


# ---------------------------------------------------------------------------- functions


def named(rng):
    """A call of a function with a value or two of any type."""
    which = rng.choice(["design", "design", "space", "plan", "fit"])
    value = rng.choice(VALUES)
    if which == "space":
        chosen = {name: rng.choice(VALUES) for name in rng.sample(SPACE, rng.choice([1, 2]))}
        return f"space {chosen!r:.120}", lambda: searched({}, chosen)
    if which == "plan":
        words, sizes = spec(rng), tuple(rng.choice([1, 3, 28, *NUMBERS]) for _ in range(3))
        return f"plan {words[:80]!r} {sizes}", lambda: str(budgetnet.plan(words, sizes))
    if which == "fit":
        words = f"c{rng.choice(NUMBERS)} p c{rng.choice(NUMBERS)} gap10"
        limit = rng.choice([1, 500, 10**6, 10**12])
        return f"fit {words!r} {limit}", lambda: budgetnet.rescale(words, (1, 28, 28), params=limit)
    name = rng.choice(["objective", "pareto", "top", "time_limit", "num_classes", "input_shape"])
    if name == "input_shape" and rng.random() < 0.7:
        value = tuple(rng.choice([1, 28, *NUMBERS]) for _ in range(3))
    return f"design {name}={value!r:.80}", lambda: searched({name: value}, {})


def searched(options, space):
    call = {"input_shape": (1, 28, 28), "num_classes": 10, "params": 8_000, "time_limit": 3}
    budgetnet.design(space=budgetnet.SearchSpace(**space) if space else None, **(call | options))


def raised(call):
    """0, or 2 for one of the library's own errors."""
    try:
        call()
    except BudgetnetError as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        return 2
    return 0


def functions(count, seed):
    fell = []
    for number in range(count):
        what, call = named(random.Random(f"{seed} {number}"))
        ended = apart(lambda call=call: raised(call), seconds=SECONDS, memory=MEMORY)
        if wrong := misbehaved(ended, (0, 2)):
            fell.append(f"{number}: {what}: {wrong}")
    report(count, fell)


def test_some_values():
    functions(40, "some")


@pytest.mark.deep
def test_many_values():
    functions(int(os.environ.get("BUDGETNET_FUZZ", "80")), "many")
