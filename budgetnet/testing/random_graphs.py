"""A Hypothesis strategy of random graphs: branches, views, shuffles, upsamplings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy


class Graph(nn.Module):
    """A network of random steps, each of which reads one or two earlier maps.

    Every step pads explicitly, with `pad_value`, so a test can see which units padding reaches.
    """

    def __init__(self, steps: list[tuple[Any, ...]], layers: list[nn.Module]) -> None:
        """Keep what to do, and the layers with weights."""
        super().__init__()
        self.steps, self.layers, self.pad_value = steps, nn.ModuleList(layers), 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the steps; the last map is the output."""
        maps = [x]
        for name, sources, options in self.steps:
            picked = [maps[i] for i in sources]
            maps.append(getattr(self, f"_{name}")(*picked, **options))
        return maps[-1]

    def _pad(self, x: torch.Tensor, pad: tuple[int, ...]) -> torch.Tensor:
        return F.pad(x, pad, value=self.pad_value) if any(pad) else x

    def _layer(self, x: torch.Tensor, index: int, pad: tuple[int, ...]) -> torch.Tensor:
        out: torch.Tensor = self.layers[index](self._pad(x, pad))
        return out

    def _transposed(self, x: torch.Tensor, index: int, stride: int) -> torch.Tensor:
        # With a margin of padding, cut off again, border units read padding instead of nothing.
        out: torch.Tensor = self.layers[index](self._pad(x, (2, 2, 2, 2)))
        return out[:, :, 2 * stride : -2 * stride, 2 * stride : -2 * stride]

    def _add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.relu(x) + y

    def _cat(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, y], dim=1)

    def _cat_rows(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, y], dim=2)

    def _channels(self, x: torch.Tensor, part: int) -> torch.Tensor:
        return x.chunk(2, dim=1)[part]

    def _crop(self, x: torch.Tensor, start: int, step: int) -> torch.Tensor:
        return x[:, :, start:, ::step]

    def _order(self, x: torch.Tensor, order: list[int]) -> torch.Tensor:
        return x[:, torch.tensor(order)]

    def _flip(self, x: torch.Tensor, dim: int) -> torch.Tensor:
        return x.flip(dim)

    def _roll(self, x: torch.Tensor, shift: int) -> torch.Tensor:
        return x.roll((shift, -shift), (2, 3))

    def _shuffle(self, x: torch.Tensor, groups: int) -> torch.Tensor:
        n, c, h, w = x.shape
        return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)

    def _unshuffle(self, x: torch.Tensor) -> torch.Tensor:
        return F.pixel_unshuffle(x, 2)

    def _to_depth(self, x: torch.Tensor) -> torch.Tensor:
        return rearrange(x, "n c (h a) (w b) -> n (a b c) h w", a=2, b=2)

    def _to_space(self, x: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(x, 2)

    def _nearest(self, x: torch.Tensor, scale: int) -> torch.Tensor:
        return F.interpolate(x, scale_factor=scale)

    def _bilinear(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    def _linear(self, x: torch.Tensor, index: int) -> torch.Tensor:
        out: torch.Tensor = self.layers[index](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out

    def _masked(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x.masked_fill(y > 0.5, -1.0)

    def _where(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.where(y > 0.5, x * 2, y)

    def _compared(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + (x < y) * 2

    def _clamp(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.clamp(x, min=y)

    def _power(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.pow(x.abs().clamp(max=4) + 0.5, y.tanh() + 2)

    def _transpose(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(2, 3)

    def _tokens(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return tokens.mul(2).transpose(1, 2).reshape(x.shape)

    def _flat(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).view(x.shape)

    def _write(
        self, x: torch.Tensor, y: torch.Tensor, how: str, dim: int, start: int, step: int
    ) -> torch.Tensor:
        """A copy of `x` after a write in place to a part of it, read through another view."""
        x = x.clone(memory_format=torch.contiguous_format)
        older = x.transpose(1, 2)
        index = (slice(None),) * dim + (slice(start, None, step),)
        part, other = x[index], y[index]
        if how == "set":
            x[index] = other
        elif how == "copy":
            part.copy_(other)
        elif how == "add":
            part.add_(other)
        elif how == "one":
            x.select(dim, start).add_(other.select(dim, 0))
        elif how == "flat":
            part.squeeze(0).mul_(2)
            x.view(-1, *x.shape[2:]).add_(y.reshape(-1, *x.shape[2:]))
        else:
            x[index] = part * 2 + other
        return older.transpose(1, 2)

    def _adaptive(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.adaptive_avg_pool2d(x, size)


def graphs(max_steps: int = 6, in_channels: int = 2) -> SearchStrategy[tuple[Graph, Any]]:
    """Random graphs with an input shape that fits: convolutions, transposed ones, poolings, pads,
    sums, concatenations along channels and space, slices, chosen channels, flips, rolls, shuffles,
    upsamplings.
    """
    from hypothesis import strategies as st

    @st.composite
    def draw_graph(draw: DrawFn) -> tuple[Graph, Any]:
        shape = (in_channels, draw(st.integers(6, 12)), draw(st.integers(6, 12)))
        shapes: list[Any] = [shape]
        steps: list[tuple[Any, ...]] = []
        layers: list[nn.Module] = []
        for _ in range(draw(st.integers(1, max_steps))):
            name = draw(st.sampled_from(_STEPS))
            source = draw(st.integers(max(0, len(shapes) - 3), len(shapes) - 1))
            made = _step(draw, name, source, shapes, layers)
            if made is not None:
                steps.append(made[0])
                shapes.append(made[1])
        return Graph(steps, layers), shape

    return draw_graph()


_STEPS = (
    "conv",
    "conv",
    "conv",
    "pool",
    "transposed",
    "add",
    "cat",
    "cat_rows",
    "channels",
    "crop",
    "order",
    "flip",
    "roll",
    "shuffle",
    "unshuffle",
    "to_depth",
    "to_space",
    "nearest",
    "bilinear",
    "linear",
    "adaptive",
    "masked",
    "where",
    "compared",
    "clamp",
    "power",
    "transpose",
    "tokens",
    "flat",
    "write",
    "write",
)
_JOINED = {"add", "masked", "where", "compared", "clamp", "power", "write"}  # fmt: skip


def _conv(
    c: int, out: int, kernel: Any, stride: Any, dilation: Any, groups: int, stale: int
) -> nn.Conv2d:
    """A convolution; a stale one is given its stride and dilation after it was made."""
    if not stale:
        return nn.Conv2d(c, out, kernel, stride, dilation=dilation, groups=groups, bias=False)
    layer = nn.Conv2d(c, out, kernel, 3, padding=2, groups=groups, bias=False)
    layer.stride, layer.padding, layer.dilation = stride, (0, 0), dilation
    return layer


def _step(draw: Any, name: str, source: int, shapes: list[Any], layers: list[nn.Module]) -> Any:
    """One step on the map `source`: `((name, sources, options), shape)`, or `None` if none fits."""
    from hypothesis import strategies as st

    c, h, w = shapes[source]

    def number(least: int, most: int) -> int:
        return int(draw(st.integers(least, most)))

    if h * w * c > 3000 or min(h, w) < 2:
        return None
    if name in ("conv", "pool"):
        kernel, stride = (number(1, 3), number(1, 3)), (number(1, 2), number(1, 2))
        dilation = (number(1, 2), number(1, 2))
        pad = (number(0, 1), number(0, 1), number(0, 1), number(0, 1))
        groups = draw(st.sampled_from([g for g in (1, 2, 3) if c % g == 0]))
        out = groups * number(1, 3) if name == "conv" else c
        if name == "conv":
            layer: nn.Module = _conv(c, out, kernel, stride, dilation, groups, number(0, 1))
        else:
            layer = nn.MaxPool2d(kernel, stride, 0, dilation)
        size = [
            (n + lo + hi - d * (k - 1) - 1) // s + 1
            for n, lo, hi, d, k, s in zip(
                (h, w), (pad[2], pad[0]), (pad[3], pad[1]), dilation, kernel, stride, strict=True
            )
        ]
        if min(size) < 1:
            return None
        layers.append(layer)
        return (("layer", (source,), {"index": len(layers) - 1, "pad": pad}), (out, *size))
    if name == "transposed":
        kernel_size, stride_size, dilated = number(1, 3), number(1, 2), number(1, 2)
        layer = nn.ConvTranspose2d(c, 2, kernel_size, stride_size, dilation=dilated, bias=False)
        layers.append(layer)
        size = [(n - 1) * stride_size + dilated * (kernel_size - 1) + 1 for n in (h, w)]
        options = {"index": len(layers) - 1, "stride": stride_size}
        return (("transposed", (source,), options), (2, *size))
    if name == "linear":
        layers.append(nn.Linear(c, 3))
        return (("linear", (source,), {"index": len(layers) - 1}), (3, h, w))
    if name in _JOINED or name in ("cat", "cat_rows"):
        fits: Any = {
            "cat": lambda s: s[1:] == (h, w),
            "cat_rows": lambda s: (s[0], s[2]) == (c, w),
        }.get(name, lambda s: s == (c, h, w))
        other = draw(st.sampled_from([i for i, s in enumerate(shapes) if fits(s)]))
        d, g, _ = shapes[other]
        shape = {"cat": (c + d, h, w), "cat_rows": (c, h + g, w)}.get(name, (c, h, w))
        options = {}
        if name == "write":
            dim = number(1, 3)
            start = number(0, min(2, (c, h, w)[dim - 1] - 1))
            how = draw(st.sampled_from(["set", "copy", "add", "one", "flat", "twice"]))
            options = {"how": how, "dim": dim, "start": start, "step": number(1, 2)}
        return ((name, (source, other), options), shape)
    if name == "transpose":
        return (("transpose", (source,), {}), (c, w, h))
    if name in ("tokens", "flat"):
        return ((name, (source,), {}), (c, h, w))
    if name == "channels" and c > 1:
        part = number(0, 1)
        first = -(-c // 2)
        return (("channels", (source,), {"part": part}), (first if part == 0 else c - first, h, w))
    if name == "crop":
        start, step = number(0, min(2, h - 1)), number(1, 2)
        options = {"start": start, "step": step}
        return (("crop", (source,), options), (c, h - start, -(-w // step)))
    if name == "order" and c > 1:
        order = draw(st.lists(st.integers(0, c - 1), min_size=1, max_size=c))
        return (("order", (source,), {"order": order}), (len(order), h, w))
    if name == "flip":
        return (("flip", (source,), {"dim": number(1, 3)}), (c, h, w))
    if name == "roll":
        return (("roll", (source,), {"shift": number(1, 2)}), (c, h, w))
    if name == "shuffle" and c % 2 == 0:
        return (("shuffle", (source,), {"groups": 2}), (c, h, w))
    if name in ("unshuffle", "to_depth") and h % 2 == w % 2 == 0:
        return ((name, (source,), {}), (4 * c, h // 2, w // 2))
    if name == "to_space" and c % 4 == 0:
        return (("to_space", (source,), {}), (c // 4, 2 * h, 2 * w))
    if name == "nearest":
        scale = number(2, 3)
        return (("nearest", (source,), {"scale": scale}), (c, scale * h, scale * w))
    if name == "bilinear":
        return (("bilinear", (source,), {}), (c, 2 * h, 2 * w))
    if name == "adaptive":
        size = [number(2, h), number(2, w)]
        return (("adaptive", (source,), {"size": tuple(size)}), (c, *size))
    return None
