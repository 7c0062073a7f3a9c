"""The Frame: a module whose `forward` is running, and the row that it adds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import reduce
from math import prod
from operator import or_
from pathlib import Path
from types import FrameType

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from ..accounting.receptive_field import lines_of
from ..accounting.rows import Row
from .rules import Effect


@dataclass(slots=True)
class Frame:
    """A module whose `forward` is running; a leaf gathers its operations into one row."""

    path: str
    module: nn.Module
    is_leaf: bool
    effects: list[Effect] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    params: int = 0
    unknown: str = ""
    kind: str = ""

    @property
    def where(self) -> str:
        """The module, for messages."""
        return f"{self.path or 'the model'} ({type(self.module).__name__})"


_OWN = f"{Path(__file__).parents[1]}{os.sep}"
_TORCH = f"{Path(torch.__file__).parent}{os.sep}"


def place_of(stack: Iterable[tuple[FrameType, int]]) -> str:
    """The line of a model's own code that runs, as " at file:line"; the innermost is first.

    "" if a module of torch's is called only by torch.
    """
    for frame, line in stack:
        file = frame.f_code.co_filename
        if frame.f_code.co_name == "running" and file.startswith(_OWN):
            return ""
        if not file.startswith((_OWN, _TORCH, "<")):  # the last is code without a file
            depth = frame.f_globals.get("__name__", "").count(".") + 1
            return f" at {'/'.join(Path(file).parts[-depth:])}:{line}"
    return ""


def kind_of(module: nn.Module) -> str:
    """The class name that a user knows; `parametrize` derives a class of its own."""
    cls = type(module)
    return cls.__bases__[0].__name__ if is_parametrized(module) else cls.__name__


def is_parametrized(module: nn.Module) -> bool:
    """Whether the only child of a module is what computes its parameters."""
    children = module._modules
    return len(children) == 1 and "parametrizations" in children


def row_of(
    path: str,
    kind: str,
    effect: Effect,
    reads: tuple[int, ...],
    params: int,
    unknown: str,
    reused: bool = False,
) -> Row:
    """The row of one operation or layer."""
    return Row(
        path,
        kind,
        effect.shape[1:],
        params,
        None if effect.macs < 0 else effect.macs,
        None if unknown else effect.field,
        effect.sliding,
        effect.is_global,
        effect.global_context or effect.context > 0,
        reused,
        unknown,
        reads,
        lines_of(effect.context, len(effect.field.axes))
        if effect.context and not effect.global_context
        else (),
        effect.role,
        effect.has_bias,
        effect.weight_shape,
    )


def gather(effects: list[Effect]) -> Effect:
    """One effect for all operations of a leaf: the last output, the summed cost."""
    if len(effects) == 1:
        return replace(effects[0])  # the rule's own may be remembered
    slides = [effect.sliding for effect in effects if effect.sliding]
    sliding = slides[0] if len(slides) == 1 else None
    pads = [effect.pads for effect in effects if effect.pads]
    if sliding and len(pads) == 1:
        both = zip(pads[0], sliding.padding, strict=True)
        sliding = replace(sliding, padding=tuple((a + c, b + d) for (a, b), (c, d) in both))
    unknown = any(effect.macs < 0 for effect in effects)
    return replace(
        effects[-1],
        macs=-1 if unknown else sum(effect.macs for effect in effects),
        sliding=sliding,
        global_context=any(effect.global_context for effect in effects),
        context=reduce(or_, (effect.context for effect in effects)),
    )


_MOVING = ("reshape", "padding")
_LINEAR = nn.Linear.forward
_NORMS = {cls.forward for cls in (nn.RMSNorm, nn.LocalResponseNorm, _InstanceNorm)}


def describe_leaf(effect: Effect, frame: Frame, size: int) -> None:
    """Set the role of a leaf whose output has `size` elements.

    It is the role of its only operation, or of its only one beside those that move elements.
    """
    found = [other for other in frame.effects if other.role not in _MOVING]
    if not found:
        effect.role = (
            role_without_operations(frame.module)
            if isinstance(frame.module, _DropoutNd)
            else effect.role
        )
        return
    first, forward = found[0], type(frame.module).forward
    has_bias, is_one = first.has_bias, len(found) == 1
    if not is_one and first.role == "linear" and forward is _LINEAR:
        has_bias, is_one = True, True  # of some layouts, which an operation of its own adds
    if forward in _NORMS:  # which run another norm, or one in parts
        facts: tuple[str, bool | None, tuple[int, ...]] = ("norm", None, ())
    elif len(frame.effects) == 1 or (prod(first.shape) == size and is_one):
        facts = (first.role, has_bias, first.weight_shape)
    else:
        is_pointwise = {other.role for other in found} == {"pointwise"}
        facts = ("pointwise" if is_pointwise else "composite", None, ())
    effect.role, effect.has_bias, effect.weight_shape = facts


def role_without_operations(module: nn.Module) -> str:
    """The role of a module that has run no operation and returns its input."""
    if isinstance(module, nn.Identity):
        return "identity"
    return "dropout" if isinstance(module, _DropoutNd) else "reshape"
