"""What can be meant is taken, and what cannot be meant gets one line that says what to pass."""

import pydoc
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import budgetnet
from budgetnet import (
    Budget,
    Spec,
    account,
    assert_budget,
    design,
    find_folds,
    find_hints,
    fold_batchnorm,
    marginal_costs,
    models,
    plan,
    rescale,
    to_onnx,
    to_program,
)
from budgetnet.cli.parser import main
from budgetnet.errors import BudgetnetError
from budgetnet.report import draw_svg, render_html

NET = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
SHAPE = (3, 32, 32)
TEXT = "c16 p gap10"
PLANNED = plan(TEXT, (1, 28, 28))
DESIGN = design((1, 28, 28), 10, params="2k", depth=3)[0]


def refusal(call, *args, **kwargs):
    """What a call is refused with, which is one line of a length that one can read."""
    with pytest.raises(BudgetnetError) as raised:
        call(*args, **kwargs)
    text = str(raised.value)
    assert "\n" not in text
    assert 500 > len(text)
    return text


# ---------------------------------------------------------------------------- shapes

SHAPES = {
    "text": "3x32x32",
    "list": [3, 32, 32],
    "size": torch.Size(SHAPE),
    "array of numbers": np.array(SHAPE),
    "example": torch.zeros(1, *SHAPE),
    "batch": torch.zeros(5, *SHAPE),
    "on meta": torch.empty(1, *SHAPE, device="meta"),
    "array": np.zeros((1, *SHAPE)),
    "one argument": (torch.zeros(1, *SHAPE),),
    "by name": {"input": torch.zeros(1, *SHAPE)},
}


@pytest.mark.parametrize("given", SHAPES.values(), ids=SHAPES)
def test_a_shape_is_a_tuple_a_text_or_an_example(given):
    assert account(NET, SHAPE) == account(NET, given)
    assert 224 + 16 == assert_budget(NET, given, params="1k").params
    assert ["0"] == [fold.layer for fold in find_folds(NET, given)]


@pytest.mark.parametrize(
    "given", ["1x28x28", [1, 28, 28], torch.zeros(3, 1, 28, 28), np.zeros((1, 1, 28, 28))]
)
def test_specs_take_the_same_shapes(given):
    assert PLANNED == plan(TEXT, given) == account(TEXT, given) == account(TEXT, inputs=given)
    assert rescale(TEXT, (1, 28, 28), params=900) == rescale(TEXT, given, params=900)
    assert marginal_costs(TEXT, (1, 28, 28)) == marginal_costs(TEXT, given)
    assert DESIGN == design(given, 10, params="2k", depth=3)[0]


def test_an_example_stands_for_one_input_and_inputs_for_all():
    one = account(NET, torch.zeros(5, *SHAPE))
    assert 5 * one.macs == account(NET, inputs=torch.zeros(5, *SHAPE)).macs


def test_exports_take_an_example():
    program = to_program(NET, torch.zeros(1, *SHAPE))
    assert (5, 8, 30, 30) == program.module()(torch.zeros(5, *SHAPE)).shape
    assert "floating-point" in refusal(to_program, NET, torch.zeros(1, 3, 32, 32, dtype=torch.long))
    assert "did you mean (3, 32, 32)?" in refusal(to_program, NET, (1, 3, 32, 32), fold=False)


def test_several_shapes_in_one_text():
    class Adds(nn.Module):
        def forward(self, x, y):
            return x + y

    assert account(Adds(), ((3, 8, 8), (3, 1, 1))) == account(Adds(), "3x8x8+3x1x1")
    assert account(Adds(), ((3, 8, 8), (3, 1, 1))) == account(Adds(), ["3x8x8", (3, 1, 1)])


LIKELY = {
    "a batch": (NET, (1, 3, 32, 32), (3, 32, 32)),
    "a batch of 8": (NET, (8, 3, 32, 32), (3, 32, 32)),
    "channels last": (NET, (32, 32, 3), (3, 32, 32)),
    "a batch of a sequence": (nn.Conv1d(16, 4, 3), (1, 16, 100), (16, 100)),
    "grey": (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), (28, 28), (1, 28, 28)),
    "five numbers": (nn.Conv3d(3, 4, 3), (1, 3, 8, 16, 16), (3, 8, 16, 16)),
}


@pytest.mark.parametrize(("model", "given", "meant"), LIKELY.values(), ids=LIKELY)
@pytest.mark.parametrize("call", [account, find_folds])
def test_a_shape_that_is_likely_meant_is_named(call, model, given, meant):
    text = refusal(call, model, given)
    assert f"did you mean {meant}?" in text.lower()


def test_specs_name_the_shape_without_the_batch():
    assert "Did you mean (1, 28, 28)?" in refusal(plan, TEXT, (1, 1, 28, 28))
    assert "Did you mean (1, 28, 28)?" in refusal(design, (1, 1, 28, 28), 10)


def test_four_numbers_that_the_model_takes_are_what_they_are():
    volume = account(nn.Conv3d(1, 4, 3), (1, 8, 16, 16))
    assert (4, 6, 14, 14) == volume.output_shape
    assert (1, 3, 8, 8) == account(nn.ReLU(), (1, 3, 8, 8)).output_shape


def test_no_shape_is_guessed_where_none_like_it_runs():
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 2))
    assert "expected 10, got 243" in refusal(account, model, (3, 9, 9))
    assert "did you mean" not in refusal(account, model, (3, 9, 9))
    # Conv2d takes an image without a batch: (9, 9) would run, and is not what anybody means.
    assert "did you mean" not in refusal(account, nn.Conv2d(1, 2, 3), (3, 9, 9))


BAD_SHAPES = {
    "one number": ((NET, 32), "32 is not a valid input shape"),
    "none": ((NET,), "the shape of the input is missing. Pass it without the batch, such as (3,"),
    "none of a spec": ((TEXT,), "'c16 p gap10' has no input shape of its own"),
    "zero": ((NET, (3, 0, 32)), "(3, 0, 32) is not a valid input shape"),
    "floats": ((NET, (3.0, 32, 32)), "(3.0, 32, 32) is not a valid input shape"),
    "words": ((NET, "large"), "'large' is not a valid input shape"),
    "a model": ((SHAPE, NET), "a tuple is not a network"),
    "many numbers": ((NET, list(range(1000))), "is not a valid input shape"),
}


@pytest.mark.parametrize(("args", "text"), BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_what_is_no_shape_is_told(args, text):
    assert text in refusal(account, *args)


def test_inputs_without_a_tensor_and_both_at_once():
    assert "contains no tensor" in refusal(account, NET, inputs=SHAPE)
    text = refusal(account, NET, SHAPE, inputs=torch.zeros(1, *SHAPE))
    assert "input_shape and inputs cannot be used together" in text


# ---------------------------------------------------------------------------- networks

NETWORKS = {
    "a text": (TEXT, (1, 28, 28)),
    "a spec": (Spec.parse(TEXT), (1, 28, 28)),
    "an account": (PLANNED, None),
    "an account and its shape": (PLANNED, (1, 28, 28)),
    "a module": (models.build(TEXT), (1, 28, 28)),
}


@pytest.mark.parametrize(("network", "shape"), NETWORKS.values(), ids=NETWORKS)
def test_every_verb_takes_whatever_is_a_network(network, shape):
    assert PLANNED.params == account(network, shape).params
    assert PLANNED.rows == assert_budget(network, shape, params="1k").rows
    assert find_hints(PLANNED) == find_hints(network, shape)
    assert Budget(params=9).check(PLANNED) == Budget(params=9).check(network, shape)
    with pytest.raises(AssertionError, match="params"):
        Budget(params=9).enforce(network, shape)
    assert draw_svg(PLANNED).count("<rect") == draw_svg(network, shape).count("<rect")
    assert 'id="compare"' in render_html(network, shape, against="c8 gap10")
    assert rescale(PLANNED, params=900) == rescale(network, shape, params=900)
    assert marginal_costs(PLANNED).stages == marginal_costs(network, shape).stages


def test_a_reference_network_knows_its_input():
    expected = plan(models.get_reference("s6").spec, (1, 28, 28), name="s6")
    assert expected == account("s6") == assert_budget("s6", params="20k")
    assert expected.rows == plan("s6").rows == account(list(Spec.parse(expected.spec).stages),
                                                       (1, 28, 28)).rows  # fmt: skip
    assert "s6" == account("s6").name
    assert expected.rows == account(models.get_reference("s6")).rows
    assert (1, 32, 32) == account("s6", (1, 32, 32)).input_shape
    assert find_hints(expected) == find_hints("s6")
    assert draw_svg(expected) == draw_svg("s6")
    assert render_html(expected) == render_html("s6")
    assert expected == marginal_costs("s6").account
    assert 14_372 == sum(p.numel() for p in models.build("s6").parameters())


def test_designs_and_their_accounts_are_networks():
    assert DESIGN.account == account(DESIGN) == account(DESIGN.account)
    assert draw_svg(DESIGN.account) == draw_svg(DESIGN)
    text = refusal(account, DESIGN, (3, 32, 32))
    assert "is for a different input shape (it has 1x28x28, asked for 3x32x32)" in text


def test_accounts_of_other_inputs_are_refused():
    assert "asked for 3x28x28" in refusal(account, PLANNED, "3x28x28")
    assert PLANNED == account(PLANNED, torch.zeros(1, 1, 28, 28))


class Unlike(nn.Module):
    def forward(self, x):
        return x


PROGRAM = torch.export.export(NET.eval(), (torch.zeros(2, *SHAPE),))
REFUSED = {
    "a class": (nn.Conv2d, "the class Conv2d is not a network", "Pass an instance: Conv2d(...)."),
    "a function": (torch.relu, "a function is not a network", "its result if it returns one"),
    "a lambda": (lambda: NET, "a function is not a network", "its result if it returns one"),
    "a partial": (
        partial(nn.Conv2d, 1),
        "a partial is not a network",
        "its result if it returns one",
    ),
    "nothing": (None, "None is not a network", "Pass an nn.Module, a Spec or its text"),
    "weights": (NET.state_dict(), "an OrderedDict is not a network", "load them into its module"),
    "a tensor": (torch.zeros(1, 3, 8, 8), "a Tensor is not a network", "Pass one network"),
    "a list": ([NET], "a list is not a network", "one item of this"),
    "a program": (PROGRAM, "an ExportedProgram is not a network", "Pass its module: .module()."),
    "a number": (3, "an int is not a network", "Pass an nn.Module"),
}


@pytest.mark.parametrize(("thing", "what", "remedy"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("call", [account, find_folds, find_hints, to_program, fold_batchnorm])
def test_what_is_no_network_is_told(call, thing, what, remedy):
    text = refusal(call, thing, SHAPE)
    assert what in text
    assert remedy in text


@pytest.mark.parametrize("network", ["s6", TEXT, Spec.parse(TEXT), PLANNED, DESIGN])
@pytest.mark.parametrize("call", [find_folds, fold_batchnorm, to_program])
def test_what_has_no_weights_is_not_exported(call, network):
    text = refusal(call, network, (1, 28, 28))
    assert "takes a module, not" in text
    assert "models.get_model(name), or models.build(spec, channels)" in text


def test_to_onnx_takes_modules_alone(tmp_path):
    pytest.importorskip("onnxscript")
    assert "takes a module, not a str" in refusal(to_onnx, "s6", (1, 28, 28), tmp_path / "s6.onnx")
    assert not [*tmp_path.iterdir()]


def test_a_network_that_is_no_chain_has_no_widths_to_scale():
    text = refusal(rescale, Unlike(), (1, 8, 8), params=100)
    assert "Unlike has no spec: no word describes row" in text
    assert text == refusal(marginal_costs, Unlike(), (1, 8, 8))


def test_scripted_modules_say_what_to_pass():
    with pytest.warns(FutureWarning):
        scripted = torch.jit.script(NET)
    assert "Account for the nn.Module that it was made from" in refusal(account, scripted, SHAPE)


def test_the_shortcuts_are_no_option():
    with pytest.raises(TypeError, match="shortcuts"):
        account(NET, SHAPE, shortcuts=False)


# ---------------------------------------------------------------------------- get_model

OF_S6 = [name for _, name in models.list_weights("s6")]
CHOICE = " or ".join(f'weights="{name}"' for name in OF_S6)
MODELS = {
    "weights=True": (("s6", True), {}, f"weights=True is not the name of weights. Pass {CHOICE}"),
    "DEFAULT": (
        ("s6", "DEFAULT"),
        {},
        f"no weights are named 'DEFAULT'. Known: {', '.join(OF_S6)}.",
    ),
    "pretrained": (("s6",), {"pretrained": True}, "get_model has no argument 'pretrained'"),
    "none shipped": (("s6_exp1", True), {}, "No weights of s6_exp1 are shipped"),
    "a spec": (
        (TEXT,),
        {},
        "'c16 p gap10' is a spec, not the name of a network. Pass it to",
    ),
    "another case": (("S6",), {}, "Did you mean 's6'?"),
    "a list": (([],), {}, "no model is named []"),
}


@pytest.mark.parametrize(("args", "more", "text"), MODELS.values(), ids=MODELS)
def test_get_model_says_what_it_takes(args, more, text):
    assert text in refusal(models.get_model, *args, **more)


# ---------------------------------------------------------------------------- what is printed


@pytest.mark.parametrize(
    "value",
    [PLANNED, DESIGN, design((1, 28, 28), 10, params="2k", depth=3), marginal_costs("s6")],
    ids=lambda value: type(value).__name__,
)
def test_values_have_short_reprs(value):
    text = repr(value)
    assert text.startswith(f"{type(value).__name__}(")
    assert 200 > len(text)
    assert "\n" not in text
    assert len(repr(account("s6"))) < 100


def test_reprs_say_what_matters():
    assert (
        "Account(name='s6', input=1x28x28, params=14,372, macs=3,731,008, receptive field 22, "
        "25 rows)"
    ) == repr(account("s6"))
    spec = Spec.parse(TEXT)
    assert "Spec.parse('c16 p gap10')" == repr(spec)
    assert spec == eval(repr(spec))
    assert 500 > len(repr(account("s6").rows[0]))


def test_help_is_two_screens_and_names_everything():
    text = pydoc.render_doc(budgetnet, renderer=pydoc.plaintext)
    assert 100 > len(text.splitlines())
    assert not [name for name in dir(budgetnet) if name not in text]


# ---------------------------------------------------------------------------- the command line

NETS = """
import torch
from torch import nn
raise SystemExit("nobody imports this")
def small(): return nn.Conv2d(1, 2, 3)
class Large(nn.Module): pass
def _hidden(): pass
"""
TARGETS = {
    "torchvision's": ("resnet34", "Did you mean torchvision.models:resnet34 with --input 3x224"),
    "misspelt": ("resnt34", "Did you mean torchvision.models:resnet34 with --input 3x224x224?"),
    "listed and torchvision's": ("resnet-18", "Did you mean 'resnet18'?"),
    "one too many": ("s66", "Did you mean 's6'?"),
    "another case": ("S6", "Did you mean 's6'?"),
    "no spec": ("c16 q8", "word 2 of the spec"),
    "a module": ("torchvision.models", "name a callable in it, as torchvision.models:NAME"),
    "a file": ("nets.py", "Name a callable in it, as nets.py:small (it has small, Large)."),
    "no file": ("gone.py", "There is no file gone.py."),
    "an empty file": ("empty.py", "It defines no function and no class."),
    "no Python": ("text.py", "Name a callable in it, as text.py:NAME."),
    "no input": ("torchvision.models:resnet18", "--input 3x224x224"),
    "no input of a spec": ("c16", "--input 1x28x28"),
}


@pytest.mark.parametrize(("target", "text"), TARGETS.values(), ids=TARGETS)
def test_targets_that_name_nothing_get_near_names(target, text, tmp_path, monkeypatch, capsys):
    if "resn" in text:
        pytest.importorskip("torchvision")
    monkeypatch.chdir(tmp_path)
    for name, content in {"nets": NETS, "empty": "", "text": "no python"}.items():
        (tmp_path / f"{name}.py").write_text(content)
    assert 2 == main(["account", target])
    err = capsys.readouterr().err
    assert text in err
    assert 1 == len(err.splitlines())


def test_near_names_in_a_module(capsys):
    pytest.importorskip("torchvision")
    assert 2 == main(["account", "torchvision.models:resnt18", "--input", "3x32x32"])
    assert "torchvision.models has no 'resnt18'. Did you mean resnet18" in capsys.readouterr().err
    assert 2 == main(["account", "torch.nn:qqqq", "--input", "3x32x32"])
    assert " more." in capsys.readouterr().err


def test_the_package_runs_as_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "budgetnet", "account", "s6"], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "14,372" in run.stdout
    run = subprocess.run([sys.executable, "-m", "budgetnet", "account", "s66"], capture_output=True)
    assert 2 == run.returncode
