"""Accounts as plain data: every field that is read is checked by type, range and the rows."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from ..errors import FormatError, explain, shown
from .geometry import Sliding, shapes_of
from .parsing import MOST, Damaged, Fields
from .receptive_field import ReceptiveField, parse_field
from .roles import ROLES, WEIGHTED, contradiction
from .rows import Row
from .training import parse_peak
from .window import Window

if TYPE_CHECKING:
    from .account import Account

FORMAT = "budgetnet.account"
VERSION = 4  # 1 did not say what a row reads; 2 had no lines and no places; 3 no roles, no spec
_PLAIN = (
    "path", "kind", "role", "params", "macs", "has_bias", "is_global", "global_context", "reused",
    "unknown",
)  # fmt: skip
_PACKED = {"int4", "uint4", "int2", "uint2", "float4_e2m1"}  # several to a byte, in files
_REMEDY = "Write it again with Account.to_json()."

# Roles of rows that show all they give, so that no map is hidden inside them.
_OPEN = ROLES.keys() - {"product", "recurrent", "composite", "other"}


def to_dict(account: Account) -> dict[str, Any]:
    """An account as plain data, the totals included for other readers."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": account.name,
        "spec": account.spec,
        "input_shape": account.input_shape,
        "output_shapes": account.output_shapes,
        "params": account.params,
        "trainable_params": account.trainable_params,
        "buffers": account.buffers,
        "weight_bytes": account.weight_bytes,
        "weight_bytes_by_type": dict(account.weight_bytes_by_type),
        "peak_activation_bytes": account.peak_activation_bytes,
        "macs": account.macs,
        "depth": account.depth,
        "receptive_field": _field_to_dict(account.receptive_field),
        "unused": list(account.unused),
        **({"training": [p.to_dict() for p in account.training]} if account.training else {}),
        "rows": [_row_to_dict(row) for row in account.rows],
    }


def as_version(account: Account, version: int) -> Account:
    """An account as a file of some version of the format says it, without what came later."""
    later: dict[str, Any] = {}
    if version < 4:
        later |= {"role": "", "has_bias": None, "weight_shape": ()}
    if version < 3:
        later["lines"] = ()
    if version < 2:
        later["reads"] = ()
    return replace(account, rows=tuple(row._replace(**later) for row in account.rows))


def _field_to_dict(field: ReceptiveField | None) -> dict[str, Any] | None:
    return None if field is None else field.to_dict()


def _row_to_dict(row: Row) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _PLAIN},
        "output_shape": list(row.output_shape),
        "weight_shape": list(row.weight_shape),
        "receptive_field": _field_to_dict(row.receptive_field),
        "sliding": asdict(row.sliding) if row.sliding else None,
        "reads": list(row.reads),
        "lines": list(row.lines),
    }


def parse(data: Any, cls: type[Account]) -> Account:
    """Read what `to_dict` gives into a `cls`; raises `FormatError` on anything else."""
    found = (data.get("format"), data.get("version")) if isinstance(data, dict) else (None, None)
    if found[0] != FORMAT or type(found[1]) is not int or not 1 <= found[1] <= VERSION:
        raise FormatError(
            explain(
                "this is not an account that this release can read",
                numbers={
                    "expected": f"{FORMAT} {VERSION}",
                    "got": " ".join(shown(part) if part != FORMAT else FORMAT for part in found),
                },
                remedy=_REMEDY,
            )
        )
    try:
        account = cls(**_parse(Fields(data), found[1]))
        _check_totals(Fields(data), account)
    except (ValueError, RecursionError) as error:  # Damaged is one; so is what a window refuses
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        numbers = {"reason": reason}
        raise FormatError(
            explain("the account is damaged", numbers=numbers, remedy=_REMEDY)
        ) from error
    return account


def _parse(fields: Fields, version: int) -> dict[str, Any]:
    shape = _parse_input(fields)
    inputs = len(shapes_of(shape))
    return {
        "name": fields.text("name", empty=True),
        "input_shape": shape,
        "output_shapes": fields.optional("output_shapes", partial(_parse_outputs, fields)),
        "rows": tuple(
            _parse_row(Fields(row, f"rows[{i}]"), i, inputs, version)
            for i, row in enumerate(fields.items("rows"))
        ),
        "receptive_field": _parse_field(fields),
        "params": fields.count("params"),
        "trainable_params": fields.count("trainable_params"),
        "buffers": fields.count("buffers"),
        "weight_bytes_by_type": _parse_types(fields.fields("weight_bytes_by_type")),
        "peak_activation_bytes": fields.optional("peak_activation_bytes", fields.count),
        "unused": fields.texts("unused"),
        "spec": fields.text("spec", empty=True) if version > 3 else "",
        "training": tuple(
            parse_peak(Fields(peak, f"training[{i}]"))
            for i, peak in enumerate(fields.items("training") if "training" in fields else ())
        ),
    }


def _parse_input(fields: Fields) -> tuple[Any, ...]:
    given = fields.items("input_shape")
    if given and all(isinstance(part, list | tuple) for part in given):
        where = "input_shape"
        return tuple(
            Fields({"shape": part}, f"{where}[{i}]").counts("shape") for i, part in enumerate(given)
        )
    if not given:
        raise fields.wrong("input_shape", given, "not a shape")
    return fields.counts("input_shape", least=1)


def _parse_outputs(fields: Fields, key: str) -> tuple[tuple[int, ...], ...]:
    return tuple(
        Fields({"shape": part}, f"{key}[{i}]").counts("shape")
        for i, part in enumerate(fields.items(key))
    )


def _parse_types(fields: Fields) -> tuple[tuple[str, int], ...]:
    for name in fields.data:
        if not isinstance(name, str) or not name.isidentifier():
            raise fields.wrong("", name, "not a mapping of types to bytes")
        if fields.count(name) % bytes_of(name):
            raise fields.wrong(name, fields.get(name), f"not a multiple of {bytes_of(name)}")
    return tuple(fields.data.items())


def bytes_of(kind: str) -> int:
    """Bytes of an element of a torch type, as given by its name.

    >>> [bytes_of(kind) for kind in ("float32", "bool", "complex64", "float8_e4m3fn")]
    [4, 1, 8, 1]
    """
    digits = "".join(c if c.isdigit() else " " for c in kind).split()
    return max(1, int(digits[0][:4]) // 8) if digits else 1


def _parse_row(fields: Fields, place: int, inputs: int, version: int) -> Row:
    field = _parse_field(fields)
    axes = len(field.axes) if field else 3
    reads = fields.counts("reads", least=-inputs, most=place - 1) if version > 1 else ()
    lines = fields.counts("lines", most=axes - 1) if version > 2 else ()
    row = Row(
        path=fields.text("path", empty=True),
        kind=fields.text("kind"),
        output_shape=fields.counts("output_shape"),
        params=fields.count("params"),
        macs=fields.optional("macs", fields.count),
        receptive_field=field,
        sliding=fields.optional("sliding", lambda key: _parse_sliding(fields.fields(key))),
        is_global=fields.flag("is_global"),
        global_context=fields.flag("global_context"),
        reused=fields.flag("reused"),
        unknown=fields.text("unknown", empty=True),
        reads=reads,
        lines=lines,
        **_parse_facts(fields) if version > 3 else {},
    )
    if row.lines and not row.global_context:
        raise fields.wrong("lines", row.lines, "set on a row without global_context")
    facts = (row.role, row.has_bias, row.weight_shape, row.macs, row.sliding)
    if reason := contradiction(*facts):
        key, _, what = reason.partition(" is ")
        raise fields.wrong(key, fields.get(key), what)
    return row


def _parse_facts(fields: Fields) -> dict[str, Any]:
    return {
        "role": fields.text("role", empty=True),
        "has_bias": fields.optional("has_bias", fields.flag),
        "weight_shape": fields.counts("weight_shape"),
    }


def _parse_field(fields: Fields) -> ReceptiveField | None:
    where = f"{fields.where}.receptive_field".lstrip(".")
    return fields.optional("receptive_field", lambda key: parse_field(fields.get(key), where))


def _parse_sliding(fields: Fields) -> Sliding:
    sides = [
        Fields({"pair": pair}, f"{fields.where}.padding[{i}]").counts("pair", least=-MOST)
        for i, pair in enumerate(fields.items("padding"))
    ]
    found = Sliding(
        kernel=fields.counts("kernel", least=1),
        stride=fields.counts("stride", least=1),
        padding=tuple(sides),  # type: ignore[arg-type]  # pairs, as is checked below
        dilation=fields.counts("dilation", least=1),
        ceil_mode=fields.flag("ceil_mode"),
    )
    lengths = {len(found.kernel), len(found.stride), len(found.padding), len(found.dilation)}
    if len(lengths) > 1 or 0 in lengths or any(len(pair) != 2 for pair in sides):
        raise fields.wrong("", fields.data, "not of the same number of axes in every field")
    return found


def _check_totals(fields: Fields, account: Account) -> None:
    """Check every figure against the rows, the types and the shapes."""
    fields.same({name: getattr(account, name) for name in ("macs", "depth", "weight_bytes")})
    total = sum(row.params for row in account.rows)
    # Parameters that nothing read are in no row, nor are those of what did not run.
    more = bool(account.unused) or not account.is_complete
    if total != account.params and not (more and total < account.params):
        raise fields.wrong("params", account.params, f"not the sum of its rows, {total:,}")
    for i, row in enumerate(account.rows if account.spec else ()):
        biases = row.output_shape[0] if row.has_bias else 0
        if row.weight_shape and row.params != (planned := prod(row.weight_shape) + biases):
            what = f"not the number of its weights and biases, {planned:,}"
            raise fields.wrong(f"rows[{i}].params", row.params, what)
    if account.trainable_params > account.params:
        raise fields.wrong("trainable_params", account.trainable_params, "more than params")
    elements = sum(size // bytes_of(kind) for kind, size in account.weight_bytes_by_type)
    packed = _PACKED.intersection(kind for kind, _ in account.weight_bytes_by_type)
    if not packed and elements != account.params + account.buffers:
        both = f"{account.params:,} params and {account.buffers:,} buffers"
        raise Damaged(f"weight_bytes_by_type holds {elements:,} numbers, not the {both}")
    if account.output_shapes is None:
        _check_unfinished(fields, account)
        return
    if not account.output_shapes:
        raise fields.wrong("output_shapes", [], "not a shape")
    if account.peak_activation_bytes is None and not account.unknown:
        raise fields.wrong("peak_activation_bytes", None, "missing although the outputs are known")
    _check_maps(fields, account, account.input_shapes)


def _check_unfinished(fields: Fields, account: Account) -> None:
    """Check that no figure is given for what did not run, and that the last row says why."""
    for name in ("peak_activation_bytes", "receptive_field"):
        if getattr(account, name) is not None:
            raise fields.wrong(name, fields.get(name), "given although no output is known")
    if not account.rows or not account.rows[-1].unknown or account.macs is not None:
        raise fields.wrong("output_shapes", None, "missing, and no last row says why")


def unexplained_output(account: Account) -> tuple[str, object, str] | None:
    """The output or field that no row explains, if rows hide nothing: its key, value and error.

    >>> from budgetnet import plan
    >>> unexplained_output(plan("c8 gap4", (1, 9, 9)))
    """
    rows, field = account.rows, account.receptive_field
    if any(row.role not in _OPEN for row in rows):
        return None
    outputs = account.output_shapes or ()
    shapes = {row.output_shape for row in rows} | set(account.input_shapes)
    for shape in outputs:
        if shape not in shapes:
            return "output_shapes", shape, "not the shape of any row"
    of_maps = [row.receptive_field for row in rows if not row.is_global]
    of_input = field is not None and all(window == Window() for window in field.axes)
    is_chain = of_maps and all(row.reads == (i - 1,) for i, row in enumerate(rows))
    if is_chain and outputs == (rows[-1].output_shape,):  # else the output may be an earlier one
        is_known = field == of_maps[-1]
    else:
        is_known = of_input or field in of_maps
    return None if is_known else ("receptive_field", str(field), "not the field of the last map")


def _check_maps(fields: Fields, account: Account, shapes: tuple[Any, ...]) -> None:
    """Check the field, the outputs and the peak against the maps that the rows give.

    A layer of a user's own may hold maps of its own that no row shows; then only the types are
    known, and that the inputs live.
    """
    if found := unexplained_output(account):
        raise fields.wrong(*found)
    weighted = [row for row in account.rows if row.role in WEIGHTED]
    least = sum(map(prod, shapes)) + max([prod(row.output_shape) for row in weighted], default=0)
    if account.peak_activation_bytes is not None and account.peak_activation_bytes < least:
        what = f"less than the {least:,} numbers that live at once"
        raise fields.wrong("peak_activation_bytes", account.peak_activation_bytes, what)
