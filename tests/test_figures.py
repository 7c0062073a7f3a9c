"""One table of figures: everything that names a figure offers those of the table, and no others."""

import inspect
import re
from pathlib import Path

import pytest

from budgetnet import Budget, design, plan
from budgetnet.budget.contract import CONTRACT
from budgetnet.budget.figures import FIGURES, GROWING, LISTED, SHORT, full_name
from budgetnet.budget.limits import parse_growth
from budgetnet.cli.config import KEYS
from budgetnet.cli.parser import build_parser, main
from budgetnet.designer.costs import COUNTED
from budgetnet.designer.objectives import parse_objectives
from budgetnet.errors import ArgumentError
from budgetnet.report import render_html

ACCOUNT = plan("c16 c16 p c32 gap10", (1, 28, 28), name="small")


def test_a_budget_spells_out_every_figure_for_editors_and_readers():
    keywords = [
        name for name, parameter in inspect.signature(Budget.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]  # fmt: skip
    device = ("board", "runtime", "dtype", "plan")
    step = ("training_memory", "batch", "optimizer")
    assert [*FIGURES, "table", *device, *step, *CONTRACT, "require", "forbid"] == keywords
    assert keywords == re.findall(r"^        (\w+): ", Budget.__doc__.partition("Raises")[0], re.M)


@pytest.mark.parametrize("name", LISTED)  # tests/test_latency.py does it for the one of a table
def test_every_figure_is_limited_alike_in_python_files_and_flags(name, tmp_path, capsys):
    one = FIGURES[name].read(ACCOUNT)
    exact = one[0] if isinstance(one, tuple) else one
    (limit,) = Budget(**{name: exact}).limits
    assert (exact, None) == (limit.low, limit.high)[:: 1 if FIGURES[name].more_is_better else -1]
    (found,) = Budget(**{name: exact}).check(ACCOUNT)
    assert ("within", name, name, one) == (found.verdict, found.figure, found.key, found.measured)
    file = tmp_path / "saved.json"
    file.write_text(ACCOUNT.to_json())
    beyond = exact + 1 if FIGURES[name].more_is_better else exact - 1
    for value, code in ((exact, 0), (beyond, 1)):
        flags = [f"--{name.replace('_', '-')}", *(f"--{s}" for s in (FIGURES[name].short,) if s)]
        for flag in flags:
            assert code == main(["check", str(file), flag, str(value)])
        config = tmp_path / "pyproject.toml"
        config.write_text(f'[[tool.budgetnet.check]]\nmodel = "saved.json"\n{name} = {value}\n')
        assert code == main(["check", "--config", str(config)])
        assert name in capsys.readouterr().out


def test_figures_stand_in_keys_flags_reports_and_tables():
    assert {*FIGURES} < {*KEYS}
    commands = build_parser()._subparsers._group_actions[0].choices
    for command in ("check", "design", "report"):
        flags = commands[command]._option_string_actions
        assert {f"--{name.replace('_', '-')}" for name in FIGURES} < {*flags}
        assert {f"--{name}" for name in SHORT} < {*flags}
    page = render_html(ACCOUNT, against=ACCOUNT)
    assert {*FIGURES} - {*LISTED} == {"latency"}
    for figure in LISTED.values():
        assert f"<dt>{figure.label}</dt>" in page
        assert f'<th scope="row">{figure.label}</th>' in page
    found = design((1, 9, 9), 2, params=500)
    headings = [FIGURES[name].heading for name in FIGURES if name in COUNTED]
    assert headings == [column.name for column in found.to_table().columns[2:]]


def test_the_docs_tell_of_every_limit():
    page = Path(__file__).parents[1].joinpath("docs", "budgets.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)`(?:, `\w+`)? \|", page.partition("A single number is")[0], re.M)
    more = ["table", "board", "runtime", "plan", "training_memory", "batch", "require"]
    assert [*FIGURES, *more] == told


def test_a_figure_grows_unless_more_of_it_is_better():
    costs = [n for n in FIGURES if n not in ("receptive_field", "flash", "ram", "latency")]
    assert costs == [*GROWING]
    (found,) = Budget(parse_growth("macs", "+0", ACCOUNT.macs - 1)).check(ACCOUNT)
    assert ("growth of macs", "macs", "growth", "over") == (
        found.name, found.figure, found.key, found.verdict,
    )  # fmt: skip
    page = render_html(ACCOUNT, budget=Budget(parse_growth("macs", "+0", ACCOUNT.macs)))
    assert '<span class="limit">growth of MACs</span>' in page


def test_a_front_goes_the_way_that_limits_go():
    for name in COUNTED:
        figure = FIGURES[name]
        other = "macs" if name == "params" else "params"
        way = "max" if figure.more_is_better else "min"
        assert f"{way} {name}" == parse_objectives([name, other])[0].text
    assert "max depth" == parse_objectives("params,max depth")[1].text
    assert "receptive_field" == full_name("rf")


def test_only_what_does_not_add_up_is_not_the_sum_over_the_layers():
    deeper = plan("c16 c16 c16 p c32 gap10", (1, 28, 28))
    added = {name for name, figure in FIGURES.items() if figure.adds_up}
    assert {*FIGURES} - {"peak_activation_bytes", "ram"} == added
    # Those of a layer hang on what is before it, or on a table.
    for name in added - {"receptive_field", "macs", "latency"}:
        assert FIGURES[name].read(deeper) > FIGURES[name].read(ACCOUNT)


def test_a_figure_that_a_search_does_not_count_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("budgetnet.designer.limits.COUNTED", ("params", "macs"))
    for call in ({"weight_bytes": 9_000}, {"objective": "max depth"}, {"pareto": "params,depth"}):
        with pytest.raises(
            ArgumentError, match=r"design cannot limit or optimise (weight_bytes|depth) \("
        ):
            design((1, 9, 9), 2, **call)
