"""The core starts without torch, proven in fresh processes; torch takes seconds to import."""

import subprocess
import sys

import pytest

PROBE = """
import sys
{code}
print("torch" in sys.modules)
"""


def imports_torch(code):
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.splitlines()[-1] == "True"


LIGHT = {
    "import": "import budgetnet",
    "plan": "import budgetnet; budgetnet.plan('c16 p gap10', (1, 28, 28))",
    "account": "import budgetnet; budgetnet.account('s6'); budgetnet.account('c4', (1, 8, 8))",
    "judge": "import budgetnet; budgetnet.assert_budget('s6', params='20k')",
    "deploy": "import budgetnet; str(budgetnet.deployment('s6', runtime='executorch'))",
    "limit a board": "import budgetnet; budgetnet.assert_budget('s6', board='stm32f446')",
    "deployment command": "from budgetnet.cli import main; main(['deployment', 's6'])",
    "tile": "import budgetnet; str(budgetnet.tile('unet', (3, 512, 512)))",
    "hints": "import budgetnet; budgetnet.find_hints('s6')",
    "print": "import budgetnet; str(budgetnet.plan('c16 p gap10', (1, 28, 28)))",
    "saved": "from budgetnet import Account, plan; a = plan('c4', (1, 8, 8)); "
    "assert a == Account.from_json(a.to_json())",
    "names": "from budgetnet import models; models.get_reference('s6'); models.list_models()",
    "weights": "from budgetnet import models; models.get_weights(*models.list_weights()[0])",
    "command line": "from budgetnet.cli import main; main(['account', 's6'])",
    "design": "import budgetnet; budgetnet.design((1, 28, 28), 10, params=8_000).to_python()",
    "rescale": "import budgetnet; budgetnet.rescale('c16 c16 gap10', (1, 28, 28), params=900)",
    "marginal costs": "import budgetnet; str(budgetnet.marginal_costs('c16 gap10', (1, 28, 28)))",
    "report": "import budgetnet; from budgetnet.report import render_html; "
    "render_html(budgetnet.plan('c16 p gap10', (1, 28, 28)))",
    "design command": "from budgetnet.cli import main; "
    "main(['design', '--input', '1x28x28', '--classes', '10', '--params', '8k'])",
    "words": "from budgetnet.cli import main; main(['words'])",
    "help": "from budgetnet.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
}


@pytest.mark.parametrize("code", LIGHT.values(), ids=LIGHT.keys())
def test_torch_stays_out(code):
    assert not imports_torch(code)


@pytest.mark.parametrize("code", ["import torch", "from budgetnet import blocks"])
def test_the_probe_sees_torch_where_it_is(code):
    assert imports_torch(code)


def test_public_names_resolve_and_others_do_not():
    import budgetnet

    names = dir(budgetnet)
    assert {"account", "Account", "models"} <= set(names)
    assert all(getattr(budgetnet, name) is not None for name in names)
    assert not [name for name in names if name.startswith("_")]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        budgetnet.nothing  # noqa: B018 - the access is the test
