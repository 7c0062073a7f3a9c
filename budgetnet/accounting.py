"""The Account: what a network costs and what each layer sees, as frozen values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from .errors import FormatError, explain
from .geometry import Sliding, Window, as_tuples, compact
from .receptive_field import ReceptiveField
from .table import Column, Table

FORMAT = "budgetnet.account"
VERSION = 1
_PLAIN = ("path", "kind", "params", "macs", "is_global", "global_context")


@dataclass(frozen=True, slots=True)
class Row:
    """One layer call, or one functional operation in a container's `forward`.

    Attributes:
        path: the module's name as `state_dict` spells it; "" is the model itself.
        kind: the module's class, or the operation's name.
        output_shape: without the batch, `(C, H, W)` for a map and `(C,)` after a global read.
        params: parameters that this row is the first to use.
        macs: multiply-accumulates for one input.
        receptive_field: what one output unit reads of the network's input.
        sliding: kernel, stride, padding and dilation, where the operation has them.
        is_global: the whole map has been read at once, here or before.
        global_context: the output also depends on statistics of the whole map (squeeze-excite,
            GroupNorm), while `receptive_field` tells its local window.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    receptive_field: ReceptiveField
    sliding: Sliding | None = None
    is_global: bool = False
    global_context: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What a network costs and sees: totals, and one `Row` per layer in order of execution.

    Attributes:
        name: what was accounted for, as a title.
        input_shape: `(C, H, W)`, without the batch.
        rows: one per layer call.
        params: distinct parameters, each tensor once however often it is used.
        trainable_params: those of them that require a gradient.
        buffers: elements of all buffers, such as running statistics.
        weight_bytes: bytes of all parameters and buffers.
        unused: names of parameters that no operation read.
    """

    name: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    params: int
    trainable_params: int
    buffers: int
    weight_bytes: int
    unused: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one input: one multiply-add is one MAC.

        Convolutions and linear layers only; bias, norm, pooling and activation cost none.
        """
        return sum(row.macs for row in self.rows)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output without the batch."""
        return self.rows[-1].output_shape if self.rows else self.input_shape

    @property
    def receptive_field(self) -> ReceptiveField:
        """Field of the last spatial map, before the whole map is read at once.

        This is the number that the literature quotes. The row of the global read tells what it
        sees itself.
        """
        for row in reversed(self.rows):
            if not row.is_global:
                return row.receptive_field
        return ReceptiveField((Window(),) * (len(self.input_shape) - 1))

    def row(self, path: str) -> Row:
        """First row at `path`; raises `KeyError` that lists near names."""
        for row in self.rows:
            if row.path == path:
                return row
        from difflib import get_close_matches

        known = [row.path for row in self.rows]
        near = get_close_matches(path, known, n=3) or known[:3]
        raise KeyError(f"no row at {path!r}; near names: {', '.join(near)}")

    def layers(self) -> tuple[Row, ...]:
        """Rows with followers merged: a norm, activation or dropout joins the layer before it.

        A follower lies in the same module, does no MACs, and changes neither map nor field. An
        `Identity` is left out.
        """
        groups: list[list[Row]] = []
        for row in self.rows:
            if row.kind == "Identity":
                continue
            if groups and _follows(row, groups[-1][-1]):
                groups[-1].append(row)
            else:
                groups.append([row])
        return tuple(_merge(group, self.rows) for group in groups)

    def to_table(self) -> Table:
        """The account as a `Table`: one line per layer, see `layers`."""
        columns = (
            Column("Layer"),
            Column("Kind"),
            Column("Kernel / stride / pad"),
            Column("Output", numeric=True),
            Column("RF", numeric=True),
            Column("Jump", numeric=True),
            Column("Params", numeric=True),
            Column("Share", numeric=True),
            Column("MACs", numeric=True),
        )
        layers = self.layers()
        field = self.receptive_field
        totals = (
            *("Total", "", "", _shape(self.output_shape), str(field), compact(field.stride)),
            *(f"{self.params:,}", "100.0 %" if self.params else "", f"{self.macs:,}"),
        )
        return Table(
            columns=columns,
            rows=tuple(self._cells(row) for row in layers),
            title=f"{self.name}  (input {_shape(self.input_shape)})",
            totals=totals,
            notes=self._notes(layers),
        )

    def to_markdown(self) -> str:
        """The table as GitHub-flavoured Markdown."""
        return self.to_table().to_markdown()

    def to_csv(self) -> str:
        """The table as comma-separated values."""
        return self.to_table().to_csv()

    def to_dict(self) -> dict[str, Any]:
        """Plain data with format name and version, the totals included for other readers."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "params": self.params,
            "trainable_params": self.trainable_params,
            "buffers": self.buffers,
            "weight_bytes": self.weight_bytes,
            "macs": self.macs,
            "receptive_field": self.receptive_field.to_dict(),
            "unused": list(self.unused),
            "rows": [_row_to_dict(row) for row in self.rows],
        }

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_dict(cls, data: Any) -> Account:
        """Read `to_dict`'s form; raises `FormatError` on any other."""
        found = (
            (data.get("format"), data.get("version")) if isinstance(data, dict) else (None, None)
        )
        if found != (FORMAT, VERSION):
            raise FormatError(
                explain(
                    "this is no account that this release reads",
                    numbers={"expected": f"{FORMAT} {VERSION}", "got": f"{found[0]} {found[1]}"},
                    remedy="Write it again with Account.to_json().",
                )
            )
        try:
            return cls(
                name=data["name"],
                input_shape=tuple(data["input_shape"]),
                rows=tuple(_row_from_dict(row) for row in data["rows"]),
                params=data["params"],
                trainable_params=data["trainable_params"],
                buffers=data["buffers"],
                weight_bytes=data["weight_bytes"],
                unused=tuple(data["unused"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                explain(
                    "the account is damaged",
                    numbers={type(error).__name__: error},
                    remedy="Write it again with Account.to_json().",
                )
            ) from error

    @classmethod
    def from_json(cls, text: str) -> Account:
        """Read `to_json`'s text; raises `FormatError` where it is not one."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise FormatError(explain("this is not JSON", numbers={"reason": error})) from error
        return cls.from_dict(data)

    def __str__(self) -> str:
        """The table as plain text."""
        return self.to_table().to_text()

    def _cells(self, row: Row) -> tuple[str, ...]:
        share = f"{100 * row.params / self.params:.1f} %" if row.params else ""
        field = str(row.receptive_field)
        jump = compact(row.receptive_field.stride)
        if row.is_global:
            field, jump = f"{field} (all)", "-"
        elif row.global_context:
            field += " +all"
        return (
            row.path or "(model)",
            row.kind,
            str(row.sliding) if row.sliding else "",
            _shape(row.output_shape),
            field,
            jump,
            f"{row.params:,}" if row.params else "",
            share,
            f"{row.macs:,}" if row.macs else "",
        )

    def _notes(self, layers: Iterable[Row]) -> tuple[str, ...]:
        fixed = self.params - self.trainable_params
        weights = f"{self.weight_bytes:,} bytes of weights and buffers"
        notes = [weights + (f", {fixed:,} parameters frozen" if fixed else "")]
        if any(row.global_context for row in layers):
            notes.append("+all: also depends on the whole map, beside its local window")
        if self.unused:
            notes.append(f"parameters that no operation read: {', '.join(self.unused)}")
        return tuple(notes)


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _follows(row: Row, before: Row) -> bool:
    return (
        row.macs == 0
        and row.sliding is None
        and not row.is_global
        and row.output_shape == before.output_shape
        and row.receptive_field == before.receptive_field
        and _same_module(row.path, before.path)
    )


def _same_module(one: str, two: str) -> bool:
    """Whether one `forward` runs both: two children, or a child and an operation beside it."""
    return _parent(one) in (two, _parent(two)) or one == _parent(two)


def _merge(group: list[Row], rows: tuple[Row, ...]) -> Row:
    """One row for a layer and its followers, named after their module if they are all of it."""
    if len(group) == 1:
        return group[0]
    parent = _parent(group[0].path)
    whole = parent and sum(row.path.startswith(parent + ".") for row in rows) == len(group)
    return replace(
        group[0],
        path=parent if whole else group[0].path,
        kind=" + ".join(row.kind for row in group),
        params=sum(row.params for row in group),
        global_context=any(row.global_context for row in group),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _row_to_dict(row: Row) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _PLAIN},
        "output_shape": list(row.output_shape),
        "receptive_field": row.receptive_field.to_dict(),
        "sliding": asdict(row.sliding) if row.sliding else None,
    }


def _row_from_dict(data: Any) -> Row:
    slide = data["sliding"]
    return Row(
        **{name: data[name] for name in _PLAIN},
        output_shape=tuple(data["output_shape"]),
        receptive_field=ReceptiveField.from_dict(data["receptive_field"]),
        sliding=slide and Sliding(**{name: as_tuples(value) for name, value in slide.items()}),
    )
