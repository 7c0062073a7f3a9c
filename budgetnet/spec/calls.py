"""The call that makes a stage's block: `models.build` runs it, and `to_python` prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..accounting.geometry import even_padding
from ..accounting.window import Pair
from .fields import ACTIVATIONS, Squeeze


@dataclass(frozen=True, slots=True)
class Name:
    """A class that a call is given, such as `nn.ReLU6`."""

    text: str

    def __repr__(self) -> str:
        """The name, as source has it."""
        return self.text


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a block, such as `blocks.GAP`, or of one of torch's layers.

    Arguments are values, names of classes, and calls.

    Attributes:
        is_placed: whether it takes `device` and `dtype`.

    >>> Call("blocks.ConvBNReLU", (16, 32, (3, 5)), (("bias", True),)).source()
    'blocks.ConvBNReLU(16, 32, (3, 5), bias=True)'
    """

    target: str
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    is_placed: bool = True

    def source(self) -> str:
        """The call as Python source."""
        options = (f"{name}={value!r}" for name, value in self.options)
        return f"{self.target}({', '.join((*map(repr, self.args), *options))})"

    def __repr__(self) -> str:
        """The same, so that it is printed as an argument."""
        return self.source()

    def run(self, find: Callable[[str], Any], placed: dict[str, Any]) -> Any:
        """Make the block; `find` gives what a dotted name means."""

        def made(value: Any) -> Any:
            if isinstance(value, Call):
                return value.run(find, placed)
            return find(value.text) if isinstance(value, Name) else value

        options = {name: made(value) for name, value in self.options}
        options |= placed if self.is_placed else {}
        return find(self.target)(*map(made, self.args), **options)


def sequential(children: dict[str, Call]) -> Call:
    """A chain of named children."""
    named = Call("OrderedDict", (), tuple(children.items()), is_placed=False)
    return Call("nn.Sequential", (named,), is_placed=False)


def block_call(target: str, stage: Any, in_channels: int, *others: int) -> Call:
    """A block's call: channels, what else it takes by position, and what is not its default."""
    own = {name: getattr(stage, name) for name in stage.__dataclass_fields__}
    args: tuple[Any, ...] = (in_channels, *others)
    if own.get("kernel_size", (3, 3)) != (3, 3) or own.get("stride", (1, 1)) != (1, 1):
        args = (*args, short(own["kernel_size"]))
    usual = {name for name, value in own.items() if value == stage.usual(name)}
    return Call(target, args, tuple(_options(own, usual, in_channels)))


def _options(own: dict[str, Any], usual: set[str], in_channels: int) -> Iterator[tuple[str, Any]]:
    one = (1, 1)
    if own.get("hidden_channels") is not None:
        yield "hidden_channels", own["hidden_channels"]
    elif "expansion" in own.keys() - usual:
        yield "expansion", own["expansion"]
    if "bottleneck" in own.keys() - usual:
        yield "bottleneck", own["bottleneck"] or None
    if own.get("stride", one) != one:
        yield "stride", short(own["stride"])
    if "padding" in own:
        dilation = own.get("dilation", one)
        if own["padding"] != even_padding(own["kernel_size"], dilation):  # which is the default
            yield "padding", short(own["padding"])
    if own.get("dilation", one) != one:
        yield "dilation", short(own["dilation"])
    if own.get("groups", 1) != 1:
        yield "groups", own["groups"]
    if own.get("bias") is not None:
        yield "bias", own["bias"]
    if own.get("se") is not None:
        yield "se_layer", _squeeze(own["se"], in_channels, own["act"])
    if not own.get("norm", True):
        yield "norm_layer", None
    if own.get("act", "relu") != "relu":
        yield "activation_layer", activation_name(own["act"])
    if own.get("dropout"):
        yield "dropout", own["dropout"]


def activation_name(act: str | None) -> Name | None:
    """The class of an activation; `None` for none."""
    return None if act is None else Name(f"nn.{ACTIVATIONS[act][0]}")


def inner_activation(act: str | None) -> tuple[tuple[str, Any], ...]:
    """The option of a block that needs some activation: `nn.Identity` for none."""
    if act == "relu":
        return ()
    return (("activation_layer", activation_name(act) or Name("nn.Identity")),)


def _squeeze(se: Squeeze, channels: int, act: str | None) -> Call:
    width = ("squeeze_channels", se.width(channels))
    others = (("gate_layer", Name("nn.Hardsigmoid")),) if se.is_hard else inner_activation(act)
    return Call("partial", (Name("blocks.SqueezeExcite"),), (width, *others), is_placed=False)


def short(size: Pair) -> Any:
    """One number for both axes if one is enough."""
    return size[0] if size[0] == size[1] else size
