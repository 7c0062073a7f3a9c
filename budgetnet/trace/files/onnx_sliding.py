"""Rules of `.onnx` nodes that slide, pool, multiply by weights, or resize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any

from ...accounting.geometry import Sliding
from ...accounting.window import Window
from .building import Effect
from .flatbuffer import raise_damaged
from .maps import (
    Map,
    Shape,
    broadcast,
    joined,
    mixed,
    read_whole,
    reduced,
    reshaped,
    sampled,
    slid,
    unfollowed,
    unknown,
)
from .onnx_call import Call


def _per_axis(call: Call, name: str, axes: int) -> tuple[int, ...]:
    """An attribute with a number of at least 1 for every axis."""
    value: tuple[int, ...] = call.given(name, ()) or (1,) * axes
    if len(value) != axes or min(value, default=1) < 1:
        raise_damaged(f"{call.where} has no valid {name}", got=value, axes=axes)
    return value


def _sliding(call: Call, x: Map, kernel: tuple[int, ...]) -> tuple[Sliding, Shape]:
    """How a node slides over the axes behind the channels, and the size that it gives."""
    axes, size = len(kernel), x.shape[2:]
    if len(size) != axes or not axes or min(kernel) < 1:
        call.raise_misfit()
    stride, dilation = _per_axis(call, "strides", axes), _per_axis(call, "dilations", axes)
    auto = call.given("auto_pad", "NOTSET")
    given = call.given("pads", ()) or (0,) * (2 * axes)
    if len(given) != 2 * axes:
        raise_damaged(f"{call.where} has no valid pads", got=given, axes=axes)
    pads = tuple(zip(given[:axes], given[axes:], strict=True))
    if auto == "VALID":
        pads = ((0, 0),) * axes
    if auto.startswith("SAME"):
        pads = ()
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = max((ceil(Fraction(n, s)) - 1) * s + (k - 1) * d + 1 - n, 0)
            low = total // 2 if auto == "SAME_UPPER" else total - total // 2
            pads += ((low, total - low),)
    sliding = Sliding(kernel, stride, pads, dilation, bool(call.given("ceil_mode", 0)))
    room = [n + sum(p) - (k - 1) * d for n, p, k, d in
            zip(size, pads, kernel, dilation, strict=True)]  # fmt: skip
    if min(room) < 1:
        call.raise_misfit()
    return sliding, sliding.output_size(size, where=call.where)


def _slid(x: Map, sliding: Sliding, size: Shape) -> Map:
    windows = sliding.windows
    return slid(x, {i + 2: (windows[i], size[i]) for i in range(len(size))})


def _with(call: Call, result: Map, places: tuple[int, ...]) -> Map:
    """A result that also depends on weights which are computed from an input."""
    maps = [y for place in places if call.has(place) and (y := call.inputs[place]) is not None]
    if call.is_constant or not maps:
        return result
    if result.field is None or any(y.field is None for y in maps):
        return unknown(result.shape, result.dtype)
    whole = [replace(result, field=read_whole(y, range(len(y.shape)))) for y in maps]
    both, _ = joined([result, *whole], result.shape)
    return both


def conv(call: Call) -> Effect | None:
    """`Conv`, and the two of integers, whose weight may stand elsewhere."""
    place, bias = {"QLinearConv": (3, 8), "ConvInteger": (1, 99)}.get(call.node.kind, (1, 2))
    x, weight = call.inputs[0], call.shape(place)
    if x is None or weight is None:
        return None
    kernel = call.given("kernel_shape", ()) or weight[2:]
    groups = call.given("group", 1)
    if kernel != weight[2:] or len(x.shape) < 3 or groups < 1 or weight[0] % groups:
        call.raise_misfit()
    if x.shape[1] != weight[1] * groups:
        call.raise_misfit()
    sliding, size = _sliding(call, x, kernel)
    result = mixed(_slid(x, sliding, size), 1, weight[0])
    macs = x.shape[0] * prod(weight) * prod(size)
    dtype = {"ConvInteger": "int32", "QLinearConv": _dtype_of(call, 7)}.get(call.node.kind, x.dtype)
    result = replace(_with(call, result, (place, bias)), dtype=dtype)
    return Effect(
        (result,), "convolution", macs, sliding, call.has(bias), weight,
        stored=call.stored((place, bias)),
    )  # fmt: skip


def _dtype_of(call: Call, place: int) -> str:
    constant = call.constants[place] if call.has(place) else None
    return constant.dtype if constant else "uint8"


def conv_transpose(call: Call) -> Effect | None:
    """`ConvTranspose`."""
    x, weight = call.inputs[0], call.shape(1)
    if x is None or weight is None:
        return None
    kernel, groups = weight[2:], call.given("group", 1)
    axes = len(kernel)
    if len(x.shape) != axes + 2 or not axes or x.shape[1] != weight[0] or groups < 1:
        call.raise_misfit()
    stride, dilation = _per_axis(call, "strides", axes), _per_axis(call, "dilations", axes)
    more = call.given("output_padding", ()) or (0,) * axes
    pads, wanted = call.given("pads", ()) or (0,) * (2 * axes), call.given("output_shape", ())
    auto = call.given("auto_pad", "NOTSET")
    if len(more) != axes or len(pads) != 2 * axes or (wanted and len(wanted) != axes):
        call.raise_misfit()
    moves = {}
    for i in range(axes):
        n, k, s, d = x.shape[i + 2], kernel[i], stride[i], dilation[i]
        full = s * (n - 1) + more[i] + (k - 1) * d + 1
        low, high = pads[i], pads[axes + i]
        if wanted or auto.startswith("SAME"):
            total = full - (wanted[i] if wanted else n * s)
            if total < 0:  # it is not defined on which side a larger output goes on
                return None
            half = total // 2
            low = half if auto == "SAME_UPPER" else total - half
            high = total - low
        if full - low - high < 1:
            call.raise_misfit()
        moves[i + 2] = (Window.transposed(k, s, low, d), full - low - high)
    result = mixed(slid(x, moves), 1, weight[1] * groups)
    return Effect(
        (_with(call, result, (1, 2)),), "transposed convolution", prod(x.shape) * prod(weight[1:]),
        has_bias=call.has(2), weight_shape=weight, stored=call.stored((1, 2)),
    )  # fmt: skip


def pool(call: Call) -> Effect:
    """`MaxPool`, `AveragePool` and `LpPool`."""
    x, kernel = call.x, call.given("kernel_shape", ())
    sliding, size = _sliding(call, x, kernel)
    role = "max pooling" if call.node.kind == "MaxPool" else "average pooling"
    return Effect((_slid(x, sliding, size),), role, sliding=sliding)


def global_pool(call: Call) -> Effect:
    """A pooling over all axes behind the channels."""
    role = "max pooling" if call.node.kind == "GlobalMaxPool" else "average pooling"
    return Effect((reduced(call.x, range(2, call.rank), True),), role)


def gemm(call: Call) -> Effect | None:
    """`Gemm`: two matrices, either of them transposed, and a bias."""
    x, weight = call.inputs[0], call.shape(1)
    if x is None or weight is None:
        return None
    axis = 0 if call.given("transA", 0) else 1
    if len(x.shape) != 2 or len(weight) != 2:
        call.raise_misfit()
    shape = weight if call.given("transB", 0) else weight[::-1]
    if x.shape[axis] != shape[1]:
        call.raise_misfit()
    if call.inputs[1] is not None and not call.is_constant:
        return product(call, (x.shape[1 - axis], shape[0]), shape[1])
    result = mixed(x, axis, shape[0])
    if axis == 0:
        result = replace(result, shape=result.shape[::-1], axes=result.axes[::-1])
    macs = x.shape[1 - axis] * prod(shape)
    return Effect(
        (result,), "linear", macs, has_bias=call.has(2), weight_shape=shape,
        stored=call.stored((1, 2)),
    )  # fmt: skip


def matmul(call: Call) -> Effect | None:
    """`MatMul`, and the two of integers, whose second matrix may stand elsewhere."""
    place = 3 if call.node.kind == "QLinearMatMul" else 1
    one, two = call.shape(0), call.shape(place)
    if not one or not two:
        return None
    wide, tall = one if len(one) > 1 else (1, *one), two if len(two) > 1 else (*two, 1)
    if wide[-1] != tall[-2]:
        call.raise_misfit()
    shape = _stacked(call, wide, tall)
    if len(one) == 1:
        shape = (*shape[:-2], shape[-1])
    if len(two) == 1:
        shape = shape[:-1]
    x, y = call.inputs[0], call.inputs[place]
    dtype = {"MatMulInteger": "int32", "QLinearMatMul": _dtype_of(call, 7)}.get(call.node.kind, "")
    if x is not None and len(two) == 2 and (y is None or call.is_constant):
        result = mixed(x, len(one) - 1, two[1])
        macs = prod(one) * two[1]
        return Effect(
            (replace(result, dtype=dtype or x.dtype),), "linear", macs, has_bias=False,
            weight_shape=two[::-1], stored=call.stored((place,)),
        )  # fmt: skip
    if y is not None and x is None and len(one) == 2 and len(two) > 1:
        result = mixed(y, len(two) - 2, one[0])
        return Effect((result,), "product", prod(two) * one[0], stored=call.stored((0,)))
    return product(call, shape, wide[-1])


def _stacked(call: Call, one: Shape, two: Shape) -> Shape:
    """The shape of a product of stacks of matrices."""
    outer = broadcast([one[:-2], two[:-2]]) if len(one) > 2 or len(two) > 2 else ()
    if outer is None:
        call.raise_misfit()
    return (*outer, one[-2], two[-1])


def product(call: Call, shape: Shape, inner: int) -> Effect:
    """A product of two computed matrices: what it reads is known only where all was read before."""
    why = "what a product of two computed matrices reads is not followed"
    places = range(len(call.node.inputs))
    result = unfollowed(call.maps, shape, call.x.dtype, why)
    return Effect((result,), "product", prod(shape) * inner, stored=call.stored(places))


def blocks(call: Call) -> Effect | None:
    """Positions to channels, or back: a unit reads what any of its channels does."""
    x, block = call.x, call.given("blocksize", 0)
    if len(x.shape) != 4 or block < 1:
        call.raise_misfit()
    _, c, *size = x.shape
    if call.node.kind == "SpaceToDepth":
        if any(m % block for m in size):
            call.raise_misfit()
        moves = {i + 2: (Window.sliding(block, block), m // block) for i, m in enumerate(size)}
        return Effect((mixed(slid(x, moves), 1, c * block**2),), "reshape")
    if c % block**2:
        call.raise_misfit()
    window = Window.reading(*[{0}] * block, advance=1)
    moves = {i + 2: (window, m * block) for i, m in enumerate(size)}
    return Effect((mixed(slid(x, moves), 1, c // block**2),), "reshape")


def resize(call: Call) -> Effect | None:
    """`Resize` and `Upsample`, by nearest and linear interpolation."""
    x = call.x
    places = (1, 99) if call.node.kind == "Upsample" or call.opset < 11 else (2, 3)
    given: Any = call.node.given.get("scales")  # floats
    scales: tuple[float, ...] = given or call.floats(places[0]) or ()
    sizes = call.numbers(places[1]) or ()
    axes = call.axes(call.given("axes", ()) or range(len(scales or sizes)))
    if len(axes) != len(scales or sizes) or not axes or call.given("antialias", 0):
        return None
    if call.given("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    moves = {}
    for k, i in enumerate(axes):
        n = x.shape[i]
        scale = Fraction(scales[k]) if scales else Fraction(sizes[k], max(n, 1))
        m = floor(n * scale) if scales else sizes[k]
        if m < 1 or n < 1:
            call.raise_misfit()
        if n != m or scale != 1:
            window = _resized(call, n, m, 1 / scale)
            if window is None:
                return None
            moves[i] = (window, m)
    return Effect((slid(x, moves),), "resizing")


def _resized(call: Call, n: int, m: int, step: Fraction) -> Window | None:
    """The window of n positions resized to m; `None` if its way is not known here."""
    way = call.given("coordinate_transformation_mode", "half_pixel")
    if call.node.kind == "Upsample" or call.opset < 11:
        way = "asymmetric"
    rounding, mode = call.given("nearest_mode", "round_prefer_floor"), call.given("mode", "nearest")
    half, corner = Fraction(1, 2), Fraction(n - 1, m - 1) if m > 1 else Fraction(0)
    sources: dict[str, Callable[[int], Fraction]] = {
        "asymmetric": lambda i: i * step,
        "half_pixel": lambda i: (i + half) * step - half,
        "pytorch_half_pixel": lambda i: (i + half) * step - half if m > 1 else Fraction(0),
        "align_corners": lambda i: i * corner,
    }
    rounded: dict[str, Callable[[Fraction], int]] = {
        "floor": floor, "ceil": ceil, "round_prefer_floor": lambda at: ceil(at - half),
        "round_prefer_ceil": lambda at: floor(at + half),
    }  # fmt: skip
    if way not in sources or rounding not in rounded or mode not in ("nearest", "linear"):
        return None
    if call.node.kind == "Upsample" or call.opset < 11:
        rounding = "floor"

    def reads(i: int) -> set[int]:
        at = sources[way](i)
        near = [rounded[rounding](at)] if mode == "nearest" else [floor(at), ceil(at)]
        return {min(max(j, 0), n - 1) for j in near}

    return sampled(n, m, reads)


def flatten(call: Call) -> Effect:
    """`Flatten`: two axes of all, parted at one."""
    axis = call.given("axis", 1)
    if not -call.rank <= axis <= call.rank:
        call.raise_misfit()
    shape = call.x.shape
    axis += call.rank if axis < 0 else 0
    return Effect((reshaped(call.x, (prod(shape[:axis]), prod(shape[axis:]))),), "reshape")
