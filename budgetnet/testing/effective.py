"""The effective receptive field as a number: the width that holds most of the gradient."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..accounting.account import Account
from ..accounting.table import shape_text
from ..errors import ArgumentError, explain, near_names, shown
from ..trace.account import account, check_module


@dataclass(frozen=True, slots=True)
class EffectiveField:
    """How wide the part of a receptive field is that holds a share of the gradient.

    Attributes:
        layer: path of the module that was measured; "" for the model itself.
        size: the theoretical receptive field, `(height, width)`; `None` if unknown.
        share: of the absolute gradient that the width holds.
        widths: `(height, width)` of each input, in input positions.
    """

    layer: str
    size: tuple[int, ...] | None
    share: float
    widths: tuple[tuple[int, int], ...]

    @property
    def mean(self) -> tuple[float, float]:
        """Mean over the inputs, `(height, width)`."""
        rows, columns = np.mean(self.widths, axis=0).tolist()
        return rows, columns

    @property
    def spread(self) -> tuple[float, float]:
        """Standard deviation between the inputs, `(height, width)`; 0 for one input."""
        few = len(self.widths) < 2
        rows, columns = np.std(self.widths, axis=0, ddof=0 if few else 1).tolist()
        return rows, columns

    def __str__(self) -> str:
        """One line."""
        means = zip(self.mean, self.spread, strict=True)
        text = " x ".join(f"{mean:.1f} ± {spread:.1f}" for mean, spread in means)
        known = "an unknown field" if self.size is None else shape_text(self.size)
        return f"{text} of {known} ({self.share:.0%} of the gradient, n={len(self.widths)})"


def effective_receptive_field(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    layer: str | None = None,
    *,
    inputs: int | Tensor = 8,
    share: float = 0.95,
    seed: int = 0,
) -> EffectiveField:
    """Measure the width that holds a share of the gradient of the unit in the middle of a map.

    For every input, and along either axis, the width of the narrowest run of input positions in
    which the absolute gradient, summed over the channels and the other axis, has this share of its
    whole sum. The weights are the model's own: a random or badly trained network has a smaller
    effective field than its theoretical one.

    Args:
        model: the network; it is left as it is.
        input_shape: `(C, H, W)`.
        layer: path of a module whose output is a map `(N, C, H, W)`; by default the last one
            before the whole map is read at once.
        inputs: how many random images, or images `(N, C, H, W)` of your own.
        share: of the gradient, above 0 and at most 1.
        seed: of random images.

    Raises:
        ArgumentError: there is no such map, the share is none, or no input has a gradient.

    >>> net = nn.Sequential(nn.Conv2d(1, 1, 9, bias=False))
    >>> _ = nn.init.ones_(net[0].weight)
    >>> print(effective_receptive_field(net, (1, 32, 32), share=0.5))
    5.0 ± 0.0 x 5.0 ± 0.0 of 9x9 (50% of the gradient, n=8)

    Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
    Networks", NeurIPS 2016.
    """
    check_module(model, "effective_receptive_field")
    if not 0 < share <= 1:
        what = f"share={shown(share)} is not a share of the gradient"
        raise ArgumentError(explain(what, remedy="Use a number above 0 and at most 1."))
    found = account(model, input_shape, strict=False)
    path = _last_map(found) if layer is None else layer
    net = copy.deepcopy(model).to("cpu").eval()
    x = _images(inputs, found, seed).requires_grad_()
    unit = _middle(net, path, x)
    (grad,) = torch.autograd.grad(unit, x, allow_unused=True)
    lines = [] if grad is None else [*grad.abs().sum(1).double().numpy()]
    widths = tuple(
        (_narrowest(one.sum(1), share), _narrowest(one.sum(0), share)) for one in lines if one.any()
    )
    if not widths:
        what = f"no input has a gradient at {path or 'the output'}"
        raise ArgumentError(explain(what, remedy="Pass more inputs, or images of your own."))
    row = found.by_module().get(path) if layer is not None else None
    field = found.receptive_field if layer is None else row.receptive_field if row else None
    return EffectiveField(path, field.size if field else None, share, widths)


def _images(inputs: int | Tensor, found: Account, seed: int) -> Tensor:
    if isinstance(inputs, Tensor):
        if tuple(inputs.shape[1:]) == found.input_shape and len(inputs):
            return inputs.detach().to("cpu", torch.float32).clone()
        numbers = {"got": shape_text(inputs.shape), "input": found.input_text}
        raise ArgumentError(explain("inputs are not images of the network", numbers=numbers))
    if isinstance(inputs, bool) or not isinstance(inputs, int) or not 0 < inputs <= 10_000:
        what = f"inputs={shown(inputs)} is not a number of images"
        raise ArgumentError(explain(what, remedy="Write 1 to 10,000, or pass images."))
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(inputs, *found.input_shape, generator=generator)


def _middle(net: nn.Module, path: str, x: Tensor) -> Tensor:
    """The unit in the middle of a module's map, summed over images and channels."""
    known = dict(net.named_modules())
    if path not in known:
        near = ", ".join(near_names(path, filter(None, known), most=3)) or "none"
        raise ArgumentError(explain(f"no module at {shown(path)}", numbers={"near names": near}))
    for module in known.values():
        if hasattr(module, "inplace"):  # it would overwrite what a gradient needs
            module.inplace = False
    maps: list[Any] = []
    known[path].register_forward_hook(lambda _m, _i, out: maps.append(out))
    with torch.enable_grad():
        net(x)
    out = maps[-1] if maps else None
    if not isinstance(out, Tensor) or out.dim() != 4:
        what = f"{path or 'the model'} gives no map (N, C, H, W)"
        raise ArgumentError(explain(what, remedy="Pass layer=, the path of a module that does."))
    return out[:, :, out.shape[2] // 2, out.shape[3] // 2].sum()


def _last_map(found: Account) -> str:
    """The module that gives the last map before the whole map is read at once."""
    own = [row for row in found.rows if row.receptive_field == found.receptive_field]
    maps = [row.path for row in own if len(row.output_shape) == 3 and not row.is_global]
    return maps[-1] if maps else ""


def _narrowest(line: np.ndarray[Any, Any], share: float) -> int:
    """The length of the shortest run that has a share of the sum of a line."""
    sums = np.concatenate([[0.0], np.cumsum(line)])
    wanted = share * sums[-1] * (1 - 1e-12)  # sums are rounded
    ends = np.searchsorted(sums, sums + wanted)
    starts = np.arange(len(sums))
    return int(min((ends - starts)[ends < len(sums)]))
