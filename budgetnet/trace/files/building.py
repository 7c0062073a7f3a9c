"""An account made of a file's operators, one row each, in the order in which they run."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ...accounting.account import Account
from ...accounting.geometry import Sliding
from ...accounting.receptive_field import ReceptiveField, lines_of
from ...accounting.rows import Row
from ...accounting.window import Window
from ...errors import UnsupportedOp, explain, shown
from .maps import Map, Shape

Built = TypeVar("Built", bound="Builder")
_CLASS = re.compile(r"(?:\w+\.)+[A-Z][A-Za-z0-9]*(?:_(.+))?$")  # package.Class_name
LONGEST = 120  # characters of a name that a table shows


@dataclass(frozen=True)
class Effect:
    """What an operator does: the tensors that it gives, and what its row says.

    Attributes:
        maps: its results.
        role, macs, sliding, has_bias, weight_shape: as those of a `Row`.
        context: the bits of `has_context`.
        unknown: why figures of the row are unknown.
        stored: the numbers of the file that it computes with.
        activation: one that is part of the operator, which has a row of its own.
    """

    maps: tuple[Map, ...]
    role: str = "other"
    macs: int | None = 0
    sliding: Sliding | None = None
    has_bias: bool | None = None
    weight_shape: Shape = ()
    context: int = 0
    unknown: str = ""
    stored: Sequence[Stored] = ()
    activation: str = ""


@dataclass(frozen=True)
class Stored:
    """Numbers in the file that an operator computes with.

    Attributes:
        key: the same for numbers that are stored once and used twice.
        name: as the file has it.
        dtype: their type.
        count: how many they are.
        bytes: that they take in the file.
        is_buffer: whether they are statistics, such as a running mean.
    """

    key: Hashable
    name: str
    dtype: str
    count: int
    bytes: int
    is_buffer: bool = False


@dataclass
class Builder:
    """Rows as they are added; `finish` makes the account."""

    name: str
    inputs: Sequence[Map]
    rows: list[Row] = field(default_factory=list)
    used: dict[Hashable, Stored] = field(default_factory=dict)
    odd: bool = False
    ended: bool = False

    def add(self, path: str, kind: str, reads: Sequence[Map], effect: Effect) -> tuple[Map, ...]:
        """Add the row of an operator, and one of its activation; its results know the last."""
        path = path_of(path)
        stored = effect.stored
        new = {each.key: each for each in stored if each.key not in self.used}
        self.used |= new
        first, unknown = effect.maps[0], self._unknown(path, kind, reads, effect)
        axes = len(first.field.axes) if first.field else 0
        params = [each for each in stored if not each.is_buffer]
        alike = all(x.output_shape == first.output_shape for x in effect.maps)
        self.rows.append(
            Row(
                path=path,
                kind=kind,
                output_shape=first.output_shape,
                params=sum(each.count for each in new.values() if not each.is_buffer),
                macs=effect.macs,
                receptive_field=first.placed,
                sliding=effect.sliding,
                is_global=first.is_global,
                global_context=bool(effect.context),
                reused=bool(params) and not new,
                unknown=unknown,
                reads=tuple(dict.fromkeys(x.row for x in reads)),
                lines=lines_of(effect.context, axes) if effect.context else (),
                role=effect.role if alike else "other",  # which the row does not show all of
                has_bias=effect.has_bias,
                weight_shape=effect.weight_shape,
            )
        )
        if effect.activation:
            role = "relu" if effect.activation == "RELU" else "activation"
            last = self.rows[-1]
            self.rows.append(
                Row(
                    path, effect.activation, last.output_shape, 0, 0, last.receptive_field,
                    is_global=last.is_global, reads=(len(self.rows) - 1,), role=role,
                )
            )  # fmt: skip
        self.odd = self.odd or any(x.odd for x in effect.maps)
        return tuple(replace(x, row=len(self.rows) - 1) for x in effect.maps)

    def _unknown(self, path: str, kind: str, reads: Sequence[Map], effect: Effect) -> str:
        """Why a figure is unknown that was known before; "" if none is."""
        lost = effect.maps[0].field is None and all(x.field is not None for x in reads)
        if not lost and effect.macs is not None and not effect.unknown:
            return ""
        what = effect.unknown or effect.maps[0].why or "what its output reads is not followed"
        shapes = " and ".join("x".join(map(str, x.shape)) for x in reads)
        numbers = {"input shapes": shapes} if shapes else {}
        return explain(f"{kind}: {what}".rstrip("."), where=path, numbers=numbers).rstrip(".")

    def end(self, path: str, kind: str, reads: Sequence[Map], why: str) -> None:
        """Add the row at which the account ends, since no shape is known from here on."""
        self.add(path, kind, reads, Effect((Map((), (), None, why=why),), macs=None))
        self.ended = True

    def finish(
        self,
        outputs: Sequence[Map],
        peak: int | None,
        unread: Sequence[Stored] = (),
        *,
        strict: bool = False,
    ) -> Account:
        """The account of all that was added.

        Raises:
            UnsupportedOp: a figure is unknown, and the account is strict.
        """
        if peak is None and self.rows and not any(row.unknown for row in self.rows):
            why = f"{self.rows[0].kind}: the bytes of its elements are not known"
            self.rows[0] = self.rows[0]._replace(unknown=why)
        for row in self.rows if strict else ():
            if row.unknown:
                remedy = "Pass strict=False, or --lenient, to continue with unknown figures."
                raise UnsupportedOp(f"{self.name}: {row.unknown}. {remedy}")
        self.used |= {each.key: each for each in unread if each.key not in self.used}
        stored = self.used.values()
        sizes: dict[str, int] = {}
        for each in stored:
            sizes[each.dtype] = sizes.get(each.dtype, 0) + each.bytes
        shapes = tuple(shape_of_input(x) for x in self.inputs)
        return Account(
            name=self.name,
            input_shape=shapes[0] if len(shapes) == 1 else shapes,
            output_shapes=None if self.ended else tuple(x.output_shape for x in outputs),
            rows=tuple(self.rows),
            receptive_field=None if self.ended or not outputs else self._field(outputs[0]),
            params=sum(each.count for each in stored if not each.is_buffer),
            trainable_params=0,
            buffers=sum(each.count for each in stored if each.is_buffer),
            weight_bytes_by_type=tuple(sizes.items()),
            peak_activation_bytes=None if self.ended else peak,
            unused=tuple(path_of(each.name) for each in unread if not each.is_buffer),
        )

    def _field(self, output: Map) -> ReceptiveField | None:
        """The field of the last map that an output depends on."""
        if not output.is_global:
            return output.placed
        waiting, seen = [output.row], set()
        while waiting:
            row = waiting.pop()
            if row >= 0 and row not in seen:
                seen.add(row)
                waiting += self.rows[row].reads
        local = [row for row in sorted(seen) if not self.rows[row].is_global]
        if local:
            return self.rows[local[-1]].receptive_field
        axes = len(self.inputs[0].field.axes) if self.inputs[0].field else 0
        return ReceptiveField((Window(),) * axes)


def laid_out(build: Callable[[int], Built], channels: int, other: int) -> Built:
    """What a builder makes with the channels of the input at the usual place, or else the other.

    Converters from one order to the other leave the input as it was. Where channels would then be
    taken for positions, the other order is tried.
    """
    first = build(channels)
    if first.odd:
        second = build(other)
        return first if second.odd else second
    return first


def shape_of_input(x: Map) -> tuple[int, ...]:
    """The shape of an input without the batch, channels first; never empty."""
    return x.output_shape or tuple(x.shape) or (1,)


def path_of(name: str) -> str:
    """The path of a row: a name as files have it, its parts parted by dots as modules' are.

    >>> path_of("model/conv1/Relu;model/conv1/BiasAdd"), path_of("/layer1/layer1.0/conv1/Conv")
    ('model.conv1.Relu', 'layer1.layer1.0.conv1.Conv')

    litert-torch puts a module's class before its name:

    >>> path_of("torch.nn.modules.container.Sequential/my.Block_conv1/torch.nn.Conv2d_conv;1")
    'conv1.conv'
    """
    parts = name.partition(";")[0].strip("/").split("/")
    named = [found[1] or "" if (found := _CLASS.match(part)) else part for part in parts]
    first = ".".join(filter(None, named)) or ".".join(parts)
    text = first if first.isprintable() else shown(first, LONGEST)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def peak_bytes(
    steps: Sequence[tuple[Sequence[Any], Sequence[Any]]],
    sizes: dict[Any, int | None],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> int | None:
    """Most bytes that live at once when operators run one by one, in the order of the file.

    The inputs live throughout, every other tensor from the operator that writes it until the last
    that reads it, an output until the end.

    Args:
        steps: of every operator the tensors that it reads and writes.
        sizes: bytes of every tensor that is an activation; `None` if unknown.
        inputs, outputs: of the graph.
    """
    if any(size is None for size in sizes.values()):
        return None
    known = {key: size or 0 for key, size in sizes.items()}
    last = {key: k for k, (reads, writes) in enumerate(steps) for key in (*writes, *reads)}
    last |= dict.fromkeys((*inputs, *outputs), len(steps))
    leaving: dict[int, list[Any]] = {}
    for key, k in last.items():
        leaving.setdefault(k, []).append(key)
    now = peak = sum(known.get(key, 0) for key in dict.fromkeys(inputs))
    for k, (_, writes) in enumerate(steps):
        now += sum(known.get(key, 0) for key in dict.fromkeys(writes))
        peak = max(peak, now)
        now -= sum(known.get(key, 0) for key in leaving.get(k, ()))
    return peak
