"""The pytest plugin, run inside pytest."""

import subprocess
import sys

from golden import check_golden

TEST = """
import pytest
from budgetnet import models


@pytest.mark.budget(params="20k", receptive_field=22)
def test_within(budget):
    assert 14_372 == budget(models.get_model("s6"), (1, 28, 28)).params


@pytest.mark.budget(params="14k")
def test_over(budget):
    budget(models.get_reference("s6").spec, (1, 28, 28))


def test_by_call(budget):
    budget("c8 gap4", (1, 8, 8), params=10, depth=1)


@pytest.mark.budget(params="14k")
def test_never_called(budget):
    pass
"""


def run(pytester, *options):
    return pytester.runpytest_subprocess("-p", "budgetnet.testing.pytest_plugin", *options)


def test_marker_and_fixture(pytester):
    pytester.makepyfile(TEST)
    result = run(pytester, "--strict-markers")
    result.assert_outcomes(passed=2, failed=2, errors=1)
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if "test_over ___" in line)
    end = next(i for i, line in enumerate(lines) if "test_by_call ___" in line)
    check_golden("pytest_failure", "\n".join(line.strip("_") for line in lines[start:end]))
    result.stdout.fnmatch_lines(["*the test is marked with a budget but never called it*"])


def test_a_marker_without_the_fixture_is_an_error(pytester):
    pytester.makepyfile(
        "import pytest\n\n@pytest.mark.budget(params=3)\ndef test_it():\n    pass\n"
    )
    result = run(pytester)
    assert 0 != result.ret
    result.stderr.fnmatch_lines(["*test_it is marked with a budget but does not take*"])


def test_it_is_not_loaded_unasked(tmp_path):
    program = (
        "import sys, pytest; pytest.main(['--collect-only', '-q']);"
        "assert 'budgetnet.testing.pytest_plugin' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
