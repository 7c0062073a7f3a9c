"""Run a module once without weights, data or kernels, and record what happens.

The module's own `forward` runs on activations that have a shape but no storage, and on a structural
copy of the module. Every tensor operation is answered by its rule in `rules`, so that nothing is
computed or allocated, and the module itself is left alone.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from copy import copy
from traceback import walk_tb
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..accounting.account import Account
from ..accounting.geometry import check_shape, parse_shape, shapes_of
from ..accounting.receptive_field import ReceptiveField
from ..accounting.table import shape_text
from ..accounting.window import Window
from ..errors import (
    ArgumentError,
    BudgetnetError,
    ForwardError,
    LeftBehind,
    RunEnded,
    ShapeError,
    UnsupportedOp,
    explain,
    one_line,
    shown,
    with_place,
)
from .answers import depends_on_values
from .attention import REFUSED, MixedAttention, MixedDevices
from .copies import HookAdded
from .frames import place_of
from .modules import ModuleIndex
from .process import restoring_process
from .rules.core import NOTHING
from .rules.readings import Reading
from .tensors import map_tensors, tensors
from .tracer import Tracer
from .values import ValueTracer, can_be_kept

_BATCH = 11  # no layer's channels, for which one that runs without a batch could take it


def account_of_module(
    model: nn.Module,
    input_shape: Any = None,
    *,
    inputs: Any = None,
    name: str = "",
    strict: bool = True,
    wrt: int | str = 0,
    shortcuts: bool = True,
) -> Account:
    """`account` of a module.

    With `shortcuts`, torch's own layers are answered for without running their `forward`; the
    account is the same without, only slower.
    """
    given = parse_inputs(input_shape, inputs, wrt)
    options = {"strict": strict, "shortcuts": shortcuts}
    with suggesting_other_shapes(model, given):
        try:
            return _accounted(model, given, name, fixed_hooks=True, **options)
        except HookAdded:
            return _accounted(model, given, name, **options)


@contextmanager
def suggesting_other_shapes(model: nn.Module, given: Inputs) -> Iterator[None]:
    """If a model fails on a shape but runs on one that people often mean by it, suggest that."""
    try:
        yield
    except (ForwardError, ShapeError) as error:
        better = _other_shape(model, given, error)
        if better is None:
            raise
        raise better from error


def _other_shape(model: nn.Module, given: Inputs, error: Exception) -> ShapeError | None:
    shape = given.shapes
    if given.typed or len(given.args) > 1:
        return None
    likely = {
        "without the batch": shape[1:],
        "with its one channel": (1, *shape),
    }
    if shape[-1] in (1, 3, 4) and min(shape[:-1]) > 4:  # as an image file has its colours
        likely["with the channels first"] = (shape[-1], *shape[:-1])
    for how, other in likely.items():
        example = torch.empty((_BATCH, *other), device="meta")
        like = given._replace(args=(example,), shapes=other)
        with suppress(BudgetnetError):
            _accounted(model, like, "", strict=True, shortcuts=True)
            return ShapeError(
                explain(
                    f"the model does not run on {shape_text(shape)}",
                    numbers={"error": one_line(error).rstrip(".")},
                    remedy=f"Pass the shape {how}: did you mean {other}?",
                )
            )
    return None


def _accounted(
    model: nn.Module,
    given: Inputs,
    name: str,
    *,
    again: bool = False,
    mixed: bool = False,
    **options: bool,
) -> Account:
    tracer = (ValueTracer if given.kept else Tracer)(model, ModuleIndex(model), **options)
    title = name or type(model).__name__
    try:
        with running(tracer, given, mixed=mixed) as outputs:
            result = tracer.account(title, given.shapes, outputs)
        del outputs
    except RunEnded as error:
        if tracer.strict:
            error.args = (f"{error} Pass strict=False for the figures up to there.",)
            raise
        result = tracer.account_until(error, title, given.shapes)
    except MixedDevices:
        return _accounted(model, given, name, mixed=True, **options)
    _check_left(tracer, result.name)
    if tracer.ledger.live and not again:  # constants cached outside are no memory of later runs
        return _accounted(model, given, name, again=True, mixed=mixed, **options)
    return result


class Inputs(NamedTuple):
    """The inputs that a model is run on.

    Attributes:
        args: arguments by position; tensors stand for their shapes and types.
        kwargs: arguments by name.
        wrt: the place, among the tensors, of the one in which fields are measured.
        shapes: their shapes without the batch, as an account gives them.
        kept: the places of those whose values `forward` may ask for, such as a mask.
        typed: whether the tensors say what type the inputs have; else it is the model's.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    wrt: int
    shapes: tuple[Any, ...]
    typed: bool = True
    kept: frozenset[int] = frozenset()

    @property
    def text(self) -> str:
        """The shapes, as people write them."""
        return " + ".join(map(shape_text, shapes_of(self.shapes)))


@contextmanager
def running(tracer: Tracer, given: Inputs, *, mixed: bool = True) -> Iterator[Any]:
    """Run a model under a tracer; its outputs, and what it keeps of the run, last for the block.

    `mixed` lets activations attend to constants without values; else these are `MixedDevices`.
    """
    with (
        restoring_process(),
        tracer.copies.restoring_shared(),
        torch.inference_mode(False),
        torch.no_grad(),
        tracer,
        MixedAttention(tracer.__torch_dispatch__) if mixed else nullcontext(),
    ):
        try:
            args, kwargs = _activations(tracer, given)
            # A name of its own keeps the outputs for as long as the block runs.
            outputs = tracer.copies.model(*args, **kwargs)
            del args, kwargs
            if tracer.refused is not None:  # forward has caught it, and done something else
                raise copy(tracer.refused)
            yield outputs
        except BudgetnetError:
            raise
        except Exception as error:  # whatever forward may raise
            raise tracer.refused or _forward_failed(tracer, given, error) from error
        finally:
            tracer.copies.release()


# What torch says where Python asks for the values of a tensor, or passes it whole programs.
OF_VALUES = (".tolist() is not supported", ".numpy() is not supported", "data is not allocated")
_PROGRAM = "rule registered for HigherOrderOperator"


def _forward_failed(tracer: Tracer, given: Inputs, error: Exception) -> Exception:
    message = str(error).partition("\n")[0]
    if message.startswith(REFUSED) and "meta" in message:  # cannot be where they are taken
        return MixedDevices()
    where = (tracer.failed or tracer.frames[-1]).where
    if any(text in message for text in OF_VALUES):
        stack = reversed([*walk_tb(error.__traceback__)])
        return with_place(depends_on_values(), where + place_of(stack))
    if _PROGRAM in message:
        name = message.partition(_PROGRAM)[2].split()[0]
        return UnsupportedOp(
            explain(
                f"no accounting rule covers torch.{name}, which runs functions of its own",
                where=where,
                remedy="Call the function directly.",
            )
        )
    return ForwardError(
        explain(
            f"forward raised {type(error).__name__}",
            where=where,
            numbers={"message": message or "none", "input without the batch": given.text},
            remedy="Run the model on an input of this shape: if it fails there too, the error is "
            "in the model.",
        )
    )


def _check_left(tracer: Tracer, name: str) -> None:
    """Raise if something outside the model still holds a tensor that no real run would leave there.

    Constants may stay, as in a cache of positions.
    """
    ledger = tracer.ledger
    if ledger.constants is not None:
        ledger.constants.count()
    if ledger.live:
        gc.collect()  # what only a cycle holds goes
        if ledger.constants is not None:
            ledger.constants.count()
    left = ledger.live - (ledger.constants.kept() if ledger.constants is not None else 0)
    if left:
        raise LeftBehind(
            explain(
                "forward or a hook keeps tensors outside the model",
                where=name,
                numbers={"bytes still held": f"{left:,}"},
                remedy="Remove the hook, or keep them in an attribute of a module.",
            )
        )


def _shapes(given: Any) -> tuple[tuple[int, ...], ...]:
    given = parse_shape(given) if isinstance(given, str) else given
    parts = given if isinstance(given, list | tuple) else ()
    several = parts and all(isinstance(part, list | tuple | str) for part in parts)
    return tuple(check_shape(shape, axes=None) for shape in (parts if several else (given,)))


def parse_inputs(input_shape: Any, inputs: Any = None, wrt: int | str = 0) -> Inputs:
    """The inputs from shapes or from an example; raises `ArgumentError` for anything else."""
    if input_shape is not None and inputs is not None:
        raise ArgumentError(
            explain(
                "input_shape and inputs cannot be used together",
                remedy="Pass one of them; inputs is an example, batch included.",
            )
        )
    if inputs is None and [*tensors((input_shape,))]:
        single = isinstance(input_shape, Tensor) and input_shape.dim() > 1
        inputs = input_shape[:1] if single else input_shape  # figures are those of one input
    if inputs is None:
        if input_shape is None:
            raise ArgumentError(
                explain(
                    "the shape of the input is missing",
                    remedy="Pass it without the batch, such as (3, 224, 224), or an example tensor "
                    "with the batch.",
                )
            )
        shapes = _shapes(input_shape)
        args: tuple[Any, ...] = tuple(torch.empty((1, *s), device="meta") for s in shapes)
        sizes: tuple[Any, ...] = shapes[0] if len(shapes) == 1 else shapes
        return Inputs(args, {}, _place(args, {}, wrt), sizes, typed=False)
    kwargs: Mapping[str, Any] = {}
    if isinstance(inputs, Mapping):
        args, kwargs = (), dict(inputs)
    else:
        args = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    every = list(tensors((args, kwargs)))
    if not every:
        raise ArgumentError(
            explain(
                f"inputs={shown(inputs)} contains no tensor",
                remedy="Pass an example with the batch, or a shape as input_shape.",
            )
        )
    found = [tuple(tensor.shape[1:]) for tensor in every]
    place = _place(args, kwargs, wrt)
    kept = frozenset(i for i, x in enumerate(every) if i != place and can_be_kept(x))
    sizes = found[0] if len(found) == 1 else tuple(found)
    return Inputs(args, kwargs, place, sizes, kept=kept)


def _place(args: Any, kwargs: Mapping[str, Any], wrt: int | str) -> int:
    count = sum(1 for _ in tensors((args, kwargs)))
    if isinstance(wrt, str):
        before = sum(1 for _ in tensors((args,)))
        for key, value in kwargs.items():
            if key == wrt and isinstance(value, Tensor):
                return before
            before += sum(1 for _ in tensors((value,)))
    elif wrt in range(count):
        return wrt
    raise ArgumentError(explain(f"wrt={wrt!r} is not one of {count} inputs"))


def _activations(tracer: Tracer, given: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs as activations; those that fields are not measured in have read nothing."""
    every = list(tensors((given.args, given.kwargs)))
    axes = len(_spatial(every[given.wrt]))
    places = iter(range(len(every)))

    def make(tensor: Tensor) -> Any:
        place = next(places)
        shape = tuple(tensor.shape)
        spatial = _spatial(tensor)
        reads: Any
        if place == given.wrt:
            field = ReceptiveField((Window(),) * axes)
            reads = field if len(shape) == 2 + axes else _of_positions(shape, spatial, field)
        else:
            reads = ReceptiveField((NOTHING,) * axes)
        out = tracer.input(shape, reads, place, tensor.dtype if given.typed else None)
        if place in given.kept and isinstance(tracer, ValueTracer):
            tracer.keep(out, tensor.detach().to(tracer.device, copy=True))
        return out

    args, kwargs = map_tensors(make, (tuple(given.args), dict(given.kwargs)))
    return args, kwargs


def _spatial(tensor: Tensor) -> range:
    """The dimensions of an input along which it has positions."""
    return range(2 if tensor.dtype.is_floating_point else 1, tensor.dim())


def _of_positions(shape: tuple[int, ...], spatial: range, field: ReceptiveField) -> Any:
    """Reading of an input whose positions do not begin at dimension 2."""
    like = Reading.of_map((1, 1, *(shape[i] for i in spatial)), field)
    batch = Reading.of_map(shape[: spatial.start], field)
    return Reading((*batch.dims, *like.dims[2:]), (field,), batch.classes)
