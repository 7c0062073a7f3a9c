"""`tiled`: a large image through a network, tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from operator import gt
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..errors import ArgumentError, explain, shown
from ..trace.account import account, check_module
from .tiling import Tiling, tile


def tiled(model: nn.Module, image: Tensor, tile: Tiling | Any = None) -> Tensor:
    """Run a large image in tiles; the result is that of `model(image)`.

    Every output is computed from the very inputs that it reads in the whole image, and sees padding
    at the border of the image alone. Whether the last bits agree as well depends on the kernels,
    which may add in another order for another size: on the CPU float32 results are equal bit by
    bit under `torch.backends.mkldnn.flags(enabled=False)` in all that was measured.

    Args:
        model: in `eval()` mode, on any device; a tile is moved there, and its result back.
        image: `(N, C, H, W)`, or with one or three spatial axes.
        tile: what `budgetnet.tile` gave for an image of this size, or the size of a tile.

    Raises:
        ArgumentError: the network reads the whole map somewhere, depends on the size of its input
            otherwise, is training, or has several outputs.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2)).eval()
    >>> image = torch.rand(1, 1, 64, 96)
    >>> torch.allclose(net(image), tiled(net, image, 16), atol=1e-6)
    True
    """
    net = check_module(model, "tiled")
    tiling = _tiling_of(net, image, tile)
    if any(module.training for module in net.modules()):
        raise ArgumentError(explain("the model is in training mode", remedy="Call model.eval()."))
    check_size_does_not_matter(net, tiling)
    device = next((tensor.device for tensor in net.parameters()), image.device)
    with torch.no_grad(), _NoCorners():  # type: ignore[no-untyped-call]  # torch's is
        return run_tiles(lambda part: net(part.to(device)), image, tiling)


def run_tiles(run: Callable[[Tensor], Any], image: Tensor, tiling: Tiling) -> Tensor:
    """What `run` gives for the whole image, put together of what it gives for the tiles."""
    out: Tensor | None = None
    size = (tiling.account.output_shape or ())[1:]
    for one in tiling.tiles():
        part = run(image[_at(one.input)].contiguous())
        least = tuple(kept.stop for kept in one.valid)
        if not isinstance(part, Tensor) or any(map(gt, least, part.shape[2:])):
            got = shape_text(part.shape[2:]) if isinstance(part, Tensor) else shown(part)
            numbers = {"got": got, "needed": shape_text(least)}
            raise ArgumentError(explain("a tile does not give its map", numbers=numbers))
        if out is None:
            out = part.new_empty((*part.shape[:2], *size), device=image.device)
        out[_at(one.output)] = part[_at(one.valid)].to(image.device)
    assert out is not None  # there is a tile at least
    return out


def _at(slices: tuple[slice, ...]) -> Any:
    return (..., *slices)


class _NoCorners(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is
    """Refuses resizing between corners, whose windows look as without, but whose weights drift."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        names = [argument.name for argument in func._schema.arguments]
        given = dict(zip(names, args, strict=False)) | (kwargs or {})
        if given.get("align_corners"):
            what = f"no tiles: {func} has align_corners=True, which depends on the size of its map"
            raise ArgumentError(explain(what, remedy="Use align_corners=False, and train anew."))
        return func(*args, **(kwargs or {}))


def _tiling_of(model: nn.Module, image: Tensor, tiling: Any) -> Tiling:
    if not isinstance(tiling, Tiling):
        return tile(model, image[:1], tiling)
    if tuple(image.shape[1:]) != tiling.account.input_shape:
        numbers = {"image": shape_text(image.shape[1:]), "tiles": tiling.account.input_text}
        remedy = "Call budgetnet.tile with the shape of this image."
        raise ArgumentError(
            explain("the tiles are of another image", numbers=numbers, remedy=remedy)
        )
    return tiling


def check_size_does_not_matter(model: nn.Module, tiling: Tiling) -> None:
    """Refuse a network that does something else for another size of image.

    It is a larger one: in the smallest, maps of one unit have no stride.
    """
    whole = tiling.account
    sizes = zip(whole.input_size, tiling.period, strict=True)
    own = account(model, (whole.input_shape[0], *(n + step for n, step in sizes)))
    if len(own.rows) != len(whole.rows):
        raise _differs("the network has other layers for another image", whole, own)
    for one, two in zip(whole.rows, own.rows, strict=True):
        if not _is_same(one, two):
            where = f"{one.path} ({one.kind})" if one.path else one.kind
            raise _differs(f"{where} depends on the size of the input", whole, own)


def _is_same(one: Row, two: Row) -> bool:
    if (one.path, one.kind, one.sliding) != (two.path, two.kind, two.sliding):
        return False
    if one.receptive_field == two.receptive_field:
        return True
    if one.receptive_field is None or two.receptive_field is None:
        return False
    pairs = zip(one.receptive_field.axes, two.receptive_field.axes, strict=True)
    return all(
        # Resampling clips what it reads to the map, which has another border here.
        a.stride == b.stride and (a == b or len(b.phases) > 1)
        for a, b in pairs
    )


def _differs(what: str, whole: Account, own: Account) -> ArgumentError:
    numbers = {"image": whole.input_text, "another": own.input_text}
    remedy = "Tile the part of the network that does not."
    return ArgumentError(explain(what, numbers=numbers, remedy=remedy))
