"""The Account: what a network costs and what each layer sees, as frozen values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ..errors import near_names, shown
from . import rows as folding
from . import saved, tiles
from .files import parse_saved
from .geometry import shapes_of
from .receptive_field import ReceptiveField
from .rows import Row
from .table import Column, Table, Toned, compact, shape_text
from .training import TrainingPeak
from .window import Pair, Window


@dataclass(frozen=True, slots=True)
class Account:
    """What a network costs and sees: totals, and one `Row` per layer in order of execution.

    Attributes:
        name: what was accounted for, as a title.
        input_shape: `(C, H, W)`, without the batch; a tuple of shapes for several inputs.
        output_shapes: of every output, without the batch; `None` if unknown.
        rows: one per layer call.
        receptive_field: of the last spatial map that the first output depends on, before the whole
            map is read at once; `None` if unknown. This is the number that the literature quotes;
            the row of the global read has its own field.
        params: distinct parameters, each tensor once however often it is used.
        trainable_params: those of them that require a gradient.
        buffers: elements of all buffers, such as running statistics.
        weight_bytes_by_type: bytes of all parameters and buffers, by type.
        peak_activation_bytes: most bytes of activations that live at once in eager inference at
            batch 1, the input included; workspace inside an operation does not count; `None` if
            unknown.
        unused: names of parameters that no operation read; empty if the run ended
            before `forward` did.
        spec: text of the spec that it was planned from; "" if a module was traced.
        training: the peaks of training steps that limits asked for.
    """

    name: str
    input_shape: tuple[Any, ...]
    output_shapes: tuple[tuple[int, ...], ...] | None
    rows: tuple[Row, ...]
    receptive_field: ReceptiveField | None
    params: int
    trainable_params: int
    buffers: int
    weight_bytes_by_type: tuple[tuple[str, int], ...]
    peak_activation_bytes: int | None
    unused: tuple[str, ...] = ()
    spec: str = field(default="", compare=False)  # where it comes from is no cost
    training: tuple[TrainingPeak, ...] = field(default=(), compare=False, repr=False)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters and buffers."""
        return sum(size for _, size in self.weight_bytes_by_type)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one input, one multiply-add being one MAC; `None` if unknown.

        Convolutions and matrix products only; bias, norm, pooling and activation cost none.
        """
        counts = [row.macs for row in self.rows]
        return None if None in counts else sum(filter(None, counts))

    @property
    def depth(self) -> int | None:
        """Layer calls that multiply and accumulate, such as convolutions; `None` if unknown."""
        counts = [row.macs for row in self.rows]
        return None if None in counts else sum(map(bool, counts))

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """Shape of the first output without the batch; `None` if unknown."""
        return None if self.output_shapes is None else self.output_shapes[0]

    @property
    def receptive_field_text(self) -> str:
        """The receptive field, and that most costs come after the whole map was read, if so."""
        return _known(self.receptive_field) + ", then all" * bool(
            self.receptive_field and self.global_from
        )

    @property
    def is_complete(self) -> bool:
        """Whether `forward` ran to its end.

        Otherwise the last row says where it ended and why, the rows before it are exact, and
        totals that the rest would add to are unknown.
        """
        return self.output_shapes is not None

    @property
    def global_from(self) -> Row | None:
        """The row that first reads the whole map at once, if most MACs come with it or after it.

        From there on everything depends on all of the input, as in a vision transformer, and
        `receptive_field` is of the maps before. `None` if only a head reads the whole map.
        """
        whole = sum(row.macs or 0 for row in self.rows if row.is_global)
        if 2 * whole <= sum(row.macs or 0 for row in self.rows):
            return None
        return next(row for row in self.rows if row.is_global)

    @property
    def global_text(self) -> str:
        """Which row first reads the whole map, and how much comes after it; "" if only a head."""
        if (first := self.global_from) is None or not self.macs:
            return ""
        share = sum(row.macs or 0 for row in self.rows if row.is_global) / self.macs
        name = first.path or first.kind
        return f"{name} reads the whole map, before {share:.1%} of the MACs".replace("%", " %")

    @property
    def unknown(self) -> tuple[str, ...]:
        """Why figures are unknown, each reason once; empty where all are exact."""
        return tuple(dict.fromkeys(row.unknown for row in self.rows if row.unknown))

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of every input, without the batch."""
        return shapes_of(self.input_shape)

    @property
    def input_size(self) -> tuple[int, ...]:
        """`(height, width)` of an input that is the only one; () if there are several."""
        return () if len(self.input_shapes) > 1 else self.input_shapes[0][1:]

    @property
    def output_stride(self) -> tuple[int | Fraction, ...] | None:
        """Input positions between neighbouring units of the last map; `None` if unknown."""
        return None if self.receptive_field is None else self.receptive_field.stride

    @property
    def period(self) -> tuple[int, ...] | None:
        """Input positions after which the network repeats itself; `None` if unknown.

        Moving the input by that much moves every map, and changes no value of it. Tiles start at
        multiples of it.
        """
        return tiles.period_of(self.rows, self.input_size) if self.input_size else None

    @property
    def halo(self) -> tuple[Pair, ...] | None:
        """Inputs that a tile needs before and after it, per axis; `None` if unknown.

        A tile is a number of whole periods, and its outputs are those at the same place. The halo
        is of the last map, exact, and at most half of the receptive field where that is centred.

        >>> from budgetnet import plan
        >>> plan("c8same p c8same u c8same", (3, 64, 64)).halo
        ((5, 5), (5, 5))
        """
        inner, period = self._inner, self.period
        if inner is None or period is None:
            return None
        return tuple(tiles.halo_of(window, n) for window, n in zip(inner, period, strict=True))

    @property
    def covers(self) -> tuple[int, ...] | None:
        """Largest object that one unit of the last map reads whole, wherever it lies, per axis.

        Of any that many neighbouring input positions, some unit reads all: the size of the field
        less what the stride leaves between units, and 1 or less with gaps. `None` if unknown.
        """
        inner = self._inner
        return None if inner is None else tuple(map(tiles.covers_of, inner))

    @property
    def _inner(self) -> tuple[Window, ...] | None:
        """The windows of the last map, as they are away from the border."""
        field, period = self.receptive_field, self.period
        if field is None or period is None:
            return None
        return tiles.repeating(field, tiles.last_map(self.rows, field), period, self.input_size)

    def row(self, path: str) -> Row:
        """First row at `path`; raises `KeyError` that lists near names."""
        for row in self.rows:
            if row.path == path:
                return row
        known = [row.path for row in self.rows]
        near = near_names(path, known, most=3) or known[:3]
        raise KeyError(f"no row at {path!r}; near names: {', '.join(near)}")

    def layers(self) -> tuple[Row, ...]:
        """Rows with followers merged: a norm, activation or dropout joins the layer before it.

        A follower lies in the same module, does no MACs, and changes neither map nor field. An
        `Identity` is left out. What a layer `reads` is given as positions among the layers.
        """
        return folding.layers(self.rows)

    def fold(self, depth: int) -> tuple[Row, ...]:
        """Rows summed by the first `depth` parts of their path; the last of each says the rest.

        What a sum `reads` is given as positions among the sums. A module that runs in two places
        is one sum, so sums may read each other in a circle; a diagram has two boxes there.
        """
        return folding.to_depth(self.rows, depth)

    def by_module(self) -> dict[str, Row]:
        """For every module path, "" being the whole model, the sum of the rows below it.

        Sums lie within each other here, so none says what it `reads`.
        """
        return folding.by_module(self.rows)

    def to_table(self, depth: int | None = None) -> Table:
        """The account as a `Table`: one line per layer, or folded to `depth`."""
        columns = (
            Column("Layer"),
            Column("Kind", spared=5, joint="+"),
            Column("Kernel / stride / pad", spared=7, short="Kernel", joint="/"),
            Column("Output", numeric=True, spared=4),
            Column("RF", numeric=True, spared=3),
            Column("Jump", numeric=True, spared=6),
            Column("Params", numeric=True, spared=1),
            Column("Share", numeric=True, bar=True),
            Column("MACs", numeric=True, spared=2, bar=True),
        )
        layers = self.layers() if depth is None else self.fold(depth)
        window = self.receptive_field
        totals = (
            *("Total", "", "", self.output_text),
            self.receptive_field_text,
            _known(window and compact(window.stride)),
            *(f"{self.params:,}", "100.0 %" if self.params else "", _count(self.macs)),
        )
        return Table(
            columns=columns,
            rows=tuple(self._cells(row) for row in layers),
            title=f"{self.name}  (input {self.input_text})",
            totals=totals,
            notes=self._notes(layers),
        )

    def to_markdown(self, depth: int | None = None) -> str:
        """The table as GitHub-flavoured Markdown."""
        return self.to_table(depth).to_markdown()

    def to_csv(self, depth: int | None = None) -> str:
        """The table as comma-separated values."""
        return self.to_table(depth).to_csv()

    def to_dict(self) -> dict[str, Any]:
        """Plain data with format name and version, the totals included for other readers."""
        return saved.to_dict(self)

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_dict(cls, data: Any) -> Account:
        """Read `to_dict`'s form; raises `FormatError` on any other.

        Whatever follows from the rows is held against them, so that no total can be edited.
        """
        return saved.parse(data, cls)

    @classmethod
    def from_json(cls, text: str) -> Account:
        """Read `to_json`'s text; raises `FormatError` if it is not one."""
        return cls.from_dict(parse_saved(text))

    def __repr__(self) -> str:
        """One short line."""
        return (
            f"Account(name={shown(self.name)}, input={self.input_text}, params={self.params:,}, "
            f"macs={_count(self.macs)}, receptive field {_known(self.receptive_field)}, "
            f"{len(self.rows)} row{'s' * (len(self.rows) != 1)})"
        )

    def __str__(self) -> str:
        """The table as plain text."""
        return self.to_table().to_text()

    def _repr_html_(self) -> str:
        """The table, as notebooks show it."""
        return self.to_table().to_html()

    @property
    def input_text(self) -> str:
        """Shape of the input, or of several, as people write it."""
        return " + ".join(map(shape_text, self.input_shapes))

    @property
    def output_text(self) -> str:
        """Shapes of the outputs, as people write them."""
        shapes = self.output_shapes
        return "unknown" if shapes is None else " + ".join(map(shape_text, shapes))

    def _cells(self, row: Row) -> tuple[str, ...]:
        share = f"{100 * row.params / self.params:.1f} %" if row.params else ""
        field = _known(row.receptive_field)
        jump = _known(row.receptive_field and compact(row.receptive_field.stride))
        if row.is_global:
            field, jump = f"{field} (all)", "-"
        elif row.global_context:
            field += f" {row.context}"
        return (
            row.path or "(model)",
            row.kind,
            str(row.sliding) if row.sliding else "",
            shape_text(row.output_shape),
            field,
            jump,
            "(reused)" if row.reused and not row.params else f"{row.params:,}" * bool(row.params),
            share,
            "" if row.macs == 0 else _count(row.macs),
        )

    def _notes(self, layers: Iterable[Row]) -> tuple[str, ...]:
        fixed = self.params - self.trainable_params
        weights = f"{self.weight_bytes:,} bytes of weights and buffers"
        weights += f", at most {_count(self.peak_activation_bytes)} bytes of activations at once"
        notes = [weights + (f", {fixed:,} parameters frozen" if fixed else "")]
        if self.receptive_field and self.global_text:
            notes.append(f"receptive field {self.receptive_field} until {self.global_text}")
        contexts = {row.context for row in layers}
        if "+all" in contexts:
            notes.append("+all: also depends on the whole map, beside its local window")
        if contexts - {"", "+all"}:
            notes.append(
                "+rows, +columns: also depends on whole lines of the map, beside its window"
            )
        if self.unused:
            notes.append(f"parameters that no operation read: {', '.join(self.unused)}")
        notes.extend(Toned(f"unknown: {reason}", "unknown") for reason in self.unknown)
        return tuple(notes)


def _known(value: object) -> str:
    return Toned("unknown", "unknown") if value is None else str(value)


def _count(value: int | None) -> str:
    return Toned("unknown", "unknown") if value is None else f"{value:,}"
