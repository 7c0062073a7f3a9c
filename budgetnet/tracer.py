"""The Tracer: answers every tensor operation by its rule, and every module call by a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .accounting import Account, Row
from .census import Census
from .errors import BudgetnetError, StrideMismatch, UnsupportedOp, explain, located
from .geometry import compact
from .layers import shortcut
from .reading import Unreadable
from .receptive_field import ReceptiveField
from .rules import RULES, Activation, Effect
from .rules.core import REMEDY
from .window import Window

# Operations that take an activation for its shape only.
_CONSTANTS = {
    "new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "empty_like",
    "full_like", "rand_like", "randn_like", "new_empty_strided",
}  # fmt: skip
_TYPES = dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "any", "all"), torch.bool)
_TYPES |= dict.fromkeys(("argmax", "argmin"), torch.int64)
_SMALL = 1 << 16  # constants up to so many elements are computed; larger ones stay shapes


class _Ledger:
    """Bytes of live activations, and the most there were."""

    def __init__(self) -> None:
        self.live = self.peak = 0

    def hold(self, size: int) -> _Storage:
        self.live += size
        self.peak = max(self.peak, self.live)
        return _Storage(self, size)


class _Storage:
    """Memory of one or more activations; let go when the last of them is."""

    __slots__ = ("ledger", "shared", "size")

    def __init__(self, ledger: _Ledger, size: int) -> None:
        self.ledger, self.size, self.shared = ledger, size, False

    def __del__(self) -> None:
        self.ledger.live -= self.size


@dataclass(slots=True)
class _Frame:
    """A module whose `forward` is running; a leaf gathers its operations into one row."""

    path: str
    module: nn.Module
    leaf: bool
    effects: list[Effect] = field(default_factory=list)
    params: int = 0
    unknown: str = ""


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is
    """Answers operations and module calls while a model runs, and writes the rows."""

    def __init__(self, model: nn.Module, census: Census, *, strict: bool, shortcuts: bool) -> None:
        """Start with nothing run and nothing claimed."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is
        self.census, self.strict, self.shortcuts = census, strict, shortcuts
        self.unclaimed = dict(census.parameters)
        self.derived: dict[int, tuple[Tensor, list[int]]] = {}  # tensors made of parameters
        sample = census.sample
        self.device, self.dtype = sample.device, sample.dtype
        self.ledger = _Ledger()
        self.frames: list[_Frame] = [_Frame("", model, leaf=False)]
        self.called: set[int] = set()
        self.rows: list[Row] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Without this, torch wraps __torch_dispatch__ in a compiler guard at every call.
        return False

    # ---- activations

    def input(self, shape: tuple[int, ...], reads: ReceptiveField) -> Activation:
        """An input of the model."""
        out = self._allocate(shape, None, self.dtype)
        out.field, out.reading, out.is_global, out.unknown = reads, None, False, ""
        return out

    def _allocate(
        self, shape: tuple[int, ...], strides: Any, dtype: torch.dtype, storage: Any = None
    ) -> Activation:
        """An activation: a shape, a type and a device, but no memory."""
        out: Activation = torch.Tensor._make_wrapper_subclass(
            Activation, shape, strides, dtype=dtype, device=self.device
        )
        if storage is None:
            size = dtype.itemsize
            for n in shape:
                size *= n
            storage = self.ledger.hold(size)
        out.memory = storage
        return out

    def _make(self, effect: Effect, x: Activation, unknown: str, dtype: torch.dtype) -> Activation:
        """The output of an operation on `x`."""
        strides = None
        if not x.is_contiguous():
            strides = _strides_like(x, effect.shape)
        return _imprint(self._allocate(effect.shape, strides, dtype), effect, unknown)

    # ---- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer one operation."""
        kwargs = kwargs or {}
        tracked = [*_activations(args), *(_activations(kwargs.values()) if kwargs else ())]
        if not tracked:
            return self._untracked(func, args, kwargs)
        name = func._schema.name.removeprefix("aten::")
        inplace = name.endswith("_") and not name.endswith("__")
        base = name[:-1] if inplace else name
        if base in _CONSTANTS:
            return _on_meta(func, args, kwargs)
        unknown = next((x.unknown for x in tracked if x.unknown), "")
        try:
            found = RULES.get(base)
            if found is None:
                raise _no_rule(func, args)
            effect = found(*args, **kwargs)
        except (UnsupportedOp, StrideMismatch, Unreadable) as error:
            return self._unruled(func, args, kwargs, error, tracked)
        except TypeError as error:  # an overload whose arguments the rule does not know
            return self._unruled(func, args, kwargs, Unreadable(str(error)), tracked)
        except BudgetnetError as error:
            raise self._located(error) from None
        if isinstance(effect, list):
            return self._views(func, args, kwargs, effect, tracked[0], unknown)
        if effect.is_view and not inplace:
            return self._views(func, args, kwargs, [effect], tracked[0], unknown)
        self._record(base, effect, args, unknown)
        if inplace:
            return self._overwrite(func, args[0], effect, unknown)
        dtype = kwargs.get("dtype") or _TYPES.get(base) or tracked[0].dtype
        if base == "clone" and kwargs.get("memory_format") is torch.contiguous_format:
            out = _imprint(self._allocate(effect.shape, None, dtype), effect, unknown)
        else:
            out = self._make(effect, tracked[0], unknown, dtype)
        extra = len(func._schema.returns) - 1
        if not extra:
            return out
        # Further results are of no use to a network, but for the indices of a max pooling.
        more = effect.extra or (((0,), self.dtype),) * extra
        rest = (self._allocate(shape, None, kind) for shape, kind in more)
        return (out, *(_imprint(other, effect, unknown) for other in rest))

    def _views(
        self, func: Any, args: Any, kwargs: Any, effects: list[Effect], x: Activation, unknown: str
    ) -> Any:
        """The views that an operation gives of `x`; they share its memory."""
        found = _on_meta(func, args, kwargs)
        twins = [found] if isinstance(found, Tensor) else list(found)
        if [tuple(twin.shape) for twin in twins] != [effect.shape for effect in effects]:
            shapes = ", ".join(compact(effect.shape) for effect in effects)
            reason = Unreadable(f"its rule gives the shape {shapes}")
            return self._unruled(func, args, kwargs, reason, [x])
        x.memory.shared = True
        outs = []
        for effect, twin in zip(effects, twins, strict=True):
            self._record(func._schema.name.removeprefix("aten::"), effect, args, unknown)
            out = self._allocate(effect.shape, twin.stride(), x.dtype, x.memory)
            outs.append(_imprint(out, effect, unknown))
        return outs[0] if isinstance(found, Tensor) else outs

    def _overwrite(self, func: Any, x: Any, effect: Effect, unknown: str) -> Any:
        if not isinstance(x, Activation):
            raise self._located(_no_rule(func, (x,)))
        changed = x.field != effect.field or effect.reading is not x.reading
        if changed and x.memory.shared:
            what = f"{func} writes into memory that another view shares"
            raise self._located(UnsupportedOp(explain(what, remedy="Use the plain form.")))
        return _imprint(x, effect, unknown)

    def _unruled(
        self, func: Any, args: Any, kwargs: Any, error: Exception, tracked: list[Activation]
    ) -> Any:
        """Raise, or go on with the shape alone."""
        if isinstance(error, Unreadable):
            error = UnsupportedOp(
                explain(
                    f"{func} cannot be followed exactly: {error}",
                    numbers={"input shapes": ", ".join(compact(x.shape) for x in tracked)},
                    remedy=REMEDY,
                )
            )
        assert isinstance(error, BudgetnetError)
        error = self._located(error)
        if self.strict or func._schema.name in ("aten::_local_scalar_dense", "aten::nonzero"):
            raise error from None
        try:
            twin = _on_meta(func, args, kwargs)
        except Exception:  # whatever a kernel says of shapes, the missing rule is the reason
            raise error from None
        reason = str(error).removesuffix(f". {REMEDY}")
        name = func._schema.name.removeprefix("aten::")
        outs = [
            self._blank(value, tracked[0], reason)
            for value in (twin if isinstance(twin, list | tuple) else [twin])
        ]
        if isinstance(outs[0], Activation):
            effect = Effect(tuple(outs[0].shape), outs[0].field, macs=-1)
            self._record(name, effect, args, reason)
        return type(twin)(outs) if isinstance(twin, list | tuple) else outs[0]

    def _blank(self, value: Any, x: Activation, reason: str) -> Any:
        if not isinstance(value, Tensor):
            return value
        out = self._allocate(tuple(value.shape), value.stride(), value.dtype)
        axes = len(x.field.axes)
        field = ReceptiveField((Window(),) * axes)
        shape = tuple(value.shape)
        return _imprint(out, Effect(shape, field, is_global=len(shape) != axes + 2), reason)

    def _untracked(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation on parameters and constants; the model's own stay as they are."""
        tensors = list(_tensors(args))
        if func._schema.is_mutable and tensors and self._is_owned(tensors[0]):
            return tensors[0]
        if any(t.is_meta or t.numel() > _SMALL for t in tensors):
            out = _on_meta(func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        sources = [key for t in tensors for key in self._parameters_in(t)]
        if sources:
            for value in out if isinstance(out, list | tuple) else [out]:
                if isinstance(value, Tensor):
                    self.derived[id(value)] = (value, sources)
        return out

    def _is_owned(self, tensor: Tensor) -> bool:
        base = tensor._base if tensor._base is not None else tensor
        return id(base) in self.census.parameters or id(base) in self.census.buffers

    def _parameters_in(self, tensor: Tensor) -> list[int]:
        if id(tensor) in self.derived:
            return self.derived[id(tensor)][1]
        return [id(tensor)] if id(tensor) in self.census.parameters else []

    # ---- module calls

    def call(self, module: nn.Module, args: Any, kwargs: Any, run: Callable[..., Any]) -> Any:
        """Answer one module call: by a shortcut, or by running its `forward` in a frame."""
        path, _ = self.census.modules.get(id(module), (None, None))
        if path is None or self.frames[-1].leaf:  # made inside forward: part of what calls it
            return run(module, *args, **kwargs)
        frame = _Frame(path, module, leaf=not module._modules or _is_parametrized(module))
        if self.shortcuts and frame.leaf and len(args) == 1 and not kwargs:
            out = self._take_shortcut(frame, args[0])
            if out is not None:
                return out
        self.frames.append(frame)
        try:
            out = run(module, *args, **kwargs)
        finally:
            self.frames.pop()
        if frame.leaf:
            self._close(frame, out)
        return out

    def _take_shortcut(self, frame: _Frame, x: Any) -> Activation | None:
        if not isinstance(x, Activation):
            return None
        try:
            effect = shortcut(frame.module, x)
        except (UnsupportedOp, StrideMismatch, Unreadable):
            return None  # the operations themselves will say so
        except BudgetnetError as error:
            raise located(error, _where(frame)) from None
        if effect is None:
            return None
        for parameter in frame.module._parameters.values():
            if parameter is not None:
                frame.params += self._claim(id(parameter))
        self._add_row(frame, effect, x.unknown)
        if _returns_input(frame.module):
            return x
        out = self._make(effect, x, x.unknown, x.dtype)
        for shape, kind in effect.extra:
            self._allocate(shape, None, kind)  # let go at once, but counted in the peak
        return out

    def _record(self, name: str, effect: Effect, args: Any, unknown: str) -> None:
        frame = self.frames[-1]
        params = sum(
            self._claim(key) for tensor in _tensors(args) for key in self._parameters_in(tensor)
        )
        if frame.leaf:
            frame.effects.append(effect)
            frame.params += params
            frame.unknown = frame.unknown or unknown
        else:
            self.rows.append(_row(frame.path, name, effect, params, unknown))

    def _close(self, frame: _Frame, out: Any) -> None:
        """Add the row of a leaf whose operations have all run."""
        if frame.effects:
            self._add_row(frame, _gather(frame.effects), frame.unknown)
        elif isinstance(out, Activation):
            effect = Effect(tuple(out.shape), out.field, out.reading, is_global=out.is_global)
            self._add_row(frame, effect, out.unknown)

    def _add_row(self, frame: _Frame, effect: Effect, unknown: str) -> None:
        kind = type(frame.module).__name__
        if _is_parametrized(frame.module):
            kind = type(frame.module).__bases__[0].__name__
        reused = id(frame.module) in self.called
        self.called.add(id(frame.module))
        self.rows.append(_row(frame.path, kind, effect, frame.params, unknown, reused))

    def _claim(self, key: int) -> int:
        found = self.unclaimed.pop(key, None)
        return found[1].numel() if found else 0

    # ---- results

    def _located(self, error: BudgetnetError) -> BudgetnetError:
        return located(error, _where(self.frames[-1]))

    def account(self, name: str, shape: tuple[Any, ...], outputs: Any) -> Account:
        """The account of what has run."""
        params = [p for _, p in self.census.parameters.values()]
        by_type = self.census.weight_bytes()
        return Account(
            name=name,
            input_shape=shape,
            output_shapes=tuple(tuple(out.shape[1:]) for out in _activations([outputs])),
            rows=tuple(self.rows),
            params=sum(p.numel() for p in params),
            trainable_params=sum(p.numel() for p in params if p.requires_grad),
            buffers=sum(b.numel() for _, b in self.census.buffers.values()),
            weight_bytes_by_type=tuple(sorted(by_type.items())),
            peak_activation_bytes=self.ledger.peak,
            unused=tuple(path for path, _ in self.unclaimed.values()),
        )


def _imprint(out: Activation, effect: Effect, unknown: str) -> Activation:
    out.field, out.reading, out.is_global = effect.field, effect.reading, effect.is_global
    out.unknown = unknown
    if unknown:  # a stand-in, so that shapes and costs go on; no row shows it
        axes = len(effect.field.axes)
        out.field, out.reading = ReceptiveField((Window(),) * axes), None
        out.is_global = out.dim() != axes + 2
    return out


def _strides_like(x: Activation, shape: tuple[int, ...]) -> Any:
    """Strides of a result on `x`: kept where the shape is, channels last where `x` has them so."""
    if tuple(x.shape) == shape:
        return torch.empty_like(torch.empty_strided(shape, x.stride(), device="meta")).stride()
    if x.dim() == len(shape) == 4 and x.is_contiguous(memory_format=torch.channels_last):
        _, channels, height, width = shape
        return (channels * height * width, 1, width * channels, channels)
    return None


def _returns_input(module: nn.Module) -> bool:
    return bool(getattr(module, "inplace", False)) or isinstance(
        module, nn.Identity | nn.Dropout | nn.Dropout2d
    )


def _is_parametrized(module: nn.Module) -> bool:
    return module._modules.keys() == {"parametrizations"}


def _where(frame: _Frame) -> str:
    return f"{frame.path or 'the model'} ({type(frame.module).__name__})"


def _row(
    path: str, kind: str, effect: Effect, params: int, unknown: str, reused: bool = False
) -> Row:
    return Row(
        path,
        kind,
        effect.shape[1:],
        params,
        None if effect.macs < 0 else effect.macs,
        None if unknown else effect.field,
        effect.sliding,
        effect.is_global,
        effect.global_context,
        reused,
        unknown,
    )


def _gather(effects: list[Effect]) -> Effect:
    """One effect for all operations of a leaf: the last output, the summed cost."""
    if len(effects) == 1:
        return effects[0]
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
    )


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


def _activations(values: Any) -> Iterator[Activation]:
    return (value for value in _tensors(values) if isinstance(value, Activation))


def _on_meta(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on shapes alone."""

    def twin(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device="meta"
            )
        if isinstance(value, list | tuple):
            return type(value)(map(twin, value))
        return value

    options = {key: twin(value) for key, value in kwargs.items() if key != "device"}
    if "device" in kwargs:
        options["device"] = "meta"
    return func(*map(twin, args), **options)


def _no_rule(func: Any, args: Any) -> UnsupportedOp:
    if func._schema.name == "aten::_local_scalar_dense":
        return UnsupportedOp(
            explain(
                "the control flow depends on a value of the input",
                remedy="An account holds for every input of a shape: take it out of forward.",
            )
        )
    shapes = [compact(value.shape) for value in _tensors(args)]
    return UnsupportedOp(
        explain(
            f"no accounting rule covers {func}",
            numbers={"input shapes": ", ".join(shapes)},
            remedy=REMEDY,
        )
    )
