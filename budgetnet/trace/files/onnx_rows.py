"""The account of an `.onnx` file, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from ...accounting.account import Account
from ...accounting.table import shape_text
from ...errors import (
    ArgumentError,
    BudgetnetError,
    FormatError,
    explain,
    name_in_errors,
    one_line,
    shown,
)
from .building import Builder, Effect, laid_out, peak_bytes
from .flatbuffer import raise_damaged
from .maps import Map, Shape, input_map, unfollowed
from .onnx import BITS, OnnxModel, OnnxNode, parse_onnx
from .onnx_call import Call, Constant, stored_of
from .onnx_constants import constant_of, evaluated, filled_shape, shape_constant
from .onnx_rules import RULES

# Operations that compute nothing with elements, so that they cost no MACs even without a rule.
_SETTINGS_ONLY = frozenset({"Shape", "Size"})


def account_of_onnx(
    data: bytes, name: str, title: str, given: Sequence[Shape] | None, *, strict: bool
) -> Account:
    """The account of the bytes of an `.onnx` file; errors call it `name`.

    Args:
        data: the bytes.
        name: of the file.
        title: of the account.
        given: the shape of every input without the batch, for those that the file leaves open.
        strict: as of `account`.

    Raises:
        ArgumentError: the file leaves the size of an input open, and no shape is given; or the
            given one is not the file's.
        FormatError: it is damaged.
        UnsupportedOp: an operation has no rule, and the account is strict.
    """
    model = parse_onnx(data, name)
    with name_in_errors(name):
        if not model.inputs:
            raise FormatError(explain("its graph has no input"))
        shapes = _input_shapes(model, given)
        built = laid_out(lambda channels: _Built(model, title, shapes, channels), 1, -1)
        return built.account(strict=strict)


def _input_shapes(model: OnnxModel, given: Sequence[Shape] | None) -> list[Shape]:
    """The shape of every input, a batch of one where it is open."""
    if given is not None and len(given) != len(model.inputs):
        numbers = {"inputs": len(model.inputs), "given": len(given)}
        what = f"{model.name} has another number of inputs"
        raise ArgumentError(explain(what, numbers=numbers, remedy="Give one shape for each."))
    found = []
    for k, value in enumerate(model.inputs):
        if value.shape is None:
            raise FormatError(explain(f"the input {shown(value.name)} has no shape"))
        if 0 in value.shape:
            raise FormatError(explain(f"the input {shown(value.name)} has no elements"))
        asked = given[k] if given is not None else None
        found.append(_sized(model, value.name, value.shape, asked))
    return found


def _sized(model: OnnxModel, name: str, shape: tuple[int | str, ...], asked: Any) -> Shape:
    sizes = list(shape)
    if sizes and not isinstance(sizes[0], int):
        sizes[0] = 1
    rest = sizes[1:] if len(sizes) > 1 else sizes
    if asked is not None:
        orders = [tuple(asked), (*asked[1:], asked[0])]
        fits = [o for o in orders if len(o) == len(rest) and all(
            n == m for n, m in zip(o, rest, strict=True) if isinstance(m, int))]  # fmt: skip
        if not fits:
            numbers = {"it has": shape_text([*rest]), "asked for": shape_text(asked)}
            what = f"{model.name} is for a different input shape"
            raise ArgumentError(explain(what, numbers=numbers, remedy="Leave the shape out."))
        rest = list(fits[0])
        sizes = [sizes[0], *rest] if len(sizes) > 1 else rest
    if not all(isinstance(n, int) for n in sizes):
        numbers = {"input": shown(name), "shape": shown(shape_text(shape))}
        remedy = "Add the shape without the batch, such as --input 3x224x224."
        raise ArgumentError(
            explain(
                f"{model.name} leaves the size of its input open", numbers=numbers, remedy=remedy
            )
        )
    return tuple(n for n in sizes if isinstance(n, int))


class _Built(Builder):
    """A builder that knows what every name stands for."""

    def __init__(self, model: OnnxModel, title: str, shapes: list[Shape], channels: int) -> None:
        """Add the rows of all nodes."""
        axes = max(len(shapes[0]) - 2, 0)
        inputs = [
            input_map(shape, channels, row=-1 - k, axes=axes, dtype=value.dtype)
            for k, (value, shape) in enumerate(zip(model.inputs, shapes, strict=True))
        ]
        super().__init__(title, inputs)
        self.model = model
        self.is_fixed = all(isinstance(n, int) for value in model.inputs for n in value.shape or ())
        names = [value.name for value in model.inputs]
        self.known: dict[str, Map] = dict(zip(names, inputs, strict=True))
        self.constants = {
            name: Constant(tensor.shape, tensor.dtype, tensor.values, (tensor,))
            for name, tensor in model.stored.items()
        }
        for k, node in enumerate(model.nodes):
            if not self._run(node, k):
                break

    def _run(self, node: OnnxNode, k: int) -> bool:
        """Follow a node; whether the account goes on."""
        if not node.outputs:
            raise_damaged(f"node {k} ({node.title}) has no output")
        call = Call(node, k, self.known, self.constants, self.model.opset)
        if call.is_constant or node.kind in _SETTINGS_ONLY:
            self._fold(call)
            return True
        name = node.name or next(filter(None, node.outputs), node.kind)
        effect = self._effect(call)
        if effect is None:
            why = f"no accounting rule covers {node.title}, and the file does not say its shape"
            self.end(name, node.title, call.maps, why)
            return False
        maps = self.add(name, node.title, call.maps, effect)
        self.known |= {o: x for o, x in zip(node.outputs, maps, strict=False) if o}
        return True

    def _effect(self, call: Call) -> Effect | None:
        """What a node does; `None` if not even the shapes of its results are known."""
        effect, reason = self._by_rule(call)
        maps = list(effect.maps) if effect else []
        for name in call.node.outputs[len(maps) :]:
            shape = self._said(name)
            if shape is None and not maps:
                return None
            value = self.model.said.get(name)
            dtype = value.dtype if value and value.dtype else call.x.dtype
            known = shape if shape is not None else maps[0].shape
            maps.append(unfollowed(call.maps, known, dtype, reason))
        self._check(call, maps)
        if effect is None:
            places = range(len(call.node.inputs))
            stored = [s for s in call.stored(places) if s.count > 1]
            return Effect(tuple(maps), macs=None, unknown=reason, stored=stored)
        return replace(effect, maps=tuple(maps))

    def _by_rule(self, call: Call) -> tuple[Effect | None, str]:
        """What the rule says, or why there is nothing that it says."""
        title = call.node.title
        rule = RULES.get(call.node.kind) if call.node.domain in ("", "ai.onnx") else None
        if rule is None:
            return None, f"no accounting rule covers {title}"
        try:
            effect = rule(call)
        except FormatError:
            raise
        except BudgetnetError as error:  # windows that are too wide
            return None, one_line(error).rstrip(".")
        return effect, f"{title} is not followed with these inputs and attributes"

    def _said(self, name: str) -> Shape | None:
        """The shape that the file says, if it says all of it."""
        value = self.model.said.get(name)
        if value is None or value.shape is None:
            return None
        sizes = [1 if i == 0 and not isinstance(n, int) else n for i, n in enumerate(value.shape)]
        return tuple(n for n in sizes if isinstance(n, int)) if all(
            isinstance(n, int) for n in sizes) else None  # fmt: skip

    def _check(self, call: Call, maps: Sequence[Map]) -> None:
        """Hold results against what the file says of them, where nothing was left open."""
        for name, x in zip(call.node.outputs, maps, strict=False):
            said = self._said(name) if self.is_fixed else None
            if said is not None and said != x.shape:
                numbers = {"it says": said, "its inputs give": x.shape}
                raise_damaged(
                    f"the shape of {shown(name)} is not what {call.where} gives", **numbers
                )

    def _fold(self, call: Call) -> None:
        """Keep what a node gives that depends on no input."""
        node, shape = call.node, call.shape(0)
        found: Constant | None = None
        if node.kind in _SETTINGS_ONLY and shape is not None:
            found = shape_constant(call, shape)
        elif node.kind in ("ConstantOfShape", "Range"):
            found = filled_shape(call)
        else:
            found = constant_of(call) or self._made(call)
        for name in node.outputs:
            said = self.model.said.get(name)
            dtype = said.dtype if said else "float32"
            self.constants[name] = found or Constant(self._said(name), dtype)

    def _made(self, call: Call) -> Constant | None:
        """A constant made of others."""
        sources = [s for c in call.constants if c for s in c.sources if s.elements > 1]
        made = tuple(dict.fromkeys(sources))
        if any(c and c.shape is None for c in call.constants) or not call.maps:
            return None
        effect, _ = self._by_rule(call)
        if effect is None:
            said = self._said(call.node.outputs[0])
            return Constant(said, "float32", None, made)
        x = effect.maps[0]
        return Constant(x.shape, x.dtype, evaluated(call, x.shape), made)

    def account(self, *, strict: bool) -> Account:
        """The account, with what needs the whole graph."""
        model = self.model
        sizes = {name: _bytes(x) for name, x in self.known.items()}
        steps = [(node.inputs, node.outputs) for node in model.nodes]
        names = [value.name for value in model.outputs]
        read = {name for node in model.nodes for name in node.inputs} | {*names}
        unread = [stored_of(t) for name, t in model.stored.items() if name not in read]
        outputs = [self.known[name] for name in names if name in self.known]
        if not outputs and not self.ended:
            raise FormatError(explain("none of its outputs depends on an input"))
        inputs = [value.name for value in model.inputs]
        return self.finish(outputs, peak_bytes(steps, sizes, inputs, names), unread, strict=strict)


def _bytes(x: Map) -> int | None:
    bits = BITS.get(x.dtype, 0)
    return -(-prod(x.shape) * bits // 8) if bits else None
