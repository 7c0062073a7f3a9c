"""`account`: the account of any network. torch is imported only for modules."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ..accounting.account import Account
from ..accounting.table import shape_text
from ..errors import ArgumentError, explain, shown
from ..spec.plan import plan
from ..spec.references import Reference
from ..spec.spec import Spec
from ..spec.stages import Stage
from .files.account import account_of_file, is_file

if TYPE_CHECKING:
    from torch import nn


def account(
    model: Any,
    input_shape: Any = None,
    *,
    inputs: Any = None,
    name: str = "",
    strict: bool = True,
    wrt: int | str = 0,
) -> Account:
    """Account for any module that PyTorch can run, at inference, for a spec, or for a file.

    Nothing is computed or allocated. A module is left alone: a structural copy runs, so it may
    train or run elsewhere meanwhile.

    Args:
        model: any `nn.Module`, on any device, the meta device included. A `Spec`, its text form and
            the name of a reference network are planned; an `Account`, and any value that holds one,
            such as a `Design`, returns it. The path of a `.tflite` or
            `.onnx` file, as text or a `Path`, stands for the network in it: an operator has a row,
            and integer weights count by their type.
        input_shape: `(C, H, W)` without the batch, `(C, L)` or `(C, D, H, W)`, or text such as
            "3x224x224"; for several inputs a tuple of shapes. An example tensor, batch included,
            stands for one input of its shape and type. Reference networks, accounts and files know
            theirs; an `.onnx` file may leave sizes open, which then are taken from here.
        inputs: in place of `input_shape`, an example of what `forward` takes, batch included: a
            tensor, a tuple of arguments, or a dict of keyword arguments. The shapes and types of
            its tensors count, and the values of integers and booleans beside the input `wrt`, such
            as a mask, if `forward` decides by them; anything else is passed on as it is. The
            figures are those of the whole batch. Integer tensors `(N, L)`, such as token ids, have
            positions along `L`.
        name: title of the account; the class name or the text of the spec by default.
        strict: raise if an operation has no rule; otherwise continue, and mark every figure that
            depends on it as unknown. If values of the input decide what comes next, the account
            ends.
        wrt: with several inputs, the one in which receptive fields are measured: its index among
            the tensors, or its name in a dict.

    Raises:
        ArgumentError: this is not a network, or not an input, or a file cannot be read; the message
            says what to pass.
        FormatError: a file is damaged.
        ForwardError: the model's own `forward` raised; its exception is the cause.
        LeftBehind: the run would leave activations of its own outside the model.
        RunEnded: values of the input decide what `forward` does next.
        ShapeError: a layer does not fit the map that it receives.
        SpecError: a text is neither the name of a reference network nor a spec.
        StrideMismatch: branches of different stride are joined.
        UnsupportedOp: an operation has no rule; the message names it and the module.

    >>> from torch import nn, zeros
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
    >>> result = account(net, (3, 32, 32))
    >>> result.params, result.macs, result.receptive_field.size
    (808, 291744, (8, 8))
    >>> account(net, zeros(1, 3, 32, 32)) == account(net, "3x32x32") == result
    True
    >>> account("s6").params
    14372
    """
    if is_module(model):
        from .run import account_of_module

        return account_of_module(
            model, input_shape, inputs=inputs, name=name, strict=strict, wrt=wrt
        )
    if is_file(model):
        if inputs is not None or wrt != 0:
            remedy = "Pass input_shape, or nothing where the file says it."
            raise ArgumentError(explain("a file takes neither inputs nor wrt", remedy=remedy))
        return account_of_file(model, input_shape, name=name, strict=strict)
    shape = input_shape if inputs is None else inputs
    known = model if isinstance(model, Account) else getattr(model, "account", None)
    if isinstance(known, Account):
        return _of_its_input(known, shape)
    stages = model if isinstance(model, list | tuple) else ()
    if isinstance(model, str | Spec | Reference) or any(isinstance(s, Stage) for s in stages):
        return plan(model, shape, name=name)
    raise not_a_network(model)


def spec_of(model: Any, input_shape: Any = None) -> tuple[Spec, Account]:
    """The spec that a network is made of, and its plan; raises `SpecError` if there is none."""
    found = account(model, input_shape)
    if isinstance(model, Spec):
        return model, found
    spec = Spec.from_account(found)
    return spec, plan(spec, found.input_shape, name=found.name)


def is_module(value: Any) -> TypeGuard[nn.Module]:
    """Whether a value is an `nn.Module`; never true before torch is imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def check_module(value: Any, use: str) -> nn.Module:
    """Return a module as it is, or raise an `ArgumentError` that says how to get one."""
    if is_module(value):
        return value
    known = value if isinstance(value, Account) else getattr(value, "account", None)
    if isinstance(value, str | Spec) or isinstance(known, Account):
        raise ArgumentError(
            explain(
                f"{use} takes a module, not {_kind(value)}",
                numbers={"got": shown(value)},
                remedy="Pass models.get_model(name), or models.build(spec, channels).",
            )
        )
    raise not_a_network(value)


def _of_its_input(known: Account, shape: Any) -> Account:
    """An account, of the input that was asked for."""
    if shape is not None:
        from .run import parse_inputs

        asked = parse_inputs(shape).shapes
        if asked != known.input_shape:
            raise ArgumentError(
                explain(
                    f"the account of {known.name} is for a different input shape",
                    numbers={"it has": known.input_text, "asked for": shape_text(asked)},
                    remedy="Pass the module or the spec, or leave the shape out.",
                )
            )
    return known


def not_a_network(value: Any) -> ArgumentError:
    """The error for a value that is not a network: what it is, and what to pass."""
    remedy = "Pass an nn.Module, a Spec or its text, the name of a reference network or an Account."
    if isinstance(value, Path):
        remedy = (
            "A file that holds a network is a .tflite or .onnx; Account.from_json reads others."
        )
    if inspect.isclass(value):
        remedy = f"Pass an instance: {value.__name__}(...)."
    elif callable(value) and not hasattr(value, "state_dict"):
        remedy = "Pass the nn.Module that it belongs to, or its result if it returns one."
    elif isinstance(value, Mapping):
        remedy = "Weights alone are not a network: load them into its module, and pass that."
    elif callable(getattr(value, "module", None)):  # torch.export's programs
        remedy = "Pass its module: .module()."
    elif isinstance(value, list | tuple) or hasattr(value, "__getitem__"):
        remedy = "Pass one network: an nn.Module, a Spec or its text, or one item of this."
    return ArgumentError(
        explain(f"{_kind(value)} is not a network", numbers={"got": shown(value)}, remedy=remedy)
    )


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    name = "function" if inspect.isroutine(value) else type(value).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"
